// Goal: what gateways send is in the hub's database once each, whatever dies on the way. Method:
// the real programs and a real Mosquitto; SIGKILL at random and at every named point; negative
// controls that break one promise each. Cannot show: power cuts; PostgreSQL has a suite of its own.

import Audit
import Envelope
import GRDB
import GatewayCore
import Hub
import Platform
import PumpTelemetry
import TestSupport
import Testing

@Suite("hub processes", .serialized) struct HubProcessSuite {
  private static let kills = Environment.value(of: "PENSTOCK_HUB_KILLS").flatMap(Int.init) ?? 10

  /// The last acceptance of `maker`'s topic that the broker keeps.
  private func acceptance(_ broker: borrowing BrokerProcess, _ topic: String) throws
    -> AcceptanceMessage?
  {
    let client = try Client(broker.endpoint, id: "look", filter: topic + "/accepted")
    var last: AcceptanceMessage?
    try client.run(for: "an acceptance") {
      last = client.messages.last.flatMap { try? AcceptanceMessage.decode($0.payload.span) }
      return last != nil
    }
    return last
  }

  // MARK: - The chain

  @Test("pump → gateway → hub → state; the gateway's cursor follows the hub's commit")
  func chain() throws {
    var field = try BrokerProcess(name: "field")
    try field.start()
    let central = try BrokerProcess.keeping()
    let hub = try HubUnderTest(centralPort: central.port)
    try hub.startConnected()
    let (fieldPort, centralPort) = (field.port, central.port)
    let gateway = try GatewayUnderTest { data in
      """
      gateway: {id: gw-chain, data_directory: "\(data)"}
      brokers:
        field: {url: "mqtt://127.0.0.1:\(fieldPort)"}
        central: {url: "mqtt://127.0.0.1:\(centralPort)"}
      routes:
        - name: telemetry
          from: field
          subscribe: [pumps/+/metrics, pumps/+/asset]
          journal: {size: 16MiB}
          to: [{name: central, broker: central, accept: hub, batch: {max_delay: 20ms}}]

      """
    }
    try gateway.start()
    try gateway.wait(for: "the gateway to be connected") { try gateway.status() == "ok" }
    var fleet = PumpFleet(count: 20, seed: 1, run: nil)
    var messages: [(topic: String, payload: [UInt8])] = []
    for pump in 0..<20 {
      for kind in [PumpEventKind.asset, .metrics, .metrics] {
        var payload: [UInt8] = []
        _ = fleet.appendEvent(kind, pump: pump, at: Clock.wall(), to: &payload)
        messages.append((fleet.topic(of: kind, pump: pump), payload))
      }
    }
    try Client(field.endpoint, id: "pumps").publish(messages)
    try hub.wait(for: "everything") { try hub.metric("penstock_hub_position") == 60 }
    try gateway.wait(for: "the cursor") {
      try gateway.metric("penstock_upstream_acknowledged_sequence") == 60
    }
    let assets = try hub.store().load().assets
    #expect(assets.count == 20)
    #expect(assets.allSatisfy { $0.isRegistered && $0.readings.count == 6 && $0.version == 3 })
    let list = try hub.command("assets")
    #expect(list.code == 0 && list.output.contains("ND20   online"))
    let json = try hub.command("assets", "--json", "ND07")
    #expect(
      json.output.hasPrefix(
        #"{"id":"ND07","status":"online","risk":"none","registered":true"#))
    #expect(try hub.command("events", "--asset", "ND03").output.contains("asset.created.v1"))
    #expect(try hub.command("gaps").output.split(separator: "\n").count == 1)
    #expect(try hub.command("assets", "--as-of", "1").output.split(separator: "\n").count == 2)
    #expect(try hub.command("rebuild").code == 75)
    #expect(try hub.stop() == 0)
    #expect(try gateway.stop() == 0)
    let rebuilt = try hub.command("rebuild")
    #expect(rebuilt.code == 0 && rebuilt.output.contains("equal"))
    #expect(try hub.store().load().assets == assets)
  }

  // MARK: - Kills

  /// Batches of 20 under load while the hub is killed again and again.
  private func killing(
    _ times: Int, environment: [String: String] = [:], seed: UInt64
  ) throws -> [UInt64: Int] {
    let central = try BrokerProcess.keeping()
    let hub = try HubUnderTest(centralPort: central.port)
    try hub.startConnected()
    try hub.stop()
    var generator = SplitMix64(seed: seed, stream: 0)
    var maker = BatchMaker()
    let client = try Client(central.endpoint, id: "gateway")
    var sent: UInt64 = 0
    for _ in 0..<times {
      try hub.start(environment: environment)
      try hub.wait(for: "the hub to be connected") {
        try hub.metric("penstock_hub_connected") == 1
      }
      let batches = Int.random(in: 5...60, using: &generator)
      for _ in 0..<batches {
        var messages = [(maker.topic, maker.readings(sent + 1...sent + 20))]
        sent += 20
        // Now and then the same again, or an earlier one.
        if Int.random(in: 0..<5, using: &generator) == 0 {
          let first = UInt64.random(in: 0..<sent / 20, using: &generator) * 20 + 1
          messages.append((maker.topic, maker.readings(first...first + 19)))
        }
        try client.publish(messages)
      }
      try hub.kill()
    }
    try hub.startConnected()
    try client.publish([(maker.topic, maker.readings(sent + 1...sent + 1))])
    try hub.wait(for: "the last batch") { try hub.appliedCounts()[sent + 1] != nil }
    // Everything that the broker still holds comes before the last batch in its queue.
    let counts = try hub.appliedCounts()
    try hub.stop()
    let compared = try hub.command("rebuild", "--check")
    #expect(compared.code == 0, "\(compared.output)")
    return Dictionary(uniqueKeysWithValues: (1...sent).map { ($0, counts[$0] ?? 0) })
  }

  @Test("SIGKILL at random under load: nothing lost, nothing applied twice")
  func killedAtRandom() throws {
    let seed = UInt64.random(in: 0 ... .max)
    let counts = try killing(Self.kills, seed: seed)
    let (lost, twice) = (counts.count { $0.value == 0 }, counts.count { $0.value > 1 })
    Console.line("\(Self.kills) kills, \(counts.count) events: lost \(lost), twice \(twice)")
    #expect(lost == 0, "seed \(seed)")
    #expect(twice == 0, "seed \(seed)")
  }

  @Test("PUBACK before COMMIT: the same kills lose events; the control of the test above")
  func killedControl() throws {
    let counts = try killing(
      3, environment: [HubSabotage.variable: HubSabotage.acknowledgeBeforeCommit.rawValue],
      seed: 1)
    #expect(counts.contains { $0.value == 0 })
  }

  /// The hub dies at a point while it takes 40 batches, is started again, and takes the rest.
  private func dying(
    at point: Failpoint, hit: Int = 3
  ) throws -> (applied: [UInt64: Int], published: [Client.Message]) {
    let central = try BrokerProcess.keeping()
    let follower = try Client(
      central.endpoint, id: "follower", filter: "penstock/v1/hub/hub-1/events/+")
    let hub = try HubUnderTest(centralPort: central.port)
    try hub.start(environment: [Failpoint.variable: "\(point.rawValue):\(hit)"])
    var maker = BatchMaker()
    let client = try Client(central.endpoint, id: "gateway")
    try hub.wait(for: "the hub to be connected") {
      try hub.metric("penstock_hub_connected") == 1
    }
    var isDead = false
    for batch in 0..<20 as Range<UInt64> {
      try client.publish([(maker.topic, maker.assets(batch * 10 + 1...batch * 10 + 10))])
      guard !isDead else { continue }
      // One by one, so that the hub comes by every point often enough.
      try follower.run(for: "batch \(batch) to be through, or the end of the hub") {
        isDead = hub.wasKilled()
        if isDead { return true }
        let store = try hub.store()
        return try store.events(EventQuery(), limit: 999).count == (batch + 1) * 10
          && store.outboxBacklog().count == 0
      }
    }
    #expect(isDead, "the hub never came by \(point)")
    try hub.start()
    try hub.wait(for: "everything") { try hub.appliedCounts().count == 200 }
    try hub.wait(for: "the outbox to be empty") {
      try hub.store().outboxBacklog().count == 0
    }
    let accepted = try acceptance(central, maker.topic)
    #expect(accepted?.through == Sequence(200) && accepted?.missing == [])
    try follower.run(for: "all events") {
      Set(follower.messages.map(\.topic)).count == 200
    }
    let counts = try hub.appliedCounts()
    try hub.stop()
    return (counts, follower.messages)
  }

  private static let points: [Failpoint] = [
    .hubBeforeCommit, .hubMidTransaction, .hubAfterCommit, .hubAfterRelease, .hubAfterAcceptance,
    .relayAfterPublish, .relayBeforeMark, .relayAfterMark,
  ]

  @Test(
    "death between any two steps: each event once in the store, and out at least once",
    arguments: points)
  private func diesAt(point: Failpoint) throws {
    let (applied, published) = try dying(at: point)
    #expect(applied.values.allSatisfy { $0 == 1 })
    // Per asset there is one event; over all, publications are dense.
    let numbers = published.compactMap { message -> Int? in
      let text = String(decoding: message.payload, as: UTF8.self)
      guard let start = text.firstRange(of: "\"publication\":\"") else { return nil }
      return Int(text[start.upperBound...].prefix { $0 != "\"" })
    }
    #expect(Set(numbers) == Set(1...200))
    // In order, apart from what was published again after the death.
    let firsts = numbers.reduce(into: [Int]()) { if !$0.contains($1) { $0.append($1) } }
    #expect(firsts == Array(1...200))
  }

  @Test("without the inbox a death after the commit applies a batch twice; the control")
  func noInboxControl() throws {
    let central = try BrokerProcess.keeping()
    let hub = try HubUnderTest(centralPort: central.port)
    let environment = [HubSabotage.variable: HubSabotage.noInbox.rawValue]
    try hub.start(
      environment: environment.merging([
        Failpoint.variable: "\(Failpoint.hubAfterCommit.rawValue):1"
      ]) { $1 })
    try hub.wait(for: "the hub to be connected") {
      try hub.metric("penstock_hub_connected") == 1
    }
    var maker = BatchMaker()
    let client = try Client(central.endpoint, id: "gateway")
    try client.publish([(maker.topic, maker.readings(1...20))])
    try client.run(for: "the end of the hub") { hub.wasKilled() }
    try hub.start(environment: environment)
    try hub.wait(for: "the batch to come again") {
      try hub.appliedCounts().values.contains { $0 == 2 }
    }
    try hub.stop()
  }

  @Test("rows forgotten before they were published: a death loses them; the control")
  func markControl() throws {
    let central = try BrokerProcess.keeping()
    let hub = try HubUnderTest(centralPort: central.port)
    let follower = try Client(
      central.endpoint, id: "follower", filter: "penstock/v1/hub/hub-1/events/+")
    let environment = [HubSabotage.variable: HubSabotage.markBeforePublish.rawValue]
    try hub.start(
      environment: environment.merging([
        Failpoint.variable: "\(Failpoint.relayAfterPublish.rawValue):3"
      ]) { $1 })
    try hub.wait(for: "the hub to be connected") {
      try hub.metric("penstock_hub_connected") == 1
    }
    var maker = BatchMaker()
    let client = try Client(central.endpoint, id: "gateway")
    try client.publish([(maker.topic, maker.assets(1...50))])
    try client.run(for: "the end of the hub") { hub.wasKilled() }
    try hub.start(environment: environment)
    try hub.wait(for: "the outbox to be empty") {
      try hub.appliedCounts().count == 50 && hub.store().outboxBacklog().count == 0
    }
    try hub.stop()
    try follower.run(for: "the broker to have nothing more") {
      central.log.contains("hub-1-out disconnected") || follower.messages.count >= 40
    }
    #expect(Set(follower.messages.map(\.topic)).count < 50)
  }

  @Test("a follower keeps a state of its own; hub and follower are killed, and it is the hub's")
  func follows() throws {
    let central = try BrokerProcess.keeping()
    let hub = try HubUnderTest(centralPort: central.port)
    try hub.startConnected()
    let state = hub.path + "/follower.sqlite"
    var follower = try hub.follow(state)
    var maker = BatchMaker()
    let client = try Client(central.endpoint, id: "gateway")
    var sent: UInt64 = 0
    for round in 1...4 {
      for _ in 0..<10 {
        try client.publish([(maker.topic, maker.assets(sent + 1...sent + 5))])
        sent += 5
      }
      if round == 2 { try hub.kill() }
      _ = try follower.kill()
      follower = try hub.follow(state)
      if round == 2 { try hub.startConnected() }
    }
    let (store, all) = (try FollowerStore(path: state), sent)
    try hub.wait(for: "the follower") {
      try store.publications(of: "hub-1").text == "1-\(all)"
    }
    #expect(try follower.stop(atMost: .seconds(10)) == .exited(code: 0))
    try hub.stop()
    let (own, theirs) = (try store.assets(of: "hub-1"), try hub.store().load().assets)
    #expect(own.count == 200)
    #expect(own.map(\.facts) == theirs.sorted { $0.id < $1.id }.map(\.facts))
    let shown = try hub.command("follow", "--state", state, "--show")
    #expect(shown.output.contains("publications 1-200, none missing"))
  }

  // MARK: - What nobody should send

  @Test("what is no envelope is kept aside with its reason, acknowledged and counted")
  func badEnvelopes() throws {
    let central = try BrokerProcess.keeping()
    let hub = try HubUnderTest(
      centralPort: central.port, lines: ["consume: {max_envelope: 64KiB}"])
    try hub.startConnected()
    var maker = BatchMaker()
    let good = maker.readings(1...20)
    var damaged = maker.readings(21...40)
    for index in damaged.count / 2..<damaged.count { damaged[index] ^= 0x5A }
    let truncated = Array(maker.readings(41...60).prefix(60))
    let foreign = Array("{\"penstock\":2,\"gateway\":\"gw-1\"}".utf8)
    let huge = [UInt8](repeating: UInt8(ascii: " "), count: 100_000)
    let client = try Client(central.endpoint, id: "gateway")
    try client.publish([
      (maker.topic, damaged), (maker.topic, truncated), (maker.topic, foreign),
      (maker.topic, huge), (maker.topic, Array("hello".utf8)),
      ("penstock/v1/gw-2/telemetry", good), ("penstock/v1/gw-1/status", Array("online".utf8)),
      (maker.topic, good),
    ])
    try hub.wait(for: "the good one") { try hub.metric("penstock_hub_position") == 20 }
    #expect(try hub.metric("penstock_hub_dead_letters_total") == 6)
    let reasons = try hub.store().deadLetters(limit: 99).map(\.reason).sorted()
    #expect(
      reasons == [
        "bad-compression", "bad-compression", "not-json", "too-large", "unsupported-version",
        "wrong-topic",
      ])
    #expect(try hub.store().deadLetters(limit: 99).map(\.byteCount).max() == 100_000)
    // All of them are acknowledged: nothing comes again.
    try hub.stop()
    try hub.startConnected()
    try client.publish([(maker.topic, maker.readings(21...21))])
    try hub.wait(for: "one more") { try hub.metric("penstock_hub_position") == 21 }
    #expect(try hub.metric("penstock_hub_batches_total") == 1)
    let shown = try hub.command("events", "--dead-letters")
    #expect(shown.output.contains("unsupported-version"))
    try hub.stop()
  }

