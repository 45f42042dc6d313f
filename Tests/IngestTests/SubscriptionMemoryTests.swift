// Goal: a session holds exactly the filters of the configuration, in as few words as it can.
// Method: real files, plans as values. Cannot show: what a broker sends for a plan (the integration
// tests do).

import Filtering
import Platform
import Testing

@testable import Ingest

private func held(_ filters: String...) -> [Subscription] {
  filters.map { Subscription(filter: $0) }
}

@Suite struct SubscriptionMemoryTests {
  @Test("an unknown set subscribes to all and removes nothing")
  func unknown() throws {
    let directory = try TemporaryDirectory(prefix: "ingest")
    let memory = SubscriptionMemory(path: "\(directory.path)/r.subscriptions")
    #expect(memory.subscriptions == nil)
    #expect(memory.changes(to: held("a/#")).subscribe == held("a/#"))
    #expect(memory.changes(to: held("a/#")).unsubscribe.isEmpty)
  }

  @Test("after a change only the difference goes to the broker, over a restart too")
  func difference() throws {
    let directory = try TemporaryDirectory(prefix: "ingest")
    let path = "\(directory.path)/r.subscriptions"
    var memory = SubscriptionMemory(path: path)
    try memory.store(held("pumps/+/metrics", "pumps/+/old"))
    let reopened = SubscriptionMemory(path: path)
    let changes = reopened.changes(to: held("pumps/+/metrics", "pumps/+/asset"))
    #expect(changes.subscribe == held("pumps/+/asset"))
    #expect(changes.unsubscribe == ["pumps/+/old"])
    #expect(reopened.changes(to: held("pumps/+/metrics", "pumps/+/old")).subscribe.isEmpty)
  }

  @Test("an identifier is remembered; a filter that gets one is subscribed anew and not removed")
  func identifiers() throws {
    let directory = try TemporaryDirectory(prefix: "ingest")
    let path = "\(directory.path)/r.subscriptions"
    var memory = SubscriptionMemory(path: path)
    try memory.store(held("a/+", "b"))
    let wanted = [Subscription(filter: "a/+", identifier: 7), Subscription(filter: "b")]
    let changes = memory.changes(to: wanted)
    #expect(changes.subscribe == [wanted[0]] && changes.unsubscribe.isEmpty)
    try memory.store(wanted)
    #expect(SubscriptionMemory(path: path).subscriptions == wanted)
  }
}

@Suite struct SubscriptionPlanTests {
  @Test("a covered filter is left out; those that overlap in part are told apart, others are not")
  func plan() {
    let filters = ["pumps/#", "pumps/+/metrics", "valves/+/a", "valves/1/+", "x", "x"]
    let plan = SubscriptionPlan(filters: filters, canIdentify: true).subscriptions
    #expect(plan.map(\.filter) == ["pumps/#", "valves/+/a", "valves/1/+", "x"])
    #expect(plan.map { $0.identifier != nil } == [false, true, true, false])
    #expect(
      plan.packets.map { $0.map(\.filter) } == [["pumps/#", "x"], ["valves/+/a"], ["valves/1/+"]])
    let plain = SubscriptionPlan(filters: filters, canIdentify: false).subscriptions
    #expect(plain.map(\.filter) == plan.map(\.filter) && plain.packets.count == 1)
  }

  @Test("every topic is in the plan that is in the filters; identifiers are those MQTT allows")
  func complete() {
    var generator = SystemRandomNumberGenerator()
    func text(_ words: [String]) -> String {
      let levels = (0..<Int.random(in: 1...3, using: &generator)).map { _ in
        words.randomElement(using: &generator) ?? "a"
      }
      let end = levels.firstIndex(of: "#").map { $0 + 1 } ?? levels.count
      return levels[..<end].joined(separator: "/")
    }
    for _ in 0..<2000 {
      let filters = (0..<5).map { _ in text(["a", "b", "+", "#"]) }
      let plan = SubscriptionPlan(filters: filters, canIdentify: true).subscriptions
      for _ in 0..<10 {
        let topic = Array(text(["a", "b", "c"]).utf8)
        let isWanted = TopicFilters(filters).matches(topic.span)
        #expect(TopicFilters(plan.map(\.filter)).matches(topic.span) == isWanted)
        // Without an identifier there is one copy only.
        let plain = plan.filter { $0.identifier == nil }.map(\.filter)
        if TopicFilters(plain).matches(topic.span) {
          #expect(TopicFilters(plan.map(\.filter)).matchCount(topic.span) == 1)
        }
      }
      let identifiers = plan.compactMap(\.identifier)
      #expect(identifiers.allSatisfy { (1...268_435_455).contains($0) })
    }
  }
}
