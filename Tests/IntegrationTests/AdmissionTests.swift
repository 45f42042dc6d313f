// Goal: a device that sends too fast loses its own messages only, told and counted; what a broker
// sends beyond the route's topics goes nowhere. Method: real brokers and a real agent. Cannot show:
// a broker that sends what nobody subscribed to (the intake tests do).

import Audit
import Envelope
import GatewayCore
import Mosquitto
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("admission")
  struct AdmissionTests {
    @Test("a source beyond its rate is a gap with its topic; the others are whole")
    func sourceLimits() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.routeLines = [
        "source_limits:", "  - {topics: pumps/MAD/metrics, rate: 20/h, max_record: 1KiB}",
      ]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let good = (0..<100).map { "good-\($0)" }
      let producer = try TestProducer(field.endpoint)
      let answers = try producer.publish(
        (0..<100).flatMap { index in
          [.reading("mad-\(index)", pump: "MAD"), .reading(good[index], pump: "P1")]
        } + [.reading("huge", pump: "MAD", byteCount: 2000)])
      #expect(answers.allSatisfy { $0 == .success })
      try agent.wait(for: "all to be told") {
        let contents = deliveries.contents
        return contents.events.count + contents.gaps.reduce(0) { $0 + Int($1.range.count) } == 201
      }
      let contents = deliveries.contents
      #expect(Set(contents.events.map(\.id)) == Set(good + (0..<20).map { "mad-\($0)" }))
      #expect(contents.gaps.allSatisfy { $0.reason == .quota && $0.topic == "pumps/MAD/metrics" })
      #expect(try agent.metric("penstock_ingest_dropped_total", "\"rate\"") == 80)
      #expect(try agent.metric("penstock_ingest_dropped_total", "\"size\"") == 1)
      // Looked at and told once a second.
      try agent.wait(for: "the losses and the line") {
        try agent.metric("penstock_journal_lost_records_total", "\"quota\"") == 81
          && agent.log.lineCount("messages are refused", "pumps/MAD/metrics") == 1
      }
      #expect(try agent.stop() == 0)
    }

    @Test("topics beyond allow and deny are acknowledged, counted and not delivered")
    func topics() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.filters = ["#"]
      file.routeLines = ["allow: [\"pumps/#\"]", "deny: [pumps/+/debug]"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let payload = Array(#"{"messageId":"a"}"#.utf8)
      try TestProducer(field.endpoint).publish([
        .init("valves/1", payload), .init("pumps/p1/debug", payload),
        .init("pumps/p1/metrics", payload), .init("valves/2", payload),
      ])
      try agent.wait(for: "the drops to be counted") {
        try agent.metric("penstock_ingest_dropped_total", "\"topic\"") == 3
          && deliveries.events.count == 1
      }
      #expect(deliveries.events.map(\.topic) == ["pumps/p1/metrics"])
      #expect(try agent.metric("penstock_ingest_messages_total") == 4)
      try agent.wait(for: "the line") {
        agent.log.lineCount("topics that this route does not carry", "valves/1") == 1
      }
      // Nothing waits at the broker: all were acknowledged.
      #expect(try agent.stop() == 0)
      try agent.startConnected()
      #expect(try agent.metric("penstock_ingest_messages_total") ?? 0 == 0)
      #expect(try agent.stop() == 0)
    }
  }
}
