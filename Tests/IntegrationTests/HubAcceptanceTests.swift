// Goal: with `accept: hub` nothing is lost that the central broker loses: its queue runs over, it
// is killed, its consumer drops what it took. Method: the agent, two real Mosquittos with their own
// defaults, and a consumer that keeps ranges, commits and answers; side by side with `accept:
// broker`, which loses in the same scene. Cannot show: a consumer with a real database.

import Audit
import Envelope
import GatewayCore
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("acceptance by the consumer")
  struct HubAcceptanceTests {
    /// One record per batch, so that a broker's queue of 1,000 is soon full.
    private func file(
      _ field: borrowing BrokerProcess, _ central: borrowing BrokerProcess, accept: String
    ) -> GatewayFile {
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.sinkLines = ["batch: {max_records: 1, max_delay: 1ms}", "compression: none"]
      file.sinkLines.append("accept: \(accept)")
      if accept == "hub" {
        file.sinkLines += ["max_unaccepted: 200", "accept_timeout: 2s"]
      }
      return file
    }

    private func ids(_ count: Int) -> [String] { (0..<count).map { "m-\($0)" } }

    /// The consumer is away while `count` messages come; then it is there for good.
    private func outage(accept: String, count: Int) throws -> (lost: Int, hub: ConsumerHub) {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = file(field, central, accept: accept)
      let hub = ConsumerHub(central.endpoint, topic: file.upstreamTopic)
      try hub.connect()
      try hub.disconnect()
      let agent = try TestAgent(file)
      try agent.startConnected()
      let ids = ids(count)
      try TestProducer(field.endpoint).publish(ids.map { .reading($0) })
      try agent.wait(for: "everything to be journalled") {
        try agent.metric("penstock_journal_committed_sequence") == Double(count)
      }
      if accept == "broker" {
        // It believes that everything is delivered.
        try agent.wait(for: "the cursor") {
          try agent.metric("penstock_upstream_acknowledged_sequence") == Double(count)
        }
      } else {
        try agent.wait(for: "the bound") {
          try agent.metric("penstock_upstream_unaccepted_batches") == 200
            && agent.metric("penstock_upstream_acceptance_overdue") == 1
        }
        #expect(try agent.metric("penstock_upstream_acknowledged_sequence") ?? 0 == 0)
        #expect(try agent.status() == "degraded")
      }
      try hub.connect()
      if accept == "broker" {
        // Everything that the broker kept, and a moment in which nothing more comes.
        var (seen, quiet) = (0, Deadline(in: .seconds(2)))
        try hub.run(for: "the broker's queue to be empty") {
          if hub.ids.count != seen { (seen, quiet) = (hub.ids.count, Deadline(in: .seconds(2))) }
          return seen > 0 && quiet.isOver
        }
      } else {
        try hub.run(for: "everything", within: .seconds(60)) {
          try hub.ids.count == count
            && agent.metric("penstock_upstream_acknowledged_sequence") == Double(count)
        }
        #expect(try agent.status() == "ok")
      }
      #expect(try agent.stop() == 0)
      return (Set(ids).subtracting(hub.ids).count, hub)
    }

    @Test(
      "a consumer that is away: accept: broker loses what exceeds the queue, accept: hub nothing")
    func sideBySide() throws {
      let count = 1_500
      let broker = try outage(accept: "broker", count: count)
      let hub = try outage(accept: "hub", count: count)
      Console.line(
        "\(count) messages, consumer away: lost with accept: broker \(broker.lost), "
          + "with accept: hub \(hub.lost); received \(hub.hub.eventCount)")
      // Mosquitto: 1,000 queued beyond 20 in flight.
      #expect(broker.lost >= 400)
      #expect(hub.lost == 0)
      // The one that was asked about, and nothing like a second copy of all.
      #expect(hub.hub.eventCount <= count + 20)
    }

    @Test("a broker that is killed with batches in its memory: all of them come again")
    func brokerKilled() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = file(field, central, accept: "hub")
      let hub = ConsumerHub(central.endpoint, topic: file.upstreamTopic)
      try hub.connect()
      try hub.disconnect()
      let agent = try TestAgent(file)
      try agent.startConnected()
      let ids = ids(100)
      try TestProducer(field.endpoint).publish(ids.map { .reading($0) })
      try agent.wait(for: "the broker to have them all") {
        try agent.metric("penstock_upstream_unaccepted_batches") == 100
      }
      try central.kill()
      try central.start()
      try hub.connect()
      try hub.run(for: "everything", within: .seconds(60)) {
        try hub.ids.count == 100
          && agent.metric("penstock_upstream_acknowledged_sequence") == 100
      }
      #expect(Set(ids) == hub.ids)
      #expect(try agent.metric("penstock_upstream_missing_records_total") ?? 0 >= 99)
      #expect(try agent.stop() == 0)
    }

    @Test("batches that the consumer lost come once more; the agent is killed in between")
    func missing() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = file(field, central, accept: "hub")
      let hub = ConsumerHub(central.endpoint, topic: file.upstreamTopic)
      try hub.connect()
      var dropped: Set<GatewayCore.Sequence> = []
      hub.drops = { envelope in
        envelope.header.first.rawValue % 7 == 0 && dropped.insert(envelope.header.first).inserted
      }
      let agent = try TestAgent(file)
      try agent.startConnected()
      let ids = ids(300)
      let producer = try TestProducer(field.endpoint)
      try producer.publish(ids.prefix(150).map { .reading($0) })
      try hub.run(for: "some of it") { hub.ids.count > 50 }
      try agent.kill()
      try agent.start()
      try producer.publish(ids.dropFirst(150).map { .reading($0) })
      try hub.run(for: "everything", within: .seconds(60)) {
        try hub.ids.count == 300
          && agent.metric("penstock_upstream_acknowledged_sequence") == 300
      }
      #expect(dropped.count == 42)
      #expect(hub.coverage.missing == [] && hub.gaps == [])
      #expect(try agent.stop() == 0)
    }

    @Test("a consumer that has lost its database gets all that the ring has, as a replay")
    func databaseLost() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = file(field, central, accept: "hub")
      let hub = ConsumerHub(central.endpoint, topic: file.upstreamTopic)
      try hub.connect()
      let agent = try TestAgent(file)
      try agent.startConnected()
      let ids = ids(200)
      let producer = try TestProducer(field.endpoint)
      try producer.publish(ids.dropLast().map { .reading($0) })
      try hub.run(for: "everything accepted") {
        try agent.metric("penstock_upstream_acknowledged_sequence") == 199
      }
      hub.forget()
      try producer.publish(ids.suffix(1).map { .reading($0) })
      try hub.run(for: "everything once more", within: .seconds(60)) { hub.ids.count == 200 }
      #expect(hub.replayedCount == 199)
      #expect(try agent.metric("penstock_upstream_acknowledged_sequence") == 200)
      #expect(try agent.stop() == 0)
    }

    @Test("without a subscriber the broker says so: nothing counts as being with the consumer")
    func noSubscriber() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = file(field, central, accept: "hub")
      let agent = try TestAgent(file)
      try agent.startConnected()
      try TestProducer(field.endpoint).publish([.reading("m-0")])
      try agent.wait(for: "the refusal") {
        try agent.metric("penstock_upstream_refused_total", "code=\"0x10\"") ?? 0 > 0
      }
      #expect(try agent.metric("penstock_upstream_unaccepted_batches") == 0)
      let hub = ConsumerHub(central.endpoint, topic: file.upstreamTopic)
      try hub.connect()
      try hub.run(for: "the message") {
        try hub.ids == ["m-0"] && agent.metric("penstock_upstream_acknowledged_sequence") == 1
      }
      #expect(try agent.stop() == 0)
    }
  }
}
