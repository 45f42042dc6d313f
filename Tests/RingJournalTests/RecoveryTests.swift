// Goal: each kind of damage to a durable file: nothing wrong
// is ever delivered, damage stays confined, every loss has its gap, the agent starts by itself.
// Method: images made by the journal itself and damaged byte by byte. Cannot show: real media.
import GatewayCore
import JournalSimulation
import Platform
import Synchronization
import Testing

@testable import RingJournal

@Suite("Recovery")
struct RecoveryTests {
  /// Groups of one 3,000-byte record each, so that each occupies one block and none is a tail.
  private func filled(_ kit: JournalKit, _ count: Int) throws -> [UInt8] {
    var journal = try kit.open()
    for index in 0..<count {
      let payload = [UInt8](repeating: UInt8(index + 1), count: 3000)
      try #require(try journal.writer.commit(payload) != nil)
    }
    kit.disk.crash(.nothing, seed: 1)
    return kit.disk.bytes(JournalKit.path)
  }

  private func offset(ofGroup index: Int) -> Int { (4 + index) * 4096 }

  @Test("a torn tail is truncated and counted, earlier records survive")
  func tornTail() throws {
    let kit = JournalKit(blocks: 32)
    var journal = try kit.open()
    for index in 0..<5 { _ = try journal.writer.commit([UInt8](repeating: 1, count: 3000 + index)) }
    // The header's sector lands, the rest of the block does not.
    _ = try journal.writer.append([UInt8](repeating: 9, count: 3000))
    kit.disk.state.withLock { $0.failingSyncs = [5] }
    #expect(throws: JournalError.self) { _ = try journal.writer.commit() }
    kit.disk.crash(.nothing, seed: 1)
    let torn = (4 + 5) * 4096
    let image = try whole(kit, group: 5)
    kit.disk.damage(JournalKit.path) { $0.put(image.span.extracting(0..<512), at: torn) }
    var again = try kit.open()
    #expect(again.report.tornTailCount == 1)
    #expect(again.report.corruptRanges.isEmpty)
    #expect(try Contents.read(again.state).sequences == [1, 2, 3, 4, 5])
    #expect(try again.writer.commit([1]) == Sequence(6))
  }

  /// The bytes that group `index` would have had, from an identical twin.
  private func whole(_ kit: JournalKit, group index: Int) throws -> [UInt8] {
    var journal = try kit.open()
    _ = try journal.writer.commit([UInt8](repeating: 9, count: 3000))
    let place = offset(ofGroup: index)
    let bytes = Array(kit.disk.bytes(JournalKit.path)[place..<place + 4096])
    kit.disk.crash(.nothing, seed: 1)
    kit.disk.damage(JournalKit.path) { $0.put([UInt8](repeating: 0, count: 4096).span, at: place) }
    // Without the superblock's word that it was committed.
    return bytes
  }

