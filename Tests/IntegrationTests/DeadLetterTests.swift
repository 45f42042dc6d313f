// Goal: whatever cannot be delivered as data ends where a person finds it, with the reason, and can
// be sent again once the reason is gone. Method: the real process between real brokers, the file
// and the topic of dead letters, the built commands. Cannot show: that somebody looks.

import Audit
import Envelope
import GatewayCore
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("dead letters")
  struct DeadLetterTests {
    /// A centre that takes packets of at most 10,000 bytes, and a route that sorts out what it can.
    struct Stage: ~Copyable {
      var field: BrokerProcess
      var central: BrokerProcess
      let agent: TestAgent
      static let topic = "letters/telemetry"

      init(format: [String] = ["batch: {max_delay: 50ms}", "compression: none"]) throws {
        var options = BrokerOptions()
        options.persistence = true
        options.lines = ["max_packet_size 10000"]
        var central = try BrokerProcess(name: "central", options: options)
        var field = try BrokerProcess(name: "field")
        try field.start()
        try central.start()
        var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
        file.routeLines = ["missing_id: dead-letter", "max_record: 60KiB"]
        file.sinkLines = format + ["dead_letter: {file: 16MiB, topic: \(Self.topic)}"]
        let agent = try TestAgent(file)
        self.agent = agent
        self.field = field
        self.central = central
      }

      var path: String { agent.dataDirectory + "/telemetry.dead" }

      func publishAll() throws {
        var conflict = TestProducer.Message.reading("m-1")
        conflict.payload = Array(#"{"messageId":"m-1","value":2}"#.utf8)
        try TestProducer(field.endpoint).publish([
          .reading("m-1"), conflict, .init("pumps/p1/metrics", Array("no id".utf8)),
          .reading("huge", byteCount: 100_000), .reading("large", byteCount: 20_000),
          .reading("m-2"),
        ])
      }
    }

    @Test("a conflict, a missing id, what is too large, what is refused: each with its reason")
    func reasons() throws {
      let stage = try Stage()
      let main = try Deliveries(stage.central.endpoint, filter: stage.agent.file.upstreamTopic)
      let letters = try Deliveries(
        stage.central.endpoint, filter: Stage.topic, clientID: "letters")
      try stage.agent.startConnected()
      try stage.publishAll()
      // What was cut to max_record is more than this centre takes, too, and told a second time.
      try stage.agent.wait(for: "the letters") { Set(letters.events.map(\.sequence)).count >= 4 }
      let reasons = Set(letters.events.map { "\($0.sequence) \($0.reason ?? "")" })
      #expect(reasons == ["2 conflict", "3 missing-id", "4 too-large", "5 refused"])
      #expect(letters.events.allSatisfy { $0.type == Event.deadLetterType })
      #expect(letters.contents.envelopes.allSatisfy { $0.header.first == $0.header.last })
      try stage.agent.wait(for: "the last reading") { main.events.contains { $0.id == "m-2" } }
      // Those that were known when they came travel in line, what is refused is elided.
      #expect(main.events.compactMap(\.reason).sorted() == ["conflict", "missing-id"])
      #expect(main.contents.envelopes.flatMap(\.elided).contains { $0.contains(Sequence(5)) })
      try stage.agent.wait(for: "the counters") {
        try stage.agent.metric(
          "penstock_upstream_dead_letter_publishes_total", "outcome=\"accepted\"") ?? 0 >= 4
          && stage.agent.metric("penstock_upstream_dead_letters_total", "refused") == 2
          && stage.agent.metric("penstock_upstream_acknowledged_sequence") == 6
      }
      #expect(try stage.agent.stop() == 0)
      // In the route's own journal the first three, in the file what was refused.
      for (reason, sequence) in [("conflict", 2), ("missing-id", 3), ("too-large", 4)] {
        let list = try Command(
          "journal", "list", stage.agent.journalPath, "--reason", reason, "--json"
        ).output
        #expect(list.lineCount("\"sequence\":\(sequence),", "\"reason\":\"\(reason)\"") == 1)
        #expect(list.lineCount("sequence") == 1, "\(list)")
      }
      let any = try Command("journal", "list", stage.agent.journalPath, "--reason", "any").output
      #expect(any.lineCount("pumps/p1/metrics") == 3, "\(any)")
    }

    @Test("the file: listed, shown and exported with the reason, found by the configuration")
    func reading() throws {
      let stage = try Stage()
      let main = try Deliveries(stage.central.endpoint, filter: stage.agent.file.upstreamTopic)
      try stage.agent.startConnected()
      try stage.publishAll()
      try stage.agent.wait(for: "the last reading") { main.events.contains { $0.id == "m-2" } }
      try stage.agent.wait(for: "the file") {
        try stage.agent.metric("penstock_upstream_dead_letters_total", "refused") == 2
      }
      // Beside the running gateway.
      let located = ["--config", stage.agent.configurationPath, "--dead-letters"]
      func run(_ command: String, _ more: [String]) throws -> String {
        let command = try Command(
          executable: Command.penstock, arguments: ["journal", command] + more, environment: [:],
          within: .seconds(30))
        try #require(command.code == 0, "\(command.error)")
        return command.output
      }
      let list = try run("list", located)
      #expect(list.lineCount("refused", "pumps/p1/metrics", "large") == 1, "\(list)")
      let show = try run("show", located + ["2"])
      for words in [
        "dead-letter, refused", "penstock-reason: packet too large (0x95)",
        "penstock-sink: central", "penstock-sequence: 5", "penstock-received: ",
      ] { #expect(show.contains(words), "\(words) is not in \(show)") }
      let export = try run("export", [stage.path])
      #expect(
        export.lineCount("\"type\":\"penstock.dead-letter\"", "\"reason\":\"refused\"") == 1)
      #expect(export.contains("\"uppenstockreason\":\"packet too large (0x95)\""), "\(export)")
      #expect(try run("list", [stage.path, "--reason", "expired"]).lineCount("pumps") == 0)
      let wrong = try Command("journal", "list", stage.path, "--reason", "sad")
      #expect(wrong.code == 64 && wrong.error.contains("is not a reason: write missing-id"))
      #expect(try Command("journal", "list", "--dead-letters").code == 64)
      #expect(try stage.agent.stop() == 0)
    }

    @Test("sent again once the reason is gone: as data, by the names it had, to a sink or a topic")
    func replay() throws {
      var stage = try Stage()
      let main = try Deliveries(stage.central.endpoint, filter: stage.agent.file.upstreamTopic)
      try stage.agent.startConnected()
      try stage.publishAll()
      try stage.agent.wait(for: "the last reading") { main.events.contains { $0.id == "m-2" } }
      let journal = try #require(main.contents.envelopes.first).header.journal
      #expect(try stage.agent.stop() == 0)
      main.stop()
      try stage.central.terminate()
      var generous = try BrokerProcess(name: "central", port: stage.central.port)
      try generous.start()
      let again = try Deliveries(
        generous.endpoint, filter: stage.agent.file.upstreamTopic, clientID: "again")
      let replay = try Command(
        "journal", "replay", "--config", stage.agent.configurationPath, "--dead-letters",
        "--sink", "central", "--reason", "refused")
      #expect(replay.code == 0, "\(replay.error)")
      try wait(for: "the record") { !again.events.isEmpty }
      let event = try #require(again.events.first)
      #expect(event.type == Event.recordType && event.id == "large" && event.reason == nil)
      #expect(event.source == "penstock://gw-it/pumps/p1/metrics")
      #expect(event.payload == TestProducer.Message.reading("large", byteCount: 20_000).payload)
      #expect(!event.attributes.contains { $0.name.hasPrefix("uppenstock") })
      let raw = try Deliveries(generous.endpoint, filter: "pumps/#", isRaw: true, clientID: "raw")
      let url = "mqtt://127.0.0.1:\(generous.port)"
      let untouched = try Command(
        "journal", "replay", stage.path, "--broker", url, "--topic", "", "--format", "raw",
        "--reason", "refused", "--json")
      #expect(untouched.code == 0, "\(untouched.error)")
      try wait(for: "the message") { !raw.contents.raw.isEmpty }
      let message = try #require(raw.contents.raw.first)
      #expect(message.topic == "pumps/p1/metrics" && message.payload == event.payload)
      #expect(message.user("penstock-sequence") == "5")
      #expect(message.user("penstock-journal") == journal.description)
      #expect(message.user("penstock-replay") == "true")
      #expect(message.user("penstock-reason") == nil && message.user("penstock-sink") == nil)
      #expect(untouched.output.contains("\"accepted_records\":1"), "\(untouched.output)")
    }

    @Test("commands that expired are not sent again by accident")
    func replayOfExpired() throws {
      var stage = try CommandRouteTests.Stage("1s")
      try stage.agent.startConnected()
      try stage.field.terminate()
      try stage.producer.publish([CommandRouteTests.command("late")])
      try stage.agent.wait(for: "the dead letter") { try stage.deadLetters() == 1 }
      #expect(try stage.agent.stop() == 0)
      try stage.field.start()
      let pumps = try stage.pumps()
      let arguments = [
        "journal", "replay", "--config", stage.agent.configurationPath, "--route", "commands",
        "--dead-letters", "--sink", "field", "--from", "1",
      ]
      func run(_ more: [String]) throws -> Command {
        try Command(
          executable: Command.penstock, arguments: arguments + more, environment: [:],
          within: .seconds(30))
      }
      let careful = try run([])
      #expect(careful.code == 0, "\(careful.error)")
      #expect(careful.output.contains("left out: 1 record, expired commands"), "\(careful.output)")
      let deliberate = try run(["--expired"])
      #expect(deliberate.code == 0, "\(deliberate.error)")
      try wait(for: "the command") { !pumps.contents.raw.isEmpty }
      #expect(pumps.contents.raw.map(\.topic) == ["commands/p1"])
      #expect(pumps.contents.raw.first?.user("penstock-id") == "late")
      #expect(pumps.contents.raw.first?.user("penstock-sequence") == "1")
    }

    @Test("a topic that nobody may write to is counted, and holds up nothing")
    func deniedTopic() throws {
      let stage = try Stage()
      var options = BrokerOptions()
      options.accessControlList = "topic readwrite penstock/#\n"
      var central = try BrokerProcess(name: "central", options: options)
      try central.start()
      let agent = stage.agent
      agent.file.central = "mqtt://127.0.0.1:\(central.port)"
      let main = try Deliveries(central.endpoint, filter: agent.file.upstreamTopic)
      try agent.startConnected()
      try TestProducer(stage.field.endpoint).publish([
        .init("pumps/p1/metrics", Array("no id".utf8)), .reading("m-1"),
      ])
      try agent.wait(for: "the refusal") {
        try agent.metric(
          "penstock_upstream_dead_letter_publishes_total", "outcome=\"refused\"") == 1
      }
      try agent.wait(for: "the cursor") {
        try agent.metric("penstock_upstream_acknowledged_sequence") == 2
      }
      #expect(main.events.map(\.reason) == ["missing-id", nil])
      #expect(agent.log.contains("a dead letter cannot be published and is kept here only"))
      #expect(try agent.stop() == 0)
    }

    #if PENSTOCK_SABOTAGE
      @Test("killed when the letter is stored: it is published all the same")
      func killed() throws {
        let stage = try Stage()
        let letters = try Deliveries(
          stage.central.endpoint, filter: Stage.topic, clientID: "letters")
        let coverage = try FailpointCoverage()
        let order = FailpointOrder(.deadLetterAfterStore, hit: 1)
        try stage.agent.start(environment: coverage.environment(for: order))
        try wait(for: "the subscription") {
          stage.agent.log.contains("receiving from the field broker")
        }
        try TestProducer(stage.field.endpoint).publish([.reading("large", byteCount: 20_000)])
        try stage.agent.waitForKill(within: .seconds(30))
        #expect(letters.events.isEmpty)
        try stage.agent.startConnected()
        try stage.agent.wait(for: "the letter") { !letters.events.isEmpty }
        #expect(letters.events.map(\.reason) == ["refused"])
        #expect(try stage.agent.stop() == 0)
      }
    #endif
  }
}
