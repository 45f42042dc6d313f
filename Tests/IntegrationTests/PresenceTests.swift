// Goal: whoever looks at the status topic knows whether the gateway is there. Method: a real
// broker, SIGKILL, a clean stop, a broker that forgets. Cannot show: how long a broker takes to
// notice a dead network (1.5 × keep_alive by the standard).

import Audit
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("status topic")
  struct PresenceTests {
    private static let topic = "penstock/v1/gw-it/status"

    /// The retained message of the status topic, with its flag and QoS in front; empty when there
    /// is none.
    private static func retained(_ port: UInt16, topic: String = Self.topic) throws -> String {
      let command = try Command(
        tool: "mosquitto_sub",
        ["-p", "\(port)", "-q", "1", "-t", topic, "-C", "1", "-W", "1", "-F", "%r %q %p"])
      return command.output
    }

    @Test(
      "online while it runs, offline by the broker after a SIGKILL, offline by itself after a stop",
      arguments: ["5", "3.1.1"])
    func life(protocolVersion: String) throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.statusTopic = nil
      file.centralLines = ["protocol: \(protocolVersion)"]
      file.sinkLines += ["max_packet: 1MiB"]
      let agent = try TestAgent(file)
      #expect(try Self.retained(central.port).isEmpty)
      try agent.startConnected()
      func wait(for words: String...) throws {
        try agent.wait(for: "\(words)") {
          let text = try Self.retained(central.port)
          return words.allSatisfy { text.contains($0) }
        }
      }
      try wait(for: "1 1 {\"penstock\":1,\"gateway\":\"gw-it\",\"status\":\"online\"")
      let started = try Self.retained(central.port)
      #expect(started.contains("\"version\":\""))
      #expect(started.contains("\"since\":\"20"))
      #expect(try agent.metric("penstock_broker_status_online", "broker=\"central\"") == 1)
      #expect(try agent.metric("penstock_broker_status_online", "broker=\"field\"") == nil)

      try agent.kill()
      try IntegrationTests.wait(for: "the will") {
        let text = try Self.retained(central.port)
        return text.hasPrefix("1 1 ") && text.contains("\"status\":\"offline\",\"reason\":\"lost\"")
      }
      try agent.start()
      try wait(for: "\"status\":\"online\"")
      #expect(try Self.retained(central.port) != started)

      #expect(try agent.stop() == 0)
      let text = try Self.retained(central.port)
      #expect(text.contains("\"status\":\"offline\",\"reason\":\"stopped\""), "\(text)")
    }

    @Test("a broker that only a removed route delivers to hears the end when all is delivered")
    func removedRoute() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      var archive = try BrokerProcess(name: "archive")
      try field.start()
      try central.start()
      try archive.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.moreBrokerLines = ["archive: {url: \"mqtt://127.0.0.1:\(archive.port)\"}"]
      // Some seconds on its way out.
      file.moreRoutes = [
        "- name: alarms", "  from: field", "  subscribe: [\"alarms/#\"]",
        "  journal: {size: 16MiB}",
        "  to:", "    - name: archive", "      broker: archive",
        "      batch: {max_records: 1, max_delay: 1ms}", "      accept_no_subscriber: true",
        "      rate_limit: {rate: 10/s, burst: 1, applies_to: all}",
      ]
      let agent = try TestAgent(file)
      try agent.startConnected()
      try agent.wait(for: "online") { try Self.retained(archive.port).contains("online") }
      try TestProducer(field.endpoint).publish((0..<40).map { ReloadTests.alarm("a-\($0)") })
      try agent.wait(for: "the journal") {
        try agent.metric("penstock_journal_committed_sequence", "alarms") == 40
      }
      agent.file.moreRoutes = []
      agent.file.moreBrokerLines = []
      try agent.reload("reload.retired=alarms")
      var looks = (online: 0, early: [String]())
      try agent.wait(for: "the end of the route") {
        let text = try Self.retained(archive.port)
        if agent.log.contains(ReloadTests.drained) { return true }
        if text.contains("online") { looks.online += 1 } else { looks.early.append(text) }
        return false
      }
      #expect(looks.online > 0 && looks.early.isEmpty, "\(looks)")
      try agent.wait(for: "the last word") {
        try Self.retained(archive.port).contains("\"reason\":\"stopped\"")
      }
      #expect(try agent.status() == "ok")
      #expect(try agent.stop() == 0)
    }

    @Test("a broker that has forgotten is told again")
    func forgotten() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.statusTopic = nil
      let agent = try TestAgent(file)
      try agent.startConnected()
      try agent.wait(for: "online") { try Self.retained(central.port).contains("online") }
      try central.kill()
      try central.start()
      try agent.wait(for: "online again") { try Self.retained(central.port).contains("online") }
      #expect(try agent.stop() == 0)
    }

    @Test("a refused status topic is told and costs no delivery; another topic can be chosen")
    func refused() throws {
      var options = BrokerOptions()
      options.accessControlList =
        "topic readwrite penstock/v1/gw-it/telemetry\ntopic readwrite my/#\n"
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.statusTopic = nil
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try agent.wait(for: "the refusal") {
        agent.log.contains("the broker refuses the status topic penstock/v1/gw-it/status")
      }
      let ids = (0..<100).map { "m-\($0)" }
      try TestProducer(field.endpoint).publish(ids.map { .reading($0) })
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: ids).isEmpty }
      #expect(try agent.status() == "ok")
      #expect(try agent.metric("penstock_broker_status_online", "broker=\"central\"") == 0)
      #expect(try agent.stop() == 0)
      agent.file.statusTopic = "my/gateway"
      try agent.startConnected()
      try agent.wait(for: "online") {
        try Self.retained(central.port, topic: "my/gateway").contains("online")
      }
      #expect(try agent.stop() == 0)
    }
  }
}
