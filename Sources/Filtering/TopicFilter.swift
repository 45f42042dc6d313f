/// MQTT topic filters, matched on the bytes of a topic (MQTT 5.0, section 4.7). No allocation.
///
/// Wildcards at the front match no topic that begins with `$`, which belongs to the broker.
package struct TopicFilters: Sendable, Hashable {
  /// In the order given.
  package let texts: [String]
  /// All of them, one after the other.
  private let bytes: [UInt8]
  private let ends: [Int]

  /// - Parameter texts: valid filters; the configuration has checked them.
  package init(_ texts: [String]) {
    self.texts = texts
    var bytes: [UInt8] = []
    var ends: [Int] = []
    for text in texts {
      bytes.append(contentsOf: text.utf8)
      ends.append(bytes.count)
    }
    self.bytes = bytes
    self.ends = ends
  }

  package var isEmpty: Bool { ends.isEmpty }

  /// Whether one of them matches.
  package func matches(_ topic: Span<UInt8>) -> Bool { firstMatch(topic) != nil }

  /// The first that matches.
  package func firstMatch(_ topic: Span<UInt8>) -> Int? {
    let filters = bytes.span
    var start = 0
    for index in ends.indices {
      let end = ends[index]
      if Self.matches(filters.extracting(start..<end), topic) { return index }
      start = end
    }
    return nil
  }

  /// How many match.
  package func matchCount(_ topic: Span<UInt8>) -> Int {
    let filters = bytes.span
    var count = 0
    var start = 0
    for index in ends.indices {
      let end = ends[index]
      if Self.matches(filters.extracting(start..<end), topic) { count += 1 }
      start = end
    }
    return count
  }

  private static func matches(_ filter: Span<UInt8>, _ topic: Span<UInt8>) -> Bool {
    guard !filter.isEmpty, !topic.isEmpty else { return false }
    if topic[0] == UInt8(ascii: "$"),
      filter[0] == UInt8(ascii: "+") || filter[0] == UInt8(ascii: "#")
    {
      return false
    }
    var position = 0
    var index = 0
    while index < filter.count {
      switch filter[index] {
      case UInt8(ascii: "#"): return true
      case UInt8(ascii: "+"):
        while position < topic.count, topic[position] != UInt8(ascii: "/") { position += 1 }
        index += 1
      case let byte:
        guard position < topic.count else {
          // `a/#` matches `a` as well.
          return byte == UInt8(ascii: "/") && index + 2 == filter.count
            && filter[index + 1] == UInt8(ascii: "#")
        }
        guard topic[position] == byte else { return false }
        position += 1
        index += 1
      }
    }
    return position == topic.count
  }

  // MARK: - Filters among each other

  /// Whether every topic that `other` matches is matched by `filter`.
  package static func covers(_ filter: String, _ other: String) -> Bool {
    let wide = levels(of: filter)
    let narrow = levels(of: other)
    if isWild(wide[0]), narrow[0].hasPrefix("$") { return false }
    for index in wide.indices {
      if wide[index] == "#" { return true }
      guard index < narrow.count, narrow[index] != "#" else { return false }
      guard wide[index] == "+" || wide[index] == narrow[index] else { return false }
    }
    return wide.count == narrow.count
  }

  /// Whether some topic is matched by both.
  package static func overlap(_ left: String, _ right: String) -> Bool {
    let (left, right) = (levels(of: left), levels(of: right))
    if isWild(left[0]), right[0].hasPrefix("$") { return false }
    if isWild(right[0]), left[0].hasPrefix("$") { return false }
    var index = 0
    while index < left.count, index < right.count {
      let (mine, theirs) = (left[index], right[index])
      if mine == "#" || theirs == "#" { return true }
      guard mine == "+" || theirs == "+" || mine == theirs else { return false }
      index += 1
    }
    // `a/#` matches `a` as well.
    let rest = left.count > right.count ? left[index...] : right[index...]
    return rest.isEmpty || rest.elementsEqual(["#"])
  }

  private static func levels(of filter: String) -> [Substring] {
    filter.split(separator: "/", omittingEmptySubsequences: false)
  }

  private static func isWild(_ level: Substring) -> Bool { level == "+" || level == "#" }
}
