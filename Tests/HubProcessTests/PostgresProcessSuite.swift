// Goal: with PostgreSQL what gateways send is in the database once each and out at least once,
// whatever dies: the server, the hub, the broker's connection; by the table and by the log; with
// one hub and with two. Method: the real programs, SIGKILL at random and at named points, negative
// controls. Cannot show: power cuts.

import Audit
import Envelope
import GatewayCore
import Hub
import Platform
import PumpTelemetry
import TestSupport
import Testing

@Suite(
  "hub processes on PostgreSQL", .serialized,
  .enabled(if: PostgresServer.isInstalled, "PostgreSQL is not installed"))
struct PostgresProcessSuite {
  private static let kills = Environment.value(of: "PENSTOCK_HUB_KILLS").flatMap(Int.init) ?? 10

  /// How messages of the outbox are found.
  private enum Reader: String, CaseIterable, Sendable {
    case relay
    case log = "log-reader"

    var line: String { "outbox: {reader: \(rawValue)}" }
  }

  /// Numbers that followers count by, in the order in which they came.
  private func publications(_ messages: [Client.Message]) -> [Int] {
    messages.compactMap { message in
      let text = String(decoding: message.payload, as: UTF8.self)
      guard let start = text.firstRange(of: "\"publication\":\"") else { return nil }
      return Int(text[start.upperBound...].prefix { $0 != "\"" })
    }
  }

  /// Each once, in the order in which it first came.
  private func firsts(_ numbers: [Int]) -> [Int] {
    var known: Set<Int> = []
    return numbers.filter { known.insert($0).inserted }
  }

  private static let filter = "penstock/v1/hub/hub-1/events/+"

  // MARK: - Kills

  @Test(
    "SIGKILL of the server and of the hub under load: lost 0, applied twice 0, all of it out",
    arguments: Reader.allCases)
  private func kills(reader: Reader) throws {
    let seed = UInt64.random(in: 0 ... .max)
    var generator = SplitMix64(seed: seed, stream: 0)
    let server = try PostgresServer()
    let central = try BrokerProcess.keeping()
    let follower = try Client(central.endpoint, id: "follower", filter: Self.filter)
    let hub = try HubUnderTest(
      centralPort: central.port, database: try server.makeDatabase(), lines: [reader.line])
    try hub.startConnected()
    var maker = BatchMaker()
    let client = try Client(central.endpoint, id: "gateway")
    var sent: UInt64 = 0
    for round in 1...max(1, Self.kills) {
      for _ in 0..<Int.random(in: 5...40, using: &generator) {
        var messages = [(maker.topic, maker.assets(sent + 1...sent + 10))]
        sent += 10
        // Now and then an earlier one again.
        if Int.random(in: 0..<5, using: &generator) == 0 {
          let first = UInt64.random(in: 0..<sent / 10, using: &generator) * 10 + 1
          messages.append((maker.topic, maker.assets(first...first + 9)))
        }
        try client.publish(messages)
      }
      try server.kill()
      let dies = round.isMultiple(of: 2)
      if dies { try hub.kill() }
      try server.start()
      if dies { try hub.start() }
      try hub.wait(for: "the hub to be back after round \(round)") {
        try hub.metric("penstock_hub_connected") == 1
      }
    }
    try client.publish([(maker.topic, maker.assets(sent + 1...sent + 1))])
    sent += 1
    try hub.wait(for: "the last batch") { try hub.appliedCounts()[sent] != nil }
    let counts = try hub.appliedCounts()
    let (lost, twice) = ((1...sent).count { counts[$0] == nil }, counts.count { $0.value > 1 })
    let all = Int(sent)
    try follower.run(for: "everything to be out") {
      Set(publications(follower.messages)).count == all
    }
    Console.line(
      "\(reader.rawValue): \(Self.kills) kills of the server, \(sent) events: "
        + "lost \(lost), twice \(twice), published \(follower.messages.count)")
    #expect(lost == 0, "seed \(seed)")
    #expect(twice == 0, "seed \(seed)")
    #expect(firsts(publications(follower.messages)) == Array(1...all), "seed \(seed)")
    try hub.wait(for: "the outbox to be empty") { try hub.store().outboxBacklog().count == 0 }
    #expect(try hub.stop() == 0)
    let compared = try hub.command("rebuild", "--check")
    #expect(compared.code == 0, "\(compared.output)")
  }

