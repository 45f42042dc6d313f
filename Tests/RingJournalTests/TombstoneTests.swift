// Goal: a refused message takes a sequence and is told of, but takes no room; refusals that follow
// one another are one run, in commits, tails, sealed tails and after a crash.
// Method: refusals between records on the simulated disk, read back, also from the middle of a run.
import GatewayCore
import JournalSimulation
import Platform
import Testing

@testable import RingJournal

@Suite("Tombstones")
struct TombstoneTests {
  private let kit = JournalKit()

  private func refuse(
    _ writer: inout JournalWriter, _ topic: [UInt8] = [0x70], count: Int = 1
  ) throws {
    for _ in 0..<count {
      let result = try writer.appendRefusal(
        topic: topic.span, received: MonotonicTime(nanoseconds: 1_000_000_000))
      guard case .appended = result else { throw TombstoneFailure(result: result) }
    }
  }

  private struct TombstoneFailure: Error { let result: AppendResult }

  private struct Found: Equatable {
    var kind: RecordKind
    var range: SequenceRange
    var topic: [UInt8]
  }

  private func read(_ state: JournalState, from: Sequence? = nil) throws -> [Found] {
    var reader = try state.makeReader(sink: 0)
    if let from { reader.seek(to: from) }
    var found: [Found] = []
    let outcome = try reader.read { record, bytes in
      found.append(
        Found(kind: record.kind, range: record.sequences, topic: copy(bytes, record.topic)))
      return true
    }
    #expect(outcome == .caughtUp)
    return found
  }

  private func range(_ first: UInt64, _ last: UInt64) -> SequenceRange {
    SequenceRange(Sequence(first), Sequence(last))
  }

  @Test("refusals of one source that follow one another are one run; another source begins another")
  func runs() throws {
    var journal = try kit.open()
    try refuse(&journal.writer, count: 1000)
    try refuse(&journal.writer, [0x71], count: 2)
    #expect(try journal.writer.append([1]) == .appended(Sequence(1003)))
    try refuse(&journal.writer, count: 3)
    let receipt = try journal.writer.commit()
    #expect(receipt.range == range(1, 1006))
    #expect(receipt.byteCount == ByteCount(4096))
    #expect(journal.state.committed == Sequence(1006))
    let expected = [
      Found(kind: .tombstone, range: range(1, 1000), topic: [0x70]),
      Found(kind: .tombstone, range: range(1001, 1002), topic: [0x71]),
      Found(kind: .data, range: range(1003, 1003), topic: [0x74]),
      Found(kind: .tombstone, range: range(1004, 1006), topic: [0x70]),
    ]
    #expect(try read(journal.state) == expected)
    #expect(journal.state.statistics().gapRecords == [.quota: 1005])
  }

  @Test("a run is read from its middle, and recovered whole, with the sequence going on behind it")
  func middle() throws {
    do {
      var journal = try kit.open()
      try refuse(&journal.writer, count: 10)
      _ = try journal.writer.commit()
      // Into the same tail: a run of its own, because the first one is committed.
      try refuse(&journal.writer, count: 5)
      _ = try journal.writer.commit()
      #expect(
        try read(journal.state, from: Sequence(4)) == [
          Found(kind: .tombstone, range: range(4, 10), topic: [0x70]),
          Found(kind: .tombstone, range: range(11, 15), topic: [0x70]),
        ])
    }
    kit.disk.crash(.nothing, seed: 1)
    var visited: [SequenceRange] = []
    var journal = try kit.open { record, _ in visited.append(record.sequences) }
    #expect(visited == [range(1, 10), range(11, 15)])
    #expect(journal.report.keptRecordCount == 15)
    #expect(try journal.writer.commit([1]) == Sequence(16))
  }

  @Test("what was lost is counted once over all openings")
  func lifetime() throws {
    do {
      var journal = try kit.open()
      try refuse(&journal.writer, count: 7)
      _ = try journal.writer.commit()
      try journal.writer.close()
    }
    let journal = try kit.open()
    #expect(journal.state.statistics().gapRecords == [:])
    #expect(journal.state.statistics().lostRecords == [.quota: 7])
  }
}

@Suite("The ledger of lost sequences")
struct LossLedgerTests {
  private func range(_ first: UInt64, _ last: UInt64) -> SequenceRange {
    SequenceRange(Sequence(first), Sequence(last))
  }

  @Test("a sequence counts once, however ranges overlap")
  func overlap() {
    var ledger = LossLedger()
    #expect(ledger.insert(range(10, 19)) == 10)
    #expect(ledger.insert(range(10, 19)) == 0)
    #expect(ledger.insert(range(30, 39)) == 10)
    #expect(ledger.insert(range(15, 34)) == 10)
    #expect(ledger.ranges == [range(10, 39)])
    #expect(ledger.insert(range(1, 2)) == 2)
    #expect(ledger.ranges == [range(1, 2), range(10, 39)])
    ledger.prune(below: Sequence(3))
    #expect(ledger.ranges == [range(10, 39)])
  }

  @Test("it never grows beyond its limit, and then counts too few rather than one twice")
  func limit() {
    var ledger = LossLedger()
    for index in 0..<100 {
      #expect(ledger.insert(range(UInt64(10 * index + 1), UInt64(10 * index + 2))) == 2)
    }
    #expect(ledger.ranges.count == LossLedger.countMax)
    for index in 0..<100 {
      #expect(ledger.insert(range(UInt64(10 * index + 1), UInt64(10 * index + 2))) == 0)
    }
  }
}
