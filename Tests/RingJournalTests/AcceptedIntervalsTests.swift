// Goal: what a sink accepted beyond its cursor is known after a stop and a crash, joins the cursor
// when that comes there, is at most eight ranges, and is not counted as lost when the ring gives it
// up. Method: the value against a plain set, then a small ring on the simulated disk. Cannot show:
// every crash (the model does, `journal-torture live-first`).
import GatewayCore
import JournalSimulation
import Testing

@testable import RingJournal

private func range(_ first: UInt64, _ last: UInt64) -> SequenceRange {
  SequenceRange(Sequence(first), Sequence(last))
}

@Suite("Accepted beyond the cursor")
struct AcceptedIntervalsTests {
  @Test("against a plain set: inserted, absorbed, clamped, subtracted", arguments: 0..<40)
  func againstSet(seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    var intervals = AcceptedIntervals()
    var known: Set<UInt64> = []
    for _ in 0..<300 {
      let first = UInt64.random(in: 1...200, using: &generator)
      let last = first + UInt64.random(in: 0...15, using: &generator)
      switch Int.random(in: 0..<10, using: &generator) {
      case 0:
        let cursor = intervals.absorb(through: Sequence(first))
        known = known.filter { $0 > first }
        var expected = first
        while known.remove(expected + 1) != nil { expected += 1 }
        #expect(cursor.rawValue == expected)
      case 1:
        intervals.clamp(through: Sequence(last))
        known = known.filter { $0 <= last }
      default:
        let hasRoom = intervals.hasRoom(for: range(first, last))
        #expect(intervals.insert(range(first, last)) == hasRoom)
        if hasRoom { known.formUnion(first...last) } else { #expect(intervals.ranges.count == 8) }
      }
      let listed = intervals.ranges.flatMap { $0.first.rawValue...$0.last.rawValue }
      #expect(listed == known.sorted())
      #expect(intervals.ranges.count <= AcceptedIntervals.countMax)
      for (left, right) in zip(intervals.ranges, intervals.ranges.dropFirst()) {
        #expect(left.last.next < right.first)
      }
      let missing = intervals.missing(in: range(first, last))
      #expect(
        missing.flatMap { $0.first.rawValue...$0.last.rawValue }
          == (first...last).filter { !known.contains($0) })
    }
  }

  private func filled(_ kit: JournalKit, _ count: Int) throws -> OpenedJournal {
    var journal = try kit.open()
    for index in 0..<count { _ = try journal.writer.commit([UInt8(truncatingIfNeeded: index)]) }
    return journal
  }

  @Test("the cursor jumps over what was accepted before it came there")
  func cursorJumps() throws {
    let journal = try filled(JournalKit(), 40)
    let state = journal.state
    #expect(state.accept(0, range(21, 25)))
    #expect(state.accept(0, range(31, 40)))
    #expect(state.acknowledged(0) == .none)
    state.acknowledge(0, through: Sequence(20))
    #expect(state.acknowledged(0) == Sequence(25))
    #expect(state.acceptedIntervals(0).ranges == [range(31, 40)])
    #expect(state.accept(0, range(26, 30)))
    #expect(state.acknowledged(0) == Sequence(40))
    #expect(state.acceptedIntervals(0).isEmpty)
  }

  @Test("a ninth range finds no place; one that extends another does")
  func noPlace() throws {
    let journal = try filled(JournalKit(), 40)
    for index in 1...8 {
      let first = UInt64(index * 4)
      #expect(journal.state.accept(0, range(first, first)))
    }
    #expect(!journal.state.accept(0, range(36, 36)))
    #expect(journal.state.accept(0, range(33, 34)))
    #expect(journal.state.acceptedIntervals(0).ranges.count == 8)
  }

