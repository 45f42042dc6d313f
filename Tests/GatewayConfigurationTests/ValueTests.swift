// Goal: each kind of value means one thing. Method: tables. Cannot show: what a person expects of a
// notation that is not in the table.

import GatewayCore
import Testing
import Upstream

@testable import GatewayConfiguration

@Suite struct ValueTests {
  @Test(
    "a duration is a whole number and one unit",
    arguments: [
      ("20ms", Duration.milliseconds(20)), ("5s", .seconds(5)), ("10m", .seconds(600)),
      ("2h", .seconds(7_200)), ("7d", .seconds(604_800)), ("007s", .seconds(7)), ("0s", .zero),
    ])
  func durations(text: String, expected: Duration) throws {
    #expect(try Quantity.duration(text) == expected)
    #expect(try Quantity.duration(Quantity.text(expected)) == expected)
  }

  @Test(
    "a size is a whole number and one unit, binary or decimal",
    arguments: [
      ("1B", 1), ("16kB", 16_000), ("2MB", 2_000_000), ("1GB", 1_000_000_000), ("1KiB", 1_024),
      ("256MiB", 268_435_456), ("1GiB", 1_073_741_824),
    ])
  func sizes(text: String, expected: Int) throws {
    #expect(try Quantity.byteCount(text) == ByteCount(expected))
    #expect(try Quantity.byteCount(ByteCount(expected).description) == ByteCount(expected))
  }

  @Test(
    "anything else is no quantity",
    arguments: [
      "", "s", "5", "-5s", "+5s", "5 s", " 5s", "5s ", "1.5s", "1e3s", "1h30m", "5S", "5us", "٥s",
      "9999999999999999999s", "99999999999999d", "0x5s",
    ])
  func notDurations(text: String) {
    #expect(throws: Rejection.self) { try Quantity.duration(text) }
  }

  @Test("a near miss gets a suggestion, a far one none")
  func suggestions() {
    let keys = ["max_records", "max_bytes", "max_delay"]
    #expect(Suggestion.nearest(to: "max_record", among: keys) == "max_records")
    #expect(Suggestion.nearest(to: "form", among: ["name", "from", "to"]) == "from")
    #expect(Suggestion.nearest(to: "Max-Bytes", among: keys) == "max_bytes")
    #expect(Suggestion.nearest(to: "colour", among: keys) == nil)
    #expect(Suggestion.nearest(to: String(repeating: "x", count: 5_000), among: keys) == nil)
  }

  @Test(
    "hosts that stay on this machine",
    arguments: [
      ("localhost", true), ("LOCALHOST", true), ("a.localhost", true), ("127.0.0.1", true),
      ("127.9.9.9", true), ("::1", true), ("127.0.0.1.example.com", false), ("10.0.0.1", false),
      ("0.0.0.0", false), ("::", false), ("127.1", false), ("localhost.example.com", false),
    ])
  func loopback(host: String, expected: Bool) {
    #expect(HostPort.isLoopback(host) == expected)
  }

  @Test(
    "IPv6 addresses as people write them",
    arguments: [
      ("::", true), ("::1", true), ("fe80::1", true), ("1:2:3:4:5:6:7:8", true),
      ("1:2:3:4:5:6:7", false), ("1::2::3", false), ("12345::", false), ("g::", false),
      (":", false), ("", false), ("1:2:3:4:5:6:7:8:9", false), ("1:2:3:4:5:6:7::", true),
    ])
  func ipv6(text: String, expected: Bool) {
    #expect(HostPort.isIPv6(text) == expected)
  }
}

@Suite struct TopicPatternTests {
  private static func overlap(_ left: String, _ right: String) -> Bool {
    TopicPattern.overlap(TopicPattern.filter(left), TopicPattern.filter(right))
  }

