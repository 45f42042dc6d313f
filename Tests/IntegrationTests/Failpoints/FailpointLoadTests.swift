// Goal: whatever an agent was doing when it died, nothing acknowledged is lost, nothing comes under
// two sequences, the order holds. Method: a debug build dies by its own SIGKILL at each of the
// named points in turn, in an order and at hits that the seed decides, again and again in the
// middle of recovering from the death before; real brokers and pumps under load, a small ring that
// turns; an independent audit. Cannot show: what a power cut does to writes that were not synced.

import Audit
import GatewayCore
import Glibc
import Platform
import PumpTelemetry
import TestSupport
import Testing

#if PENSTOCK_SABOTAGE
  extension IntegrationSuite {
    @Suite("killed at every named point")
    struct FailpointLoadTests {
      private static func stage(_ seed: Int, sabotage: String? = nil) throws -> AuditStage {
        var options = StageOptions(executable: Command.penstock)
        options.seed = UInt64(seed)
        options.rate = 1500
        options.repeatShare = 0.1
        options.noteByteCount = 8000
        options.journalSize = "16MiB"
        options.commitMaxDelay = "5ms"
        options.maxInFlight = 4
        options.batchMaxRecords = 50
        if let sabotage { options.environment["PENSTOCK_TEST_SABOTAGE"] = sabotage }
        return try AuditStage(options: options)
      }

      /// Every point once, and before every other one a death while recovering.
      private static func orders(using generator: inout SplitMix64) -> [FailpointOrder] {
        let opening: [Failpoint] = [
          .recoveryAfterScan, .recoveryBeforeEpoch, .superblockBeforeWrite, .superblockMidWrite,
          .superblockBeforeSync, .superblockAfterSync,
        ]
        return FailpointScenario.load.points.shuffled(using: &generator).flatMap { point in
          let order = FailpointOrder(point, using: &generator)
          guard Bool.random(using: &generator), let first = opening.randomElement(using: &generator)
          else { return [order] }
          return [FailpointOrder(first, hit: 1), order]
        }
      }

      /// One life that ends at its point.
      private static func live(
        _ order: FailpointOrder, _ stage: inout AuditStage, _ coverage: borrowing FailpointCoverage
      ) throws {
        if order.point == .cursorAfterWrite {
          return try liveUntilCursorIsWritten(order, &stage, coverage)
        }
        let before = coverage.actedCount(order.point)
        try stage.agent.start(environment: coverage.environment(for: order))
        switch order.point {
        case .closeBefore, .closeAfter:
          try stage.agent.pause(.milliseconds(300))
          stage.agent.send(signal: SIGTERM)
        default: break
        }
        let hasDied = try stage.agent.waitForKill(atMost: .seconds(60))
        try #require(hasDied, "the agent does not come by \(order.text)")
        try #require(coverage.actedCount(order.point) == before + 1, "another SIGKILL than ours")
      }

      /// Only without commits does a cursor need a write of its own, and only when the thread comes
      /// by in time: a second late, on a busy machine, it syncs instead. So the field broker stands
      /// still again and again.
      private static func liveUntilCursorIsWritten(
        _ order: FailpointOrder, _ stage: inout AuditStage, _ coverage: borrowing FailpointCoverage
      ) throws {
        let before = coverage.actedCount(order.point)
        let deliveringLives = coverage.metCount(.upstreamAfterCursor)
        try stage.agent.start(environment: coverage.environment(for: order))
        let deadline = Clock.monotonic() + .seconds(120)
        while coverage.metCount(.upstreamAfterCursor) == deliveringLives {
          try #require(Clock.monotonic() < deadline, "nothing is delivered")
          try stage.agent.pause(.milliseconds(5))
        }
        var hasDied = false
        while !hasDied {
          try #require(Clock.monotonic() < deadline, "the agent does not come by \(order.text)")
          stage.field.send(signal: SIGSTOP)
          hasDied = try stage.agent.waitForKill(atMost: .seconds(3))
          stage.field.send(signal: SIGCONT)
          if !hasDied { try stage.agent.pause(.seconds(1)) }
        }
        try #require(coverage.actedCount(order.point) == before + 1, "another SIGKILL than ours")
      }

      @Test(
        "every point of the path under load, and deaths while recovering: nothing lost or twice",
        arguments: failpointSeeds)
      func everyPoint(seed: Int) throws {
        var generator = SplitMix64(seed: UInt64(seed))
        let orders = Self.orders(using: &generator)
        let coverage = try FailpointCoverage()
        var stage = try Self.stage(seed)
        try stage.start()
        try stage.agent.kill()
        for order in orders { try Self.live(order, &stage, coverage) }
        // Under load without a death: what the deaths left behind must come to light now.
        try stage.agent.start()
        try stage.agent.pause(.seconds(1))
        try stage.check()
        stage.stopSending()
        _ = try stage.drain(limit: .seconds(60))
        let bound = stage.agentOptions.redeliveryBound(interruptions: orders.count + 1)
        let log = text(of: stage.agent.logPath)
        let report = try stage.finish()
        Console.line(
          "failpoints under load, seed \(seed), PENSTOCK_FAILPOINT_SEEDS=\(seed)-\(seed): "
            + orders.map(\.text).joined(separator: " "))
        Console.line(coverage.report(FailpointScenario.load.points))
        Console.line(report.json(allowedRedelivery: bound))
        for point in FailpointScenario.load.points {
          #expect(coverage.actedCount(point) > 0, "\(point.rawValue) was never hit")
        }
        #expect(
          report.isClean(allowedRedelivery: bound), "\(report.table(allowedRedelivery: bound))")
        #expect(report.counts.acknowledged == report.counts.sent)
        #expect(report.counts.delivered > 1000)
        #expect(!log.contains("committed records cannot be read any more"))
      }

      @Test(
        "control: the same deaths of an agent that acknowledges before it commits lose messages")
      func acknowledgeBeforeCommit() throws {
        let coverage = try FailpointCoverage()
        var stage = try Self.stage(1, sabotage: "ack-before-commit")
        try stage.start()
        try stage.agent.kill()
        for hit in [2, 3] {
          try Self.live(FailpointOrder(.journalBeforeWrite, hit: hit), &stage, coverage)
        }
        try stage.agent.start()
        try stage.agent.pause(.milliseconds(500))
        stage.stopSending()
        _ = try stage.drain(limit: .seconds(5))
        let report = try stage.finish()
        #expect(report.counts.lost > 0, "\(report.table(allowedRedelivery: 0))")
        #expect(!report.isClean(allowedRedelivery: .max))
      }
    }
  }
#endif