  @Test("known after a clean stop, and a second after a commit even if the power fails")
  func survives() throws {
    for isClean in [true, false] {
      let kit = JournalKit()
      do {
        var journal = try filled(kit, 30)
        journal.state.acknowledge(0, through: Sequence(3))
        #expect(journal.state.accept(0, range(11, 20)))
        _ = try journal.writer.commit([1])
        if isClean {
          try journal.writer.close()
        } else {
          // A commit carries the cursor and not this.
          #expect(try journal.writer.maintain(now: kit.clock.monotonic()) != nil)
          kit.clock.advance(.seconds(1))
          #expect(try journal.writer.maintain(now: kit.clock.monotonic()) == nil)
          kit.disk.crash(.nothing, seed: 1)
        }
      }
      let journal = try kit.open()
      #expect(journal.state.acknowledged(0) == Sequence(3))
      #expect(journal.state.acceptedIntervals(0).ranges == [range(11, 20)])
    }
  }

  @Test("commits that follow one another do not put it off")
  func notPutOff() throws {
    let kit = JournalKit()
    var journal = try filled(kit, 30)
    #expect(journal.state.accept(0, range(11, 20)))
    for _ in 0..<6 {
      _ = try journal.writer.maintain(now: kit.clock.monotonic())
      kit.clock.advance(.milliseconds(250))
      _ = try journal.writer.commit([1])
    }
    kit.disk.crash(.nothing, seed: 1)
    journal = try kit.open()
    #expect(journal.state.acceptedIntervals(0).ranges == [range(11, 20)])
  }

  @Test("eight ranges stand in the superblock where the format has them, and are read back")
  func encoding() {
    let identity = Identity(
      id: JournalID(high: 1, low: 2), checksumSeed: 7, createdAt: WallTime(nanoseconds: 0),
      capacity: 1 << 20, hashKey: HashKey(high: 3, low: 4), previous: nil, dataStart: 16384,
      gatewayID: "g", routeName: "r")
    var superblock = Superblock(headOffset: 16384, highWater: 20480)
    var sink = Superblock.Sink(name: "a", isRequired: true, acknowledged: 5)
    for first in stride(from: UInt64(10), to: 90, by: 10) {
      let isTaken = sink.intervals.insert(range(first, first + 3))
      #expect(isTaken)
    }
    superblock.sinks = [sink, Superblock.Sink(name: "b", isRequired: true, acknowledged: 0)]
    var block = [UInt8](repeating: 0xff, count: Block.byteCount)
    var bytes = block.mutableSpan
    superblock.encode(identity: identity, into: &bytes)
    #expect(block[656 + 2] == 8 && block[656 + 176 + 2] == 0)
    #expect(block[656 + 48] == 10 && block[656 + 56] == 13)
    #expect(block[656 + 48 + 7 * 16] == 80 && block[656 + 56 + 7 * 16] == 83)
    #expect(Superblock.decode(block.span, identity: identity) == superblock)
  }

  @Test("what is accepted and overwritten is nobody's loss, what is not is counted once")
  func drop() throws {
    var kit = JournalKit(blocks: 24, commit: .kibibytes(8))
    kit.options.whenFull = .dropOldest
    var journal = try kit.open()
    for _ in 0..<20 { _ = try journal.writer.commit([UInt8](repeating: 1, count: 1500)) }
    #expect(journal.state.accept(0, range(5, 9)))
    while journal.state.oldestKept <= Sequence(15) {
      _ = try journal.writer.commit([UInt8](repeating: 1, count: 1500))
    }
    let gone = journal.state.oldestKept.rawValue - 1
    #expect(journal.state.statistics().gapRecords == [.ringFull: gone - 5])
    // A reader that is confined to the holes tells of the same.
    var reader = try journal.state.makeReader(sink: 0)
    reader.limit = Sequence(4)
    #expect(try Contents.read(&reader).gaps == [Gap(range(1, 4), .ringFull)])
    journal.state.acknowledge(0, through: Sequence(4))
    #expect(journal.state.acknowledged(0) == Sequence(9))
    reader.limit = nil
    reader.seek(to: Sequence(10))
    #expect(try Contents.read(&reader).gaps == [Gap(range(10, gone), .ringFull)])
    #expect(journal.state.statistics().gapRecords == [.ringFull: gone - 5])
  }
}
