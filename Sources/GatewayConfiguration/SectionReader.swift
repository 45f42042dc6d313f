// A strict reader over one mapping of the file. It remembers which keys were asked for; when the
// section ends, what was not asked for is an unknown key. Everything is reported, nothing is
// thrown: a reading goes on after an error so that all errors are found, and its result is
// discarded.

/// One section while it is read. Get one from `SectionReader.read`, which checks for unknown keys.
package struct SectionReader {
  package let path: String
  package let findings: Findings
  private let entries: [YAMLEntry]
  private var askedKeys: [String] = []

  /// Reads `node` as a section. A key with nothing behind it is a section with nothing in it, as
  /// when all its keys are commented out.
  package static func read(
    _ node: YAMLNode, path: String, findings: Findings, _ body: (inout SectionReader) -> Void
  ) {
    findings.place(path, at: node.mark)
    let entries: [YAMLEntry]
    switch node.content {
    case .mapping(let all): entries = all
    case .scalar(let scalar) where scalar.isAbsent && !scalar.isBroken: entries = []
    case .scalar(let scalar):
      // A broken value was reported, but not ${gateway.id} in place of the section with the id.
      if !scalar.isBroken || findings.errors.isEmpty {
        findings.error(at: node.mark, path, "is a single value; accepted: a section of keys")
      }
      return
    case .sequence:
      findings.error(at: node.mark, path, "is a list; accepted: a section of keys")
      return
    }
    var reader = SectionReader(path: path, findings: findings, entries: entries)
    body(&reader)
    reader.refuseUnknownKeys()
  }

  private init(path: String, findings: Findings, entries: [YAMLEntry]) {
    self.path = path
    self.findings = findings
    self.entries = entries
    for entry in entries { findings.place(keyPath(entry.key), at: entry.mark) }
  }

  package func keyPath(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

  package func isPresent(_ key: String) -> Bool { entries.contains { $0.key == key } }

  /// In the order of the file.
  package var keys: [String] { entries.map(\.key) }

  /// Declares the key and gives its node. The other readers are built on this.
  mutating func node(_ key: String) -> YAMLNode? {
    if !askedKeys.contains(key) { askedKeys.append(key) }
    findings.noteSchemaKey(keyPath(key))
    return entries.first { $0.key == key }?.value
  }

  // MARK: Scalars

  /// The value, or nil when the key is absent or was reported.
  package mutating func value<Value>(_ key: String, _ kind: ScalarKind<Value>) -> Value? {
    guard let node = node(key) else { return nil }
    return scalar(node, at: keyPath(key), kind)
  }

  /// Replaces the default when the key is present.
  package mutating func read<Value>(
    _ key: String, _ kind: ScalarKind<Value>, into target: inout Value
  ) {
    if let value = value(key, kind) { target = value }
  }

  /// As above for a value that may be `none`.
  package mutating func read<Value>(
    _ key: String, _ kind: ScalarKind<Value>, none word: String, into target: inout Value?
  ) {
    if let value = value(key, kind.orNone(word)) { target = value }
  }

  /// As `value`, and an absent key is an error.
  package mutating func required<Value>(_ key: String, _ kind: ScalarKind<Value>) -> Value? {
    if !isPresent(key) { reportMissing(key, accepted: kind.accepted) }
    return value(key, kind)
  }

  /// Where the source text matters: what a person wrote, before substitution.
  package mutating func source(_ key: String) -> String? {
    guard let node = node(key), case .scalar(let scalar) = node.content else { return nil }
    return scalar.source
  }

  func scalar<Value>(_ node: YAMLNode, at path: String, _ kind: ScalarKind<Value>) -> Value? {
    findings.place(path, at: node.mark)
    guard case .scalar(let scalar) = node.content else {
      let found = if case .sequence = node.content { "a list" } else { "a section" }
      findings.error(at: node.mark, path, "is \(found); accepted: \(kind.accepted)")
      return nil
    }
    if scalar.isBroken { return nil }
    if scalar.isAbsent {
      findings.error(at: node.mark, path, "has no value; accepted: \(kind.accepted)")
      return nil
    }
    do throws(Rejection) {
      return try kind.read(scalar.text)
    } catch {
      let shown = error.hidesText ? "the value" : Findings.quoted(scalar.source)
      findings.error(at: node.mark, path, "\(shown) \(error.reason); accepted: \(kind.accepted)")
      return nil
    }
  }

  // MARK: Lists

  /// A list of scalars; nil when absent or reported.
  package mutating func list<Value>(
    _ key: String, of kind: ScalarKind<Value>, count: ClosedRange<Int>, orOne: Bool = false
  ) -> [Value]? {
    guard let node = node(key) else { return nil }
    let path = keyPath(key)
    guard case .sequence(let elements) = node.content else {
      if orOne { return scalar(node, at: path, kind).map { [$0] } }
      if case .scalar(let scalar) = node.content, scalar.isBroken { return nil }
      findings.error(
        at: node.mark, path,
        "is not a list; accepted: a list such as [one, two], each \(kind.accepted)")
      return nil
    }
    guard count.contains(elements.count) else {
      findings.error(
        at: node.mark, path,
        "has \(elements.count) entries; accepted: \(count.lowerBound) to \(count.upperBound)")
      return nil
    }
    var values: [Value] = []
    for (index, element) in elements.enumerated() {
      if let value = scalar(element, at: "\(path)[\(index)]", kind) { values.append(value) }
    }
    return values.count == elements.count ? values : nil
  }

  /// A list that may also be the word `word`, which stands for an empty one.
  package mutating func list<Value>(
    _ key: String, of kind: ScalarKind<Value>, count: ClosedRange<Int>, orWord word: String
  ) -> [Value]? {
    if isWord(key, word) { return [] }
    return list(key, of: kind, count: count)
  }

  /// Whether the key is there and has just this word. Declares the key.
  private mutating func isWord(_ key: String, _ word: String) -> Bool {
    guard let node = node(key), case .scalar(let scalar) = node.content else { return false }
    return scalar.text == word && !scalar.isBroken
  }

  // MARK: Sections below

  /// Reads a section below this one; false when it is absent.
  @discardableResult
  package mutating func section(_ key: String, _ body: (inout SectionReader) -> Void) -> Bool {
    guard let node = node(key) else {
      declare(key, body)
      return false
    }
    SectionReader.read(node, path: keyPath(key), findings: findings, body)
    return true
  }

  /// As `section`, and an absent one is an error.
  package mutating func requiredSection(
    _ key: String, accepted: String, _ body: (inout SectionReader) -> Void
  ) {
    if !section(key, body) { reportMissing(key, accepted: accepted) }
  }

  /// A list of sections. `first`: the key that each of them begins with.
  package mutating func sections(
    _ key: String, count: ClosedRange<Int>, first: String = "name", isRequired: Bool = true,
    _ body: (_ index: Int, inout SectionReader) -> Void
  ) {
    let accepted = "a list of sections, each beginning with \"- \(first): …\""
    guard let node = node(key) else {
      if isRequired { reportMissing(key, accepted: accepted) }
      return
    }
    let path = keyPath(key)
    guard case .sequence(let elements) = node.content else {
      findings.error(at: node.mark, path, "is not a list; accepted: \(accepted)")
      return
    }
    guard count.contains(elements.count) else {
      findings.error(
        at: node.mark, path,
        "has \(elements.count) entries; accepted: \(count.lowerBound) to \(count.upperBound)")
      return
    }
    for (index, element) in elements.enumerated() {
      SectionReader.read(element, path: "\(path)[\(index)]", findings: findings) {
        body(index, &$0)
      }
    }
  }

  /// A list of sections that may be absent, or the word `none`.
  /// - Returns: whether there is a list. The body also runs without one, to name its keys.
  package mutating func optionalSections(
    _ key: String, count: ClosedRange<Int>, _ body: (_ index: Int, inout SectionReader) -> Void
  ) -> Bool {
    if isPresent(key), !isWord(key, "none") {
      sections(key, count: count, body)
      return true
    }
    _ = node(key)
    declare("\(key)[]") { body(0, &$0) }
    return false
  }

  /// A section that may be absent, or the word `none`.
  /// - Returns: whether there is a section. The body also runs without one, to name its keys.
  @discardableResult
  package mutating func optionalSection(_ key: String, _ body: (inout SectionReader) -> Void)
    -> Bool
  {
    if isPresent(key), !isWord(key, "none") { return section(key, body) }
    _ = node(key)
    declare(key, body)
    return false
  }

  /// Reads this section as a table whose keys the user chooses.
  package mutating func table(
    nameByteCountMax: Int, _ body: (_ name: String, inout SectionReader) -> Void
  ) {
    for entry in entries {
      askedKeys.append(entry.key)
      guard Identifier.isValid(entry.key, byteCountMax: nameByteCountMax) else {
        findings.error(
          at: entry.mark, keyPath(entry.key),
          "\(Findings.quoted(entry.key)) is not a name; "
            + "accepted: 1 to \(nameByteCountMax) of \(Identifier.accepted)")
        continue
      }
      SectionReader.read(entry.value, path: keyPath(entry.key), findings: findings) {
        body(entry.key, &$0)
      }
    }
  }

  package func reportMissing(_ key: String, accepted: String) {
    findings.error(at: keyPath(key), "is required; accepted: \(accepted)")
  }

  /// Lets an absent section name its keys, so that the schema is known whatever the file holds.
  private func declare(_ key: String, _ body: (inout SectionReader) -> Void) {
    let unheard = Findings(file: findings.file)
    var empty = SectionReader(path: keyPath(key), findings: unheard, entries: [])
    body(&empty)
    findings.adoptSchemaKeys(of: unheard)
  }

  private func refuseUnknownKeys() {
    for entry in entries where !askedKeys.contains(entry.key) {
      var message = "is not a known key"
      if let near = Suggestion.nearest(to: entry.key, among: askedKeys) {
        message += "; did you mean \(near)?"
      }
      if !askedKeys.isEmpty { message += "; accepted: \(askedKeys.joined(separator: ", "))" }
      findings.error(at: entry.mark, keyPath(entry.key), message)
    }
  }
}
