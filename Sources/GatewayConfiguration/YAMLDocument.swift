// The subset of YAML a configuration may use: one document of mappings, lists and scalars. Anchors,
// aliases, tags, merge keys, directives, several documents, keys that are not plain text and
// duplicate keys are errors (they make a file mean something else than it seems to). Scalars are
// text; what type a text has is the schema's business, so `no`, `3.1.1` and `1e3` mean what the key
// says.

/// One value of the file and where it begins.
package struct YAMLNode {
  enum Content {
    case scalar(YAMLScalar)
    case sequence([YAMLNode])
    case mapping([YAMLEntry])
  }

  var mark: Mark
  var content: Content
}

struct YAMLScalar {
  /// As written, quotes and escapes resolved. Shown in messages, because `text` may hold a secret.
  var source: String
  /// After substitution.
  var text: String
  /// Not quoted.
  var isPlain: Bool
  /// One line without escapes: column + offset is the place of a character.
  var hasExactColumns: Bool
  /// An error about it was reported already.
  var isBroken = false

  /// `key:` with nothing behind it.
  var isAbsent: Bool { isPlain && source.isEmpty }
}

struct YAMLEntry {
  var key: String
  var mark: Mark
  var value: YAMLNode
}

package enum YAMLDocument {
  package static let byteCountMax = 1 << 20
  static let depthMax = 16
  static let nodeCountMax = 100_000

  /// The tree, or nil when there is none; problems are reported to `findings`.
  /// - Parameter needs: what a file has at the least, for the error of an empty one.
  package static func read(
    _ bytes: Span<UInt8>, into findings: Findings, needs: String = "gateway, brokers and routes"
  ) -> YAMLNode? {
    guard bytes.count <= byteCountMax else {
      findings.error(
        at: .start, "",
        "the file has \(bytes.count) bytes; accepted: at most \(byteCountMax)")
      return nil
    }
    do throws(YAMLSyntaxError) {
      var builder = YAMLTreeBuilder(
        stream: try YAMLEventStream(bytes), findings: findings, needs: needs)
      return try builder.document()
    } catch {
      findings.error(at: error.mark, "", error.message)
      return nil
    }
  }
}

/// Events → tree. Recursive, bounded by `YAMLDocument.depthMax`.
private struct YAMLTreeBuilder: ~Copyable {
  private var stream: YAMLEventStream
  private let findings: Findings
  private let needs: String
  private var nodeCount = 0

  init(stream: consuming YAMLEventStream, findings: Findings, needs: String) {
    self.needs = needs
    self.stream = stream
    self.findings = findings
  }

  mutating func document() throws(YAMLSyntaxError) -> YAMLNode? {
    _ = try stream.next()
    let opening = try stream.next()
    guard case .documentStart(let hasDirectives) = opening.kind else {
      findings.error(at: .start, "", "the file is empty; it needs \(needs)")
      return nil
    }
    if hasDirectives {
      findings.error(at: opening.start, "", "YAML directives are not accepted; remove the % lines")
    }
    let root = try node(from: try stream.next(), path: "", depth: 0)
    _ = try stream.next()
    let closing = try stream.next()
    if closing.kind != .streamEnd {
      findings.error(
        at: closing.start, "", "a second document begins here; accepted: one document per file")
    }
    return root
  }

  private mutating func node(
    from event: YAMLEvent, path: String, depth: Int
  ) throws(YAMLSyntaxError) -> YAMLNode {
    nodeCount += 1
    if nodeCount > YAMLDocument.nodeCountMax {
      throw YAMLSyntaxError(
        mark: event.start, message: "more than \(YAMLDocument.nodeCountMax) values in the file")
    }
    if depth > YAMLDocument.depthMax {
      throw YAMLSyntaxError(
        mark: event.start, message: "nested deeper than \(YAMLDocument.depthMax) levels")
    }
    refuseDecorations(of: event, path: path)
    switch event.kind {
    case .scalar(let text, let isPlain):
      let width = event.end.column - event.start.column
      let exact =
        event.start.line == event.end.line && width == text.unicodeScalars.count + (isPlain ? 0 : 2)
      let scalar = YAMLScalar(
        source: text, text: text, isPlain: isPlain, hasExactColumns: exact)
      return YAMLNode(mark: event.start, content: .scalar(scalar))
    case .alias:
      findings.error(
        at: event.start, path, "an alias (*name) is not accepted; write the value out")
      let scalar = YAMLScalar(
        source: "", text: "", isPlain: true, hasExactColumns: false, isBroken: true)
      return YAMLNode(mark: event.start, content: .scalar(scalar))
    case .sequenceStart:
      return try sequence(from: event, path: path, depth: depth)
    case .mappingStart:
      return try mapping(from: event, path: path, depth: depth)
    case .streamStart, .streamEnd, .documentStart, .documentEnd, .sequenceEnd, .mappingEnd:
      preconditionFailure("libyaml closes what it opened before anything else")
    }
  }

  private mutating func sequence(
    from opening: YAMLEvent, path: String, depth: Int
  ) throws(YAMLSyntaxError) -> YAMLNode {
    var elements: [YAMLNode] = []
    while true {
      let event = try stream.next()
      if event.kind == .sequenceEnd { break }
      elements.append(
        try node(from: event, path: "\(path)[\(elements.count)]", depth: depth + 1))
    }
    return YAMLNode(mark: opening.start, content: .sequence(elements))
  }

  private mutating func mapping(
    from opening: YAMLEvent, path: String, depth: Int
  ) throws(YAMLSyntaxError) -> YAMLNode {
    var entries: [YAMLEntry] = []
    var seen: [String: Mark] = [:]
    while true {
      let keyEvent = try stream.next()
      if keyEvent.kind == .mappingEnd { break }
      let keyNode = try node(from: keyEvent, path: path, depth: depth + 1)
      let key: String
      let isUsable: Bool
      if case .scalar(let scalar) = keyNode.content {
        key = scalar.source
        isUsable = !scalar.isBroken
      } else {
        findings.error(at: keyEvent.start, path, "a key must be plain text")
        key = ""
        isUsable = false
      }
      let keyPath = path.isEmpty ? key : "\(path).\(key)"
      let value = try node(from: try stream.next(), path: keyPath, depth: depth + 1)
      guard isUsable else { continue }
      if key == "<<" {
        findings.error(
          at: keyEvent.start, path, "a merge key (<<) is not accepted; write the keys out")
      } else if let first = seen[key] {
        findings.error(
          at: keyEvent.start, keyPath,
          "this key stands already in line \(first.line); remove one of them")
      } else {
        seen[key] = keyEvent.start
        entries.append(YAMLEntry(key: key, mark: keyEvent.start, value: value))
      }
    }
    return YAMLNode(mark: opening.start, content: .mapping(entries))
  }

  private func refuseDecorations(of event: YAMLEvent, path: String) {
    if event.anchor != nil, event.kind != .alias {
      findings.error(
        at: event.start, path, "an anchor (&name) is not accepted; remove it")
    }
    if let tag = event.tag {
      findings.error(
        at: event.start, path,
        "a tag (\(Findings.quoted(tag))) is not accepted: the key decides the type; remove it")
    }
  }
}
