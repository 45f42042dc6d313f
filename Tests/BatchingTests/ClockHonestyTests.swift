// Goal: a time from a clock that was wrong is corrected once it can be, and says so; a journal that
// was rolled back or cloned is seen at the centre. Method: a small journal with a manual clock on
// the simulated disk, through batcher and decoder, into the audit.

import Audit
import Envelope
import GatewayCore
import JournalSimulation
import RingJournal
import Testing

@testable import Batching

@Suite("Batching: clocks and lives of a journal")
struct ClockHonestyTests {
  private func events(_ stage: borrowing ClockStage) throws -> [Event] {
    try stage.batches().flatMap { try $0.envelope().events }
  }

  @Test("a redelivery brings a better time under the same id")
  func corrected() throws {
    var trueTime: Int64 = 0
    var stage = try ClockStage { kit in
      trueTime = kit.clock.wall().nanoseconds
      kit.clock.setSynchronised(false)
      kit.clock.stepWall(.seconds(-1_000_000))
    }
    let clock = stage.kit.clock
    try stage.commit(count: 1, id: "a")
    let early = try #require(try events(stage).first)
    #expect(early.clockSync == .unsynchronised)
    #expect(early.time.nanoseconds < trueTime - 999_000_000_000)

    try stage.kill()
    clock.advance(.seconds(20))
    try stage.commit(count: 1, id: "b")
    clock.stepWall(.seconds(1_000_000))
    clock.setSynchronised(true)
    try stage.commit(count: 1, id: "c")
    try stage.kill()
    let found = try events(stage)
    #expect(found.map(\.id) == ["a", "b", "c"])
    #expect(found.map(\.clockSync) == [.corrected, .corrected, .synchronised])
    #expect((found[0].time.nanoseconds - trueTime).magnitude < 2_000_000)
    #expect((found[1].time.nanoseconds - trueTime - 20_000_000_000).magnitude < 2_000_000)
    #expect(found[0].source == early.source && found[0].sequence == early.sequence)

    // After a reboot with a clock that is wrong again, what was known of that boot still is.
    clock.setSynchronised(false)
    clock.stepWall(.seconds(-5_000_000))
    try stage.reboot(off: .seconds(5))
    try stage.commit(count: 1, id: "d")
    let later = try events(stage)
    #expect(
      later.map(\.clockSync) == [.corrected, .corrected, .synchronised, .unsynchronised])
    #expect(later[0].time == found[0].time)
    #expect(later.map(\.sequence.rawValue) == [1, 2, 3, 4])
  }

  @Test("raw records say the same of their time")
  func raw() throws {
    var stage = try ClockStage { $0.clock.setSynchronised(false) }
    try stage.commit(count: 1)
    func value(_ name: String) throws -> String? {
      let batch = try #require(try stage.batches { $0.format = .raw }.first)
      return MQTTPropertyReader.userProperty(
        named: Array(name.utf8).span, in: batch.properties.span
      ).map { String(decoding: batch.properties[$0], as: UTF8.self) }
    }
    #expect(try value("penstock-clocksync") == "false")
    stage.kit.clock.setSynchronised(true)
    #expect(try value("penstock-clocksync") == "corrected")
    #expect(try value("penstock-time")?.hasPrefix("2025-11-24T") == true)
  }

  // MARK: - Rollback and clone

  private func deliver(_ stage: borrowing ClockStage, into ledger: AuditLedger) throws {
    for batch in try stage.batches() {
      let envelope = try batch.envelope()
      ledger.withAudit { EnvelopeRecorder.record(envelope, into: &$0) }
      stage.state.acknowledge(0, through: batch.range.last)
    }
  }

  private func commit(
    _ stage: inout ClockStage, _ ids: ClosedRange<Int>, _ name: String, _ ledger: AuditLedger
  ) throws {
    let payload: [UInt8] = [0x37]
    for id in ids {
      ledger.sent(topic: "pumps/1/metrics", id: "\(name)-\(id)", payload: payload.span)
      try stage.commit(count: 1, payload: payload, id: "\(name)-\(id)")
      ledger.withAudit { $0.acknowledged(topic: "pumps/1/metrics", id: "\(name)-\(id)") }
    }
  }

  @Test("an older image put back between two runs raises the alarm")
  func rollback() throws {
    let ledger = AuditLedger()
    var stage = try ClockStage()
    try commit(&stage, 1...5, "before", ledger)
    try deliver(stage, into: ledger)
    try stage.kill()
    let image = stage.kit.disk.bytes(JournalKit.path)
    try commit(&stage, 1...4, "lost", ledger)
    try deliver(stage, into: ledger)
    #expect(ledger.report().counts.overlapping == 0)
    try stage.restore(image)
    try commit(&stage, 1...3, "after", ledger)
    try deliver(stage, into: ledger)
    let report = ledger.report()
    #expect(report.counts.overlapping == 3)
    #expect(report.counts.reused == 0 && report.counts.lost == 0)
    #expect(!report.isClean(allowedRedelivery: 1000))
    #expect(report.samples.contains { $0.hasPrefix("rollback or clone of journal") })
  }

  @Test("the same runs without the older image raise none: the control")
  func noRollback() throws {
    let ledger = AuditLedger()
    var stage = try ClockStage()
    for name in ["before", "meanwhile", "after"] {
      try commit(&stage, 1...5, name, ledger)
      try deliver(stage, into: ledger)
      try stage.kill()
    }
    let report = ledger.report()
    #expect(report.counts.overlapping == 0 && report.counts.epochs == 3)
    #expect(report.isClean(allowedRedelivery: 1000), "\(report)")
  }

  @Test("one card cloned into two gateways raises the alarm")
  func clone() throws {
    let ledger = AuditLedger()
    var first = try ClockStage()
    try commit(&first, 1...5, "shared", ledger)
    try deliver(first, into: ledger)
    try first.kill()
    let image = first.kit.disk.bytes(JournalKit.path)
    var second = try ClockStage(seed: 2)
    try second.restore(image)
    #expect(first.state.identity.id == second.state.identity.id)
    try commit(&first, 1...6, "first", ledger)
    try commit(&second, 1...4, "second", ledger)
    try deliver(first, into: ledger)
    try deliver(second, into: ledger)
    #expect(ledger.report().counts.overlapping == 4)
  }
}
