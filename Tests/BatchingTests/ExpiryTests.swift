// Goal: what leaves tells of expired records as gaps, in envelopes and on the notice topic of a raw
// route, adjoining ones as one; and a record's dwell is elapsed time. Method: a small journal with
// a manual clock on the simulated disk, through the batcher and the decoder.

import Envelope
import GatewayCore
import JournalSimulation
import RingJournal
import Testing

@testable import Batching

@Suite("Batching: expiry")
struct ExpiryTests {
  private func range(_ first: UInt64, _ last: UInt64) -> SequenceRange {
    SequenceRange(Sequence(first), Sequence(last))
  }

  private func interval(_ seconds: UInt32) -> [UInt8] {
    var properties: [UInt8] = []
    MQTTPropertyWriter.append(.messageExpiryInterval, number: seconds, to: &properties)
    return properties
  }

  @Test("expired records become one gap, the rest events; a wall step changes nothing")
  func envelope() throws {
    var stage = try ClockStage { $0.options.expireAfter = .seconds(60) }
    try stage.commit(count: 3)
    stage.kit.clock.advance(.seconds(40))
    try stage.commit(count: 2)
    stage.kit.clock.stepWall(.seconds(86_400))
    #expect(try stage.batches().first?.gaps == [])
    stage.kit.clock.advance(.seconds(30))
    let batches = try stage.batches()
    #expect(batches.map(\.gaps) == [[Gap(range(1, 3), .expired)]])
    let envelope = try batches[0].envelope()
    #expect(envelope.gaps == [Gap(range(1, 3), .expired)])
    #expect(envelope.events.map(\.sequence.rawValue) == [4, 5])
    try envelope.verifyAccounting()
    stage.kit.clock.advance(.seconds(60))
    #expect(try stage.batches().map(\.gaps) == [[Gap(range(1, 5), .expired)]])
  }

  @Test("a dead letter is found among the expired records of its batch")
  func onlyRecord() throws {
    var stage = try ClockStage { $0.options.expireAfter = .seconds(60) }
    try stage.commit(count: 2)
    stage.kit.clock.advance(.seconds(61))
    try stage.commit(count: 1)
    var batcher = try stage.makeBatcher()
    let batch = try #require(try batcher.all().first)
    #expect(batch.recordCount == 1 && batch.gaps == [Gap(range(1, 2), .expired)])
    let found = try batcher.withOnlyRecord(in: batch.range, gaps: batch.gaps) { _, _ in }
    #expect(found == range(3, 3))
    batcher.elide(range(3, 3))
    let again = try #require(try batcher.all().first).envelope()
    #expect(again.gaps == [Gap(range(1, 2), .expired)] && again.elided == [range(3, 3)])
  }

  @Test("raw: a run of expired records is one notice; the interval that is left is sent on")
  func raw() throws {
    var stage = try ClockStage()
    try stage.commit(count: 2, properties: interval(10))
    try stage.commit(count: 1, properties: interval(100))
    try stage.commit(count: 1, properties: interval(10))
    stage.kit.clock.advance(.seconds(30))
    // Off for a minute; the clock is synchronised before and after.
    try stage.reboot(off: .seconds(59))
    let batches = try stage.batches { $0.format = .raw }
    #expect(
      batches.map(\.destination)
        == [.notices(.gaps), .topic("pumps/1/metrics"), .notices(.gaps)])
    #expect(try batches[0].envelope().gaps == [Gap(range(1, 2), .expired)])
    #expect(try batches[2].envelope().gaps == [Gap(range(4, 4), .expired)])
    var reader = MQTTPropertyReader()
    let properties = batches[1].properties
    let first = reader.next(in: properties.span)
    #expect(first?.identifier == .messageExpiryInterval && first?.number == 10)
    #expect(try verify(batches, through: 4))
  }

  @Test("a long run of expired records is told in parts, so that the loop never stalls")
  func longRun() throws {
    var stage = try ClockStage(blocks: 4096) { $0.options.expireAfter = .seconds(60) }
    let count = Int(Batcher.expiredCountMax) + 10
    try stage.commit(count: count, payload: [])
    stage.kit.clock.advance(.seconds(61))
    for format in BatchFormat.allCases {
      let batches = try stage.batches { $0.format = format }
      #expect(
        batches.map(\.range) == [
          range(1, Batcher.expiredCountMax), range(Batcher.expiredCountMax + 1, UInt64(count)),
        ])
    }
  }
}
