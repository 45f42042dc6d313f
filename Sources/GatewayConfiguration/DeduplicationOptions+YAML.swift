import Deduplication

extension MessageIDSelector {
  static let pointersMax = 8
  static let contentWithinRange = Duration.milliseconds(1)...Duration.seconds(10)

  /// `message_id` of a route: `none`, or a section with exactly one of `json`, `user_property` and
  /// `content`.
  ///
  /// ## Configuration keys
  /// `json` (one JSON pointer or a list), `user_property`, `content` with `within`.
  static func read(_ route: inout SectionReader, into selector: inout MessageIDSelector) {
    let forms = "{json: /pointer}, {user_property: name}, {content: true, within: 10s}, or none"
    if let node = route.node("message_id"), case .scalar(let scalar) = node.content,
      !scalar.isAbsent
    {
      let kind = ScalarKind<MessageIDSelector>(accepted: forms) { (text) throws(Rejection) in
        guard text == "none" else { throw Rejection("does not say where the id stands") }
        return .none
      }
      route.read("message_id", kind, into: &selector)
      return
    }
    route.section("message_id") { section in
      let pointers = section.list(
        "json", of: .jsonPointer, count: 1...Self.pointersMax, orOne: true)
      let property = section.value(
        "user_property", .text("the name of a user property", byteCounts: 1...256))
      let content = section.value("content", .boolean)
      let within = section.value("within", .duration(Self.contentWithinRange))
      let given = ["json", "user_property", "content"].filter { section.isPresent($0) }
      if given.count != 1 {
        section.findings.error(
          at: section.path, "needs exactly one way to find the id; accepted: \(forms)")
      }
      if section.isPresent("within"), !section.isPresent("content") {
        section.findings.error(
          at: section.keyPath("within"), "belongs to content: true only; remove it")
      }
      if section.isPresent("content") {
        if content == false {
          section.findings.error(
            at: section.keyPath("content"), "is false; accepted: true, or another way: \(forms)")
        }
        if !section.isPresent("within") {
          section.reportMissing(
            "within",
            accepted: "at most 10s, because equal messages are legal later, as in within: 10s")
        }
      }
      if let pointers { selector = .json(pointers: pointers) }
      if let property { selector = .userProperty(name: property) }
      if let within, content == true { selector = .content(within: within) }
    }
  }
}

extension DeduplicationOptions {
  /// ## Configuration keys
  /// On the route: `message_id`, `missing_id`, `on_conflict`, `deduplication.window`.
  mutating func read(_ route: inout SectionReader) {
    MessageIDSelector.read(&route, into: &selector)
    route.read("missing_id", .choice, into: &missingID)
    route.read("on_conflict", .choice, into: &onConflict)
    route.section("deduplication") { section in
      section.read("window", .integer(1...Self.windowMax), none: "auto", into: &window)
    }
  }
}

extension ScalarKind where Value == String {
  /// RFC 6901, but not the empty pointer: a whole document is neither an id nor a number.
  static var jsonPointer: ScalarKind {
    ScalarKind(accepted: "a JSON pointer such as /messageId, at most 255 bytes") {
      (text) throws(Rejection) in
      guard text.hasPrefix("/") else { throw Rejection("does not begin with /") }
      guard text.utf8.count <= 255 else { throw Rejection("is too long") }
      var rest = Substring(text)
      while let tilde = rest.firstIndex(of: "~") {
        rest = rest[tilde...].dropFirst()
        guard rest.first == "0" || rest.first == "1" else {
          throw Rejection("has a ~ that is neither ~0 nor ~1")
        }
      }
      return text
    }
  }
}
