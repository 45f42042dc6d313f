/// An MQTT topic filter (MQTT 5.0, section 4.7): `+` stands for one level, `#` at the end for any
/// number of them, none included.
struct TopicFilter {
  private let levels: [[UInt8]]

  private static let plus = [UInt8(ascii: "+")]
  private static let hash = [UInt8(ascii: "#")]

  /// Nil when it is not a filter.
  init?(_ text: String) {
    levels = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
      .map { Array($0) }
    guard !text.isEmpty else { return nil }
    for (place, level) in levels.enumerated() {
      let hasWildcard = level.contains(TopicFilter.plus[0]) || level.contains(TopicFilter.hash[0])
      if hasWildcard && level.count > 1 { return nil }
      if level == TopicFilter.hash && place < levels.count - 1 { return nil }
    }
  }

  func matches(_ topic: Span<UInt8>) -> Bool {
    var start = 0
    for (place, level) in levels.enumerated() {
      if level == TopicFilter.hash { return true }
      // `a/#` also matches `a`.
      guard start <= topic.count else { return false }
      var end = start
      while end < topic.count, topic[end] != UInt8(ascii: "/") { end += 1 }
      if level != TopicFilter.plus {
        guard level.count == end - start else { return false }
        for index in start..<end where topic[index] != level[index - start] { return false }
      }
      start = end + 1
      let isLast = place == levels.count - 1
      if isLast { return end == topic.count }
      if end == topic.count {
        return place == levels.count - 2 && levels[place + 1] == TopicFilter.hash
      }
    }
    return false
  }
}
