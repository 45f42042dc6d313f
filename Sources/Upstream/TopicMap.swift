/// How a raw record's topic becomes its topic upstream: by the first rule that matches it, or, when
/// there are no rules, by cutting one prefix and putting another in front.
///
/// ## Promise
/// What `apply` answers lies within the outputs that the map declares (`addPrefix` and what follows
/// it, or some rule's `target`), can be published, and does not begin with `$`: whoever may publish
/// on one broker must not reach the other's own topics (`$CONTROL`, `$SYS`).
package struct TopicMap: Sendable, Hashable {
  package var removePrefix: String = ""
  package var addPrefix: String = ""
  /// In the order in which they are tried. With rules there are no prefixes.
  package var rules: [TopicRule] = []

  package static let rulesMax = 64
  /// MQTT 5.0, section 1.5.4.
  static let topicByteCountMax = 65_535

  package init(removePrefix: String = "", addPrefix: String = "", rules: [TopicRule] = []) {
    self.removePrefix = removePrefix
    self.addPrefix = addPrefix
    self.rules = rules
  }

  /// The topic upstream; nil when there is none: no rule matches, or what comes out is no topic.
  /// Without rules, a topic without the prefix keeps all its levels.
  package func apply(to topic: String) -> String? {
    guard let mapped = rules.isEmpty ? swapPrefix(of: topic) : applyRules(to: topic) else {
      return nil
    }
    guard !mapped.isEmpty, !mapped.utf8.starts(with: "$".utf8),
      mapped.utf8.count <= TopicMap.topicByteCountMax
    else { return nil }
    return mapped
  }

  private func swapPrefix(of topic: String) -> String {
    guard topic.utf8.starts(with: removePrefix.utf8) else { return addPrefix + topic }
    return addPrefix
      + String(decoding: topic.utf8.dropFirst(removePrefix.utf8.count), as: UTF8.self)
  }

  private func applyRules(to topic: String) -> String? {
    for rule in rules {
      if let mapped = rule.apply(to: topic) { return mapped }
    }
    return nil
  }
}

/// One rule of a topic map: `pumps/+/metrics` → `site7/+/telemetry`. What each `+` of `source`
/// matched stands, in order, where the `+` of `target` are; what `#` matched, at the end.
package struct TopicRule: Sendable, Hashable {
  /// A topic filter.
  package let source: String
  /// As many `+` as in `source`; ends in `#` exactly when that does.
  package let target: String
  private let sourceLevels: [Level]
  private let targetLevels: [Level]

  private enum Level: Sendable, Hashable {
    case text(String)
    case level
    case rest

    // On bytes: a slash and the accent that follows it are one character.
    static func all(_ filter: String) -> [Level] {
      let parts = filter.utf8.split(
        separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
      return parts.map { part in
        switch String(Substring(part)) {
        case "+": .level
        case "#": .rest
        case let text: .text(text)
        }
      }
    }
  }

  /// Nil when the two do not capture alike. Both are valid filters.
  package init?(source: String, target: String) {
    self.source = source
    self.target = target
    sourceLevels = Level.all(source)
    targetLevels = Level.all(target)
    guard
      sourceLevels.count(where: { $0 == .level }) == targetLevels.count(where: { $0 == .level }),
      (sourceLevels.last == .rest) == (targetLevels.last == .rest)
    else { return nil }
  }

  /// Nil when the topic does not match.
  func apply(to topic: String) -> String? {
    // Nil when all levels are taken: an empty level is one, too.
    var left: Substring? = topic[...]
    var captured: [Substring] = []
    for level in sourceLevels {
      if level == .rest { break }
      guard let rest = left else { return nil }
      let slash = rest.utf8.firstIndex(of: UInt8(ascii: "/"))
      let head = rest[..<(slash ?? rest.endIndex)]
      if case .text(let text) = level {
        guard head.utf8.elementsEqual(text.utf8) else { return nil }
      } else {
        captured.append(head)
      }
      left = slash.map { rest[rest.utf8.index(after: $0)...] }
    }
    guard left == nil || sourceLevels.last == .rest else { return nil }
    var taken = captured.makeIterator()
    var levels: [Substring] = []
    for level in targetLevels {
      switch level {
      case .text(let text): levels.append(text[...])
      case .level: if let next = taken.next() { levels.append(next) }
      case .rest: if let left { levels.append(left) }
      }
    }
    return levels.joined(separator: "/")
  }
}
