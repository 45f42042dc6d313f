// Goal: a filter matches what MQTT 5.0, section 4.7 says, and what two filters have in common is
// right. Method: the examples of the standard; a slow matcher on levels as the model of random
// cases. Cannot show: what a broker makes of a filter.

import AllocationCounting
import Testing

@testable import Filtering

private func matches(_ filter: String, _ topic: String) -> Bool {
  TopicFilters([filter]).matches(Array(topic.utf8).span)
}

/// Section 4.7, level by level.
private func model(_ filter: String, _ topic: String) -> Bool {
  if topic.isEmpty || topic.hasPrefix("$") && (filter.hasPrefix("+") || filter.hasPrefix("#")) {
    return false
  }
  func levels(_ text: String) -> [Substring] {
    text.split(separator: "/", omittingEmptySubsequences: false)
  }
  var rest = levels(topic)[...]
  for level in levels(filter) {
    if level == "#" { return true }
    guard let next = rest.popFirst(), level == "+" || level == next else { return false }
  }
  return rest.isEmpty
}

/// A few levels of few words, so that matches are common.
private func text(_ words: [String], using generator: inout some RandomNumberGenerator) -> String {
  let levels = (0..<Int.random(in: 1...4, using: &generator)).map { _ in
    words.randomElement(using: &generator) ?? ""
  }
  // `#` is the last level.
  let end = levels.firstIndex(of: "#").map { $0 + 1 } ?? levels.count
  return levels[..<end].joined(separator: "/")
}

@Suite struct TopicFiltersTests {
  @Test(
    "the examples of the standard",
    arguments: [
      ("sport/tennis/player1/#", "sport/tennis/player1", true),
      ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
      ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
      ("sport/#", "sport", true), ("#", "sport/tennis", true), ("sport/#", "sports", false),
      ("sport/tennis/+", "sport/tennis/player1", true),
      ("sport/tennis/+", "sport/tennis/player1/ranking", false),
      ("sport/+", "sport", false), ("sport/+", "sport/", true), ("+/+", "/finance", true),
      ("/+", "/finance", true), ("+", "/finance", false), ("#", "$SYS/x", false),
      ("+/monitor/Clients", "$SYS/monitor/Clients", false), ("$SYS/#", "$SYS/x", true),
      ("$SYS/monitor/+", "$SYS/monitor/Clients", true), ("a", "A", false), ("a", "", false),
    ])
  func standard(filter: String, topic: String, expected: Bool) {
    #expect(matches(filter, topic) == expected)
    #expect(model(filter, topic) == expected)
  }

  @Test("random filters and topics match as level by level, and so do overlap and cover")
  func randomCases() {
    var generator = SystemRandomNumberGenerator()
    var hits = (matches: 0, overlaps: 0, covers: 0)
    for _ in 0..<20_000 {
      let filter = text(["a", "b", "+", "#", "", "$x"], using: &generator)
      let other = text(["a", "b", "+", "#", "", "$x"], using: &generator)
      let topic = text(["a", "b", "", "$x"], using: &generator)
      let (first, second) = (model(filter, topic), model(other, topic))
      if matches(filter, topic) != first { Issue.record("\(filter) against \(topic)") }
      if first, second, !TopicFilters.overlap(filter, other) {
        Issue.record("\(filter) and \(other) have \(topic) in common")
      }
      if second, !first, TopicFilters.covers(filter, other) {
        Issue.record("\(filter) does not cover \(other): \(topic)")
      }
      hits.matches += first ? 1 : 0
      hits.overlaps += TopicFilters.overlap(filter, other) ? 1 : 0
      hits.covers += TopicFilters.covers(filter, other) ? 1 : 0
    }
    // The cases are worth something: all of the three answers occur.
    for hit in [hits.matches, hits.overlaps, hits.covers] { #expect((500..<19_500).contains(hit)) }
  }

  @Test(
    "overlap and cover of filters",
    arguments: [
      ("a/#", "a/+/b", true, true), ("a/+", "a/b", true, true), ("a/b", "a/+", true, false),
      ("a/+/c", "a/b/+", true, false), ("a/#", "a", true, true), ("a/#", "b/#", false, false),
      ("#", "a/b", true, true), ("#", "$SYS/a", false, false), ("a/+", "a/#", true, false),
      ("+/b", "a/#", true, false), ("a", "a/b", false, false), ("a/b/#", "a/+/+/d", true, false),
    ])
  func relations(filter: String, other: String, overlap: Bool, covers: Bool) {
    #expect(TopicFilters.overlap(filter, other) == overlap)
    #expect(TopicFilters.overlap(other, filter) == overlap)
    #expect(TopicFilters.covers(filter, other) == covers)
  }

  @Test("the first match, the number of matches, and no allocation")
  func several() {
    let filters = TopicFilters(["x/#", "pumps/+/metrics", "pumps/#"])
    let topic = Array("pumps/p1/metrics".utf8)
    #expect(filters.firstMatch(topic.span) == 1 && filters.matchCount(topic.span) == 2)
    #expect(TopicFilters([]).isEmpty && !TopicFilters([]).matches(topic.span))
    var count = 0
    let allocations = AllocationCounter.measure {
      for _ in 0..<1000 where filters.matches(topic.span) { count += 1 }
    }
    #expect(allocations.allocations == 0 && count == 1000)
  }
}