  @Test("PUBACK before COMMIT: kills of the server lose events; the control of the test above")
  func killControl() throws {
    let server = try PostgresServer()
    let central = try BrokerProcess.keeping()
    // What is lost is not waited for.
    let hub = try HubUnderTest(
      centralPort: central.port, database: try server.makeDatabase(),
      lines: ["assets: {contiguity_wait: 0s}"])
    try hub.start(
      environment: [HubSabotage.variable: HubSabotage.acknowledgeBeforeCommit.rawValue])
    try hub.wait(for: "the hub to be connected") { try hub.metric("penstock_hub_connected") == 1 }
    var maker = BatchMaker()
    let client = try Client(central.endpoint, id: "gateway")
    var sent: UInt64 = 0
    var isLost = false
    for _ in 0..<5 where !isLost {
      for _ in 0..<10 {
        try client.publish([(maker.topic, maker.assets(sent + 1...sent + 10))])
        sent += 10
      }
      try server.kill()
      try server.start()
      try hub.wait(for: "the hub to be back") { try hub.metric("penstock_hub_connected") == 1 }
      try client.publish([(maker.topic, maker.assets(sent + 1...sent + 1))])
      sent += 1
      try hub.wait(for: "the last batch") { try hub.appliedCounts()[sent] != nil }
      isLost = try hub.appliedCounts().count < Int(sent)
    }
    #expect(isLost)
    try hub.stop()
  }

  // MARK: - The log reader

  @Test("the log brings the messages that the table brings, in the same order")
  func sameStream() throws {
    let server = try PostgresServer()
    var maker = BatchMaker()
    var batches = [maker.assets(1...30)]
    for batch in 0..<10 as Range<UInt64> {
      let first = 31 + batch * 40
      batches.append(maker.readings(first...first + 39))
    }
    batches.append(maker.assets(431...450))
    var streams: [[Client.Message]] = []
    for reader in Reader.allCases {
      let central = try BrokerProcess.keeping()
      let follower = try Client(central.endpoint, id: "follower", filter: Self.filter)
      let hub = try HubUnderTest(
        centralPort: central.port, database: try server.makeDatabase(),
        lines: [reader.line, "events: {publish_metrics: true}"])
      try hub.startConnected()
      let client = try Client(central.endpoint, id: "gateway")
      try client.publish(batches.map { (maker.topic, $0) })
      try follower.run(for: "450 messages by \(reader)") { follower.messages.count >= 450 }
      if reader == .log {
        try hub.wait(for: "the lag") { try hub.metric("penstock_hub_log_lag_bytes") > 0 }
      }
      try hub.stop()
      streams.append(follower.messages)
    }
    #expect(streams[0].count == 450)
    #expect(streams[0].map(\.topic) == streams[1].map(\.topic))
    #expect(streams[0].map(\.payload) == streams[1].map(\.payload))
  }

  /// The hub dies at a point while messages leave, and goes on.
  private func dying(
    at point: Failpoint, hit: Int = 2, _ environment: [String: String] = [:]
  ) throws -> (published: Set<Int>, firsts: [Int], left: Int) {
    let server = try PostgresServer()
    let central = try BrokerProcess.keeping()
    let follower = try Client(central.endpoint, id: "follower", filter: Self.filter)
    let hub = try HubUnderTest(
      centralPort: central.port, database: try server.makeDatabase(), lines: [Reader.log.line])
    try hub.startConnected()
    try hub.stop()
    try hub.start(
      environment: environment.merging([Failpoint.variable: "\(point.rawValue):\(hit)"]) { $1 })
    try hub.wait(for: "the log to be read") {
      try hub.metric("penstock_hub_connected") == 1
        && hub.metric("penstock_hub_relay_connected") == 1
    }
    var maker = BatchMaker()
    let client = try Client(central.endpoint, id: "gateway")
    var isDead = false
    for batch in 0..<20 as Range<UInt64> {
      try client.publish([(maker.topic, maker.assets(batch * 10 + 1...batch * 10 + 10))])
      guard !isDead else { continue }
      try follower.run(for: "batch \(batch) to be through, or the end of the hub") {
        isDead = hub.wasKilled()
        return try isDead || hub.metric("penstock_hub_position") == Double((batch + 1) * 10)
      }
    }
    try follower.run(for: "the end of the hub") { isDead || hub.wasKilled() }
    try hub.start(environment: environment)
    try hub.wait(for: "everything") { try hub.appliedCounts().count == 200 }
    try client.publish([(maker.topic, maker.assets(201...201))])
    try follower.run(for: "the last one") { publications(follower.messages).contains(201) }
    let numbers = publications(follower.messages)
    let left = try hub.store().outboxBacklog().count
    try hub.stop()
    return (Set(numbers), firsts(numbers), left)
  }

