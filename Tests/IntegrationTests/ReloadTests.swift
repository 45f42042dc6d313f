// Goal: SIGHUP takes over what changed, touches nothing else, and refuses what it cannot take over,
// while messages flow. Method: real brokers, a configuration file that is replaced under a running
// agent. Cannot show: every key; the plan's own tests have the cases (GatewayTests).

import Audit
import Control
import Envelope
import Glibc
import Mosquitto
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("reload")
  struct ReloadTests {
    private static let ids = (0..<200).map { "m-\($0)" }
    private static let inForce = "the new configuration is in force"
    private static let sinkClientID = "penstock-gw-it-telemetry-central-out"

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
      let sink = Self.sinkClientID
      try agent.wait(for: "both connections") { central.log.lineCount("u'first'") == 2 }
      try agent.reload("the configuration was read anew")
      agent.file.sectionLines = ["logging: {level: notice}"]
      try agent.reload("reload.level=notice")
      let outcomes = try ["unchanged", "applied"].map {
        try agent.metric("penstock_config_reloads_total", "outcome=\"\($0)\"")
      }
      #expect(outcomes == [1, 1])
      #expect(central.log.lineCount("u'first'") == 2)

      try make("second")
      try agent.reload(Self.inForce)
      try agent.wait(for: "the new certificate") {
        central.log.lineCount(" as \(sink) ", "u'second'") == 1
          && central.log.lineCount("u'second'") == 2
      }
      #expect(field.connections(of: file.inboundClientID) == 1)
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
      try agent.reload(refusal)
      let written = text(of: agent.configurationPath).split(
        separator: "\n", omittingEmptySubsequences: false)
      let line = try #require(written.firstIndex { $0.contains("max_delay: 50}") })
      let column = try #require(written[line].firstRange(of: "50")?.lowerBound)
      let place =
        "\(line + 1):\(written[line].distance(from: written[line].startIndex, to: column) + 1)"
      #expect(
        agent.log.lineCount(
          "\(agent.configurationPath):\(place):", "batch.max_delay", "accepted") == 1,
        "\(agent.log)")
      agent.file = file
      agent.file.gatewayID = "gw-other"
      try agent.reload(refusal)
      #expect(agent.log.lineCount("gateway.id: gw-it is written in the journals") == 1)
      agent.file = file
      agent.file.routeLines = ["message_id: none"]
      try agent.reload(refusal)
      #expect(agent.log.lineCount("routes.telemetry.message_id") == 1)
      agent.file = file
      agent.file.routeName = "renamed"
      try agent.reload(refusal)
      #expect(agent.log.lineCount("run with --abandon-session") == 1)

      try TestProducer(field.endpoint).publish(Self.ids.map { .reading($0) })
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: Self.ids).isEmpty }
      #expect(field.connections(of: file.inboundClientID) == 1)
      #expect(central.connections(of: Self.sinkClientID) == 1)
      #expect(
        try agent.metric("penstock_config_reloads_total", "outcome=\"refused\"") == 4)
      #expect(try agent.stop() == 0)
    }

    @Test("another journal size is a warning: the file and its capacity stay")
    func journalSize() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      let capacity = try agent.metric("penstock_journal_capacity_bytes")
      let byteCount = try FileStatus(path: agent.journalPath).byteCount
      agent.file.journalLines = ["size: 32MiB"]
      try agent.reload("reload.changed=telemetry")
      try agent.wait(for: "the route to be back") { try agent.status() == "ok" }
      #expect(agent.log.lineCount("journal.warning=", "the file's size holds") == 1)
      #expect(try agent.metric("penstock_journal_capacity_bytes") == capacity)
      #expect(try FileStatus(path: agent.journalPath).byteCount == byteCount)
      #expect(try agent.stop() == 0)
    }

    @Test("an agent that only delivers takes nothing over")
    func deliverOnly() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      #expect(try agent.stop() == 0)
      try agent.start(arguments: ["--deliver-only"])
      try agent.wait(for: "the agent") {
        agent.log.contains("deliver-only: the disk is not written")
      }
      agent.file.moreRoutes = [Self.alarms]
      try agent.reload("refused as a whole")
      #expect(agent.log.lineCount("finding=", "deliver-only: the journals cannot be written") == 1)
      #expect(try agent.routeObject("alarms") == nil)
      #expect(try agent.stop() == 0)
    }

    @Test("what the unit runs for `systemctl reload` refuses a wrong file before any signal")
    func unit() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      let reloads = text(of: repositoryRoot + "/systemd/penstock.service").split(separator: "\n")
        .filter { $0.hasPrefix("ExecReload=") }.map { $0.dropFirst("ExecReload=".count) }
      try #require(reloads.count == 2)
      func run(_ line: Substring) throws -> Command {
        let words = line.split(separator: " ").map { word in
          switch word {
          case "/usr/bin/penstock": Command.penstock
          case "/etc/penstock/penstock.yaml": agent.configurationPath
          case "$MAINPID": "\(agent.processID ?? 0)"
          default: String(word)
          }
        }
        return try Command(
          executable: words[0], arguments: Array(words.dropFirst()), environment: [:],
          within: .seconds(30))
      }
      agent.file.sinkLines = ["max_in_flight: 0"]
      try agent.writeConfiguration()
      let refusal = try run(reloads[0])
      #expect(refusal.code == 78)
      #expect(refusal.error.contains("\(agent.configurationPath):"))
      agent.file.sinkLines = ["max_in_flight: 2"]
      try agent.writeConfiguration()
      let check = try run(reloads[0])
      #expect(check.code == 0 && check.output.isEmpty && check.error.isEmpty)
      #expect(try run(reloads[1]).code == 0)
      try agent.wait(for: "the reload") { agent.log.contains(Self.inForce) }
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
      agent.file.moreBrokerLines = ["second: {url: \"mqtt://127.0.0.1:\(second.port)\"}"]
      agent.file.moreSinkLines = [
        "- {name: second, broker: second, topic: copy, batch: {max_delay: 50ms}}"
      ]
      agent.file.sectionLines = ["logging: {level: debug}"]
      let copies = try Deliveries(second.endpoint, filter: "copy")
      try agent.reload(Self.inForce)
      try publish("second")
      try agent.wait(for: "both to have all") {
        deliveries.faults(expecting: expected).isEmpty
          && copies.faults(expecting: expected).isEmpty
      }
      try agent.wait(for: "a line of the new level") { agent.log.contains("debug") }

      // Without it again, and another filter. The session is the same one.
      agent.file.moreBrokerLines = []
      agent.file.moreSinkLines = []
      agent.file.filters = ["pumps/+/metrics", "tanks/+/level"]
      try agent.reload(Self.inForce)
      try agent.wait(for: "the route to be back") { try agent.status() == "ok" }
      try publish("tank", topic: "tanks/t1/level")
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: expected).isEmpty }
      #expect(!copies.events.contains { $0.id == "tank-0" })
      #expect(try agent.metric("penstock_ingest_session_lost_total") == 0)
      #expect(!(try agent.metricsPage().contains("sink=\"second\"")))
      #expect(!(try agent.health().body.contains("\"sink\":\"second\"")))
      #expect(try agent.stop() == 0)
    }

    @Test("a removed route takes and delivers what is left, ends its session, and keeps its file")
    func removed() throws {
      let stage = try OperatorStage { $0.moreRoutes = [Self.alarms] }
      let agent = stage.agent
      // With the centre away, so that something is left to deliver.
      try stage.central.terminate()
      let producer = try TestProducer(stage.field.endpoint)
      try producer.publish(Self.ids.map { Self.alarm($0) })
      agent.file.moreRoutes = []
      try agent.reload("reload.retired=alarms")
      try agent.wait(for: "the end of the session") {
        agent.log.lineCount("ended the session at the field broker", "route=alarms") == 1
      }
      #expect(try agent.routeObject("alarms")?["phase"]?.string == "draining")
      #expect(!agent.log.contains(Self.drained))
      try stage.central.start()
      try agent.wait(for: "the end of the route", within: .seconds(60)) {
        agent.log.contains(Self.drained)
      }
      try agent.wait(for: "all deliveries") {
        stage.deliveries.faults(expecting: Self.ids).isEmpty
      }
      try agent.wait(for: "the route to be gone") {
        try agent.routeObject("alarms") == nil
      }
      #expect(!(try agent.health().body.contains("alarms")))
      #expect(!(try agent.metricsPage().contains("route=\"alarms\"")))
      #expect(try FileStatus(path: agent.dataDirectory + "/alarms.journal").isRegularFile)
      #expect(try producer.publish([Self.alarm("nobody-s")]) == [.noMatchingSubscribers])
      try agent.wait(for: "the other route to be well") { try agent.status() == "ok" }
      #expect(stage.field.connections(of: agent.file.inboundClientID) == 1)
      #expect(try agent.stop() == 0)
    }

    @Test("a removed route that is stopped on its way leaves the rest in its journal")
    func removedAndStopped() throws {
      let stage = try OperatorStage { $0.moreRoutes = [Self.alarms] }
      let agent = stage.agent
      try stage.central.terminate()
      try TestProducer(stage.field.endpoint).publish(Self.ids.map { Self.alarm($0) })
      agent.file.moreRoutes = []
      try agent.reload("reload.retired=alarms")
      try agent.wait(for: "the end of the session") {
        agent.log.lineCount("ended the session at the field broker", "route=alarms") == 1
      }
      #expect(try agent.stop() == 0)
      #expect(agent.log.lineCount("what is left stays", "journal.outstanding=200") == 1)
      try stage.central.start()
      agent.file.moreRoutes = [Self.alarms]
      try agent.startConnected()
      try agent.wait(for: "all deliveries") {
        stage.deliveries.faults(expecting: Self.ids).isEmpty
      }
      #expect(try agent.stop() == 0)
    }

    @Test("an added route opens beside the others and is at the control desk; it comes back, too")
    func added() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      var expected: [String] = []
      let producer = try TestProducer(stage.field.endpoint)
      func publish(_ name: String) throws {
        let ids = (0..<50).map { "\(name)-\($0)" }
        #expect(try producer.publish(ids.map { Self.alarm($0) }).allSatisfy { $0 == .success })
        expected += ids
      }
      agent.file.moreRoutes = [Self.alarms]
      try agent.reload("reload.added=alarms")
      try agent.wait(for: "both routes") {
        try agent.routeObject("alarms")?["phase"]?.string == "running" && agent.status() == "ok"
      }
      try publish("one")
      try agent.wait(for: "deliveries of the new route") {
        stage.deliveries.faults(expecting: expected).isEmpty
      }
      let journal = try #require(try agent.routeObject("alarms")?["journal"]?["id"]?.string)
      let drain = try agent.command("drain", "--route", "alarms", "--timeout", "20s")
      #expect(drain.code == 0, "\(drain.error)")

      // Drained with its session kept; removed it comes back for the session.
      try publish("two")
      agent.file.moreRoutes = []
      try agent.reload("reload.retired=alarms")
      try agent.wait(for: "the end of the route") { agent.log.contains(Self.drained) }
      try agent.wait(for: "what waited in the session") {
        stage.deliveries.faults(expecting: expected).isEmpty
      }
      #expect(try producer.publish([Self.alarm("nobody-s")]) == [.noMatchingSubscribers])

      agent.file.moreRoutes = [Self.alarms]
      try agent.reload("reload.added=alarms")
      try agent.wait(for: "both routes") {
        try agent.routeObject("alarms")?["phase"]?.string == "running" && agent.status() == "ok"
      }
      #expect(try agent.routeObject("alarms")?["journal"]?["id"]?.string == journal)
      try publish("three")
      // Its ids are known still.
      try producer.publish([Self.alarm("one-0")])
      try agent.wait(for: "all deliveries") {
        stage.deliveries.faults(expecting: expected).isEmpty
      }
      try agent.wait(for: "the duplicate") {
        try agent.metric("penstock_ingest_duplicates_total", "route=\"alarms\"") == 1
      }
      #expect(stage.field.connections(of: agent.file.inboundClientID) == 1)
      #expect(stage.central.connections(of: Self.sinkClientID) == 1)
      #expect(try agent.stop() == 0)
    }

    @Test("a new route whose journal cannot be opened holds up nobody and is tried again")
    func addedInVain() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      let path = agent.dataDirectory + "/alarms.journal"
      try File.replace(path, with: [UInt8](repeating: 7, count: 16 << 20))
      agent.file.moreRoutes = [Self.alarms]
      try agent.reload("reload.added=alarms")
      try agent.wait(for: "the failure") { agent.log.contains("the new route cannot start") }
      try agent.wait(for: "the page") {
        try agent.health().body.contains("route alarms cannot start")
      }
      #expect(try agent.routeObject("alarms") == nil)
      let ids = Self.ids
      try TestProducer(stage.field.endpoint).publish(ids.map { .reading($0) })
      try agent.wait(for: "all deliveries") { stage.deliveries.faults(expecting: ids).isEmpty }

      try File.remove(path)
      try agent.reload("reload.added=alarms")
      try agent.wait(for: "both routes") {
        try agent.routeObject("alarms")?["phase"]?.string == "running" && agent.status() == "ok"
      }
      #expect(!(try agent.health().body.contains("cannot start")))
      #expect(try agent.stop() == 0)
    }

    @Test("a destination's limits change while the route receives; nothing comes twice")
    func redirected() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      let producer = try TestProducer(stage.field.endpoint)
      var expected: [String] = []
      for count in 1...5 {
        let ids = (0..<200).map { "\(count)-\($0)" }
        expected += ids
        try producer.publish(ids.map { .reading($0) })
        agent.file.sinkLines = ["batch: {max_delay: 50ms}", "max_in_flight: \(count)"]
        try agent.reload("reload.redirected=telemetry")
      }
      try agent.wait(for: "all deliveries") { stage.deliveries.faults(expecting: expected).isEmpty }
      try agent.wait(for: "the last of the connections") {
        stage.central.connections(of: Self.sinkClientID) == 6
      }
      #expect(stage.deliveries.events.count == expected.count)
      #expect(stage.field.connections(of: agent.file.inboundClientID) == 1)
      #expect(agent.log.lineCount("journal open") == 1)
      #expect(try agent.stop() == 0)
    }

    @Test("the bound of a link changes under its connections")
    func link() throws {
      let stage = try OperatorStage {
        $0.sinkLines = ["batch: {max_delay: 50ms, max_bytes: 16KiB}", "compression: none"]
      }
      let agent = stage.agent
      agent.file.centralLines = [
        "link: {rate_limit: {rate: 1kB/s, burst: 1KiB, applies_to: all}}"
      ]
      try agent.reload("reload.links=central")
      let ids = Self.ids
      try TestProducer(stage.field.endpoint).publish(
        ids.map { .reading($0, byteCount: 1000) })
      try agent.wait(for: "the bound to bite") {
        try agent.metric("penstock_upstream_held_seconds_total", "reason=\"rate-limit\"") ?? 0 > 1
      }
      // At the old bound it would take minutes.
      #expect(stage.deliveries.events.count < ids.count)
      agent.file.centralLines = []
      try agent.reload("reload.links=central")
      try agent.wait(for: "all deliveries") { stage.deliveries.faults(expecting: ids).isEmpty }
      #expect(stage.deliveries.events.count == ids.count)
      #expect(stage.central.connections(of: Self.sinkClientID) == 1)
      #expect(stage.field.connections(of: agent.file.inboundClientID) == 1)
      #expect(try agent.stop() == 0)
    }

    @Test("a route that opens again is neither the end of the process nor a stall for systemd")
    func systemd() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      #expect(try agent.stop() == 0)
      let path = agent.path + "/notify"
      let systemd = try FakeSystemd(path: path)
      try agent.start(environment: ["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"])
      // Its queue is short: it is emptied at every look.
      var heard: [String] = []
      try agent.wait(for: "readiness") {
        heard += systemd.take()
        return try agent.status() == "ok" && heard.contains { $0.contains("READY=1") }
      }
      heard = []
      for count in 1...3 {
        agent.file.fieldLines = ["keep_alive: \(30 + count)s"]
        try agent.reload("reload.changed=telemetry")
        try agent.wait(for: "the route to be back") {
          heard += systemd.take()
          return try agent.status() == "ok"
        }
      }
      try agent.wait(for: "pings") {
        heard += systemd.take()
        return heard.count { $0.contains("WATCHDOG=1") } >= 4
      }
      #expect(!heard.contains { $0.contains("STOPPING=1") }, "\(heard)")
      #expect(try agent.stop() == 0)
      #expect(systemd.take().contains { $0.contains("STOPPING=1") })
    }

    @Test("a drain goes on over a reload, and after --end-session the route gets another name")
    func drainedRoute() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      #expect(try agent.command("drain", "--end-session", "--timeout", "20s").code == 0)
      agent.file.sinkLines = ["batch: {max_delay: 50ms}", "max_in_flight: 2"]
      try agent.reload("reload.redirected=telemetry")
      try agent.wait(for: "the route to be drained again") {
        try agent.routeObject()?["phase"]?.string == "drained"
      }
      let producer = try TestProducer(stage.field.endpoint)
      #expect(try producer.publish([.reading("nobody-s")]) == [.noMatchingSubscribers])

      agent.file.routeName = "renamed"
      try agent.reload(Self.inForce)
      #expect(agent.log.lineCount("reload.added=renamed", "reload.retired=telemetry") == 1)
      try agent.wait(for: "the new route") {
        try agent.status() == "ok" && agent.routeObject() == nil
      }
      try producer.publish(Self.ids.map { .reading($0) })
      try agent.wait(for: "all deliveries") {
        stage.deliveries.faults(expecting: Self.ids).isEmpty
      }
      #expect(try agent.stop() == 0)
    }

    @Test("renaming a route by a restart is refused, too; removing one is told of at each start")
    func renamedByRestart() throws {
      let stage = try OperatorStage { $0.moreRoutes = [Self.alarms] }
      let agent = stage.agent
      #expect(try agent.stop() == 0)
      agent.file.routeName = "renamed"
      try agent.start()
      #expect(try agent.waitForEnd() == 78)
      #expect(agent.log.lineCount("telemetry is gone and renamed reads the same") == 1)
      agent.file.routeName = "telemetry"
      agent.file.moreRoutes = []
      try agent.startConnected()
      let told = "a route that is gone has left its session"
      #expect(agent.log.lineCount(told, "route=alarms") == 1)
      // Back again, and removed in good order.
      agent.file.moreRoutes = [Self.alarms]
      try agent.reload("reload.added=alarms")
      agent.file.moreRoutes = []
      try agent.reload("reload.retired=alarms")
      try agent.wait(for: "the end of the route") { agent.log.contains(Self.drained) }
      #expect(try agent.stop() == 0)
      agent.file.routeName = "renamed"
      try agent.start(arguments: ["--abandon-session"])
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      #expect(agent.log.lineCount(told, "route=alarms") == 1)
      #expect(agent.log.lineCount(told, "route=telemetry") == 1)
      #expect(try agent.stop() == 0)
    }

    @Test("--abandon-session lets a route be renamed: what is journalled is delivered all the same")
    func abandoned() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      #expect(try agent.stop() == 0)
      try agent.start(arguments: ["--abandon-session"])
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      try stage.central.terminate()
      let producer = try TestProducer(stage.field.endpoint)
      try producer.publish(Self.ids.map { .reading($0) })
      try agent.wait(for: "all to be journalled") {
        try agent.metric("penstock_ingest_journalled_total") == Double(Self.ids.count)
      }
      agent.file.routeName = "renamed"
      try agent.reload("reload.abandoned=telemetry")
      try stage.central.start()
      try agent.wait(for: "the end of the old route", within: .seconds(60)) {
        agent.log.contains(Self.drained)
      }
      try agent.wait(for: "all deliveries") {
        stage.deliveries.faults(expecting: Self.ids).isEmpty
      }
      #expect(agent.log.lineCount("ended the session at the field broker") == 0)
      #expect(try agent.stop() == 0)
    }
  }
}

extension IntegrationSuite.ReloadTests {
  static let drained = "the removed route is drained"
  static let alarms =
    "- {name: alarms, from: field, subscribe: [\"alarms/#\"], journal: {size: 16MiB}, "
    + "to: [{name: central, broker: central, batch: {max_delay: 50ms}}]}"

  static func alarm(_ id: String) -> TestProducer.Message {
    var message = TestProducer.Message.reading(id)
    message.topic = "alarms/p1"
    return message
  }
}

extension TestAgent {
  /// Replaces the file, sends SIGHUP and waits for the log line that ends it.
  func reload(_ words: String) throws {
    let count = log.lineCount(words)
    try writeConfiguration()
    send(signal: SIGHUP)
    try wait(for: "the reload: \(words)") { log.lineCount(words) == count + 1 }
  }
}

extension BrokerProcess {
  /// How often a client of this id has connected.
  func connections(of client: String) -> Int {
    log.lineCount("New client connected", " as \(client) ")
  }
}
