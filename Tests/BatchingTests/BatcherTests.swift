// Goal: batches adjoin, account for every sequence once, and close at the right limit. Method: a
// real journal on a small file; every batch is decoded again. Cannot show: the order on the wire
// (SinkLoopTests do).

import Envelope
import GatewayCore
import Platform
import RingJournal
import Testing

@testable import Batching

private func bytes(_ count: Int) -> [UInt8] { [UInt8](repeating: 0xAB, count: count) }

/// Bytes that zstd cannot make smaller.
private func noise(_ count: Int, _ generator: inout SplitMix) -> [UInt8] {
  (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
}

@Suite struct BatcherTests {
  @Test("a batch closes at its number of records; the rest waits for company, or for the end")
  func count() throws {
    let kit = try BatchKit()
    try kit.commit((0..<25).map { bytes($0) })
    var batcher = try kit.makeBatcher { $0.recordCountMax = 10 }
    let batches = try batcher.all()
    #expect(batches.map(\.recordCount) == [10, 10, 5])
    #expect(try verify(batches, through: 25))
  }

  @Test("a partial batch closes when its oldest record's commit is max_delay ago")
  func delay() throws {
    let kit = try BatchKit()
    let before = Clock.monotonic()
    try kit.commit("1")
    let after = Clock.monotonic()
    var batcher = try kit.makeBatcher { $0.delayMax = .seconds(100) }
    guard case .wait(let until) = try batcher.next(now: after) else {
      Issue.record("one record waits")
      return
    }
    #expect(until >= before + .seconds(100) && until <= after + .seconds(100))
    try kit.commit("2")
    guard case .batch(let batch) = try batcher.next(now: until) else {
      Issue.record("it is due")
      return
    }
    #expect(batch.range == SequenceRange(.first, Sequence(2)))
    guard case .idle = try batcher.next(now: until) else {
      Issue.record("nothing is left")
      return
    }
  }

  @Test("the final packet stays below max_bytes, compressed or not", arguments: [false, true])
  func byteCount(isCompressed: Bool) throws {
    let kit = try BatchKit()
    var generator = SplitMix(state: 7)
    // First what compresses well, so that more is packed; then what does not: packets are halved.
    try kit.commit((0..<400).map { _ in bytes(200) })
    try kit.commit((0..<200).map { _ in noise(200, &generator) })
    var batcher = try kit.makeBatcher {
      $0.byteCountMax = .kibibytes(8)
      $0.compression = isCompressed ? .zstd : .none
    }
    let batches = try batcher.all()
    #expect(batches.allSatisfy { $0.bytes.count <= 8192 })
    #expect(try verify(batches, through: 600))
    #expect(batches.map(\.recordCount).reduce(0, +) == 600)
  }

  @Test("one record larger than max_bytes is a batch of its own")
  func largeRecord() throws {
    let kit = try BatchKit()
    try kit.commit([bytes(10), bytes(6000), bytes(10)])
    var batcher = try kit.makeBatcher { $0.byteCountMax = .kibibytes(4) }
    let batches = try batcher.all()
    #expect(batches.map(\.recordCount) == [1, 1, 1])
    #expect(batches[1].bytes.count > 4096)
  }

  @Test("a batch never spans two epochs")
  func epochs() throws {
    let kit = try BatchKit()
    try kit.commit("1", "2")
    let first = kit.state.epoch
    try kit.reopen()
    try kit.commit("3")
    var batcher = try kit.makeBatcher()
    let batches = try batcher.all()
    #expect(batches.map(\.epoch) == [first, kit.state.epoch])
    #expect(batches.map(\.range.last) == [Sequence(2), Sequence(3)])
    #expect(try verify(batches, through: 3))
  }

  @Test("elided sequences are accounted for, not sent")
  func elided() throws {
    let kit = try BatchKit()
    try kit.commit("1", "2", "3")
    var batcher = try kit.makeBatcher()
    batcher.elide(SequenceRange(.first, Sequence(2)))
    let batches = try batcher.all()
    #expect(try batches.map { try $0.envelope().elided } == [[SequenceRange(.first, Sequence(2))]])
    #expect(batches.map(\.recordCount) == [1])
    #expect(try verify(batches, through: 3))
  }

  @Test("what was overwritten becomes a gap in its place")
  func gap() throws {
    let kit = try BatchKit(blocks: 32, whenFull: .dropOldest)
    for _ in 0..<60 { try kit.commit([bytes(3000)]) }
    var batcher = try kit.makeBatcher()
    let batches = try batcher.all()
    let gaps = try batches.flatMap { try $0.envelope().gaps }
    #expect(gaps.map(\.reason) == [.ringFull])
    #expect(gaps.first?.range.first == .first)
    #expect(try verify(batches, through: 60))
  }

  @Test("a range is built again in smaller batches, then the full size returns")
  func rebuild() throws {
    let kit = try BatchKit()
    try kit.commit((0..<20).map { bytes($0) })
    var batcher = try kit.makeBatcher()
    _ = try batcher.all()
    batcher.rebuild(SequenceRange(.first, Sequence(4)), recordCountMax: 2)
    let batches = try batcher.all()
    #expect(batches.map(\.recordCount) == [2, 2, 16])
    #expect(try verify(batches, through: 20))
  }

  @Test("the only record of a batch is found, whatever gaps or elisions stand around it")
  func onlyRecord() throws {
    let kit = try BatchKit()
    for byte in 1...4 as ClosedRange<UInt8> {
      try kit.commit([[UInt8](repeating: byte, count: 3000)])
    }
    try kit.damage(recordOf: 2)
    var batcher = try kit.makeBatcher()
    func only(_ first: UInt64, _ last: UInt64) throws -> UInt64? {
      var sequence: UInt64?
      let range = SequenceRange(Sequence(first), Sequence(last))
      let found = try batcher.withOnlyRecord(in: range) { record, _ in
        sequence = record.sequence.rawValue
      }
      #expect(found?.first.rawValue == sequence)
      return sequence
    }
    #expect(try only(1, 2) == 1)
    #expect(try only(2, 3) == 3)
    #expect(try only(2, 2) == nil)
    batcher.elide(SequenceRange(Sequence(3), Sequence(3)))
    #expect(try only(2, 4) == 4)
    // The next batch begins where the range did.
    #expect(try verify(batcher.all(), from: 2, through: 4))
  }

  @Test("a smaller limit of the broker's counts, a larger one does not")
  func limitPackets() throws {
    let kit = try BatchKit()
    try kit.commit((0..<20).map { _ in bytes(500) })
    var batcher = try kit.makeBatcher { $0.byteCountMax = .kibibytes(8) }
    batcher.limitPackets(to: 3000)
    let small = try batcher.all()
    #expect(small.allSatisfy { $0.bytes.count <= 3000 })
    batcher.limitPackets(to: 100_000)
    batcher.rewind(to: .first)
    let large = try batcher.all()
    #expect(large.allSatisfy { $0.bytes.count <= 8192 } && large.count < small.count)
    #expect(try verify(small, through: 20) && verify(large, through: 20))
  }

  @Test("random sizes and limits: nothing is lost, doubled or reordered", arguments: 0..<12)
  func conservation(seed: UInt64) throws {
    var generator = SplitMix(state: seed)
    let kit = try BatchKit(blocks: 512)
    var sent: [[UInt8]] = []
    for _ in 0..<20 {
      let group = (0..<Int.random(in: 1...20, using: &generator)).map { _ in
        noise(Int.random(in: 0...2000, using: &generator), &generator)
      }
      try kit.commit(group)
      sent += group
      if Int.random(in: 0..<6, using: &generator) == 0 { try kit.reopen() }
    }
    var batcher = try kit.makeBatcher {
      $0.recordCountMax = Int.random(in: 1...30, using: &generator)
      $0.byteCountMax = ByteCount(Int.random(in: 500...20_000, using: &generator))
      $0.compression = Bool.random(using: &generator) ? .zstd : .none
    }
    let batches = try batcher.all()
    #expect(try verify(batches, through: UInt64(sent.count)))
    #expect(try batches.flatMap { try $0.envelope().events.map(\.payload) } == sent)
  }
}

struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
    return word ^ word >> 31
  }
}
