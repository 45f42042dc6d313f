// Goal: one device that sends without end loses its own messages only, told and counted; the others
// lose nothing. Method: real brokers, a centre that is away, a mad pump among five. Cannot show:
// thousands of devices (the unit tests do).

import Audit
import Envelope
import GatewayCore
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("a source quota")
  struct SourceQuotaTests {
    private static let madCount = 300
    private static let otherIDs = (0..<100).map { "good-\($0)" }

    /// Three of the mad pump, then one of the five others in turn.
    private static var messages: [TestProducer.Message] {
      (0..<otherIDs.count).flatMap { index in
        (0..<3).map { .reading("mad-\(3 * index + $0)", pump: "MAD", byteCount: 10_000) }
          + [.reading(otherIDs[index], pump: "P\(index % 5)", byteCount: 10_000)]
      }
    }

    @Test("only the mad source loses, exactly what gaps with its topic and the metrics say")
    func madSource() throws {
      var field = try BrokerProcess(name: "field")
      var options = BrokerOptions()
      options.persistence = true
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.routeLines = ["max_record: 64KiB"]
      // 10 % of 8 MiB are 83 of these messages.
      file.journalLines = ["size: 16MiB", "source_quota: 10%", "commit: {max_bytes: 256KiB}"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      #expect(try agent.metric("penstock_journal_lost_records_total", "\"quota\"") == 0)
      #expect(try agent.metric("penstock_gap_records_total", "\"quota\"") == 0)
      try central.terminate()
      try TestProducer(field.endpoint).publish(Self.messages)
      let total = Double(Self.madCount + Self.otherIDs.count)
      try agent.wait(for: "all to be taken", within: .seconds(60)) {
        try agent.metric("penstock_journal_committed_sequence") == total
      }
      try central.start()
      try agent.wait(for: "all to be delivered", within: .seconds(60)) {
        let contents = deliveries.contents
        let told = Set(contents.gaps.map(\.range)).reduce(0) { $0 + Int($1.count) }
        return Double(Set(contents.events.map(\.sequence)).count + told) == total
      }
      let contents = deliveries.contents
      let mad = Set(contents.events.filter { $0.topic == "pumps/MAD/metrics" }.map(\.id))
      #expect(Set(contents.events.map(\.id)).subtracting(mad) == Set(Self.otherIDs))
      #expect((75...83).contains(mad.count))
      let lost = Double(Self.madCount - mad.count)
      #expect(contents.gaps.allSatisfy { $0.reason == .quota && $0.topic == "pumps/MAD/metrics" })
      #expect(try agent.metric("penstock_ingest_dropped_total", "\"quota\"") == lost)
      #expect(try agent.metric("penstock_journal_lost_records_total", "\"quota\"") == lost)
      try agent.wait(for: "the last acceptance to be counted") {
        try agent.metric("penstock_gap_records_total", "\"quota\"") == lost
      }
      #expect(agent.log.lineCount("over its quota", "pumps/MAD/metrics") == 1)
      #expect(try agent.metric("penstock_ingest_quota_sources") == 6)
      #expect(try agent.stop() == 0)
    }

    @Test("min_delay: messages that come one by one share commits, and none is lost")
    func minDelay() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.journalLines = ["size: 16MiB", "commit: {min_delay: 500ms, max_delay: 1s}"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let ids = (0..<200).map { "m-\($0)" }
      let producer = try TestProducer(field.endpoint)
      let start = Clock.monotonic()
      for id in ids { try producer.publish([.reading(id)]) }
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: ids).isEmpty }
      let seconds = Clock.monotonic().since(start).seconds
      let commits = try #require(try agent.metric("penstock_journal_commits_total"))
      // The first at once, then at most two a second.
      #expect(commits <= 2 + 2 * seconds)
      #expect(try agent.stop() == 0)
    }
  }
}
