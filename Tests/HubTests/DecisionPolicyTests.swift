// Goal: a reading raises an alert, the alert begins a case, the pump's confirmation ends it, all in
// the transactions of what they follow from, over restarts between any two steps. Method: engine
// and SQLite with the two policies, batch by batch. Cannot show: brokers and processes.

import AlertRules
import GatewayCore
import Hub
import JSONScanning
import Maintenance
import Testing

/// A hub's engine with alert rules and maintenance, whose clock the test holds.
private struct Hall: ~Copyable {
  let directory: TestDirectory
  private let store: SQLiteStore
  var stage: Stage
  var now = Batches.time
  private var batches = Batches()
  private var next: UInt64 = 1

  static let hot = AlertRule(
    name: "hot", severity: .critical, startsMaintenance: true,
    condition: .threshold(
      Comparison(metric: "temperature", side: .above, limit: 110), clear: 100, holding: .zero))
  static let silent = AlertRule(name: "silent", condition: .stale(after: .seconds(60)))
  static let limits: MaintenanceLimits = {
    var limits = MaintenanceLimits()
    limits.attemptsMax = 2
    return limits
  }()

  static func policies(_ rules: [AlertRule]) -> [any HubPolicy] {
    let rules = AlertRuleSet(rules)
    return [
      AlertPolicy(rules: rules),
      MaintenancePolicy(rules: rules, limits: limits, topicPrefix: "pumps"),
    ]
  }

  init(_ rules: [AlertRule] = [Hall.hot]) throws {
    let directory = try TestDirectory()
    let store = try SQLiteStore(path: directory.path + "/hub.sqlite")
    let stage = try Stage(store, policies: Self.policies(rules))
    self.directory = directory
    self.store = store
    self.stage = stage
  }

  /// What follows from records, by the types of the events.
  @discardableResult
  mutating func take(_ received: Received...) throws -> [String] {
    stage.clock = stage.clock + .seconds(2)
    let changes = stage.engine.decide(received, now: now, clock: stage.clock)
    try stage.store.commit(changes)
    return changes.events.map(\.type.shortName)
  }

  private mutating func record(_ topic: String, _ payload: String) -> Received {
    defer { next += 1 }
    batches.received = now
    return batches.received(
      next, [.event(topic: "pumps/ND01/\(topic)", id: "m-\(next)", payload: payload)])
  }

  mutating func read(_ temperature: Double) throws -> [String] {
    try take(record("metrics", "{\"assetId\":\"ND01\",\"temperature\":\(temperature)}"))
  }

  mutating func confirm(_ command: String, _ result: String = "done") throws -> [String] {
    try take(
      record(
        "confirmations",
        "{\"assetId\":\"ND01\",\"commandId\":\"\(command)\",\"result\":\"\(result)\"}"))
  }

  /// Between two steps the process may be another one.
  mutating func step(_ restarts: Bool) throws { if restarts { try stage.restart() } }

  mutating func pass(_ time: Duration) throws -> [String] {
    now = WallTime(nanoseconds: now.nanoseconds + time.nanoseconds)
    return try take()
  }

  /// As a hub with other rules goes on.
  func reopened(_ policies: [any HubPolicy]) throws -> Stage {
    try Stage(store, policies: policies)
  }

  /// The commands in the outbox, oldest first.
  func commands() throws -> [(topic: String, payload: String, expiry: UInt32?)] {
    try stage.store.outbox(after: 0, limit: 1000).filter { $0.topic.hasPrefix("gateways/") }
      .map { ($0.topic, String(decoding: $0.payload, as: UTF8.self), $0.expiry) }
  }
}

@Suite("alerts and maintenance in the hub") struct DecisionPolicyTests {
  private let opened = [
    "metric.recorded.v1", "alert.raised.v1", "maintenance.requested.v1",
    "maintenance.scheduled.v1", "maintenance.stopping.v1",
  ]

