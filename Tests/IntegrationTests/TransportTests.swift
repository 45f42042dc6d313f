// Goal: the same path over TLS, over MQTT 3.1.1 and as raw messages; what the centre refuses stays
// in the journal until it is accepted. Method: certificates made for the test, brokers with access
// rules. Cannot show: other brokers than Mosquitto.

import Audit
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("transports and refusals")
  struct TransportTests {
    private static let ids = (0..<200).map { "m-\($0)" }

    /// A broker with a TLS listener for the agent, who needs a password, beside the plain one for
    /// the test's own clients.
    private static func secured(
      _ name: String, tlsPort: UInt16, in directory: String
    ) throws -> BrokerProcess {
      let passwords = "\(directory)/\(name).passwords"
      let made = try Command(
        tool: "mosquitto_passwd", ["-c", "-b", passwords, "penstock", "\(name)-secret"])
      try #require(made.code == 0, "\(made.error)")
      try File.replace("\(directory)/\(name).secret", with: Array("\(name)-secret\n".utf8))
      try TestCertificates.makeCertificate(
        name, authority: "ca", alternativeNames: "IP:127.0.0.1", in: directory)
      var options = BrokerOptions()
      options.lines = [
        "password_file \(passwords)", "listener \(tlsPort) 127.0.0.1",
        "certfile \(directory)/\(name).pem", "keyfile \(directory)/\(name).key",
      ]
      return try BrokerProcess(name: name, options: options)
    }

    @Test(
      "TLS, user name and password on both sides",
      .enabled(if: Environment.executable(named: "openssl") != nil, "openssl is not installed"))
    func secured() throws {
      let directory = try TemporaryDirectory(prefix: "penstock-certificates")
      let path = directory.path
      try TestCertificates.makeAuthority("ca", in: path)
      let ports = (field: try Loopback.freePort(), central: try Loopback.freePort())
      var field = try Self.secured("field", tlsPort: ports.field, in: path)
      var central = try Self.secured("central", tlsPort: ports.central, in: path)
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: 0, centralPort: 0)
      file.field = "mqtts://127.0.0.1:\(ports.field)"
      file.central = "mqtts://127.0.0.1:\(ports.central)"
      func lines(_ name: String) -> [String] {
        [
          "username: penstock", "password_file: \(path)/\(name).secret",
          "tls: {ca_file: \(path)/ca.pem}",
        ]
      }
      file.fieldLines = lines("field")
      file.centralLines = lines("central")
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try TestProducer(field.endpoint).publish(Self.ids.map { .reading($0) })
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: Self.ids).isEmpty }
      #expect(deliveries.events.count == Self.ids.count)
      for log in [field.log, central.log] {
        #expect(log.lineCount("connected", " as penstock-gw-it-", "u'penstock'") == 1, "\(log)")
      }
      #expect(try agent.stop() == 0)

      // Control: with the system's authorities alone the same brokers are not believed.
      agent.file.fieldLines[2] = "receive_maximum: 100"
      try agent.start()
      try agent.wait(for: "the distrust") {
        try agent.health().body.contains("Check that the CA file")
      }
      #expect(try agent.stop() == 0)
    }

    @Test("MQTT 3.1.1 on both sides, with the largest packet told by the configuration")
    func oldProtocol() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.fieldLines = ["protocol: 3.1.1"]
      file.centralLines = ["protocol: 3.1.1"]
      file.sinkLines = ["max_packet: 4KiB", "batch: {max_bytes: 4KiB, max_delay: 50ms}"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try TestProducer(field.endpoint).publish(Self.ids.map { .reading($0, byteCount: 300) })
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: Self.ids).isEmpty }
      for log in [field.log, central.log] {
        #expect(log.lineCount("connected", " as penstock-gw-it-", "(p2, ") == 1, "\(log)")
      }
      #expect(try agent.stop() == 0)
    }

    @Test("raw: each record on its mapped topic, byte for byte")
    func raw() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.sinkLines = [
        "format: raw", "topic_map: {remove_prefix: \"pumps/\", add_prefix: \"site/\"}",
      ]
      let deliveries = try Deliveries(central.endpoint, filter: "site/#", isRaw: true)
      let agent = try TestAgent(file)
      try agent.startConnected()
      var messages = Self.ids.map { TestProducer.Message.reading($0) }
      messages.append(.init("pumps/p2/metrics", [0, 255, 1]))
      messages.append(.init("pumps/p2/metrics", []))
      try TestProducer(field.endpoint).publish(messages)
      try agent.wait(for: "all deliveries") { deliveries.contents.raw.count >= messages.count }
      // One connection, one window: in the order of sending.
      let raw = deliveries.contents.raw
      #expect(raw.map(\.payload) == messages.map(\.payload))
      #expect(raw.map(\.topic) == messages.map { "site/" + $0.topic.dropFirst(6) })
      #expect(try agent.stop() == 0)
    }

    @Test("a centre that denies the topic: the cursor stays, and all arrives when the rule changes")
    func denied() throws {
      var options = BrokerOptions()
      options.accessControlList = "topic read #\n"
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try TestProducer(field.endpoint).publish(Self.ids.map { .reading($0) })
      try agent.wait(for: "the refusal to be counted twice") {
        try agent.metric("penstock_upstream_refused_total", "code=\"0x87\"") ?? 0 >= 2
      }
      #expect(try agent.metric("penstock_upstream_acknowledged_sequence") ?? 0 == 0)
      #expect(try agent.metric("penstock_upstream_batches_total") ?? 0 == 0)
      #expect(try agent.metric("penstock_upstream_records_total") ?? 0 == 0)
      #expect(agent.log.contains("the upstream broker refuses, sending again later"))
      #expect(deliveries.events.isEmpty)
      try File.replace("\(central.directoryPath)/acl", with: Array("topic readwrite #\n".utf8))
      central.send(signal: 1)
      try agent.wait(for: "all deliveries", within: .seconds(90)) {
        deliveries.faults(expecting: Self.ids).isEmpty
      }
      try agent.wait(for: "the cursor") {
        try agent.metric("penstock_upstream_acknowledged_sequence") == 200
      }
      #expect(try agent.metric("penstock_upstream_records_total") == 200)
      #expect(try agent.stop() == 0)
    }

    @Test("no subscriber at the centre is not acceptance")
    func nobodyThere() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try TestProducer(field.endpoint).publish(Self.ids.map { .reading($0) })
      try agent.wait(for: "the refusal to be counted") {
        try agent.metric("penstock_upstream_refused_total", "code=\"0x10\"") ?? 0 >= 1
      }
      #expect(try agent.metric("penstock_upstream_acknowledged_sequence") ?? 0 == 0)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      try agent.wait(for: "all deliveries", within: .seconds(60)) {
        deliveries.faults(expecting: Self.ids).isEmpty
      }
      #expect(try agent.stop() == 0)
    }

    @Test("no subscriber at the centre is acceptance where the configuration says so")
    func nobodyThereAccepted() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.sinkLines.append("accept_no_subscriber: true")
      let agent = try TestAgent(file)
      try agent.startConnected()
      try TestProducer(field.endpoint).publish(Self.ids.map { .reading($0) })
      try agent.wait(for: "the cursor") {
        try agent.metric("penstock_upstream_acknowledged_sequence") == 200
      }
      #expect(try agent.stop() == 0)
    }
  }
}
