// Goal: what operators look at is true, well-formed and documented. Method: the live agent's pages
// under promtool and against the catalogue; the journal's statistics live and dead.

import Audit
import JSONScanning
import Observability
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("metrics, health and journal stats")
  struct SightTests {
    private func isJSON(_ text: String) -> Bool {
      var scanner = JSONScanner(pointers: [])
      return scanner.scan(Array(text.utf8).span) == .valid
    }

    /// An agent that has journalled and delivered 100 messages.
    private func busyAgent(
      _ field: inout BrokerProcess, _ central: inout BrokerProcess
    ) throws -> TestAgent {
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let ids = (0..<100).map { "m-\($0)" }
      try TestProducer(field.endpoint).publish(ids.map { .reading($0) })
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: ids).isEmpty }
      try agent.wait(for: "the cursor") {
        try agent.metric("penstock_upstream_acknowledged_sequence") == 100
      }
      return agent
    }

    @Test(
      "a live metrics page passes promtool, and every name on it is documented",
      .enabled(if: Environment.executable(named: "promtool") != nil, "promtool is not installed"))
    func metrics() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      let agent = try busyAgent(&field, &central)
      let page = try agent.metricsPage()
      let path = agent.path + "/metrics"
      try File.replace(path, with: Array(page.utf8))
      let check = try Command(tool: "sh", ["-c", "promtool check metrics < '\(path)'"])
      #expect(check.code == 0, "\(check.output)\(check.error)")
      let names = page.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }
        .map { String($0.split(separator: " ")[2]) }
      #expect(names.count > 20)
      #expect(names.filter { MetricCatalogue.description(of: $0) == nil } == [])
      // After normal work every instrument of the path has been seen. Missing are faults, and what
      // this configuration has not asked for: TLS, a second endpoint, a status topic, a budget.
      let unseen = Set(MetricCatalogue.all.map(\.name).filter { !$0.hasPrefix("penstock_hub_") })
        .subtracting(names)
      #expect(
        unseen == [
          "penstock_broker_certificate_expiry_timestamp_seconds", "penstock_broker_failbacks_total",
          "penstock_broker_status_online", "penstock_link_budget_left_bytes",
          "penstock_link_budget_spent_bytes", "penstock_upstream_refused_total",
        ])
      #expect(try agent.metric("penstock_upstream_records_total") == 100)
      #expect(try agent.metric("penstock_ingest_messages_total") == 100)
      try agent.wait(for: "the gauges") {
        try agent.metric("penstock_journal_committed_sequence") == 100
          && agent.metric("penstock_journal_used_bytes") == 0
      }
      // As used, it is of the data region: the two must meet when the ring is full.
      #expect(try agent.metric("penstock_journal_capacity_bytes") == Double(8 << 20))
      #expect(isJSON(try agent.health().body))
      #expect(try agent.stop() == 0)
    }

    @Test("journal stats reads the live and the dead journal, as text and as JSON")
    func statistics() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      let agent = try busyAgent(&field, &central)
      let live = try Command("journal", "stats", "--json", agent.journalPath)
      #expect(live.code == 0)
      #expect(isJSON(live.output), "\(live.output)")
      #expect(live.output.contains(#""gateway":"gw-it","route":"telemetry""#))
      #expect(live.output.contains(#""capacity_bytes":8388608,"#))
      #expect(try agent.status() == "ok")
      #expect(try agent.stop() == 0)

      let dead = try Command("journal", "stats", "--json", agent.journalPath)
      #expect(dead.code == 0)
      #expect(isJSON(dead.output), "\(dead.output)")
      #expect(dead.output.contains(#""committed":100,"#), "\(dead.output)")
      #expect(dead.output.contains(#""name":"central","required":true,"acknowledged":100"#))
      #expect(dead.output.contains(#""undelivered_bytes":0"#), "\(dead.output)")
      let table = try Command("journal", "stats", agent.journalPath)
      #expect(table.output.contains("central           100       0"), "\(table.output)")

      let missing = try Command("journal", "stats", agent.path + "/none.journal")
      #expect(missing.code == 74)
      #expect(missing.error.contains("none.journal"))
      let foreign = try Command("journal", "stats", agent.configurationPath)
      #expect(foreign.code == 65, "\(foreign.error)")
    }

    @Test("check-config prints what is in force, without secrets")
    func checkConfig() throws {
      var file = GatewayFile(fieldPort: 1883, centralPort: 1884)
      file.fieldLines = ["username: penstock", "password: \"${env:FIELD_PASSWORD}\""]
      let agent = try TestAgent(file)
      try agent.writeConfiguration()
      let command = try Command(
        "check-config", agent.configurationPath,
        environment: ["FIELD_PASSWORD": "hush-hush-secret"])
      #expect(command.code == 0, "\(command.error)")
      #expect(!(command.output + command.error).contains("hush-hush-secret"))
      #expect(command.output.contains("password: \"${env:FIELD_PASSWORD}\""), "\(command.output)")
      #expect(command.output.contains("receive_maximum: 900"))
      let unset = try Command("check-config", agent.configurationPath)
      #expect(unset.code == 78)
      #expect(unset.error.contains("FIELD_PASSWORD"), "\(unset.error)")
    }
  }
}
