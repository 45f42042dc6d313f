// Goal: the path does not depend on Mosquitto's ways. Method: a NATS server with JetStream and its
// MQTT listener, configured by the files of edge-config/, in either place and restarted in both.
// Cannot show: a NATS cluster; versions other than the installed one.

import Audit
import Mosquitto
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite(
    "NATS with its MQTT listener",
    .enabled(if: NATSProcess.isAvailable, "nats-server is not installed"))
  struct NATSTests {
    private static func ids(_ name: String) -> [String] { (0..<300).map { "\(name)-\($0)" } }

    @Test("NATS as the central broker: stopped, killed and started again, nothing is lost")
    func central() throws {
      var field = try BrokerProcess(name: "field")
      var nats = try NATSProcess("nats-central.conf")
      try field.start()
      try nats.start()
      var file = OldProtocolTests.file(fieldPort: field.port, centralPort: nats.port)
      file.fieldLines = []
      let deliveries = try Deliveries(
        nats.endpoint, filter: file.upstreamTopic, protocolVersion: .v311)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let producer = try TestProducer(field.endpoint)
      var expected: [String] = []
      func publish(_ name: String) throws {
        let ids = Self.ids(name)
        try producer.publish(ids.map { .reading($0) })
        expected += ids
      }
      try publish("first")
      try agent.wait(for: "the first") { deliveries.faults(expecting: expected).isEmpty }
      try nats.terminate()
      try publish("stopped")
      try nats.start()
      try publish("started")
      try agent.wait(for: "all after a stop", within: .seconds(60)) {
        deliveries.faults(expecting: expected).isEmpty
      }
      try nats.kill()
      try publish("killed")
      try nats.start()
      try agent.wait(for: "all after a kill", within: .seconds(60)) {
        deliveries.faults(expecting: expected).isEmpty
      }
      #expect(try agent.stop() == 0)
    }

    @Test("the settings survive a consumer that is away: it gets all when it comes back")
    func absentConsumer() throws {
      var field = try BrokerProcess(name: "field")
      var nats = try NATSProcess("nats-central.conf")
      try field.start()
      try nats.start()
      var file = OldProtocolTests.file(fieldPort: field.port, centralPort: nats.port)
      file.fieldLines = []
      // One message, one batch: more of them than NATS has in flight to one consumer.
      file.sinkLines = ["max_packet: 256KiB", "batch: {max_records: 1, max_bytes: 64KiB}"]
      let before = try Deliveries(
        nats.endpoint, filter: file.upstreamTopic, protocolVersion: .v311)
      before.stop()
      let agent = try TestAgent(file)
      try agent.startConnected()
      let ids = (0..<nats.pendingMax + 500).map { "m-\($0)" }
      try TestProducer(field.endpoint).publish(ids.map { .reading($0) })
      // NATS syncs each of them.
      try agent.wait(for: "the broker to have accepted all", within: .seconds(120)) {
        try agent.metric("penstock_upstream_acknowledged_sequence") == Double(ids.count)
      }
      try nats.terminate()
      try nats.start()
      let after = try Deliveries(
        nats.endpoint, filter: file.upstreamTopic, protocolVersion: .v311)
      try agent.wait(for: "all at the consumer", within: .seconds(60)) {
        after.faults(expecting: ids).isEmpty
      }
      #expect(try agent.stop() == 0)
    }

    @Test("NATS as the field broker: stopped, killed and started again, nothing is lost")
    func field() throws {
      var nats = try NATSProcess("nats-field.conf")
      var central = try BrokerProcess(name: "central")
      try nats.start()
      try central.start()
      var file = GatewayFile(fieldPort: nats.port, centralPort: central.port)
      file.fieldLines = ["protocol: 3.1.1"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      var expected: [String] = []
      func publish(_ name: String) throws {
        let ids = Self.ids(name)
        try TestProducer(nats.endpoint, protocolVersion: .v311).publish(ids.map { .reading($0) })
        expected += ids
      }
      func check(_ what: String) throws {
        try agent.wait(for: what, within: .seconds(60)) {
          deliveries.faults(expecting: expected).isEmpty
        }
      }
      try publish("first")
      try check("the first")
      try nats.terminate()
      try nats.start()
      // The agent may not be back yet: its session takes them.
      try publish("stopped")
      try check("all after a stop")
      try nats.kill()
      try nats.start()
      try publish("killed")
      try check("all after a kill")
      try central.restart()
      try publish("central-restarted")
      try check("all after a restart of the centre")
      #expect(try agent.metric("penstock_ingest_session_lost_total") == 0)
      // And the agent away, with its session kept by JetStream.
      #expect(try agent.stop() == 0)
      try publish("agent-away")
      try nats.terminate()
      try nats.start()
      try agent.startConnected()
      try check("all after the agent was away")
      #expect(try agent.stop() == 0)
    }
  }
}