  @Test(
    "from a hot motor to a closed order, with a restart between any two steps",
    arguments: [false, true])
  func chain(restarts: Bool) throws {
    var hall = try Hall()
    #expect(try hall.read(90) == ["metric.recorded.v1"])
    try hall.step(restarts)
    #expect(try hall.read(120) == opened)
    let command = try #require(try hall.commands().first)
    #expect(command.topic == "gateways/gw-1/commands/pumps/ND01/commands")
    #expect(command.payload.hasPrefix(#"{"commandId":"case-3-stop-1","assetId":"ND01","command":"#))
    #expect(command.expiry == 60)
    #expect(hall.stage.engine.book["ND01"]?.maintenance == "stopping")
    #expect(hall.stage.engine.book["ND01"]?.risk(now: hall.now, staleAfter: .seconds(60)) == .high)
    try hall.step(restarts)
    #expect(try hall.read(121) == ["metric.recorded.v1"])
    try hall.step(restarts)
    #expect(
      try hall.confirm("case-3-stop-1") == [
        "command.confirmed.v1", "maintenance.stopped.v1", "maintenance.done.v1",
      ])
    try hall.step(restarts)
    #expect(try hall.confirm("case-3-stop-1") == ["command.confirmed.v1"])
    #expect(hall.stage.engine.book["ND01"]?.maintenance == nil)
    #expect(hall.stage.engine.book["ND01"]?.alerts == ["hot"])
    try hall.step(restarts)
    #expect(try hall.read(95) == ["metric.recorded.v1", "alert.cleared.v1"])
    #expect(try hall.commands().count == 1)
    try hall.step(restarts)
    #expect(try hall.read(130) == opened, "another alert, another case")
    #expect(try hall.commands().count == 2)
  }

  @Test(
    "a pump that never answers: a second command, then the case is cancelled",
    arguments: [false, true])
  func unanswered(restarts: Bool) throws {
    var hall = try Hall()
    _ = try hall.read(120)
    if restarts { try hall.stage.restart() }
    #expect(try hall.pass(.seconds(179)) == [])
    #expect(try hall.pass(.seconds(1)) == ["maintenance.stopping.v1"])
    if restarts { try hall.stage.restart() }
    #expect(try hall.pass(.seconds(180)) == ["maintenance.cancelled.v1"])
    #expect(try hall.commands().count == 2)
    #expect(hall.stage.engine.book["ND01"]?.maintenance == nil)
    if restarts { try hall.stage.restart() }
    #expect(try hall.pass(.seconds(1000)) == [])
    #expect(try hall.confirm("case-2-stop-1") == ["command.confirmed.v1"])
  }

  @Test("silence raises an alert without a reading, and the next reading clears it")
  func silence() throws {
    var hall = try Hall([Hall.silent])
    _ = try hall.read(90)
    #expect(try hall.pass(.seconds(60)) == [])
    #expect(try hall.pass(.seconds(1)) == ["alert.raised.v1"])
    try hall.stage.restart()
    #expect(try hall.pass(.seconds(1)) == [])
    #expect(try hall.read(90) == ["metric.recorded.v1", "alert.cleared.v1"])
  }

  @Test("a hot reading that comes after a newer one raises nothing")
  func late() throws {
    var hall = try Hall()
    let batches = Batches()
    func reading(_ id: String, _ temperature: Int) -> Batches.Part {
      .event(
        topic: "pumps/ND01/metrics", id: id,
        payload: "{\"assetId\":\"ND01\",\"temperature\":\(temperature)}")
    }
    #expect(
      try hall.take(batches.received(5, [reading("m-5", 90)])) == ["metric.recorded.v1"])
    #expect(
      try hall.take(batches.received(1, [reading("m-1", 120)])) == ["metric.recorded.v1"])
    #expect(hall.stage.engine.book["ND01"]?.alerts == [])
  }

  @Test("a rule that is gone at the next start leaves no alert behind")
  func ruleRemoved() throws {
    var hall = try Hall()
    _ = try hall.read(120)
    let store = try SQLiteStore(path: hall.directory.path + "/hub.sqlite", access: .read)
    #expect(KeptCases.all(try store.load().policyRows).map(\.phase) == [.stopping])
    var stage = try hall.reopened(Hall.policies([Hall.silent]))
    let changes = stage.engine.decide([], now: Batches.time, clock: stage.clock)
    try stage.store.commit(changes)
    #expect(changes.events.map(\.type) == [.alertCleared])
    #expect(stage.engine.book["ND01"]?.alerts == [])
  }
}
