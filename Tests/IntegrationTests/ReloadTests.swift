// Goal: SIGHUP takes over what changed, touches nothing else, and refuses what it cannot take over,
// while messages flow. Method: real brokers, a configuration file that is replaced under a running
// agent. Cannot show: every key; the plan's own tests have the cases (GatewayTests).

import Audit
import Envelope
import Mosquitto
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("reload")
  struct ReloadTests {
    private static let ids = (0..<200).map { "m-\($0)" }

    /// Replaces the file, sends SIGHUP and waits for the log line that ends it.
    private static func reload(_ agent: TestAgent, _ words: String) throws {
      let count = agent.log.lineCount(words)
      try agent.writeConfiguration()
      agent.send(signal: 1)
      try agent.wait(for: "the reload: \(words)") { agent.log.lineCount(words) == count + 1 }
    }

    private static func connections(_ log: String, _ client: String) -> Int {
      log.lineCount("New client connected", " as \(client) ")
    }

    @Test("a replaced certificate is used at once by its own connections and by no others")
    func certificates() throws {
      let directory = try TemporaryDirectory(prefix: "penstock-reload")
      let path = directory.path
      try TestCertificates.makeAuthority("ca", in: path)
      try TestCertificates.makeCertificate(
        "central", authority: "ca", alternativeNames: "IP:127.0.0.1", in: path)
      func make(_ name: String) throws {
        try TestCertificates.makeCertificate(
          name, authority: "ca", alternativeNames: "DNS:own", file: "own", in: path)
      }
      try make("first")
      let port = try Loopback.freePort()
      var options = Audit.BrokerOptions()
      options.lines = [
        "listener \(port) 127.0.0.1", "cafile \(path)/ca.pem", "certfile \(path)/central.pem",
        "keyfile \(path)/central.key",
        "require_certificate true", "use_identity_as_username true",
      ]
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.central = "mqtts://127.0.0.1:\(port)"
      file.centralLines = [
        "tls: {ca_file: \(path)/ca.pem, cert_file: \(path)/own.pem, key_file: \(path)/own.key}"
      ]
      file.statusTopic = nil
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let sink = "penstock-gw-it-telemetry-central-out"
      try agent.wait(for: "both connections") { central.log.lineCount("u'first'") == 2 }
      try Self.reload(agent, "the configuration was read anew")
      #expect(central.log.lineCount("u'first'") == 2)

      try make("second")
      try Self.reload(agent, "the new configuration is in force")
      try agent.wait(for: "the new certificate") {
        central.log.lineCount(" as \(sink) ", "u'second'") == 1
          && central.log.lineCount("u'second'") == 2
      }
      #expect(Self.connections(field.log, file.inboundClientID) == 1)
      #expect(central.log.lineCount("Client \(sink) disconnected.") == 1)
      try TestProducer(field.endpoint).publish(Self.ids.map { .reading($0) })
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: Self.ids).isEmpty }
      #expect(deliveries.events.count == Self.ids.count)
      #expect(try agent.stop() == 0)
    }

    @Test("an invalid file, and one that this process cannot take over, are refused as a whole")
    func refused() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let refusal = "refused as a whole"
      // One error, one change that would be right: neither counts.
      agent.file.sinkLines = ["max_in_flight: 2", "batch: {max_delay: 50}"]
      try Self.reload(agent, refusal)
      #expect(
        agent.log.lineCount("\(agent.configurationPath):", "batch.max_delay", "accepted") == 1,
        "\(agent.log)")
      agent.file = file
      agent.file.gatewayID = "gw-other"
      try Self.reload(agent, refusal)
      #expect(agent.log.lineCount("gateway.id: gw-it is written in the journals") == 1)
      agent.file = file
      agent.file.routeLines = ["message_id: none"]
      try Self.reload(agent, refusal)
      #expect(agent.log.lineCount("routes.telemetry.message_id") == 1)
      agent.file = file
      agent.file.routeName = "renamed"
      try Self.reload(agent, refusal)
      #expect(agent.log.lineCount("run with --abandon-session") == 1)

      try TestProducer(field.endpoint).publish(Self.ids.map { .reading($0) })
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: Self.ids).isEmpty }
      #expect(Self.connections(field.log, file.inboundClientID) == 1)
      #expect(Self.connections(central.log, "penstock-gw-it-telemetry-central-out") == 1)
      #expect(
        try agent.metric("penstock_config_reloads_total", "outcome=\"refused\"") == 4)
      #expect(try agent.stop() == 0)
    }

    @Test("destinations, brokers, filters and the log's level change live; nothing is lost")
    func changed() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      var second = try BrokerProcess(name: "second")
      try field.start()
      try central.start()
      try second.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let producer = try TestProducer(field.endpoint)
      var expected: [String] = []
      func publish(_ name: String, topic: String? = nil) throws {
        let ids = (0..<100).map { "\(name)-\($0)" }
        var messages = ids.map { TestProducer.Message.reading($0) }
        if let topic { for index in messages.indices { messages[index].topic = topic } }
        try producer.publish(messages)
        expected += ids
      }
      try publish("before")

      // Another destination, which gets everything from the beginning of the journal.
      agent.file.moreBrokers = ["  second:", "    url: mqtt://127.0.0.1:\(second.port)"]
      agent.file.moreSinks = [
        "      - {name: second, broker: second, topic: copy, batch: {max_delay: 50ms}}"
      ]
      agent.file.loggingLine = "logging: {level: debug}"
      let copies = try Deliveries(second.endpoint, filter: "copy")
      try Self.reload(agent, "the new configuration is in force")
      try publish("second")
      try agent.wait(for: "both to have all") {
        deliveries.faults(expecting: expected).isEmpty
          && copies.faults(expecting: expected).isEmpty
      }
      try agent.wait(for: "a line of the new level") { agent.log.contains("debug") }

      // Without it again, and another filter. The session is the same one.
      agent.file.moreBrokers = []
      agent.file.moreSinks = []
      agent.file.filters = ["pumps/+/metrics", "tanks/+/level"]
      try Self.reload(agent, "the new configuration is in force")
      try agent.wait(for: "the route to be back") { try agent.status() == "ok" }
      try publish("tank", topic: "tanks/t1/level")
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: expected).isEmpty }
      #expect(!copies.events.contains { $0.id == "tank-0" })
      #expect(try agent.metric("penstock_ingest_session_lost_total") == 0)
      #expect(!(try agent.health().body.contains("\"sink\":\"second\"")))
      #expect(try agent.stop() == 0)
    }

    @Test("a removed route unsubscribes, takes and delivers what is left, and keeps its file")
    func removed() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.moreRoutes = [
        "  - {name: alarms, from: field, subscribe: [\"alarms/#\"], journal: {size: 16MiB}, "
          + "to: [{name: central, broker: central, batch: {max_delay: 50ms}}]}"
      ]
      let deliveries = try Deliveries(
        central.endpoint, filter: "penstock/v1/gw-it/alarms")
      let agent = try TestAgent(file)
      try agent.startConnected()
      // With the centre away, so that something is left to deliver.
      try central.terminate()
      let producer = try TestProducer(field.endpoint)
      var messages = Self.ids.map { TestProducer.Message.reading($0) }
      for index in messages.indices { messages[index].topic = "alarms/p1" }
      try producer.publish(messages)
      agent.file.moreRoutes = []
      try Self.reload(agent, "reload.retired=alarms")
      try agent.wait(for: "the subscription to end") {
        text(of: agent.dataDirectory + "/alarms.subscriptions").isEmpty
          && agent.log.contains("alarms")
      }
      #expect(!agent.log.contains("is drained and unsubscribed"))
      try central.start()
      try agent.wait(for: "the end of the route", within: .seconds(60)) {
        agent.log.contains("is drained and unsubscribed")
      }
      try agent.wait(for: "all deliveries") {
        deliveries.faults(expecting: Self.ids).isEmpty
      }
      #expect(!(try agent.health().body.contains("alarms")))
      #expect(!(try agent.metricsPage().contains("route=\"alarms\"")))
      #expect(try FileStatus(path: agent.dataDirectory + "/alarms.journal").isRegularFile)
      #expect(try producer.publish([messages[0]]) == [.noMatchingSubscribers])
      #expect(try agent.status() == "ok")
      #expect(try agent.stop() == 0)
    }
  }
}