  @Test(
    "a database that does not take the transaction: batches stay with the broker, nothing is lost")
  func databaseAway() throws {
    let central = try BrokerProcess.keeping()
    let hub = try HubUnderTest(centralPort: central.port)
    try hub.startConnected()
    let blocker = try DatabaseQueue(path: hub.database)
    var maker = BatchMaker()
    let client = try Client(central.endpoint, id: "gateway")
    try blocker.inDatabase { db in
      try db.execute(sql: "BEGIN IMMEDIATE")
      try client.publish([(maker.topic, maker.readings(1...20))])
      try hub.wait(for: "the hub to say so") { hub.log.contains("the database failed") }
      try hub.wait(for: "the hub to leave the broker") {
        try hub.metric("penstock_hub_connected") == 0
          && hub.metric("penstock_hub_commit_failures_total") >= 1
      }
      try db.execute(sql: "ROLLBACK")
    }
    try hub.wait(for: "the batch") { try hub.metric("penstock_hub_position") == 20 }
    #expect(try hub.appliedCounts().values.allSatisfy { $0 == 1 })
    try hub.stop()
  }

  @Test("a member of a shared subscription takes every batch once")
  func sharedSubscription() throws {
    let central = try BrokerProcess.keeping()
    let hub = try HubUnderTest(
      centralPort: central.port, lines: ["consume: {shared_group: hubs}"])
    try hub.startConnected()
    var maker = BatchMaker()
    let client = try Client(central.endpoint, id: "gateway")
    for batch in 0..<20 as Range<UInt64> {
      try client.publish([(maker.topic, maker.readings(batch * 5 + 1...batch * 5 + 5))])
    }
    try hub.wait(for: "all of them") { try hub.metric("penstock_hub_position") == 100 }
    #expect(try hub.appliedCounts().values.allSatisfy { $0 == 1 })
    try hub.stop()
  }
}
