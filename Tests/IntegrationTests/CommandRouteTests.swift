// Goal: a command goes down as it came, once, while it holds, and never afterwards; what did not
// arrive in time is a dead letter that somebody sees. Method: the real process between two real
// brokers, each part away in turn, deaths at the named points. Cannot show: what a pump does.

import Audit
import GatewayCore
import Glibc
import Mosquitto
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("commands, from the centre down")
  struct CommandRouteTests {
    /// Telemetry up, commands down; the pumps subscribe at the field broker.
    struct Stage: ~Copyable {
      var field: BrokerProcess
      var central: BrokerProcess
      let agent: TestAgent
      let producer: TestProducer

      init(_ expireAfter: String, sink: String = "") throws {
        var options = BrokerOptions()
        options.persistence = true
        var field = try BrokerProcess(name: "field", options: options)
        var central = try BrokerProcess(name: "central", options: options)
        try field.start()
        try central.start()
        var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
        file.moreRoutes = [
          "- name: commands", "  from: central", "  subscribe: [gateways/gw-it/commands/#]",
          "  message_id: {json: /commandId}", "  expire_after: \(expireAfter)",
          "  journal: {size: 16MiB}", "  to:", "    - name: field", "      broker: field",
          "      format: raw", "      topic_map: {remove_prefix: gateways/gw-it/}",
        ]
        if !sink.isEmpty { file.moreRoutes.append("      \(sink)") }
        let agent = try TestAgent(file)
        let producer = try TestProducer(central.endpoint)
        self.agent = agent
        self.producer = producer
        self.field = field
        self.central = central
      }

      func pumps() throws -> Deliveries {
        try Deliveries(field.endpoint, filter: "commands/#", isRaw: true, clientID: "pumps")
      }

      var deadLetterPath: String { agent.dataDirectory + "/commands.dead" }

      func deadLetters() throws -> Double {
        try agent.metric("penstock_upstream_dead_letters_total", "reason=\"expired\"") ?? 0
      }

      /// What the file of dead letters lists.
      func letters() throws -> String {
        let list = try Command("journal", "list", "--json", deadLetterPath)
        try #require(list.code == 0, "\(list.error)")
        return list.output
      }
    }

    static func command(_ id: String, pump: String = "p1", expiry: UInt32? = nil)
      -> TestProducer.Message
    {
      var message = TestProducer.Message(
        "gateways/gw-it/commands/\(pump)", Array("{\"commandId\":\"\(id)\",\"do\":\"start\"}".utf8))
      if let expiry {
        MQTTPropertyWriter.append(
          .messageExpiryInterval, number: expiry, to: &message.properties)
      }
      return message
    }

    /// Lets time pass: here it is what is tested.
    static func pass(_ duration: Duration) throws {
      let end = Clock.monotonic() + duration
      try wait(for: "time to pass") { Clock.monotonic() >= end }
    }

    @Test("as it came, on its mapped topic, with its properties, its identity and an expiry")
    func arrives() throws {
      let stage = try Stage("60s")
      let pumps = try stage.pumps()
      try stage.agent.startConnected()
      var message = Self.command("c-1", expiry: 30)
      let text = { (value: String) in Array(value.utf8) }
      MQTTPropertyWriter.append(.payloadFormatIndicator, number: 1, to: &message.properties)
      MQTTPropertyWriter.append(
        .contentType, value: text("application/json").span, to: &message.properties)
      MQTTPropertyWriter.append(
        .responseTopic, value: text("replies/7").span, to: &message.properties)
      MQTTPropertyWriter.append(
        .correlationData, value: [0, 1, 255].span, to: &message.properties)
      MQTTPropertyWriter.appendUserProperty(
        name: text("operator").span, value: text("jo").span, to: &message.properties)
      try stage.producer.publish([message, Self.command("c-2")])
      try stage.agent.wait(for: "both commands") { pumps.contents.raw.count == 2 }
      let raw = pumps.contents.raw
      #expect(raw.map(\.topic) == ["commands/p1", "commands/p1"])
      #expect(raw[0].payload == message.payload)
      #expect(
        Set(raw[0].foreignProperties) == Set(RawMessage.foreign(message.properties)))
      #expect(raw[0].foreignProperties.count == 5)
      #expect(raw.map { $0.user("penstock-id") } == ["c-1", "c-2"])
      #expect(raw.map { $0.user("penstock-sequence") } == ["1", "2"])
      #expect(raw[0].user("penstock-journal")?.count == 36)
      #expect(raw[0].user("penstock-epoch")?.count == 16)
      #expect((20...30).contains(raw[0].interval ?? 0))
      // It came without an expiry, and must not wait at the field broker for ever.
      #expect((50...60).contains(raw[1].interval ?? 0))
      #expect(try stage.agent.stop() == 0)
    }

    @Test(
      "the gateway is down: the central broker keeps the command, unless that one expires there")
    func gatewayDown() throws {
      let stage = try Stage("60s")
      let pumps = try stage.pumps()
      try stage.agent.startConnected()
      #expect(try stage.agent.stop() == 0)
      try stage.producer.publish([Self.command("short", expiry: 1), Self.command("long")])
      try Self.pass(.milliseconds(2100))
      try stage.agent.startConnected()
      try stage.agent.wait(for: "the command that holds") { !pumps.contents.raw.isEmpty }
      try stage.producer.publish([Self.command("next")])
      try stage.agent.wait(for: "the next one") { pumps.contents.raw.count >= 2 }
      #expect(pumps.contents.raw.map { $0.user("penstock-id") } == ["long", "next"])
      #expect(try stage.deadLetters() == 0)
      #expect(try stage.agent.stop() == 0)
    }

    @Test("the field broker is down: the command waits in the journal, and its expiry runs on")
    func fieldDown() throws {
      var stage = try Stage("60s")
      let pumps = try stage.pumps()
      try stage.agent.startConnected()
      try stage.field.terminate()
      try stage.producer.publish([Self.command("c-1", expiry: 50)])
      try stage.agent.wait(for: "the commit") {
        try stage.agent.metric("penstock_ingest_journalled_total", "route=\"commands\"") == 1
      }
      try Self.pass(.milliseconds(2100))
      try stage.field.start()
      try stage.agent.wait(for: "the command", within: .seconds(60)) {
        pumps.contents.raw.contains { $0.user("penstock-id") == "c-1" }
      }
      let intervals = pumps.contents.raw.compactMap(\.interval)
      #expect(intervals.allSatisfy { (1...48).contains($0) }, "\(intervals)")
      #expect(try stage.deadLetters() == 0)
      #expect(try stage.agent.stop() == 0)
    }

    @Test("it expires in the journal: a dead letter at once, never executed, the next one is")
    func expiresInJournal() throws {
      var stage = try Stage("2s")
      let pumps = try stage.pumps()
      try stage.agent.startConnected()
      try stage.field.terminate()
      try stage.producer.publish([Self.command("late-1"), Self.command("late-2", pump: "p2")])
      // The field broker is still away: nobody has to come first.
      try stage.agent.wait(for: "the dead letters") { try stage.deadLetters() == 2 }
      try stage.agent.wait(for: "the cursor to pass them") {
        try stage.agent.metric(
          "penstock_upstream_acknowledged_sequence", "route=\"commands\"") == 2
      }
      let letters = try stage.letters()
      #expect(letters.lineCount("\"reason\":\"expired\"") == 2, "\(letters)")
      #expect(letters.lineCount("gateways/gw-it/commands/p2", "\"id\":\"late-2\"") == 1)
      let letter = try Command("journal", "show", stage.deadLetterPath, "1").output
      for property in ["penstock-reason", "penstock-sink", "penstock-sequence"] {
        #expect(letter.contains(property), "\(letter)")
      }
      try stage.field.start()
      try stage.agent.wait(for: "the field broker", within: .seconds(60)) {
        try stage.agent.status() == "ok"
      }
      try stage.producer.publish([Self.command("young")])
      try stage.agent.wait(for: "the young one") { !pumps.contents.raw.isEmpty }
      #expect(pumps.contents.raw.map { $0.user("penstock-id") } == ["young"])
      #expect(try stage.agent.metric("penstock_journal_lost_records_total") == 0)
      #expect(stage.agent.log.lineCount("a command was not delivered in time") == 2)
      #expect(try stage.agent.stop() == 0)
    }

    @Test("nobody subscribes to it: offered until it expires, then a dead letter, not an accident")
    func nobodySubscribes() throws {
      let stage = try Stage("2s")
      try stage.agent.startConnected()
      try stage.producer.publish([Self.command("void")])
      try stage.agent.wait(for: "the refusal") {
        try stage.agent.metric("penstock_upstream_refused_total", "code=\"0x10\"") ?? 0 >= 1
      }
      try stage.agent.wait(for: "the dead letter") { try stage.deadLetters() == 1 }
      let pumps = try stage.pumps()
      try stage.producer.publish([Self.command("heard")])
      try stage.agent.wait(for: "the next one") { !pumps.contents.raw.isEmpty }
      #expect(pumps.contents.raw.map { $0.user("penstock-id") } == ["heard"])
      #expect(try stage.agent.stop() == 0)
    }

    #if PENSTOCK_SABOTAGE
      @Test(
        "killed between commit and PUBACK, and between publish and cursor: once, or recognisable",
        arguments: [
          Failpoint.ingestBeforeRelease, .upstreamAfterPublish, .upstreamBeforeCursor,
        ])
      func killed(point: Failpoint) throws {
        let stage = try Stage("60s")
        let pumps = try stage.pumps()
        let coverage = try FailpointCoverage()
        let order = FailpointOrder(point, hit: 1)
        try stage.agent.start(environment: coverage.environment(for: order))
        try wait(for: "the subscription") {
          stage.agent.log.lineCount("receiving from the field broker", "gateways/gw-it") == 1
        }
        try stage.producer.publish([Self.command("c-1")])
        try stage.agent.waitForKill(within: .seconds(30))
        try #require(coverage.actedCount(point) == 1, "another SIGKILL than ours")
        try stage.agent.startConnected()
        try stage.producer.publish([Self.command("c-2")])
        try stage.agent.wait(for: "both commands") {
          pumps.contents.raw.contains { $0.user("penstock-id") == "c-2" }
        }
        #expect(try stage.agent.stop() == 0)
        let first = pumps.contents.raw.filter { $0.user("penstock-id") == "c-1" }
        #expect((1...2).contains(first.count), "\(first.count)")
        if point == .upstreamBeforeCursor { #expect(first.count == 2) }
        // Whoever executes can see that it is the same one.
        let names = ["penstock-id", "penstock-journal", "penstock-epoch", "penstock-sequence"]
        let identities = first.map { message -> [String] in
          names.map { message.user($0) ?? "" }
        }
        #expect(Set(identities).count == 1)
        #expect(Set(pumps.contents.raw.map { $0.user("penstock-sequence") }).count == 2)
        #expect((try? FileStatus(path: stage.deadLetterPath)) == nil)
      }
    #endif
  }
}
