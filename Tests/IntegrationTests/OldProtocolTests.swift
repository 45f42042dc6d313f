// Goal: the whole path over MQTT 3.1.1, restarts of either broker included, and people are told
// what is weaker. Method: Mosquitto with persistence, restarted in order; the observer keeps a
// session, as a consumer has to where a broker cannot say "no subscriber". Cannot show: what 3.1.1
// loses, which is why it is the exception.

import Audit
import Mosquitto
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("MQTT 3.1.1 on both sides")
  struct OldProtocolTests {
    /// The lines that 3.1.1 needs on both sides.
    static func file(fieldPort: UInt16, centralPort: UInt16) -> GatewayFile {
      var file = GatewayFile(fieldPort: fieldPort, centralPort: centralPort)
      file.fieldLines = ["protocol: 3.1.1"]
      file.centralLines = ["protocol: 3.1.1"]
      file.sinkLines = ["max_packet: 256KiB", "batch: {max_bytes: 64KiB, max_delay: 50ms}"]
      return file
    }

    @Test("telemetry, over a restart of the field broker and one of the central broker")
    func restarts() throws {
      var options = BrokerOptions()
      options.persistence = true
      var field = try BrokerProcess(name: "field", options: options)
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      let file = Self.file(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(
        central.endpoint, filter: file.upstreamTopic, protocolVersion: .v311)
      let agent = try TestAgent(file)
      try agent.startConnected()
      var expected: [String] = []
      func publish(_ name: String) throws {
        let ids = (0..<300).map { "\(name)-\($0)" }
        try TestProducer(field.endpoint, protocolVersion: .v311).publish(
          ids.map { .reading($0, byteCount: 200) })
        expected += ids
      }
      try publish("first")
      try field.restart()
      // Before the agent is back: the session that the broker has kept must take them.
      try publish("field-restarted")
      try agent.wait(for: "all so far") { deliveries.faults(expecting: expected).isEmpty }
      try central.terminate()
      try publish("central-away")
      try central.start()
      try publish("central-back")
      try agent.wait(for: "all", within: .seconds(60)) {
        deliveries.faults(expecting: expected).isEmpty
      }
      #expect(agent.log.lineCount("MQTT 3.1.1 is weaker", "cannot refuse") >= 1)
      #expect(agent.log.lineCount("MQTT 3.1.1 is weaker", "in flight") >= 1)
      #expect(try agent.metric("penstock_ingest_session_lost_total") == 0)
      #expect(try agent.stop() == 0)
      for log in [field.log, central.log] { #expect(!log.contains("(p5, "), "\(log)") }
    }

    @Test("check-config warns of what is weaker, once for each side")
    func warnings() throws {
      let agent = try TestAgent(Self.file(fieldPort: 1, centralPort: 2))
      try agent.writeConfiguration()
      let command = try Command("check-config", agent.configurationPath)
      #expect(command.code == 0)
      #expect(command.error.lineCount("brokers.field.protocol", "group commit") == 1)
      #expect(command.error.lineCount("brokers.central.protocol", "cannot refuse") == 1)
      #expect(command.error.split(separator: "\n").count == 2, "\(command.error)")
    }
  }
}