  @Test(
    "a rotten group in the middle becomes a gap; groups around it are delivered",
    arguments: [
      0, 300, 4000,
    ])
  func rottenMiddle(byte: Int) throws {
    let kit = JournalKit(blocks: 32)
    _ = try filled(kit, 10)
    kit.disk.damage(JournalKit.path) { $0[offset(ofGroup: 4) + min(byte, 3000)] ^= 0x10 }
    let journal = try kit.open()
    #expect(
      journal.report.corruptRanges.map(\.sequences) == [SequenceRange(Sequence(5), Sequence(5))])
    #expect(journal.report.lostRecordCount == 1)
    #expect(journal.report.quarantined == ByteCount(4096))
    #expect(kit.disk.exists("/data/quarantine/telemetry-\(offset(ofGroup: 4)).bad"))
    let contents = try Contents.read(journal.state)
    #expect(contents.sequences == [1, 2, 3, 4, 6, 7, 8, 9, 10])
    #expect(contents.gaps == [Gap(SequenceRange(Sequence(5), Sequence(5)), .corrupt)])
    #expect(journal.state.statistics().gapRecords == [.corrupt: 1])
  }

  @Test("rot in the last group that a superblock proves to be committed is a gap, not a torn tail")
  func rottenLast() throws {
    let kit = JournalKit(blocks: 32)
    var journal = try kit.open()
    for index in 0..<5 {
      _ = try journal.writer.commit([UInt8](repeating: UInt8(index), count: 3000))
    }
    try journal.writer.close()
    kit.disk.kill()
    kit.disk.damage(JournalKit.path) { $0[offset(ofGroup: 4) + 1000] ^= 1 }
    var again = try kit.open()
    #expect(again.report.tornTailCount == 0)
    #expect(
      try Contents.read(again.state).gaps.map(\.range) == [SequenceRange(Sequence(5), Sequence(5))])
    #expect(try again.writer.commit([1]) == Sequence(6))
    #expect(try Contents.read(again.state).sequences == [1, 2, 3, 4, 6])
  }

  @Test("an unreadable sector costs its group, not the start")
  func unreadable() throws {
    let kit = JournalKit(blocks: 32)
    _ = try filled(kit, 10)
    kit.disk.state.withLock { $0.files[JournalKit.path]?.unreadable = [offset(ofGroup: 2)] }
    let journal = try kit.open()
    #expect(journal.report.unreadableBlockCount == 1)
    let range = SequenceRange(Sequence(3), Sequence(3))
    #expect(journal.report.corruptRanges.map(\.sequences) == [range])
  }

  /// Six groups of two blocks with two records each.
  private func pairs(_ kit: JournalKit) throws -> OpenedJournal {
    var journal = try kit.open()
    for group in 0..<6 {
      for record in 0..<2 {
        _ = try journal.writer.append([UInt8](repeating: UInt8(2 * group + record), count: 3000))
      }
      _ = try journal.writer.commit()
    }
    return journal
  }

  @Test(
    "a sector that goes bad behind what is committed costs nothing: it was only read ahead",
    arguments: [12, 13, 31])
  func unreadableBehind(block: Int) throws {
    let kit = JournalKit(blocks: 32)
    let journal = try pairs(kit)
    kit.disk.state.withLock { $0.files[JournalKit.path]?.unreadable = [offset(ofGroup: block)] }
    let contents = try Contents.read(journal.state)
    #expect(contents.sequences == Array(1...12))
    #expect(contents.gaps == [])
    #expect(journal.state.statistics().gapRecords == [:])
  }

  @Test(
    "a sector that goes bad under a reader costs its group, which becomes a gap",
    arguments: 0..<6, 0..<2)
  func unreadableInside(group: Int, block: Int) throws {
    let kit = JournalKit(blocks: 32)
    var journal = try pairs(kit)
    kit.disk.state.withLock {
      $0.files[JournalKit.path]?.unreadable = [offset(ofGroup: 2 * group + block)]
    }
    let lost = SequenceRange(
      Sequence(UInt64(2 * group + 1)), Sequence(UInt64(2 * group + 2)))
    let contents = try Contents.read(journal.state)
    #expect(contents.sequences == (1...12).filter { !lost.contains(Sequence($0)) })
    #expect(contents.gaps == [Gap(lost, .corrupt)])
    for (sequence, payload) in contents.payloads {
      #expect(payload == [UInt8](repeating: UInt8(sequence - 1), count: 3000))
    }
    #expect(journal.state.statistics().gapRecords == [.corrupt: 2])
    // The writer has not noticed, and what it commits now is delivered, too.
    #expect(try journal.writer.commit([1]) == Sequence(13))
    #expect(try Contents.read(journal.state, from: Sequence(13)).sequences == [13])
  }

  @Test("either superblock may be lost, silently; it is written anew", arguments: [0, 2])
  func oneSuperblock(slot: Int) throws {
    let kit = JournalKit(blocks: 32)
    var journal = try kit.open()
    for _ in 0..<4 { _ = try journal.writer.commit([UInt8](repeating: 1, count: 3000)) }
    journal.state.acknowledge(0, through: Sequence(2))
    _ = try journal.writer.commit([UInt8](repeating: 1, count: 3000))
    kit.disk.crash(.nothing, seed: 1)
    kit.disk.damage(JournalKit.path) { bytes in
      for index in slot * 4096..<slot * 4096 + 4096 { bytes[index] = 0xaa }
    }
    let again = try kit.open()
    #expect(again.report.repairedBlockCount == 1)
    #expect(try Contents.read(again.state).sequences == [3, 4, 5])
    kit.disk.crash(.nothing, seed: 1)
    #expect(try kit.open().report.repairedBlockCount == 0)
  }

  @Test("both superblocks lost: the whole ring is scanned, cursors come from the newest group")
  func bothSuperblocks() throws {
    let kit = JournalKit(blocks: 16, commit: .kibibytes(8))
    var journal = try kit.open()
    for index in 0..<40 {
      _ = try journal.writer.commit([UInt8](repeating: UInt8(index), count: 3000))
      journal.state.acknowledge(0, through: Sequence(UInt64(max(index - 3, 0))))
    }
    _ = try journal.writer.commit([1])
    kit.disk.crash(.nothing, seed: 1)
    kit.disk.damage(JournalKit.path) { bytes in
      for index in 0..<4096 {
        bytes[index] = 0
        bytes[2 * 4096 + index] = 0x55
      }
    }
    var visited: [UInt64] = []
    var again = try kit.open { record, _ in visited.append(record.sequence.rawValue) }
    #expect(again.state.acknowledged(0) == Sequence(36))
    #expect(try Contents.read(again.state).sequences == [37, 38, 39, 40, 41])
    #expect(visited == visited.sorted() && visited.last == 41 && visited.count >= 13)
    #expect(try again.writer.commit([2]) == Sequence(42))
    kit.disk.crash(.nothing, seed: 1)
    #expect(try kit.open().report.repairedBlockCount == 0)
  }

  @Test("one bit anywhere in the data never gives a wrong record, and costs one group at most")
  func bitRot() throws {
    let kit = JournalKit(blocks: 16, commit: .kibibytes(8))
    let image = try filled(kit, 6)
    var generator = SeededGenerator(seed: 5)
    for _ in 0..<300 {
      let bit = Int.random(in: 4 * 4096 * 8..<10 * 4096 * 8, using: &generator)
      kit.disk.damage(JournalKit.path) {
        $0 = image
        $0[bit / 8] ^= 1 << (bit % 8)
      }
      let journal = try kit.open()
      let contents = try Contents.read(journal.state)
      for (sequence, payload) in contents.payloads {
        #expect(payload == [UInt8](repeating: UInt8(sequence), count: 3000), "bit \(bit)")
      }
      // The last group is indistinguishable from a torn one unless something followed.
      #expect(contents.sequences.count >= 5, "bit \(bit)")
      kit.disk.kill()
    }
  }

  @Test("every truncation point of the last write ends exactly at the last whole group")
  func tornAtEveryPoint() throws {
    let kit = JournalKit(blocks: 16, commit: .kibibytes(8))
    var journal = try kit.open()
    for index in 0..<3 {
      _ = try journal.writer.commit([UInt8](repeating: UInt8(index), count: 3000))
    }
    _ = try journal.writer.append([UInt8](repeating: 8, count: 7000))
    _ = try journal.writer.commit()
    kit.disk.crash(.nothing, seed: 1)
    let image = kit.disk.bytes(JournalKit.path)
    let (start, used) = (offset(ofGroup: 3), 256 + 48 + 1 + 7000)
    for cut in stride(from: 0, to: 8192, by: 61) {
      kit.disk.damage(JournalKit.path) {
        $0 = image
        for index in start + cut..<start + 8192 { $0[index] = 0 }
      }
      let found = try Contents.read(try kit.open().state)
      #expect(found.sequences == (cut >= used ? [1, 2, 3, 4] : [1, 2, 3]), "cut at \(cut)")
      #expect(found.gaps.isEmpty)
      kit.disk.kill()
    }
  }

  @Test("two blocks that changed places are both refused")
  func misdirected() throws {
    let kit = JournalKit(blocks: 32)
    _ = try filled(kit, 10)
    kit.disk.damage(JournalKit.path) { bytes in
      let (first, second) = (offset(ofGroup: 3), offset(ofGroup: 6))
      for index in 0..<4096 { bytes.swapAt(first + index, second + index) }
    }
    let contents = try Contents.read(try kit.open().state)
    #expect(contents.sequences == [1, 2, 3, 5, 6, 8, 9, 10])
    #expect(contents.gaps.map(\.reason) == [.corrupt, .corrupt])
  }

  @Test("a block from an earlier lap is not delivered again; what it hides is a gap")
  func staleBlock() throws {
    let kit = JournalKit(blocks: 16, commit: .kibibytes(8))
    var journal = try kit.open()
    var images: [[UInt8]] = []
    for index in 0..<60 {
      _ = try journal.writer.commit([UInt8](repeating: UInt8(index), count: 3000))
      if index % 16 == 7 && index < 55 { images.append(kit.disk.bytes(JournalKit.path)) }
      if index < 50 { journal.state.acknowledge(0, through: journal.state.committed) }
    }
    kit.disk.crash(.nothing, seed: 1)
    // Group 55 (sequence 56) lies in block 55 % 16.
    let place = offset(ofGroup: 55 % 16)
    for image in images {
      kit.disk.damage(JournalKit.path) {
        $0.put(image.span.extracting(place..<place + 4096), at: place)
      }
      let contents = try Contents.read(try kit.open().state)
      #expect(contents.sequences.allSatisfy { $0 > 50 && $0 != 56 })
      #expect(contents.gaps.contains(Gap(SequenceRange(Sequence(56), Sequence(56)), .corrupt)))
      kit.disk.kill()
    }
  }

  @Test("the visitor gets kept records in sequence order, and the file is read once")
  func visits() throws {
    let kit = JournalKit(blocks: 512, commit: .kibibytes(32))
    var journal = try kit.open()
    for index in 0..<1300 {
      _ = try journal.writer.append([UInt8](repeating: UInt8(index & 255), count: 1500))
      if index % 3 == 0 { _ = try journal.writer.commit() }
      if index % 50 == 0 { journal.state.acknowledge(0, through: journal.state.committed) }
    }
    _ = try journal.writer.commit()
    let kept = journal.state.index.withLock { $0.first?.first ?? 0 }
    kit.disk.crash(.nothing, seed: 1)
    kit.disk.state.withLock { $0.readByteCount = 0 }
    var visited: [UInt64] = []
    let again = try kit.open { record, _ in visited.append(record.sequence.rawValue) }
    #expect(visited == Array((visited.first ?? 0)...1300))
    #expect(visited.first.map { $0 <= kept } ?? false)
    let read = kit.disk.state.withLock { $0.readByteCount }
    #expect(Double(read) <= 1.1 * Double(512 * 4096))
    #expect(again.report.corruptRanges.isEmpty)
  }

  @Test("a young file is scanned only a little past its high water")
  func young() throws {
    let kit = JournalKit(blocks: 512, commit: .kibibytes(32))
    var journal = try kit.open()
    for _ in 0..<20 { _ = try journal.writer.commit([UInt8](repeating: 1, count: 3000)) }
    kit.disk.crash(.nothing, seed: 1)
    let again = try kit.open()
    #expect(again.report.scanned.rawValue <= (32 + 64) * 4096)
    #expect(try Contents.read(again.state).sequences == Array(1...20))
  }

  @Test("cursors: a dropped sink is forgotten, a new one begins where it says")
  func sinkTable() throws {
    var kit = JournalKit(blocks: 32, sinks: [.central, JournalSink(name: "old")])
    var journal = try kit.open()
    for _ in 0..<6 { _ = try journal.writer.commit([UInt8](repeating: 1, count: 3000)) }
    journal.state.acknowledge(0, through: Sequence(4))
    try journal.writer.close()
    kit.disk.kill()
    kit.options.sinks = [
      JournalSink(name: "late", start: .newest), JournalSink(name: "early", start: .oldest),
      .central,
    ]
    let again = try kit.open()
    #expect(again.report.droppedSinks == ["old"])
    #expect(again.report.newSinks == ["late", "early"])
    #expect(again.state.acknowledged(0) == Sequence(6))
    #expect(again.state.acknowledged(1) == .none)
    #expect(again.state.acknowledged(2) == Sequence(4))
  }
}
