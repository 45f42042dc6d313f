// Goal: batches fit what the broker takes, a silent broker and a refusal cost time and no data, the
// compression level is used. Method: the agent between real brokers with those limits. Cannot show:
// other brokers' reasons (the scripted ones of UpstreamTests do).

import Audit
import Envelope
import GatewayCore
import Glibc
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("details of the delivery")
  struct DeliveryDetailTests {
    private func ids(_ count: Int) -> [String] { (0..<count).map { "m-\($0)" } }

    @Test("batches shrink to the broker's max_packet_size; one record above it is a dead letter")
    func maximumPacket() throws {
      var field = try BrokerProcess(name: "field")
      var options = BrokerOptions()
      options.lines = ["max_packet_size 4096"]
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.sinkLines = ["batch: {max_records: 500, max_bytes: 256KiB, max_delay: 100ms}"]
      file.sinkLines.append("compression: none")
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let ids = ids(400)
      var messages = ids.map { TestProducer.Message.reading($0, byteCount: 300) }
      messages.insert(.reading("huge", byteCount: 6_000), at: 200)
      try TestProducer(field.endpoint).publish(messages)
      try agent.wait(for: "the cursor", within: .seconds(60)) {
        try agent.metric("penstock_upstream_acknowledged_sequence") == 401
      }
      try wait(for: "the observer") { deliveries.events.count >= 400 }
      #expect(deliveries.faults(expecting: ids) == [])
      let contents = deliveries.contents
      #expect(contents.envelopes.flatMap(\.elided).map(\.count) == [1])
      #expect(try agent.metric("penstock_upstream_dead_letters_total") == 1)
      // More than one record in most of them all the same, and no batch was refused by the broker.
      #expect(contents.envelopes.count < 200)
      #expect(try agent.metric("penstock_upstream_refused_total") ?? 0 == 0)
      #expect(try agent.metric("penstock_upstream_reconnects_total") ?? 0 == 0)
      #expect(try agent.stop() == 0)
    }

    @Test("a publish without an answer for answer_timeout costs the connection, and no data")
    func silentBroker() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.sinkLines = ["batch: {max_delay: 50ms}", "answer_timeout: 1s"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      central.send(signal: SIGSTOP)
      let ids = ids(20)
      try TestProducer(field.endpoint).publish(ids.map { .reading($0) })
      try agent.wait(for: "the time-out") { agent.log.contains("without PUBACK for 1.0 seconds") }
      #expect(try agent.metric("penstock_upstream_acknowledged_sequence") ?? 0 == 0)
      central.send(signal: SIGCONT)
      try agent.wait(for: "the delivery", within: .seconds(60)) {
        try agent.metric("penstock_upstream_acknowledged_sequence") == 20
      }
      #expect(deliveries.faults(expecting: ids) == [])
      #expect(try agent.metric("penstock_upstream_reconnects_total") ?? 0 >= 1)
      #expect(try agent.stop() == 0)
    }

    @Test(
      "a broker that does not allow the topic says 0x87: kept, alarmed, delivered when it may be")
    func notAllowed() throws {
      var field = try BrokerProcess(name: "field")
      var options = BrokerOptions()
      options.accessControlList = "topic read #\n"
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try TestProducer(field.endpoint).publish([.reading("m-0")])
      try agent.wait(for: "the refusal") {
        try agent.metric("penstock_upstream_refused_total", "code=\"0x87\"") ?? 0 >= 1
      }
      #expect(try agent.status() == "degraded")
      #expect(agent.log.contains("not authorized (0x87)"))
      #expect(try agent.metric("penstock_upstream_acknowledged_sequence") ?? 0 == 0)
      #expect(try agent.metric("penstock_upstream_dead_letters_total") ?? 0 == 0)
      try central.terminate()
      var better = try BrokerProcess(name: "central", port: central.port)
      try better.start()
      let deliveries = try Deliveries(better.endpoint, filter: file.upstreamTopic)
      try agent.wait(for: "the delivery", within: .seconds(90)) {
        deliveries.faults(expecting: ["m-0"]).isEmpty
      }
      #expect(try agent.stop() == 0)
    }
  }
}
