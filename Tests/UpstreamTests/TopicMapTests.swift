// Goal: a mapped topic is what the rules say, lies within the outputs they declare, and never
// reaches a broker's own topics. Method: cases by hand, then random rules and topics against a
// matcher that is written differently. Cannot show: that the sample's rules are what a site wants.

import Testing

@testable import Upstream

@Suite("Topic map")
struct TopicMapTests {
  private func map(_ pairs: (String, String)...) throws -> TopicMap {
    TopicMap(rules: try pairs.map { try #require(TopicRule(source: $0.0, target: $0.1)) })
  }

  @Test("prefixes: cut where it stands, put in front always")
  func prefixes() {
    let map = TopicMap(removePrefix: "gateways/gw/", addPrefix: "x/")
    #expect(map.apply(to: "gateways/gw/commands/p1") == "x/commands/p1")
    #expect(map.apply(to: "pumps/p1") == "x/pumps/p1")
    #expect(TopicMap().apply(to: "a//b/") == "a//b/")
    // An accent that follows the prefix's slash makes one character with it.
    #expect(TopicMap(removePrefix: "a/").apply(to: "a/\u{301}b") == "\u{301}b")
  }

  @Test("what a prefix leaves must be a topic that is ours to publish")
  func prefixRefused() {
    let map = TopicMap(removePrefix: "gateways/gw/")
    #expect(map.apply(to: "gateways/gw/$CONTROL/dynamic-security/v1") == nil)
    #expect(map.apply(to: "gateways/gw/$SYS") == nil)
    #expect(map.apply(to: "gateways/gw/") == nil)
    #expect(map.apply(to: "gateways/gw/a$") == "a$")
    let long = String(repeating: "x", count: 65_535)
    #expect(TopicMap().apply(to: long) == long)
    #expect(TopicMap(addPrefix: "y").apply(to: long) == nil)
  }

  @Test("the first rule that matches counts; captures stand in order")
  func rules() throws {
    let map = try map(
      ("pumps/+/metrics", "site7/+/telemetry"), ("pumps/+/+", "site7/by/+/+"),
      ("alarms/#", "site7/alarms/#"), ("a/+/b/+/#", "+/+/end/#"))
    #expect(map.apply(to: "pumps/ND01/metrics") == "site7/ND01/telemetry")
    #expect(map.apply(to: "pumps/ND01/asset") == "site7/by/ND01/asset")
    #expect(map.apply(to: "pumps//") == "site7/by//")
    #expect(map.apply(to: "alarms") == "site7/alarms")
    #expect(map.apply(to: "alarms/") == "site7/alarms/")
    #expect(map.apply(to: "alarms/1/2/3") == "site7/alarms/1/2/3")
    #expect(map.apply(to: "a/1/b/2/3/4") == "1/2/end/3/4")
    #expect(map.apply(to: "pumps/ND01") == nil)
    #expect(map.apply(to: "pumps/ND01/metrics/x") == nil)
    #expect(map.apply(to: "Pumps/ND01/metrics") == nil)
    #expect(map.apply(to: "a/$SYS/b/2") == nil)
    #expect(map.apply(to: "a//b/2") == "/2/end")
    #expect(try self.map(("a/#", "#")).apply(to: "a") == nil)
    #expect(try self.map(("a/#", "#")).apply(to: "a/b") == "b")
    // Not equal as bytes, though equal as text.
    #expect(try self.map(("\u{e9}", "x")).apply(to: "e\u{301}") == nil)
  }

  @Test(
    "a rule whose sides do not capture alike is none",
    arguments: [("a/+", "b"), ("a", "b/+"), ("a/#", "b"), ("a/+", "b/#"), ("+/+", "+")])
  func disagree(source: String, target: String) {
    #expect(TopicRule(source: source, target: target) == nil)
  }

  /// MQTT 5.0, section 4.7, by recursion over levels.
  private func matches(_ topic: ArraySlice<String>, _ filter: ArraySlice<String>) -> Bool {
    if filter.first == "#" { return true }
    guard let want = filter.first, let have = topic.first else {
      return filter.isEmpty && topic.isEmpty
    }
    return (want == "+" || want == have) && matches(topic.dropFirst(), filter.dropFirst())
  }

  private func split(_ text: String) -> ArraySlice<String> {
    var levels = [""]
    for scalar in text.unicodeScalars {
      if scalar == "/" {
        levels.append("")
      } else {
        levels[levels.count - 1].unicodeScalars.append(scalar)
      }
    }
    return levels[...]
  }

  @Test("property: within the declared output of the first rule that matches, and never $…")
  func declaredOutputs() throws {
    var generator = SystemRandomNumberGenerator()
    let words = ["a", "b", "", "$SYS", "$", "é", "x y"]
    var (mapped, refused, unmatched) = (0, 0, 0)
    for _ in 0..<20_000 {
      var rules: [TopicRule] = []
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        func side(_ captures: Int, _ hasRest: Bool) -> String {
          var levels = (0..<captures).map { _ in "+" }
          for _ in 0..<Int.random(in: captures + (hasRest ? 1 : 0) == 0 ? 1...2 : 0...2) {
            levels.append(words.randomElement(using: &generator) ?? "a")
          }
          levels.shuffle(using: &generator)
          return (levels + (hasRest ? ["#"] : [])).joined(separator: "/")
        }
        let captures = Int.random(in: 0...2, using: &generator)
        let hasRest = Bool.random(using: &generator)
        let rule = TopicRule(source: side(captures, hasRest), target: side(captures, hasRest))
        rules.append(try #require(rule))
      }
      let map = TopicMap(rules: rules)
      let topic = (0..<Int.random(in: 1...5, using: &generator))
        .map { _ in words.randomElement(using: &generator) ?? "a" }.joined(separator: "/")
      let rule = rules.first { matches(split(topic), split($0.source)) }
      guard let output = map.apply(to: topic) else {
        if rule == nil { unmatched += 1 } else { refused += 1 }
        continue
      }
      mapped += 1
      let declared = try #require(rule, "\(topic) → \(output) by no rule of \(rules)").target
      #expect(matches(split(output), split(declared)), "\(topic) → \(output) not in \(declared)")
      #expect(!output.isEmpty && output.unicodeScalars.first != "$" && !output.contains("+"))
    }
    // The walk has seen all three.
    #expect(mapped > 1000 && refused > 100 && unmatched > 1000, "\(mapped) \(refused) \(unmatched)")
  }
}
