// Which topics two descriptions have in common, decided on characters: a topic map may cut inside a
// level, so levels are too coarse.

import Upstream

/// A set of topics: what a filter matches, or what a sink may publish on.
struct TopicPattern: Hashable {
  enum Element: Hashable {
    case byte(UInt8)
    /// Any run of bytes without a slash: `+`.
    case level
    /// Any run of bytes: `#`.
    case rest

    func admits(_ byte: UInt8) -> Bool {
      switch self {
      case .byte(let own): own == byte
      case .level: byte != UInt8(ascii: "/")
      case .rest: true
      }
    }

    var isRun: Bool { self == .level || self == .rest }
  }

  private let elements: [Element]

  private init(_ elements: [Element]) { self.elements = elements }

  static func topic(_ text: String) -> TopicPattern { TopicPattern(text.utf8.map { .byte($0) }) }

  /// A valid filter. Two patterns when it ends in `/#`, which also matches the level above.
  static func filter(_ text: String) -> [TopicPattern] {
    var elements: [Element] = text.utf8.map { byte in
      switch byte {
      case UInt8(ascii: "+"): .level
      case UInt8(ascii: "#"): .rest
      default: .byte(byte)
      }
    }
    let whole = TopicPattern(elements)
    guard text.hasSuffix("/#") else { return [whole] }
    elements.removeLast(2)
    return [whole, TopicPattern(elements)]
  }

  /// These topics with a suffix behind each.
  func appending(_ suffix: String) -> TopicPattern {
    TopicPattern(elements + suffix.utf8.map { .byte($0) })
  }

  /// What becomes of these topics under a map (`TopicMap.apply`): all that a rule declares when it
  /// can match one of them; without rules a topic without the prefix only gets the new one. May
  /// hold more than really occurs, never less.
  func mapped(_ map: TopicMap) -> [TopicPattern] {
    guard map.rules.isEmpty else {
      return map.rules.flatMap { rule in
        TopicPattern.overlap([self], TopicPattern.filter(rule.source))
          ? TopicPattern.filter(rule.target) : []
      }
    }
    let prefix = Array(map.removePrefix.utf8)
    let literal = elements.prefix { !$0.isRun }
    let isPrefix = zip(literal, prefix).allSatisfy { $0.admits($1) }
    let added = map.addPrefix.utf8.map { Element.byte($0) }
    let untouched = TopicPattern(added + elements)
    guard isPrefix else { return [untouched] }
    if literal.count >= prefix.count {
      return [TopicPattern(added + elements.dropFirst(prefix.count))]
    }
    // The prefix ends inside a wildcard: some topics have it, some have not.
    return literal.count == elements.count
      ? [untouched] : [untouched, TopicPattern(added + [.rest])]
  }

  /// Whether some topic is in both.
  func overlaps(_ other: TopicPattern) -> Bool {
    let width = other.elements.count + 1
    var seen = Set<Int>()
    var pending = [0]
    while let state = pending.popLast() {
      guard seen.insert(state).inserted else { continue }
      let (left, right) = (state / width, state % width)
      let mine = left < elements.count ? elements[left] : nil
      let theirs = right < other.elements.count ? other.elements[right] : nil
      if mine == nil, theirs == nil { return true }
      // A run may end here.
      if mine?.isRun == true { pending.append(state + width) }
      if theirs?.isRun == true { pending.append(state + 1) }
      switch (mine, theirs) {
      case (.byte(let byte), .byte(let other)) where byte == other:
        pending.append(state + width + 1)
      case (.byte(let byte), let run?) where run.isRun && run.admits(byte):
        pending.append(state + width)
      case (let run?, .byte(let byte)) where run.isRun && run.admits(byte):
        pending.append(state + 1)
      default: break
      }
    }
    return false
  }

  /// Whether every topic that `inner` matches is matched by `outer`; both are filters.
  static func covers(_ outer: String, _ inner: String) -> Bool {
    // Every topic has a level.
    if outer == "+/#" { return true }
    let slash = UInt8(ascii: "/")
    let all = outer.utf8.split(separator: slash, omittingEmptySubsequences: false)
    var rest = inner.utf8.split(separator: slash, omittingEmptySubsequences: false)[...]
    for level in all.map({ Substring($0) }) {
      if level == "#" { return true }
      guard let own = rest.popFirst().map({ Substring($0) }), own != "#" else { return false }
      guard level == "+" || (own != "+" && level == own) else { return false }
    }
    return rest.isEmpty
  }

  static func overlap(_ left: [TopicPattern], _ right: [TopicPattern]) -> Bool {
    left.contains { pattern in right.contains { pattern.overlaps($0) } }
  }
}
