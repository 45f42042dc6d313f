// Goal: what a policy decides is one with what it was decided on. Method: a small alarm policy over
// SQLite; a commit that fails. Cannot show: the real rules.

import GatewayCore
import Hub
import Testing

/// Raises `high` above 100, clears it below, orders a stop, and counts what it saw.
private final class HighRotation: HubPolicy {
  let name = "high"
  var seen = 0

  func restore(rows: [String: [UInt8]], book: AssetBook) {
    seen = rows["seen"].flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? 0
  }

  func decide(_ events: ArraySlice<HubEvent>, _ view: borrowing PolicyView) -> PolicyDecision {
    var decision = PolicyDecision()
    for event in events where event.type == .metricRecorded {
      seen += 1
      let isHigh = (view.book[event.asset]?.readings.first?.value ?? 0) > 100
      let isRaised = view.book[event.asset]?.alerts.contains("high") ?? false
      guard isHigh != isRaised else { continue }
      decision.events.append(
        ProposedEvent(
          asset: event.asset, type: isHigh ? .alertRaised : .alertCleared, time: view.now,
          payload: Array("{\"rule\":\"high\"}".utf8)))
      if isHigh, let gateway = view.gateway(of: event) {
        decision.messages.append(
          ProposedMessage(
            topic: "gateways/\(gateway)/commands/pumps/\(event.asset)/commands", key: event.asset,
            payload: Array("{}".utf8), expiry: .seconds(60)))
      }
    }
    decision.rows["seen"] = Array("\(seen)".utf8)
    return decision
  }
}

/// Hears of the other policy's events.
private final class Echo: HubPolicy {
  let name = "echo"
  var raised = 0
  func restore(rows: [String: [UInt8]], book: AssetBook) { raised = 0 }
  func decide(_ events: ArraySlice<HubEvent>, _ view: borrowing PolicyView) -> PolicyDecision {
    raised += events.count { $0.type == .alertRaised }
    return PolicyDecision()
  }
}

@Suite("policies") struct PolicyTests {
  @Test("events, messages and rows of a policy are in the transaction of what they follow from")
  func together() throws {
    let directory = try TestDirectory()
    let store = try SQLiteStore(path: directory.path + "/hub.sqlite")
    let (policy, echo) = (HighRotation(), Echo())
    var stage = try Stage(store, policies: [policy, echo])
    let batches = Batches()
    let changes = try stage.take(batches.received(1, [.reading("ND01", 3500)]))
    #expect(changes.events.map(\.type) == [.metricRecorded, .alertRaised])
    #expect(echo.raised == 1)
    #expect(stage.engine.book["ND01"]?.alerts == ["high"])
    let status = try #require(stage.engine.book["ND01"]).status(
      now: Batches.time, staleAfter: .seconds(60))
    #expect(status == .alarm)
    let rows = try store.outbox(after: 0, limit: 9)
    #expect(
      Set(rows.map(\.topic)) == [
        "gateways/gw-1/commands/pumps/ND01/commands", "penstock/v1/hub/hub-1/events/ND01",
      ])
    #expect(rows.first { $0.topic.hasPrefix("gateways") }?.expiry == 60)
    try stage.take(batches.received(2, [.reading("ND01", 50)]))
    #expect(stage.engine.book["ND01"]?.alerts == [])
    try stage.restart()
    #expect(policy.seen == 2)
  }

  @Test("a commit that fails takes the policy back with it")
  func rolledBack() throws {
    let directory = try TestDirectory()
    let store = try SQLiteStore(path: directory.path + "/hub.sqlite")
    let policy = HighRotation()
    var stage = try Stage(store, policies: [policy])
    let batches = Batches()
    var changes = stage.engine.decide(
      [batches.received(1, [.reading("ND01", 3500)])], now: Batches.time, clock: stage.clock)
    changes.expectedPosition = 99
    #expect(throws: HubStoreError.self) { try store.commit(changes) }
    #expect(policy.seen == 1)
    try stage.restart()
    #expect(policy.seen == 0)
    #expect(stage.engine.book.assets.isEmpty)
    #expect(try store.outboxBacklog().count == 0)
  }
}
