// Goal: a death at the points that need a situation of their own (an empty directory, bad blocks, a
// centre that refuses, a full ring) leaves nothing half done behind. Method: the situation is made,
// the agent dies by its own SIGKILL at a named point, the next start must put everything right.

import Audit
import Envelope
import GatewayCore
import Glibc
import Platform
import PumpTelemetry
import TestSupport
import Testing

#if PENSTOCK_SABOTAGE
  extension IntegrationSuite {
    @Suite("killed where it takes a situation of its own")
    struct FailpointScenarioTests {
      private struct Case: Sendable, CustomTestStringConvertible {
        let point: Failpoint
        let seed: Int

        var order: FailpointOrder {
          var generator = SplitMix64(seed: UInt64(seed))
          return FailpointOrder(point, using: &generator)
        }
        var testDescription: String { "\(order.text), seed \(seed)" }

        static func all(_ scenario: FailpointScenario) -> [Case] {
          scenario.points.flatMap { point in
            failpointSeeds.map { Case(point: point, seed: $0) }
          }
        }
      }

      /// Starts the agent and waits until it has died at its point.
      private func live(_ agent: TestAgent, _ order: FailpointOrder) throws {
        let coverage = try FailpointCoverage()
        try agent.start(environment: coverage.environment(for: order))
        do {
          try agent.waitForKill(within: .seconds(30))
        } catch {
          throw TestFailure("the agent does not come by \(order.text): \(error)\n\(agent.log)")
        }
        try #require(coverage.actedCount(order.point) == 1, "another SIGKILL than ours")
        Console.line("failpoint \(order.text): acted")
      }

      @Test(
        "a death while the journal is created: the next start makes it whole",
        arguments: Case.all(.creation))
      private func creation(_ test: Case) throws {
        var field = try BrokerProcess(name: "field")
        var central = try BrokerProcess(name: "central")
        try field.start()
        try central.start()
        let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
        let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
        let agent = try TestAgent(file)
        try live(agent, test.order)
        #expect(
          ((try? FileStatus(path: agent.journalPath)) != nil) == (test.point == .createAfterRename))
        try agent.startConnected()
        #expect((try? FileStatus(path: agent.journalPath + ".creating")) == nil)
        try TestProducer(field.endpoint).publish([.reading("m-1")])
        try agent.wait(for: "the delivery") { deliveries.faults(expecting: ["m-1"]).isEmpty }
        #expect(try agent.stop() == 0)
        #expect(try Command("journal", "stats", agent.journalPath).code == 0)
      }

      @Test(
        "a death while the tail is copied or sealed: nothing is lost or twice",
        arguments: Case.all(.trickle))
      private func trickle(_ test: Case) throws {
        var field = try BrokerProcess(name: "field")
        var central = try BrokerProcess(name: "central")
        try field.start()
        try central.start()
        let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
        let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
        let agent = try TestAgent(file)
        let coverage = try FailpointCoverage()
        try agent.start(environment: coverage.environment(for: test.order))
        try wait(for: "the subscription") { agent.log.contains("receiving from the field broker") }
        let producer = try TestProducer(field.endpoint)
        var ids: [String] = []
        var isDead = false
        while !isDead {
          try #require(ids.count < 200, "the agent does not come by \(test.order.text)")
          ids.append("m-\(ids.count)")
          // Three copies of the tail, then what does not fit into it.
          try producer.publish([
            .reading(ids[ids.count - 1], byteCount: ids.count.isMultiple(of: 4) ? 5000 : 0)
          ])
          try wait(for: "the commit or the death") {
            isDead = agent.wasKilled()
            return try isDead
              || agent.metric("penstock_ingest_journalled_total") == Double(ids.count)
          }
        }
        try #require(coverage.actedCount(test.point) == 1, "another SIGKILL than ours")
        Console.line("failpoint \(test.order.text): acted")
        try agent.start()
        try agent.wait(for: "all deliveries") { deliveries.faults(expecting: ids).isEmpty }
        #expect(try agent.stop() == 0)
        #expect(deliveries.faults(expecting: ids) == [])
        #expect(deliveries.contents.gaps.isEmpty)
      }

      @Test("a torn commit group is told in the log, and nothing is lost")
      func tornGroup() throws {
        var field = try BrokerProcess(name: "field")
        var central = try BrokerProcess(name: "central")
        try field.start()
        try central.start()
        let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
        let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
        let agent = try TestAgent(file)
        try agent.startConnected()
        #expect(try agent.stop() == 0)
        let producer = try TestProducer(field.endpoint)
        try producer.publish([.reading("m-1", byteCount: 20_000)])
        try live(agent, FailpointOrder(.journalMidWrite, hit: 1))
        try agent.startConnected()
        #expect(agent.log.lineCount("journal open", "journal.torn_tail=1") == 1, "\(agent.log)")
        try agent.wait(for: "the delivery") { deliveries.faults(expecting: ["m-1"]).isEmpty }
        #expect(try agent.stop() == 0)
      }

      @Test(
        "a death while bad blocks are looked after: the rest is delivered, the bad is copied aside",
        arguments: Case.all(.damage))
      private func damage(_ test: Case) throws {
        var field = try BrokerProcess(name: "field")
        var options = BrokerOptions()
        options.persistence = true
        var central = try BrokerProcess(name: "central", options: options)
        try field.start()
        try central.start()
        let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
        let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
        let agent = try TestAgent(file)
        try agent.startConnected()
        try central.terminate()
        let producer = try TestProducer(field.endpoint)
        // One commit each: groups of two blocks, one behind the other.
        let ids = (0..<20).map { "m-\($0)" }
        for (count, id) in ids.enumerated() {
          try producer.publish([.reading(id, byteCount: 6000)])
          try agent.wait(for: "the commit") {
            try agent.metric("penstock_ingest_journalled_total") == Double(count + 1)
          }
        }
        try agent.kill()
        let dataStart = 8 << 20
        var lost = Set<String>()
        if test.point == .recoveryMidQuarantine {
          // The second and third group.
          try overwrite(agent.journalPath, from: dataStart + 8192, count: 16384)
          lost = ["m-1", "m-2"]
        } else {
          // Slot A and its identity copy.
          try overwrite(agent.journalPath, from: 0, count: 4096)
          try overwrite(agent.journalPath, from: 2 << 20, count: 4096)
        }
        try live(agent, test.order)
        try central.start()
        try agent.start()
        let expected = ids.filter { !lost.contains($0) }
        try agent.wait(for: "all deliveries") { deliveries.faults(expecting: expected).isEmpty }
        let gaps = deliveries.contents.gaps.filter { $0.reason.text == "corrupt" }
        #expect(Set(gaps.map(\.range)).reduce(0) { $0 + Int($1.count) } == lost.count)
        #expect(try agent.stop() == 0)
        if !lost.isEmpty {
          let copy = "\(agent.dataDirectory)/quarantine/telemetry-\(dataStart + 8192).bad"
          #expect(try FileStatus(path: copy).byteCount == 16384)
        }
      }

      @Test(
        "a death while a dead letter is stored: it is there, and the rest is delivered",
        arguments: Case.all(.refusal))
      private func refusal(_ test: Case) throws {
        var field = try BrokerProcess(name: "field")
        var options = BrokerOptions()
        options.persistence = true
        options.lines = ["max_packet_size 10000"]
        var central = try BrokerProcess(name: "central", options: options)
        try field.start()
        try central.start()
        var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
        file.sinkLines = ["batch: {max_delay: 50ms}", "compression: none"]
        let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
        let agent = try TestAgent(file)
        try agent.startConnected()
        #expect(try agent.stop() == 0)
        let ids = (0..<20).map { "m-\($0)" }
        func isLarge(_ number: Int) -> Bool { number % 4 == 2 }
        try TestProducer(field.endpoint).publish(
          ids.indices.map { .reading(ids[$0], byteCount: isLarge($0) ? 20_000 : 100) })
        try live(agent, test.order)
        try agent.start()
        let expected = ids.indices.filter { !isLarge($0) }.map { ids[$0] }
        try agent.wait(for: "all deliveries") { deliveries.faults(expecting: expected).isEmpty }
        try agent.wait(for: "the last record to be passed") {
          try agent.metric("penstock_upstream_acknowledged_sequence") == 20
        }
        #expect(deliveries.contents.gaps.isEmpty)
        #expect(try agent.stop() == 0)
        // Five were refused; those before the death may be stored by both lives.
        let stored = try committed(of: "\(agent.dataDirectory)/telemetry.dead")
        #expect((5...5 + test.order.hit).contains(stored), "\(stored)")
      }

      @Test(
        "a death while the oldest is given up: what is delivered and what gaps tell is everything",
        arguments: Case.all(.overflow))
      private func overflow(_ test: Case) throws {
        var field = try BrokerProcess(name: "field")
        var options = BrokerOptions()
        options.persistence = true
        var central = try BrokerProcess(name: "central", options: options)
        try field.start()
        try central.start()
        var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
        file.routeLines = ["max_record: 64KiB"]
        file.journalLines = [
          "size: 16MiB", "when_full: drop-oldest", "commit: {max_bytes: 256KiB}",
        ]
        let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
        let agent = try TestAgent(file)
        try agent.startConnected()
        #expect(try agent.stop() == 0)
        try central.terminate()
        let ids = (0..<300).map { "m-\($0)" }
        try TestProducer(field.endpoint).publish(ids.map { .reading($0, byteCount: 50_000) })
        try live(agent, test.order)
        try agent.start()
        try agent.wait(for: "all to be committed", within: .seconds(60)) {
          try agent.metric("penstock_journal_committed_sequence") ?? 0 >= 300
        }
        try central.start()
        try agent.wait(for: "the last delivery", within: .seconds(60)) {
          deliveries.events.contains { $0.id == ids.last }
        }
        #expect(try agent.stop() == 0)
        let contents = deliveries.contents
        let delivered = Set(contents.events.map(\.sequence))
        let lost = Set(contents.gaps.map(\.range)).reduce(0) { $0 + Int($1.count) }
        #expect(lost > 100)
        // More than 300 when the death came between a commit and its PUBACKs: what was given up in
        // between is not remembered, and comes once more.
        #expect(delivered.count + lost == (try committed(of: agent.journalPath)))
        #expect(Set(contents.events.map(\.id)).count == delivered.count)
        #expect(Set(contents.events.map(\.id)).count + lost >= 300)
      }

      /// The last sequence of a journal that nobody has open.
      private func committed(of path: String) throws -> Int {
        let output = try Command("journal", "stats", "--json", path).output
        let digits = output.split(separator: "\"committed\":").last?.prefix { $0.isNumber }
        return try #require(digits.flatMap { Int($0) }, "\(output)")
      }

      private func overwrite(_ path: String, from offset: Int, count: Int) throws {
        let file = try File.open(path, flags: O_WRONLY)
        let garbage = [UInt8](repeating: 0xa5, count: count)
        let written = unsafe pwrite(file.raw, garbage, count, off_t(offset))
        guard written == count else { throw SystemError("pwrite") }
      }
    }
  }
#endif
