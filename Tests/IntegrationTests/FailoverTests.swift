// Goal: with a list of brokers the agent uses what is there, prefers the first, and neither loses
// nor doubles a message on the way there and back. Method: two independent brokers on a side, which
// come and go. Cannot show: brokers that share their sessions, as a cluster does.

import Audit
import Envelope
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("fail-over lists")
  struct FailoverTests {
    private static func url(_ brokers: UInt16...) -> String {
      "[" + brokers.map { "\"mqtt://127.0.0.1:\($0)\"" }.joined(separator: ", ") + "]"
    }

    private static func ids(_ name: String, _ count: Int = 100) -> [String] {
      (0..<count).map { "\(name)-\($0)" }
    }

    @Test("deliveries go to the second broker, back to the first, and so again")
    func upstream() throws {
      var field = try BrokerProcess(name: "field")
      var first = try BrokerProcess(name: "first")
      var second = try BrokerProcess(name: "second")
      try field.start()
      try second.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: 0)
      file.central = Self.url(first.port, second.port)
      file.centralLines = ["failback: 1s"]
      let later = try Deliveries(second.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let producer = try TestProducer(field.endpoint)
      var expected: [String] = []
      func publish(_ name: String, _ count: Int = 100) throws {
        let ids = Self.ids(name, count)
        try producer.publish(ids.map { .reading($0) })
        expected += ids
      }
      try publish("away")
      try agent.wait(for: "the second to get all") { later.faults(expecting: expected).isEmpty }

      try first.start()
      let earlier = try Deliveries(first.endpoint, filter: file.upstreamTopic)
      var round = 0
      // Under load, so that something is in flight when it leaves.
      try agent.wait(for: "the return") {
        round += 1
        try publish("returning-\(round)", 20)
        return first.log.contains("as penstock-gw-it-telemetry-central-out")
      }
      try publish("back")
      func check(_ all: [Deliveries]) throws {
        try agent.wait(for: "everything, once") {
          Deliveries.faults(of: all, expecting: expected).isEmpty
        }
      }
      try check([later, earlier])
      #expect(earlier.events.contains { $0.id == "back-99" })
      #expect(agent.log.contains("the first endpoint accepts again, going back"))
      #expect(
        second.log.lineCount("Client penstock-gw-it-telemetry-central-out disconnected.") == 1,
        "it takes its leave: \(second.log)")
      try agent.wait(for: "the return to be counted") {
        try agent.metric("penstock_broker_failbacks_total", "broker=\"central\"") ?? 0 >= 1
      }

      // A second time, with the first one lost while connected.
      try first.kill()
      try publish("lost")
      try agent.wait(for: "the second to get it") {
        later.events.contains { $0.id == "lost-99" }
      }
      try first.start()
      try agent.wait(for: "the second return") {
        first.log.lineCount("as penstock-gw-it-telemetry-central-out") == 2
      }
      try publish("back-again")
      try check([later, earlier])
      #expect(try agent.stop() == 0)
    }

    @Test("messages are taken from the second broker until it goes quiet, then from the first")
    func field() throws {
      var first = try BrokerProcess(name: "first")
      var second = try BrokerProcess(name: "second")
      var central = try BrokerProcess(name: "central")
      try second.start()
      try central.start()
      var file = GatewayFile(fieldPort: 0, centralPort: central.port)
      file.field = Self.url(first.port, second.port)
      file.fieldLines = ["failback: 1s"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let away = try TestProducer(second.endpoint)
      var expected: [String] = []
      var round = 0
      func publish(to producer: TestProducer, _ name: String, _ count: Int = 100) throws {
        let ids = Self.ids(name, count)
        try producer.publish(ids.map { .reading($0) })
        expected += ids
      }
      try publish(to: away, "away")
      try first.start()
      try agent.wait(for: "the wish to go back") {
        round += 1
        try publish(to: away, "returning-\(round)", 20)
        return agent.log.contains("the first endpoint accepts again, going back")
      }
      // It has not left yet: within the second of quiet that it waits for.
      try publish(to: away, "last")
      try agent.wait(for: "the return") {
        first.log.contains("as \(file.inboundClientID)")
          && agent.log.lineCount("receiving from the field broker") == 2
      }
      try publish(to: try TestProducer(first.endpoint), "back")
      try agent.wait(for: "everything, once") { deliveries.faults(expecting: expected).isEmpty }
      #expect(second.log.lineCount("Client \(file.inboundClientID) disconnected.") == 1)

      try first.kill()
      try agent.wait(for: "the second again") {
        second.log.lineCount("as \(file.inboundClientID)") == 2
      }
      try publish(to: try TestProducer(second.endpoint), "away-again")
      try agent.wait(for: "everything, once") { deliveries.faults(expecting: expected).isEmpty }
      #expect(try agent.stop() == 0)
    }

    @Test("without failback a connection stays where it is")
    func none() throws {
      var field = try BrokerProcess(name: "field")
      var first = try BrokerProcess(name: "first")
      var second = try BrokerProcess(name: "second")
      try field.start()
      try second.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: 0)
      file.central = Self.url(first.port, second.port)
      file.centralLines = ["failback: none"]
      let later = try Deliveries(second.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try first.start()
      // Nothing is to happen; what is waited for is a delivery long after the start of the first.
      let ids = Self.ids("m", 60)
      let producer = try TestProducer(field.endpoint)
      for id in ids {
        try producer.publish([.reading(id)])
        try agent.wait(for: "a delivery") { later.events.contains { $0.id == id } }
      }
      #expect(!first.log.contains("penstock-gw-it"))
      #expect(try agent.stop() == 0)
    }
  }
}
