// Goal: what is filtered is not delivered and not called lost, what is summed up is delivered once
// and complete, over crashes too, and the numbers of the metrics page add up. Method: real brokers,
// a real agent, SIGKILL; the aggregates are checked against the messages that were sent. Cannot
// show: windows of hours (the unit tests do).

import Audit
import Envelope
import GatewayCore
import JSONScanning
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("filters")
  struct FilterTests {
    private func message(_ id: Int, _ value: Double, pump: Int = 1) -> TestProducer.Message {
      TestProducer.Message(
        "pumps/p\(pump)/metrics",
        Array(#"{"messageId":"m\#(id)","type":"flow","value":\#(value)}"#.utf8))
    }

    /// Received = journalled + dead letters + duplicates + dropped + filtered, and the sequences.
    private func expectConserved(_ agent: TestAgent) throws {
      func sum(_ name: String, _ label: String = "") throws -> Double {
        try agent.metric("penstock_ingest_\(name)_total", label) ?? 0
      }
      let (journalled, dead) = (try sum("journalled"), try sum("dead_letters"))
      let received = try sum("messages")
      let others = try sum("duplicates") + sum("dropped") + sum("filtered")
      #expect(received == journalled + dead + others)
      let refused =
        try sum("dropped", "\"quota\"") + sum("dropped", "\"rate\"") + sum("dropped", "\"size\"")
      let sequences = journalled + dead + refused + (try sum("aggregates"))
      // A gauge, looked at once a second.
      try agent.wait(for: "\(sequences) sequences") {
        try agent.metric("penstock_journal_committed_sequence") == sequences
      }
      try agent.wait(for: "the losses") {
        try agent.metric("penstock_journal_lost_records_total", "\"quota\"") == refused
      }
    }

    @Test("dead-band, topics and limits together: delivered is the news, and all is conserved")
    func fields() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.filters = ["#"]
      file.routeLines = [
        "deny: [secret/#]",
        "source_limits: [{topics: pumps/p2/metrics, rate: 5/h}]",
        "filter:", "  exclude: [valves/#]",
        "  fields: [{pointer: /value, topics: pumps/p1/metrics, key: /type, dead_band: 1}]",
      ]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      var messages = (0..<100).map { message($0, Double($0) * 0.25) }
      messages += (100..<120).map { message($0, 7, pump: 2) }
      messages += [message(120, 1, pump: 3), message(120, 1, pump: 3), message(120, 2, pump: 3)]
      for topic in ["valves/1", "valves/2", "secret/1"] {
        messages.append(.init(topic, Array("x".utf8)))
      }
      try TestProducer(field.endpoint).publish(messages)
      // Every fifth of the first: 1.25 is the first value beyond a band of 1.
      let expected =
        stride(from: 0, to: 100, by: 5).map { "m\($0)" } + (100..<105).map { "m\($0)" }
        + ["m120", "m120"]
      try agent.wait(for: "all deliveries") {
        let contents = deliveries.contents
        return contents.events.count >= expected.count
          && contents.gaps.reduce(0) { $0 + Int($1.range.count) } == 15
      }
      #expect(deliveries.events.map(\.id).sorted() == expected.sorted())
      #expect(deliveries.contents.gaps.allSatisfy { $0.reason == .quota })
      try agent.wait(for: "the counters") {
        try agent.metric("penstock_ingest_messages_total") == Double(messages.count)
      }
      #expect(try agent.metric("penstock_ingest_filtered_total", "\"dead-band\"") == 80)
      #expect(try agent.metric("penstock_ingest_filtered_total", "\"topic\"") == 2)
      #expect(try agent.metric("penstock_ingest_dropped_total", "\"topic\"") == 1)
      try expectConserved(agent)
      #expect(try agent.stop() == 0)
    }

    /// What the aggregates say, added up by source topic.
    private struct Sums {
      var readings: UInt64 = 0
      var sum = 0.0
      var least = Double.infinity
      var greatest = -Double.infinity
      var ids: Set<String> = []
    }

    private func sums(_ deliveries: Deliveries) throws -> [String: Sums] {
      var sums: [String: Sums] = [:]
      let names = ["readings", "fields/~1value/sum", "fields/~1value/min", "fields/~1value/max"]
      var scanner = JSONScanner(pointers: try names.map { try JSONPointer("/\($0)") })
      for event in deliveries.events where event.topic.hasSuffix("/aggregate") {
        #expect(scanner.scan(event.payload.span) == .valid)
        let numbers = names.indices.map { index in
          scanner.match(index).flatMap {
            JSONDouble.value(of: event.payload.span.extracting($0.token))
          } ?? .nan
        }
        // The same event may come again after a crash.
        var topic = sums[event.topic] ?? Sums()
        guard topic.ids.insert(event.id).inserted else { continue }
        topic.readings += UInt64(numbers[0])
        topic.sum += numbers[1]
        topic.least = min(topic.least, numbers[2])
        topic.greatest = max(topic.greatest, numbers[3])
        sums[event.topic] = topic
      }
      return sums
    }

    @Test("aggregates over crashes: every reading is in exactly one, and nothing else is delivered")
    func aggregates() throws {
      var options = BrokerOptions()
      options.persistence = true
      var field = try BrokerProcess(name: "field", options: options)
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.routeLines = [
        "filter:",
        "  aggregate: {every: 2s, field: /value, key: /type, functions: [min, max, sum, count]}",
      ]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let producer = try TestProducer(field.endpoint)
      // Powers of two: their sums are exact, and tell a lost or doubled one.
      var id = 0
      var sent: [String: (count: UInt64, sum: Double)] = [:]
      for round in 0..<6 {
        for _ in 0..<10 {
          var messages: [TestProducer.Message] = []
          for pump in 1...3 {
            let value = Double(1 << (id % 20))
            messages.append(message(id, value, pump: pump))
            sent["pumps/p\(pump)/metrics/aggregate", default: (0, 0)].count += 1
            sent["pumps/p\(pump)/metrics/aggregate", default: (0, 0)].sum += value
            id += 1
          }
          // Every message a second time: redelivered, or not.
          try producer.publish(messages + messages)
        }
        if round < 5 {
          try agent.kill()
          try agent.startConnected()
        }
      }
      try agent.wait(for: "all readings to be in aggregates") {
        try sums(deliveries).values.reduce(0) { $0 + $1.readings } >= UInt64(id)
      }
      #expect(try agent.stop() == 0)
      let found = try sums(deliveries)
      #expect(Set(found.keys) == Set(sent.keys))
      for (topic, sent) in sent {
        #expect(found[topic]?.readings == sent.count && found[topic]?.sum == sent.sum)
        #expect((found[topic]?.least ?? 0) >= 1 && (found[topic]?.greatest ?? 0) <= 524_288)
      }
      #expect(deliveries.events.allSatisfy { $0.topic.hasSuffix("/aggregate") })
      #expect(deliveries.contents.gaps.isEmpty && deliveries.contents.undecodable.isEmpty)
      for envelope in deliveries.contents.envelopes { try envelope.verifyAccounting() }
      let elided = Set(
        deliveries.contents.envelopes.flatMap(\.elided)
          .flatMap { ($0.first.rawValue...$0.last.rawValue) })
      #expect(elided.count == id)
    }

    @Test("windows close by themselves; keep_raw delivers the readings too; all is conserved")
    func keepRaw() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.routeLines = [
        "filter:",
        "  aggregate: {every: 1s, field: /value, functions: [min, max, sum], keep_raw: true}",
      ]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let producer = try TestProducer(field.endpoint)
      for id in 0..<40 { try producer.publish([message(id, Double(id))]) }
      try agent.wait(for: "the readings and their aggregates") {
        // Those of the last readings included: a window is a second.
        let readings = try sums(deliveries).values.reduce(0) { $0 + $1.readings }
        let made = try agent.metric("penstock_ingest_aggregates_total") ?? 0
        return readings == 40 && Double(deliveries.events.count) == 40 + made
      }
      #expect(deliveries.events.count { !$0.topic.hasSuffix("/aggregate") } == 40)
      #expect(try agent.metric("penstock_ingest_aggregated_total") == 40)
      try agent.wait(for: "the gauge") {
        try agent.metric("penstock_ingest_filter_series") == 1
      }
      try expectConserved(agent)
      #expect(try agent.stop() == 0)
    }
  }
}
