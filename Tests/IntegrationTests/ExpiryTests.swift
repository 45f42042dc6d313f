// Goal: what has grown too old while the centre was away is told as a gap and counted, not
// delivered; what is young is delivered. Method: the real process, a centre that is away for longer
// than `expire_after`, the envelopes and the metrics. Cannot show: reboots.

import Audit
import Envelope
import GatewayCore
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("records that expire")
  struct ExpiryTests {
    @Test("too old after an outage: a gap with its reason upstream and in the metrics")
    func outage() throws {
      var field = try BrokerProcess(name: "field")
      var options = BrokerOptions()
      options.persistence = true
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.routeLines = ["expire_after: 2s"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try central.terminate()
      let producer = try TestProducer(field.endpoint)
      try producer.publish((0..<20).map { .reading("old-\($0)") })
      let age = "penstock_journal_oldest_undelivered_seconds"
      try agent.wait(for: "the records to grow old") { try agent.metric(age) ?? 0 > 2.5 }
      try central.start()
      // The sink's pause before another attempt may be longer than the limit.
      try agent.wait(for: "the sink to be connected") { try agent.status() == "ok" }
      try producer.publish([.reading("young")])
      try agent.wait(for: "the young record") {
        deliveries.events.contains { $0.id == "young" }
      }
      #expect(Set(deliveries.events.map(\.id)) == ["young"])
      let expired = SequenceRange(.first, Sequence(20))
      #expect(deliveries.contents.gaps.allSatisfy { $0 == Gap(expired, .expired) })
      #expect(!deliveries.contents.gaps.isEmpty)
      let reason = "reason=\"expired\""
      try agent.wait(for: "both counters") {
        try agent.metric("penstock_gap_records_total", reason) == 20
          && agent.metric("penstock_journal_lost_records_total", reason) == 20
      }
      #expect(try agent.stop() == 0)
    }
  }
}
