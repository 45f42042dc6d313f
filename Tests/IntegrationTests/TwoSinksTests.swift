// Goal: destinations of one route do not hold up each other: one that is away stops nobody but
// itself, a best-effort one not even the intake. Method: one of two central brokers is not there,
// in both orders of the configuration, with less and with more data than the ring holds.

import Audit
import Envelope
import GatewayCore
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("two destinations, one away")
  struct TwoSinksTests {
    /// 50 kB each: the 8 MiB of a ring of 16 MiB hold about 160.
    private static let ids = (0..<400).map { "m-\($0)" }
    private static let messages = ids.map { TestProducer.Message.reading($0, byteCount: 50_000) }

    /// The brokers and the file of one test.
    private final class Site {
      var field: BrokerProcess
      var alive: BrokerProcess
      var away: BrokerProcess
      let agent: TestAgent

      /// - Parameter isAwayFirst: the order in the configuration.
      init(isAwayFirst: Bool, awayIsRequired: Bool) throws {
        var options = BrokerOptions()
        options.persistence = true
        field = try BrokerProcess(name: "field")
        alive = try BrokerProcess(name: "alive", options: options)
        away = try BrokerProcess(name: "away", options: options)
        try field.start()
        try alive.start()
        var file = GatewayFile(
          fieldPort: field.port, centralPort: isAwayFirst ? away.port : alive.port)
        let other = isAwayFirst ? alive.port : away.port
        file.moreBrokerLines = ["other: {url: \"mqtt://127.0.0.1:\(other)\"}"]
        let isFirstRequired = isAwayFirst ? awayIsRequired : !awayIsRequired
        file.sinkLines = ["batch: {max_delay: 50ms}", "required: \(isFirstRequired)"]
        file.moreSinkLines = [
          "- {name: other, broker: other, required: \(!isFirstRequired), batch: {max_delay: 50ms}}"
        ]
        file.routeLines = ["max_record: 64KiB"]
        file.journalLines = ["size: 16MiB", "commit: {max_bytes: 256KiB}"]
        agent = try TestAgent(file)
        names = isAwayFirst ? ("other", "central") : ("central", "other")
      }

      /// The destinations: the one that is there, the one that is away.
      let names: (alive: String, away: String)

      func gaps(_ sink: String) throws -> Double {
        try agent.metric("penstock_gap_records_total", "sink=\"\(sink)\"") ?? 0
      }

      func accepted(_ sink: String) throws -> Double {
        try agent.metric("penstock_upstream_records_total", "sink=\"\(sink)\"") ?? 0
      }
    }

    @Test(
      "a best-effort one away: the other gets all, the intake goes on, and the gap is its own",
      arguments: [true, false])
    func bestEffortAway(isFirst: Bool) throws {
      let site = try Site(isAwayFirst: isFirst, awayIsRequired: false)
      let agent = site.agent
      let deliveries = try Deliveries(site.alive.endpoint, filter: "penstock/v1/gw-it/telemetry")
      try agent.start()
      try agent.wait(for: "the subscription, and the one that is there") {
        try agent.metric("penstock_ingest_connected") == 1
          && agent.metric("penstock_upstream_connected", "sink=\"\(site.names.alive)\"") == 1
      }
      try TestProducer(site.field.endpoint).publish(Self.messages)
      try agent.wait(for: "all at the one that is there", within: .seconds(60)) {
        deliveries.faults(expecting: Self.ids).isEmpty
      }
      #expect(deliveries.contents.gaps.isEmpty)
      #expect(try agent.metric("penstock_ingest_paused") ?? 0 == 0)
      #expect(try site.accepted(site.names.away) == 0)
      // Nothing is lost to the route: who had to have it has it.
      #expect(
        try agent.metric("penstock_journal_lost_records_total", "reason=\"ring-full\"") == 0)

      try site.away.start()
      let late = try Deliveries(site.away.endpoint, filter: "penstock/v1/gw-it/telemetry")
      try agent.wait(for: "the rest and the gap", within: .seconds(90)) {
        try site.accepted(site.names.away) + site.gaps(site.names.away) == 400
          && late.events.contains { $0.id == Self.ids.last }
      }
      let lost = try site.gaps(site.names.away)
      #expect(lost > 100 && lost < 400)
      let told = Set(late.contents.gaps.map(\.range)).reduce(0) { $0 + Int($1.count) }
      #expect(Double(told) == lost)
      #expect(Set(late.contents.gaps.map(\.reason.text)) == ["ring-full"])
      #expect(try site.gaps(site.names.alive) == 0)
      #expect(try agent.stop() == 0)
    }

    @Test(
      "a required one away: the best-effort one gets what is journalled; back, both have all",
      arguments: [true, false])
    func requiredAway(isFirst: Bool) throws {
      let site = try Site(isAwayFirst: isFirst, awayIsRequired: true)
      let agent = site.agent
      let deliveries = try Deliveries(site.alive.endpoint, filter: "penstock/v1/gw-it/telemetry")
      try agent.start()
      try agent.wait(for: "the subscription, and the one that is there") {
        try agent.metric("penstock_ingest_connected") == 1
          && agent.metric("penstock_upstream_connected", "sink=\"\(site.names.alive)\"") == 1
      }
      try TestProducer(site.field.endpoint).publish(Self.messages)
      try agent.wait(for: "the pause", within: .seconds(60)) {
        try agent.metric("penstock_ingest_paused") == 1
      }
      let journalled = try #require(try agent.metric("penstock_ingest_journalled_total"))
      try agent.wait(for: "what is journalled at the one that is there") {
        try site.accepted(site.names.alive) == journalled
      }
      try site.away.start()
      let late = try Deliveries(site.away.endpoint, filter: "penstock/v1/gw-it/telemetry")
      try agent.wait(for: "all at both", within: .seconds(120)) {
        deliveries.faults(expecting: Self.ids).isEmpty
          && late.faults(expecting: Self.ids).isEmpty
      }
      #expect(deliveries.contents.gaps.isEmpty && late.contents.gaps.isEmpty)
      #expect(try agent.stop() == 0)
    }
  }
}
