// Goal: whatever a pump sends is acknowledged, counted and delivered, as an event or as a dead
// letter; it never ends the agent and nothing stays in the broker's queue. Method: one of each kind
// through the whole path. Cannot show: all byte strings (see the scanners' and decoders' tests).

import Audit
import Envelope
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("bad input, end to end")
  struct BadInputTests {
    private typealias Message = TestProducer.Message

    private static let topic = "pumps/p1/metrics"
    /// Without an id, each.
    private static let anonymous: [Message] = [
      Message(topic, []),
      Message(topic, [0x00, 0xff, 0xfe, 0x80, 0x0a, 0x1b]),
      Message(topic, Array("not JSON {".utf8)),
      Message(topic, Array(#"{"value":1}"#.utf8)),
      Message(topic, Array(#"{"messageId":{"a":1}}"#.utf8)),
      Message(topic, Array(#"[1,2,3]"#.utf8)),
      Message(topic, Array(String(repeating: "[", count: 5000).utf8)),
      Message(topic, Array(#"{"messageId":null}"#.utf8)),
      Message(topic, [0x1b] + Array("[31mred".utf8)),
    ]

    @Test(
      "each is acknowledged, counted and delivered", arguments: ["journal", "dead-letter"])
    func each(missingID: String) throws {
      var options = BrokerOptions()
      options.logTypes = ["all"]
      var field = try BrokerProcess(name: "field", options: options)
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.routeLines = ["missing_id: \(missingID)"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()

      let huge = Message(Self.topic, [UInt8](repeating: UInt8(ascii: "x"), count: 2 << 20))
      let good = Message.reading("m-1")
      let other = Message(Self.topic, Array(#"{"messageId":"m-1","value":2}"#.utf8))
      let messages = Self.anonymous + [huge, good, other, good, other, .reading("m-2")]
      try TestProducer(field.endpoint).publish(messages, window: 1)

      let count = Double(messages.count)
      let missing = missingID == "journal" ? 0 : Double(Self.anonymous.count)
      try agent.wait(for: "all to be counted") {
        try agent.metric("penstock_ingest_messages_total") == count
      }
      let deadLetters = "penstock_ingest_dead_letters_total"
      #expect(try agent.metric("penstock_ingest_duplicates_total") == 2)
      #expect(try agent.metric(deadLetters, "reason=\"too-large\"") == 1)
      #expect(try agent.metric(deadLetters, "reason=\"conflict\"") == 1)
      #expect(try agent.metric(deadLetters, "reason=\"missing-id\"") ?? 0 == missing)
      #expect(try agent.metric("penstock_ingest_journalled_total") == count - 4 - missing)
      try agent.wait(for: "all deliveries") { deliveries.events.count == messages.count - 2 }
      try expectDelivered(deliveries, missing: Int(missing), huge: huge)

      // Nothing waits at the broker: each of its PUBLISH packets has its PUBACK.
      let client = file.inboundClientID
      #expect(field.log.lineCount("Sending PUBLISH to \(client)") == messages.count)
      #expect(field.log.lineCount("Received PUBACK from \(client)") == messages.count)
      #expect(agent.log.lineCount("penstock starts") == 1)
      #expect(try agent.stop() == 0)
    }

    @Test(
      "properties of any size are acknowledged; those beyond a record's are a dead letter",
      arguments: [(65_529, true), (65_530, false), (65_531, false), (65_535, false)])
    func hugeProperty(valueByteCount: Int, isOrdinary: Bool) throws {
      var options = BrokerOptions()
      options.logTypes = ["all"]
      var field = try BrokerProcess(name: "field", options: options)
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()

      // With its identifier, two lengths and the name "a" it is 6 bytes longer on the wire.
      let value = String(repeating: "x", count: valueByteCount)
      try publish(
        to: field, topic: Self.topic, #"{"messageId":"m-1"}"#, "-D", "publish", "user-property",
        "a", value)
      try expectNextFlows(agent, field, deliveries, client: file.inboundClientID)
      let deadLetters = try agent.metric("penstock_ingest_dead_letters_total", "too-large") ?? 0
      #expect(deadLetters == (isOrdinary ? 0 : 1))
      let event = try #require(deliveries.events.first)
      #expect(event.isDeadLetter == !isOrdinary)
      #expect(event.reason == (isOrdinary ? nil : "too-large"))
      #expect(event.payload == Array(#"{"messageId":"m-1"}"#.utf8))
      #expect(try agent.stop() == 0)
    }

    struct LongTopic: Sendable {
      let recordMax: String
      /// Of the payload.
      let padding: Int
      /// What is left of the topic.
      let topicByteCount: Int
      let isOrdinary: Bool
    }

    @Test(
      "a topic of 30,000 bytes is delivered, or a dead letter where there is no room for it",
      arguments: [
        LongTopic(recordMax: "128KiB", padding: 0, topicByteCount: 30_000, isOrdinary: true),
        // Within max_record, but not within a commit, which has headers.
        LongTopic(recordMax: "128KiB", padding: 101_000, topicByteCount: 30_000, isOrdinary: false),
        LongTopic(recordMax: "1KiB", padding: 0, topicByteCount: 1024, isOrdinary: false),
      ])
    func longTopic(_ row: LongTopic) throws {
      var options = BrokerOptions()
      options.logTypes = ["all"]
      var field = try BrokerProcess(name: "field", options: options)
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.journalLines.append("commit: {max_bytes: 128KiB}")
      file.routeLines = ["max_record: \(row.recordMax)"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()

      let topic = "pumps/" + String(repeating: "t", count: 30_000 - 14) + "/metrics"
      let padding = String(repeating: " ", count: row.padding)
      try publish(to: field, topic: topic, #"{"messageId":"m-1"}"# + padding)
      try expectNextFlows(agent, field, deliveries, client: file.inboundClientID)
      let event = try #require(deliveries.events.first)
      #expect(event.reason == (row.isOrdinary ? nil : "too-large"))
      #expect(topic.hasPrefix(event.topic))
      #expect(event.topic.utf8.count == row.topicByteCount)
      #expect(try agent.stop() == 0)
    }

    private func publish(
      to field: borrowing BrokerProcess, topic: String, _ payload: String, _ more: String...
    ) throws {
      let command = try Command(
        tool: "mosquitto_pub",
        [
          "-V", "5", "-p", "\(field.port)", "-q", "1", "-t", topic, "-m", payload,
        ] + more)
      try #require(command.code == 0, "\(command.error)")
    }

    /// One message was sent; another follows, and both are acknowledged and delivered by the agent
    /// that was started once.
    private func expectNextFlows(
      _ agent: TestAgent, _ field: borrowing BrokerProcess, _ deliveries: Deliveries,
      client: String
    ) throws {
      try publish(to: field, topic: Self.topic, #"{"messageId":"next"}"#)
      try agent.wait(for: "the message after it") {
        deliveries.events.contains { $0.id == "next" }
      }
      #expect(deliveries.events.count == 2)
      #expect(deliveries.contents.undecodable == [])
      #expect(field.log.lineCount("Sending PUBLISH to \(client)") == 2)
      #expect(field.log.lineCount("Received PUBACK from \(client)") == 2)
      #expect(agent.log.lineCount("penstock starts") == 1)
    }

    private func expectDelivered(_ deliveries: Deliveries, missing: Int, huge: Message) throws {
      let events = deliveries.events
      #expect(deliveries.contents.undecodable == [])
      #expect(events.count { $0.reason == "missing-id" } == missing)
      #expect(events.count { $0.reason == "conflict" } == 1)
      #expect(events.filter { !$0.isDeadLetter }.map(\.id).filter { $0 == "m-1" }.count == 1)
      for message in Self.anonymous {
        let found = events.filter { $0.topic == message.topic && $0.payload == message.payload }
        #expect(found.count == 1, "\(message.topic): \(message.payload.prefix(20))")
        #expect(found.allSatisfy { $0.isDeadLetter == (missing > 0) })
      }
      let cut = try #require(events.first { $0.reason == "too-large" })
      #expect(cut.payload.count > 1 << 19 && cut.payload.count < 1 << 20)
      #expect(huge.payload.starts(with: cut.payload))
    }
  }
}
