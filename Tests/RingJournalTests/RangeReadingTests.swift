// Goal: a second reader of a sink reads single ranges once more, exactly, and tells nobody that the
// sink holds them or lost them; the journal knows which epochs its ring lived through. Method: a
// small ring on the simulated disk. Cannot show: what is done with them (UpstreamTests).
import GatewayCore
import JournalSimulation
import Synchronization
import Testing

@testable import RingJournal

@Suite("Reading ranges once more")
struct RangeReadingTests {
  private func range(_ first: UInt64, _ last: UInt64) -> SequenceRange {
    SequenceRange(Sequence(first), Sequence(last))
  }

  /// The sequences of each record up to the end, where there is no gap.
  private func records(_ reader: inout JournalReader) throws -> [SequenceRange] {
    var found: [SequenceRange] = []
    let outcome = try reader.read { record, _ in
      found.append(record.sequences)
      return true
    }
    #expect(outcome == .caughtUp)
    return found
  }

  @Test(
    "a limit ends the reading there, in a group, a tail or a run of refusals; lifting it goes on")
  func limit() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    for index in 0..<10 {
      _ = try journal.writer.commit([UInt8](repeating: UInt8(index), count: 900))
    }
    let topic: [UInt8] = [0x70]
    for _ in 0..<10 {
      _ = try journal.writer.appendRefusal(
        topic: topic.span, received: MonotonicTime(nanoseconds: 1_000_000_000))
    }
    _ = try journal.writer.commit()
    _ = try journal.writer.commit([1])
    var reader = try journal.state.makeReader(sink: 0, isBeside: true)
    reader.seek(to: Sequence(4))
    reader.limit = Sequence(7)
    #expect(try Contents.read(&reader).sequences == [4, 5, 6, 7])
    reader.limit = Sequence(14)
    #expect(try records(&reader) == [range(8, 8), range(9, 9), range(10, 10), range(11, 14)])
    #expect(reader.position == Sequence(15))
    reader.limit = nil
    #expect(try records(&reader) == [range(15, 20), range(21, 21)])
  }

  @Test("a gap ends at the limit, too")
  func gapAtLimit() throws {
    var kit = JournalKit(blocks: 16, commit: .kibibytes(8))
    kit.options.whenFull = .dropOldest
    var journal = try kit.open()
    while journal.state.oldestKept < Sequence(20) {
      _ = try journal.writer.commit([UInt8](repeating: 1, count: 1500))
    }
    var reader = try journal.state.makeReader(sink: 0, isBeside: true)
    reader.limit = Sequence(12)
    let contents = try Contents.read(&reader)
    #expect(contents.gaps == [Gap(range(1, 12), .ringFull)] && contents.sequences.isEmpty)
  }

  @Test("what was delivered and is gone is told as a gap, and is nobody's loss")
  func deliveredIsNotLost() throws {
    let kit = JournalKit(blocks: 16, commit: .kibibytes(8))
    var journal = try kit.open()
    var reader = try journal.state.makeReader(sink: 0, isBeside: true)
    while journal.state.oldestKept < Sequence(20) {
      _ = try journal.writer.commit([UInt8](repeating: 1, count: 1500))
      journal.state.acknowledge(0, through: journal.state.committed)
    }
    reader.seek(to: Sequence(5))
    reader.limit = Sequence(9)
    #expect(try Contents.read(&reader).gaps == [Gap(range(5, 9), .ringFull)])
    #expect(journal.state.statistics().gapRecords == [:])
    // Control: to a sink that has not accepted them they are lost.
    #expect(journal.state.sinks[0].taken.load(ordering: .relaxed) == 0)
  }

  @Test("a reader beside the first does not say that the sink holds what it reads")
  func saysNothing() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    for index in 0..<5 { _ = try journal.writer.commit([UInt8(index)]) }
    var beside = try journal.state.makeReader(sink: 0, isBeside: true)
    #expect(try Contents.read(&beside).sequences == [1, 2, 3, 4, 5])
    #expect(journal.state.sinks[0].taken.load(ordering: .relaxed) == 0)
    var first = try journal.state.makeReader(sink: 0)
    #expect(try Contents.read(&first).sequences == [1, 2, 3, 4, 5])
    #expect(journal.state.sinks[0].taken.load(ordering: .relaxed) == 5)
  }

  @Test("the journal knows its epochs and how far each has numbered; not those of another life")
  func epochs() throws {
    let kit = JournalKit()
    var epochs: [Epoch] = []
    for life in 0..<3 {
      var journal = try kit.open()
      #expect(journal.state.lastSequence(of: journal.state.epoch) == journal.state.committed)
      for (index, epoch) in epochs.enumerated() {
        #expect(journal.state.lastSequence(of: epoch) == Sequence(UInt64(index + 1) * 4))
      }
      epochs.append(journal.state.epoch)
      for index in 0..<4 { _ = try journal.writer.commit([UInt8(life), UInt8(index)]) }
      if life == 1 { try journal.writer.close() }
    }
    let journal = try kit.open()
    #expect(journal.state.lastSequence(of: Epoch(rawValue: 77)) == nil)
    #expect(journal.state.lastSequence(of: epochs[2]) == Sequence(12))
  }
}