  @Test(
    "death between any two steps of the log reader: out at least once, in order",
    arguments: [Failpoint.relayAfterPublish, .relayBeforeMark, .logAfterConfirm, .relayAfterMark])
  private func diesAt(point: Failpoint) throws {
    let (published, firsts, _) = try dying(at: point)
    #expect(published == Set(1...201))
    #expect(firsts == Array(1...201))
  }

  @Test("the slot moved on before the PUBACK: a death loses messages; the control")
  func slotControl() throws {
    let environment = [HubSabotage.variable: HubSabotage.markBeforePublish.rawValue]
    // The last message of a transaction: the slot has passed all of them, and none has left.
    let (published, _, _) = try dying(at: .relayAfterPublish, hit: 20, environment)
    #expect(published.count < 201)
  }

  @Test("brokers that restart under load: the log is read on, each message out in order")
  func brokerRestarts() throws {
    let server = try PostgresServer()
    var options = BrokerOptions()
    options.maxQueuedMessages = 0
    options.persistence = true
    var central = try BrokerProcess(name: "central", options: options)
    try central.start()
    let hub = try HubUnderTest(
      centralPort: central.port, database: try server.makeDatabase(), lines: [Reader.log.line])
    try hub.startConnected()
    var maker = BatchMaker()
    var sent: UInt64 = 0
    var numbers: [Int] = []
    for round in 0..<3 {
      // Sessions go on: what a follower has not taken comes to the next one of its name.
      let follower = try Client(central.endpoint, id: "follower", filter: Self.filter)
      let client = try Client(central.endpoint, id: "gateway-\(round)")
      for _ in 0..<20 {
        try client.publish([(maker.topic, maker.assets(sent + 1...sent + 10))])
        sent += 10
      }
      let all = Int(sent)
      if round == 2 {
        try follower.run(for: "everything to be out") {
          Set(numbers + publications(follower.messages)).count == all
        }
      } else {
        try central.restart()
      }
      numbers += publications(follower.messages)
    }
    #expect(Set(numbers) == Set(1...Int(sent)))
    #expect(firsts(numbers) == Array(1...Int(sent)))
    try hub.stop()
  }

  // MARK: - The server is away

  @Test("a server that is away for a while: batches stay with the broker, and the page says so")
  func serverAway() throws {
    let server = try PostgresServer()
    let central = try BrokerProcess.keeping()
    let database = try server.makeDatabase()
    let hub = try HubUnderTest(centralPort: central.port, database: database)
    try server.stop()
    // It starts although there is no server.
    try hub.start()
    try hub.wait(for: "the hub to say so") { hub.log.contains("the database failed") }
    try server.start()
    try hub.wait(for: "the hub to be connected") { try hub.metric("penstock_hub_connected") == 1 }
    var maker = BatchMaker()
    let client = try Client(central.endpoint, id: "gateway")
    try client.publish([(maker.topic, maker.readings(1...20))])
    try hub.wait(for: "the batch") { try hub.metric("penstock_hub_position") == 20 }
    let failures = try hub.metric("penstock_hub_commit_failures_total")
    try server.stop()
    try client.publish([(maker.topic, maker.readings(21...40))])
    try hub.wait(for: "the hub to leave the broker") {
      try hub.metric("penstock_hub_connected") == 0
        && hub.metric("penstock_hub_commit_failures_total") > failures
    }
    try hub.wait(for: "the page to say why") {
      let page = try LoopbackHTTP.get("/healthz", port: hub.pagePort)?.body ?? ""
      return page.contains("the database does not take the transaction")
    }
    // The broker keeps what has no PUBACK.
    #expect(try hub.metric("penstock_hub_position") == 20)
    try server.start()
    try hub.wait(for: "the second batch") { try hub.metric("penstock_hub_position") == 40 }
    #expect(try hub.appliedCounts().values.allSatisfy { $0 == 1 })
    #expect(try hub.appliedCounts().count == 40)
    #expect(try hub.stop() == 0)
  }

