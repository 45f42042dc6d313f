// Goal: on a route that carries commands nothing leaves that has expired, or whose age nobody
// knows; what leaves says how long it holds. Method: a small journal with a manual clock on the
// simulated disk, through the batcher. Cannot show: what the sink does with what is kept.

import GatewayCore
import JournalSimulation
import RingJournal
import Testing

@testable import Batching

@Suite("Batching: commands")
struct KeptTests {
  private func range(_ first: UInt64, _ last: UInt64) -> SequenceRange {
    SequenceRange(Sequence(first), Sequence(last))
  }

  private func stage(synchronised: Bool = true) throws -> ClockStage {
    try ClockStage { kit in
      kit.options.expireAfter = .seconds(60)
      kit.options.keepsExpired = true
      kit.clock.setSynchronised(synchronised)
    }
  }

  private func batcher(_ stage: borrowing ClockStage) throws -> Batcher {
    try stage.makeBatcher {
      $0.format = .raw
      $0.keepsExpired = true
    }
  }

  private func interval(_ batch: Batch, at now: MonotonicTime) -> UInt32? {
    let properties = batch.properties(at: now)
    var reader = MQTTPropertyReader()
    while let property = reader.next(in: properties.span) {
      if property.identifier == .messageExpiryInterval { return property.number }
    }
    return nil
  }

  private func expiry(_ seconds: UInt32) -> [UInt8] {
    var properties: [UInt8] = []
    MQTTPropertyWriter.append(.messageExpiryInterval, number: seconds, to: &properties)
    return properties
  }

  @Test("what has expired is handed over to be kept, and lent as it came; the rest leaves")
  func kept() throws {
    var stage = try stage()
    try stage.commit(count: 2, payload: [1])
    try stage.commit(count: 1, payload: [2], properties: expiry(5))
    stage.kit.clock.advance(.seconds(50))
    try stage.commit(count: 1, payload: [3])
    stage.kit.clock.advance(.seconds(11))
    var batcher = try batcher(stage)
    let now = stage.kit.clock.monotonic()
    guard case .expired(let found, let epoch) = try batcher.next(now: now) else {
      Issue.record("expired commands are kept")
      return
    }
    #expect(found == range(1, 3))
    #expect(epoch == stage.state.epoch)
    var payloads: [UInt8] = []
    try batcher.withRecords(in: found) { record, bytes in
      payloads.append(bytes[record.payload.lowerBound])
    }
    #expect(payloads == [1, 1, 2])
    let rest = try batcher.all()
    #expect(rest.map(\.bytes) == [[3]])
    #expect(rest.map(\.range) == [range(4, 4)])
  }

  @Test("a run is kept in parts, each a few syncs long")
  func parts() throws {
    var stage = try stage()
    try stage.commit(count: Int(Batcher.keptCountMax) + 1)
    stage.kit.clock.advance(.seconds(61))
    var batcher = try batcher(stage)
    var counts: [UInt64] = []
    while case .expired(let found, _) = try batcher.next(now: stage.kit.clock.monotonic()) {
      counts.append(found.count)
    }
    #expect(counts == [Batcher.keptCountMax, 1])
  }

  @Test("what leaves carries what is left of its life, and less the longer it waits here")
  func interval() throws {
    var stage = try stage()
    try stage.commit(count: 1)
    try stage.commit(count: 1, properties: expiry(30))
    try stage.commit(count: 1, properties: expiry(3600))
    stage.kit.clock.advance(.seconds(10))
    var batcher = try batcher(stage)
    let now = stage.kit.clock.monotonic()
    var batches: [Batch] = []
    while case .batch(let batch) = try batcher.next(now: now) { batches.append(batch) }
    #expect(batches.map { interval($0, at: now) } == [49, 19, 49])
    let later = now + .milliseconds(15_500)
    #expect(batches.map { interval($0, at: later) } == [34, 4, 34])
    #expect(batches.map { interval($0, at: now + .seconds(500)) } == [1, 1, 1])
    let ends = batches.map { $0.deadline?.since(now) ?? .zero }
    #expect(ends[0] > .seconds(49) && ends[0] <= .seconds(50))
    #expect(ends[1] > .seconds(19) && ends[1] <= .seconds(20))
  }

  @Test("control: an ordinary raw route adds no expiry, and takes the wait off one that came")
  func ordinary() throws {
    var stage = try ClockStage { $0.options.expireAfter = .seconds(60) }
    try stage.commit(count: 1)
    try stage.commit(count: 1, properties: expiry(3600))
    stage.kit.clock.advance(.seconds(10))
    var batcher = try stage.makeBatcher { $0.format = .raw }
    let now = stage.kit.clock.monotonic()
    var batches: [Batch] = []
    while case .batch(let batch) = try batcher.next(now: now) { batches.append(batch) }
    #expect(batches.map { interval($0, at: now + .seconds(5)) } == [nil, 3584])
    #expect(batches.allSatisfy { $0.deadline != nil })
  }

  @Test("after a power cut without a clock a command waits, and leaves once its age is known")
  func waitsForTheClock() throws {
    var stage = try stage()
    try stage.commit(count: 1)
    stage.kit.clock.setSynchronised(false)
    try stage.reboot(off: .seconds(10))
    var batcher = try batcher(stage)
    let now = stage.kit.clock.monotonic()
    guard case .wait = try batcher.next(now: now) else {
      Issue.record("a command of unknown age must not leave")
      return
    }
    stage.kit.clock.setSynchronised(true)
    #expect(try batcher.all().map(\.range) == [range(1, 1)])
  }

  @Test("after a long power cut the clock tells that the command has expired")
  func theClockTells() throws {
    var stage = try stage()
    try stage.commit(count: 1)
    stage.kit.clock.setSynchronised(false)
    try stage.reboot(off: .seconds(3600))
    var batcher = try batcher(stage)
    _ = try batcher.next(now: stage.kit.clock.monotonic())
    stage.kit.clock.setSynchronised(true)
    guard case .expired = try batcher.next(now: stage.kit.clock.monotonic()) else {
      Issue.record("an hour is more than a minute")
      return
    }
  }

  @Test("no clock ever: it is kept after two minutes, and what came in this boot leaves")
  func noClock() throws {
    var stage = try stage(synchronised: false)
    try stage.commit(count: 1)
    try stage.reboot(off: .seconds(3600))
    try stage.commit(count: 1)
    var batcher = try batcher(stage)
    let now = stage.kit.clock.monotonic()
    guard case .wait = try batcher.next(now: now) else {
      Issue.record("a command of unknown age must not leave")
      return
    }
    guard case .expired(let found, _) = try batcher.next(now: now + Batcher.uncertainWaitMax)
    else {
      Issue.record("the wait has an end")
      return
    }
    #expect(found == range(1, 1))
    #expect(try batcher.all().map(\.range) == [range(2, 2)])
  }
}