  @Test(
    "two filters overlap when some topic matches both",
    arguments: [
      ("a/b", "a/b", true), ("a/b", "a/c", false), ("a/+", "a/b", true), ("a/+", "a/b/c", false),
      ("a/#", "a/b/c", true), ("a/#", "a", true), ("a/#", "ab", false), ("#", "x", true),
      ("+/b/#", "a/+/c", true), ("+/b", "a/+", true), ("a/+/c", "a/b/d", false),
      ("+", "a/b", false),
      ("pumps/+/metrics", "pumps/ND01/asset", false), ("+/+", "/", true), ("a//b", "a/+/b", true),
    ])
  func overlaps(left: String, right: String, expected: Bool) {
    #expect(Self.overlap(left, right) == expected)
    #expect(Self.overlap(right, left) == expected)
  }

  @Test("overlap agrees with matching, over all short filters and topics")
  func agreesWithMatching() {
    let levels = ["a", "b", "+"]
    var filters = ["#"] + levels
    for first in levels { filters += [first + "/#"] + levels.map { "\(first)/\($0)" } }
    for first in levels { for second in levels { filters.append("\(first)/\(second)/#") } }
    var topics: [String] = []
    for first in ["a", "b"] {
      topics.append(first)
      for second in ["a", "b"] {
        topics.append("\(first)/\(second)")
        for third in ["a", "b"] { topics.append("\(first)/\(second)/\(third)") }
      }
    }
    for left in filters {
      for right in filters {
        let expected = topics.contains { matches($0, left) && matches($0, right) }
        #expect(Self.overlap(left, right) == expected, "\(left) and \(right)")
      }
    }
  }

  /// MQTT 5.0, section 4.7, written down once more and differently.
  private func matches(_ topic: String, _ filter: String) -> Bool {
    var topicLevels = topic.split(separator: "/", omittingEmptySubsequences: false)[...]
    for level in filter.split(separator: "/", omittingEmptySubsequences: false) {
      if level == "#" { return true }
      guard let head = topicLevels.popFirst(), level == "+" || level == head else { return false }
    }
    return topicLevels.isEmpty
  }

  @Test("one filter covers another when it matches all that the other matches")
  func covers() {
    let filters = ["#", "a", "a/b", "a/+", "+/b", "+", "a/#", "+/#", "a/b/#", "a/+/c", "+/+/+"]
    let levels = ["a", "b", "c", "x", ""]
    var topics = levels
    for first in levels {
      for second in levels {
        topics.append("\(first)/\(second)")
        for third in levels { topics.append("\(first)/\(second)/\(third)") }
        topics.append("\(first)/\(second)/x/x")
      }
    }
    for outer in filters {
      for inner in filters {
        let expected = topics.allSatisfy { !matches($0, inner) || matches($0, outer) }
        #expect(TopicPattern.covers(outer, inner) == expected, "\(outer) over \(inner)")
      }
    }
  }

  @Test(
    "a mapped filter covers every mapped topic",
    arguments: [
      TopicMap(), TopicMap(removePrefix: "a/"), TopicMap(removePrefix: "a/b", addPrefix: "x"),
      TopicMap(addPrefix: "y/"), TopicMap(removePrefix: "b", addPrefix: "a"),
      rules(("a/+", "x/+"), ("+/b", "+/y"), ("#", "z/#")), rules(("a/#", "#")),
    ])
  func mapping(map: TopicMap) {
    for filter in ["#", "+/b", "a/#", "a/+", "a/b", "+", "b/+/c"] {
      let mapped = TopicPattern.filter(filter).flatMap { $0.mapped(map) }
      for topic in ["a", "b", "a/b", "b/b", "a/b/c", "b/a/c", "ab/b"] where matches(topic, filter) {
        guard let output = map.apply(to: topic) else { continue }
        #expect(
          TopicPattern.overlap(mapped, [.topic(output)]), "\(filter): \(topic) becomes \(output)")
      }
    }
  }
}

/// A topic map of rules that capture alike.
private func rules(_ pairs: (String, String)...) -> TopicMap {
  TopicMap(rules: pairs.compactMap { TopicRule(source: $0.0, target: $0.1) })
}
