// Goal: what a field broker repeats or takes away is noticed for what it is: retained messages,
// overlapping filters, a shorter session, a second client with our id. Method: real brokers and
// real agents; messages without ids, where nothing else would tell. Cannot show: other brokers than
// the Mosquitto that is installed.

import Audit
import Envelope
import GatewayCore
import Mosquitto
import Platform
import TestSupport
import Testing

/// As `protocol` in the configuration.
private let protocols = ["5", "3.1.1"]

extension IntegrationSuite {
  @Suite("what the field broker repeats or takes away")
  struct FieldSideTests {
    private func reading(_ text: String, topic: String, isRetained: Bool = false)
      -> TestProducer.Message
    {
      var message = TestProducer.Message(topic, Array(text.utf8))
      message.isRetained = isRetained
      return message
    }

    @Test(
      "a retained message that comes again with a new session adds nothing, another state does",
      arguments: protocols)
    func retained(version: String) throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.filters = ["pumps/#"]
      file.fieldLines = ["protocol: \(version)"]
      file.routeLines = ["message_id: none"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let producer = try TestProducer(field.endpoint)
      let states = (1...20).map { reading("on", topic: "pumps/\($0)/asset", isRetained: true) }
      try producer.publish(states)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try agent.wait(for: "the first states") { deliveries.events.count == 20 }
      for _ in 0..<2 {
        #expect(try agent.stop() == 0)
        // The session is gone with the client that took it.
        _ = try TestProducer(field.endpoint, clientID: file.inboundClientID)
        try agent.startConnected()
        try agent.wait(for: "the states to come again") {
          try agent.metric("penstock_ingest_duplicates_total") == 20
        }
        #expect(try agent.metric("penstock_ingest_session_lost_total") == 1)
      }
      #expect(try agent.stop() == 0)
      _ = try TestProducer(field.endpoint, clientID: file.inboundClientID)
      try producer.publish([reading("off", topic: "pumps/7/asset", isRetained: true)])
      try agent.startConnected()
      try agent.wait(for: "the news") { deliveries.events.count == 21 }
      #expect(deliveries.events.last?.topic == "pumps/7/asset")
      try agent.wait(for: "the rest") {
        try agent.metric("penstock_ingest_duplicates_total") == 19
      }
      #expect(try agent.stop() == 0)
    }

    @Test(
      "filters that overlap: one record for each message, equal readings included",
      arguments: protocols)
    func overlapping(version: String) throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      // The first two overlap in part, the last has all topics of the one before it.
      file.filters = ["pumps/+/metrics", "pumps/p1/+", "valves/+/state", "valves/#"]
      file.fieldLines = ["protocol: \(version)"]
      file.routeLines = ["message_id: none"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let messages = (0..<60).map { index in
        reading("\(index / 10)", topic: "pumps/p1/metrics")
      }
      let others = (0..<20).map { _ in reading("open", topic: "valves/v1/state") }
      try TestProducer(field.endpoint).publish(messages + others)
      try agent.wait(for: "all deliveries") { deliveries.events.count >= 80 }
      // What is to come has come when a later message has.
      try TestProducer(field.endpoint).publish([reading("end", topic: "pumps/p2/metrics")])
      try agent.wait(for: "the last delivery") {
        deliveries.events.contains { $0.topic == "pumps/p2/metrics" }
      }
      #expect(deliveries.events.count == 81)
      // Mosquitto sends copies over MQTT 5 only: the test has seen what it is about.
      let copies = try agent.metric("penstock_ingest_duplicates_total") ?? 0
      #expect(copies == (version == "5" ? 60 : 0))
      #expect(try agent.stop() == 0)
    }

    @Test("a broker that keeps the session for a shorter time than asked is told of, once")
    func shorterSession() throws {
      var central = try BrokerProcess(name: "central")
      try central.start()
      var role = FieldRole { .init(topic: "pumps/1/metrics", payload: Array("\($0)".utf8)) }
      // Session Expiry Interval: a minute.
      role.connectProperties = [0x11, 0, 0, 0, 60]
      let field = try MQTTPeer(role)
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try agent.wait(for: "the gauge") {
        try agent.metric("penstock_ingest_session_expiry_seconds") == 60
      }
      field.cutAll()
      try agent.wait(for: "another connection") {
        field.withRole { $0.connectCount == 2 && $0.isSubscribed }
      }
      #expect(agent.log.lineCount("a shorter time than session_expiry") == 1)
      #expect(field.errors.isEmpty)
      #expect(try agent.stop() == 0)
    }

    @Test(
      "two agents of one id: told, and never two takeovers within half a minute",
      arguments: protocols)
    func takeover(version: String) throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.fieldLines = ["protocol: \(version)"]
      // Two with one id at the central broker as well would only disturb this test.
      file.centralLines = ["client_id: first"]
      let first = try TestAgent(file)
      try first.startConnected()
      file.centralLines = ["client_id: second"]
      let second = try TestAgent(file)
      try second.start()
      func takeovers() throws -> Double {
        try [first, second].reduce(0) { sum, agent in
          sum + (try agent.metric("penstock_ingest_takeovers_total") ?? 0)
        }
      }
      try second.wait(for: "the first takeover") { try takeovers() >= 1 }
      let start = Clock.monotonic()
      #expect(try takeovers() == 1)
      let loser = try first.metric("penstock_ingest_takeovers_total") == 1 ? first : second
      #expect(loser.log.lineCount("another client has taken over our session") == 1)
      // Mosquitto 2.0 closes the connection without a word, over MQTT 5 as well.
      let page = try loser.health().body
      #expect(page.contains("another client uses the client id \(file.inboundClientID)"))
      try second.wait(for: "the second takeover", within: .seconds(90)) { try takeovers() >= 2 }
      #expect(Clock.monotonic().since(start) >= .seconds(29))
      #expect(try first.stop() == 0)
      #expect(try second.stop() == 0)
    }
  }
}
