// Goal: the agent notices that the field broker has forgotten it, and takes back subscriptions
// that left the configuration. Method: a broker without persistence that is restarted; its log.

import Audit
import Mosquitto
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("the session at the field broker")
  struct SessionTests {
    @Test("a lost session is counted once, and subscribed anew")
    func lost() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      #expect(try agent.metric("penstock_ingest_session_lost_total") ?? 0 == 0)
      try field.restart()
      try agent.wait(for: "the loss to be noticed") {
        try agent.metric("penstock_ingest_session_lost_total") == 1 && agent.status() == "ok"
      }
      try TestProducer(field.endpoint).publish([.reading("m-1")])
      try agent.wait(for: "a delivery after the loss") { deliveries.events.count == 1 }
      #expect(try agent.metric("penstock_ingest_session_lost_total") == 1)
      #expect(agent.log.lineCount("the broker has lost our session") == 1)
      #expect(try agent.stop() == 0)
    }

    @Test("a session that is kept brings what came while the agent was away")
    func kept() throws {
      var options = BrokerOptions()
      options.persistence = true
      var field = try BrokerProcess(name: "field", options: options)
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      #expect(try agent.stop() == 0)
      let ids = (0..<200).map { "m-\($0)" }
      try TestProducer(field.endpoint).publish(ids.map { .reading($0) })
      try field.restart()
      try agent.start()
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: ids).isEmpty }
      #expect(try agent.metric("penstock_ingest_session_lost_total") ?? 0 == 0)
      #expect(try agent.stop() == 0)
    }

    @Test("a filter that left the configuration is unsubscribed at the next start")
    func unsubscribed() throws {
      var options = BrokerOptions()
      options.logTypes = ["subscribe", "unsubscribe"]
      var field = try BrokerProcess(name: "field", options: options)
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.filters = ["pumps/+/metrics", "pumps/+/asset"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      #expect(try agent.stop() == 0)
      agent.file.filters = ["pumps/+/metrics"]
      try agent.startConnected()
      let line = "\(file.inboundClientID) pumps/+/asset"
      #expect(try field.waitForLog(line, timeout: .seconds(10)))
      #expect(!field.log.contains("\(file.inboundClientID) pumps/+/metrics"))
      let producer = try TestProducer(field.endpoint)
      let payload = Array(#"{"messageId":"a"}"#.utf8)
      let answers = try producer.publish([
        .init("pumps/p1/asset", payload), .init("pumps/p1/metrics", payload),
      ])
      #expect(answers == [.noMatchingSubscribers, .success])
      try agent.wait(for: "the delivery") { deliveries.events.count == 1 }
      #expect(try agent.stop() == 0)
    }
  }
}
