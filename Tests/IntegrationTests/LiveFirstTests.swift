// Goal: after an outage what is new overtakes the backlog, nothing is lost, and a killed agent goes
// on where it was. Method: the agent between two real brokers, an independent subscriber that keeps
// the order of arrival; SIGKILL while the backlog is worked off. Cannot show: a power cut then (the
// journal's model does).

import Audit
import Envelope
import GatewayCore
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("live-first")
  struct LiveFirstTests {
    /// One record per batch and few in flight: a backlog takes a while.
    private func file(
      _ field: borrowing BrokerProcess, _ central: borrowing BrokerProcess
    ) -> GatewayFile {
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.sinkLines = [
        "drain: live-first", "batch: {max_records: 1, max_delay: 1ms}", "compression: none",
        "max_in_flight: 2",
      ]
      return file
    }

    /// Brokers that keep everything, over a stop, too: how much they drop is not the question.
    private var keeping: BrokerOptions {
      var options = BrokerOptions()
      options.persistence = true
      options.maxQueuedMessages = 0
      return options
    }

    private func ids(_ prefix: String, _ count: Int) -> [String] {
      (0..<count).map { "\(prefix)-\($0)" }
    }

    @Test("what is new overtakes a backlog, which is marked; all of it arrives, each once")
    func overtakes() throws {
      var field = try BrokerProcess(name: "field", options: keeping)
      var central = try BrokerProcess(name: "central", options: keeping)
      try field.start()
      try central.start()
      let file = file(field, central)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let producer = try TestProducer(field.endpoint)
      try central.terminate()
      let old = ids("old", 3_000)
      try producer.publish(old.map { .reading($0) })
      try central.start()
      try agent.wait(for: "the two lanes") { agent.log.contains("what is new goes ahead") }
      let new = ids("new", 50)
      try producer.publish(new.map { .reading($0) })
      try agent.wait(for: "everything", within: .seconds(100)) {
        try agent.metric("penstock_upstream_acknowledged_sequence") == 3_050
      }
      try wait(for: "the observer") { deliveries.events.count >= 3_050 }
      let contents = deliveries.contents
      #expect(deliveries.faults(expecting: old + new) == [])
      #expect(contents.events.count == 3_050)
      let lastNew = contents.envelopes.lastIndex { $0.events.contains { $0.id == "new-49" } }
      let lastOld = contents.envelopes.lastIndex { $0.events.contains { $0.id == "old-2999" } }
      #expect(lastNew ?? .max < lastOld ?? 0)
      for envelope in contents.envelopes {
        #expect(
          envelope.header.isBacklog == envelope.events.contains { $0.id.hasPrefix("old") })
      }
      #expect(try agent.metric("penstock_upstream_accepted_intervals") == 0)
      #expect(try agent.metric("penstock_upstream_resent_total") ?? 0 <= 2)
      #expect(agent.log.contains("the backlog is delivered"))
      #expect(try agent.stop() == 0)
    }

    @Test(
      "killed in the middle of it, again and again: nothing lost, what was new does not come again")
    func killed() throws {
      var field = try BrokerProcess(name: "field", options: keeping)
      var central = try BrokerProcess(name: "central", options: keeping)
      try field.start()
      try central.start()
      let file = file(field, central)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let producer = try TestProducer(field.endpoint)
      try central.terminate()
      let old = ids("old", 6_000)
      try producer.publish(old.map { .reading($0) })
      try central.start()
      try agent.wait(for: "the two lanes") { agent.log.contains("what is new goes ahead") }
      let new = ids("new", 200)
      try producer.publish(new.map { .reading($0) })
      try wait(for: "what is new") {
        deliveries.events.count { $0.id.hasPrefix("new") } >= 200
      }
      // A killed process needs it in the file only: after 100 ms, with or without a commit.
      let written = Deadline(in: .milliseconds(500))
      try agent.wait(for: "it to be written") { written.isOver }
      for round in 0..<3 {
        let count = deliveries.events.count
        try agent.wait(for: "some of the backlog") {
          // A fast machine is done with it before the last kill.
          deliveries.events.count >= min(count + 200, 6_200)
        }
        try agent.kill()
        try agent.start()
        let line = round + 2
        try agent.wait(for: "the delivery to go on") {
          agent.log.lineCount("delivering upstream") >= line
        }
      }
      try agent.wait(for: "everything", within: .seconds(100)) {
        try agent.metric("penstock_upstream_acknowledged_sequence") == 6_200
      }
      // The broker has it all; the observer gets it from there.
      try wait(for: "the observer") { deliveries.distinctEvents.count >= 6_200 }
      #expect(deliveries.faults(expecting: old + new) == [])
      let contents = deliveries.contents
      let again = contents.events.count { $0.id.hasPrefix("new") } - 200
      Console.line(
        "live-first, 3 kills: \(contents.events.count - 6_200) of 6200 came twice, "
          + "of what was new \(again)"
      )
      #expect(again <= 2)
      #expect(try agent.stop() == 0)
    }
  }
}