  @Test("commands look into PostgreSQL as they do into a file; rebuild needs it alone")
  func commands() throws {
    let server = try PostgresServer()
    let central = try BrokerProcess.keeping()
    let hub = try HubUnderTest(centralPort: central.port, database: try server.makeDatabase())
    try hub.startConnected()
    var maker = BatchMaker()
    let client = try Client(central.endpoint, id: "gateway")
    try client.publish([(maker.topic, maker.assets(1...3)), (maker.topic, maker.readings(4...9))])
    try hub.wait(for: "all of it") { try hub.metric("penstock_hub_position") == 9 }
    #expect(try hub.command("assets").output.contains("A3"))
    #expect(try hub.command("events", "--asset", "A2").output.contains("asset.created.v1"))
    #expect(try hub.command("assets", "--as-of", "1").output.split(separator: "\n").count == 2)
    #expect(try hub.command("gaps").code == 0)
    #expect(try hub.command("rebuild").code == 75)
    #expect(try hub.stop() == 0)
    let rebuilt = try hub.command("rebuild")
    #expect(rebuilt.code == 0 && rebuilt.output.contains("equal"), "\(rebuilt.output)")
  }

  // MARK: - Two hubs

  @Test(
    "two hubs on one database: each batch once, one of them killed on the way",
    arguments: [(true, Reader.relay), (false, .relay), (true, .log)])
  private func twoHubs(isShared: Bool, reader: Reader) throws {
    let server = try PostgresServer()
    let central = try BrokerProcess.keeping()
    let follower = try Client(central.endpoint, id: "follower", filter: Self.filter)
    let database = try server.makeDatabase()
    let lines = [
      "consume: {shared_group: \(isShared ? "hubs" : "none"), batches_per_commit: 2}", reader.line,
    ]
    let hubs = try ["a", "b"].map { name in
      try HubUnderTest(
        centralPort: central.port, database: database, name: name, lines: lines)
    }
    for hub in hubs { try hub.startConnected() }
    var maker = BatchMaker()
    let client = try Client(central.endpoint, id: "gateway")
    var sent: UInt64 = 0
    for round in 0..<3 {
      for _ in 0..<40 {
        try client.publish([(maker.topic, maker.assets(sent + 1...sent + 5))])
        sent += 5
      }
      // Whoever publishes goes first, then the other takes over.
      if round < 2 {
        try hubs[round].kill()
        try hubs[round].startConnected()
      }
    }
    let all = sent
    try hubs[0].wait(for: "everything, \(isShared)") { try hubs[0].appliedCounts().count == all }
    #expect(try hubs[0].appliedCounts().values.allSatisfy { $0 == 1 })
    try follower.run(for: "everything to be out") {
      Set(publications(follower.messages)).count == all
    }
    #expect(firsts(publications(follower.messages)) == Array(1...Int(all)))
    let overtaken = try hubs.map { try $0.metric("penstock_hub_overtaken_total") }
    let taken = try hubs.map { try $0.metric("penstock_hub_batches_total") }
    Console.line("shared \(isShared), \(reader.rawValue): batches \(taken), overtaken \(overtaken)")
    #expect(taken.allSatisfy { $0 > 0 })
    #expect(overtaken.contains { $0 > 0 })
    for hub in hubs { #expect(try hub.stop() == 0) }
    let compared = try hubs[0].command("rebuild", "--check")
    #expect(compared.code == 0, "\(compared.output)")
  }
}
