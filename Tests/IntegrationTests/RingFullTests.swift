// Goal: a full ring either stops the intake and loses nothing, or loses the oldest and says exactly
// how many. Method: the smallest ring, a centre that is away, more data than fits.

import Audit
import Envelope
import GatewayCore
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("a full ring")
  struct RingFullTests {
    /// 50 kB each: the 8 MiB of a ring of 16 MiB hold about 160.
    private static let ids = (0..<400).map { "m-\($0)" }
    private static func messages(_ ids: [String]) -> [TestProducer.Message] {
      ids.map { .reading($0, byteCount: 50_000) }
    }

    private static func file(_ field: UInt16, _ central: UInt16, whenFull: String) -> GatewayFile {
      var file = GatewayFile(fieldPort: field, centralPort: central)
      file.routeLines = ["max_record: 64KiB"]
      file.journalLines = [
        "size: 16MiB", "when_full: \(whenFull)", "commit: {max_bytes: 256KiB}",
      ]
      return file
    }

    private static func central() throws -> BrokerProcess {
      var options = BrokerOptions()
      options.persistence = true
      return try BrokerProcess(name: "central", options: options)
    }

    @Test("block: paused and said so, the field broker keeps the rest, nothing lost or twice")
    func block() throws {
      var field = try BrokerProcess(name: "field")
      var central = try Self.central()
      try field.start()
      try central.start()
      let file = Self.file(field.port, central.port, whenFull: "block")
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try central.terminate()
      try TestProducer(field.endpoint).publish(Self.messages(Self.ids))
      try agent.wait(for: "the pause") { try agent.metric("penstock_ingest_paused") == 1 }
      let health = try agent.health()
      #expect(health.code == 200)
      #expect(health.body.contains("\"paused\"") && health.body.contains("ring full"))
      #expect(agent.log.lineCount("ring full, paused") == 1)
      let journalled = try #require(try agent.metric("penstock_ingest_journalled_total"))
      #expect(journalled > 50 && journalled < 300)

      try central.start()
      try agent.wait(for: "all deliveries", within: .seconds(90)) {
        deliveries.faults(expecting: Self.ids).isEmpty
      }
      #expect(try agent.metric("penstock_ingest_paused") == 0)
      #expect(try agent.metric("penstock_ingest_journalled_total") == 400)
      #expect(deliveries.contents.gaps.isEmpty)
      #expect(try agent.stop() == 0)
    }

    @Test("drop-oldest: what is delivered and what gaps tell is what was committed")
    func dropOldest() throws {
      var field = try BrokerProcess(name: "field")
      var central = try Self.central()
      try field.start()
      try central.start()
      let file = Self.file(field.port, central.port, whenFull: "drop-oldest")
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try central.terminate()
      let producer = try TestProducer(field.endpoint)
      try producer.publish(Self.messages(Array(Self.ids[..<300])))
      try agent.wait(for: "the first to be journalled", within: .seconds(60)) {
        try agent.metric("penstock_ingest_journalled_total") == 300
      }
      // The ring is full and the agent idle: it must still be there for what comes now.
      try producer.publish(Self.messages(Array(Self.ids[300...])))
      try agent.wait(for: "all to be journalled", within: .seconds(60)) {
        try agent.metric("penstock_ingest_journalled_total") == 400
      }
      #expect(try agent.metric("penstock_ingest_paused") ?? 0 == 0)
      try central.start()
      try agent.wait(for: "the last delivery", within: .seconds(60)) {
        deliveries.events.contains { $0.id == Self.ids.last }
      }
      let contents = deliveries.contents
      let delivered = Set(contents.events.map(\.sequence))
      // The same gap may come again with a batch that is sent again.
      let gaps = Set(contents.gaps.map(\.range))
      let lost = gaps.reduce(0) { $0 + Int($1.count) }
      #expect(lost > 100)
      #expect(delivered.count + lost == 400)
      #expect(!delivered.contains { sequence in gaps.contains { $0.contains(sequence) } })
      #expect(contents.gaps.allSatisfy { $0.reason.text == "ring-full" })
      #expect(Set(contents.events.map(\.id)).count == delivered.count)
      let label = "reason=\"ring-full\""
      #expect(try agent.metric("penstock_gap_records_total", label) == Double(lost))
      #expect(try agent.stop() == 0)
      let statistics = try Command("journal", "stats", "--json", agent.journalPath)
      #expect(statistics.output.contains("\"committed\":400"), "\(statistics.output)")
    }
  }
}
