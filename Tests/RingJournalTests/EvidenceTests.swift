// Goal: only the very last write may be judged torn; whatever any header or superblock proves to
// have been committed and cannot be read is a gap; and nothing that was never committed becomes
// one. Method: images that a journal made, with bodies, headers and slots damaged, and writes torn
// by mixing the sectors of the file before and after. Cannot show: real media.
import GatewayCore
import JournalSimulation
import Platform
import Testing

@testable import RingJournal

@Suite("What proves that a group was committed")
struct EvidenceTests {
  private let block = 4096

  /// A journal that a test damages between its lives.
  private struct Patient {
    var kit: JournalKit
    var image: [UInt8]

    init(_ kit: JournalKit) {
      self.kit = kit
      image = kit.disk.bytes(JournalKit.path)
    }

    /// Opens the image as it is now; what the opening and its life write stays in it.
    mutating func live<Result>(
      _ body: (inout OpenedJournal) throws -> Result
    ) throws -> Result {
      let disk = ImageDisk(image)
      var environment = kit.environment
      environment.disk = disk
      var journal = try Journal.open(
        path: JournalKit.path, options: kit.options, environment: environment)
      defer { image = disk.image }
      return try body(&journal)
    }

    /// A life whose last commit is torn: of what `last` wrote to the data only the sectors that
    /// `keeps` names have arrived.
    mutating func tear(
      after first: (inout OpenedJournal) throws -> Void,
      last: (inout OpenedJournal) throws -> Void, keeping keeps: (Int) -> Bool
    ) throws {
      let disk = ImageDisk(image)
      var environment = kit.environment
      environment.disk = disk
      var journal = try Journal.open(
        path: JournalKit.path, options: kit.options, environment: environment)
      try first(&journal)
      let before = disk.image
      try last(&journal)
      image = disk.image
      for start in stride(from: 4 * 4096, to: image.count, by: 512) where !keeps(start / 512) {
        image.put(before.span.extracting(start..<start + 512), at: start)
      }
    }
  }

  private func filled(
    _ count: Int, of byteCount: Int = 3000, blocks: Int = 32, acknowledging: Bool = false
  ) throws -> Patient {
    let kit = JournalKit(blocks: blocks, commit: .kibibytes(8))
    var journal = try kit.open()
    for index in 0..<count {
      let payload = [UInt8](repeating: UInt8(index & 255), count: byteCount)
      try #require(try journal.writer.commit(payload) != nil)
      if acknowledging { journal.state.acknowledge(0, through: journal.state.committed) }
    }
    return Patient(kit)
  }

  private func gaps(_ journal: borrowing OpenedJournal) throws -> [SequenceRange] {
    let contents = try Contents.read(journal.state)
    #expect(contents.gaps.allSatisfy { $0.reason == .corrupt })
    return contents.gaps.map(\.range)
  }

  private func range(_ first: UInt64, _ last: UInt64) -> SequenceRange {
    SequenceRange(Sequence(first), Sequence(last))
  }

  @Test("rotten groups in a row at the end are a gap; only the last may have been torn")
  func rottenEnd() throws {
    var patient = try filled(10)
    for group in 6...9 { patient.image[(4 + group) * block + 1000] ^= 1 }
    try patient.live { journal throws in
      #expect(journal.report.tornTailCount == 1)
      #expect(journal.report.corruptGroupCount == 3)
      #expect(try gaps(journal) == [range(7, 9)])
      #expect(journal.report.lostRecordCount == 3)
      #expect(journal.report.quarantined == ByteCount(4 * block))
      #expect(try journal.writer.commit([1]) == Sequence(10))
    }
    // The next opening finds the same gap, and does not mistake the old remains for a torn write.
    try patient.live { journal throws in
      #expect(journal.report.tornTailCount == 0)
      #expect(try gaps(journal) == [range(7, 9)])
      #expect(journal.state.committed == Sequence(10))
    }
  }

  @Test("a run of groups at the end without headers is a gap as far as the last header proves")
  func headersLost() throws {
    var patient = try filled(10)
    for group in 6...8 { patient.image[(4 + group) * block] ^= 1 }
    patient.image[13 * block + 1000] ^= 1
    try patient.live { journal throws in
      #expect(journal.report.tornTailCount == 1)
      #expect(try gaps(journal) == [range(7, 9)])
    }
  }

  @Test("nothing can tell the last group, damaged, from a write that was cut: it is no gap")
  func lastGroup() throws {
    var patient = try filled(10)
    patient.image[13 * block + 1000] ^= 1
    try patient.live { journal throws in
      #expect(journal.report.tornTailCount == 1)
      #expect(try gaps(journal) == [])
      #expect(journal.state.committed == Sequence(9))
    }
  }

  @Test("both copies of a tail rotten: the newer header proves what the older copy held")
  func tailCopies() throws {
    var patient = try filled(3, of: 100)
    #expect(JournalImage.groups(patient.image).map(\.number) == [3, 2])
    for copy in 0..<2 { patient.image[(4 + copy) * block + 300] ^= 1 }
    try patient.live { journal throws in
      #expect(try gaps(journal) == [range(1, 2)])
      #expect(try journal.writer.commit([1]) == Sequence(3))
    }
  }

  @Test("cursors in the header of a torn copy prove what the tail had committed")
  func cursorsInHeader() throws {
    let kit = JournalKit(blocks: 256, commit: .kibibytes(8))
    var journal = try kit.open()
    // No room for a tail behind this one.
    _ = try journal.writer.commit([UInt8](repeating: 1, count: 3700))
    for index in 0..<3 { _ = try journal.writer.commit([UInt8](repeating: UInt8(index), count: 9)) }
    journal.state.acknowledge(0, through: Sequence(3))
    _ = try journal.writer.commit([4])
    var patient = Patient(kit)
    // The newest copy holds 2 … 5 and says that 3 was acknowledged; the other copy loses its head.
    let groups = JournalImage.groups(patient.image)
    let tail = groups.filter { $0.first == 2 }.sorted { $0.number < $1.number }
    try #require(tail.map(\.last) == [4, 5])
    patient.image[tail[0].offset] ^= 1
    patient.image[tail[1].offset + 300] ^= 1
    try patient.live { journal throws in
      #expect(journal.state.acknowledged(0) == Sequence(3))
      #expect(journal.state.committed == Sequence(3))
      #expect(try gaps(journal) == [])
      #expect(try journal.writer.commit([9]) == Sequence(4))
    }
  }

  @Test(
    "either slot is evidence, the older one, too, and one that was never synced",
    arguments: [(false, 1), (false, 0), (true, 1), (true, 0)])
  func slots(isSecondSynced: Bool, lost: Int) throws {
    var patient = try filled(0)
    try patient.live { journal throws in
      for _ in 0..<4 { _ = try journal.writer.commit([UInt8](repeating: 1, count: 3000)) }
      try journal.writer.writeSuperblock(sync: true)
      try journal.writer.writeSuperblock(sync: isSecondSynced)
    }
    patient.image[7 * block] ^= 1
    patient.image[2 * lost * block + 600] ^= 1
    try patient.live { journal throws in
      #expect(journal.report.repairedBlockCount == 1)
      #expect(journal.report.tornTailCount == 0)
      #expect(try gaps(journal) == [range(4, 4)])
    }
  }

  @Test("a torn copy of the tail is judged once: later it is neither torn, nor corrupt, nor a gap")
  func tornCopy() throws {
    var patient = try filled(0)
    // Numbers 1 and 2 are copies at P and P + 1; of number 3, at P, only the first sector arrives.
    try patient.tear { journal throws in
      for _ in 0..<2 { _ = try journal.writer.commit([UInt8](repeating: 1, count: 300)) }
    } last: { journal throws in
      for index in 0..<3 {
        try #require(
          try journal.writer.append([UInt8](repeating: 2, count: 300)) != .ringFull, "\(index)")
      }
      _ = try journal.writer.commit()
    } keeping: {
      $0 == 4 * 8
    }
    try #require(JournalImage.groups(patient.image).map(\.number) == [3, 2])
    try patient.live { journal throws in
      #expect(journal.report.tornTailCount == 1)
      #expect(journal.state.committed == Sequence(2))
      #expect(try journal.writer.commit([UInt8](repeating: 9, count: 3000)) == Sequence(3))
    }
    // Its number is not used again, so that numbers go on telling the order of writes.
    #expect(JournalImage.groups(patient.image).map(\.number) == [3, 2, 4])
    // It promised sequences up to 5; only 3 was ever committed.
    try patient.live { journal throws in
      #expect(journal.report.tornTailCount == 0)
      #expect(journal.report.corruptGroupCount == 0)
      #expect(journal.state.committed == Sequence(3))
      #expect(try gaps(journal) == [])
      #expect(try Contents.read(journal.state).sequences == [1, 2, 3])
    }
  }

  @Test(
    "a wrapped group torn at the start of the region does not outlive what was written after it")
  func tornWrapped() throws {
    var patient = try filled(15, blocks: 16, acknowledging: true)
    try patient.tear { journal throws in
      journal.state.acknowledge(0, through: journal.state.committed)
    } last: { journal throws in
      _ = try journal.writer.commit([UInt8](repeating: 2, count: 6000))
    } keeping: {
      $0 < 4 * 8 + 3
    }
    try #require(JournalImage.groups(patient.image).first?.lap == 1)
    try patient.live { journal throws in
      #expect(journal.report.tornTailCount == 1)
      #expect(journal.report.corruptRanges.isEmpty)
      #expect(try journal.writer.commit([UInt8](repeating: 3, count: 3000)) == Sequence(16))
    }
    for next in UInt64(17)...19 {
      try patient.live { journal throws in
        #expect(journal.report.tornTailCount == 0)
        #expect(journal.report.corruptRanges.isEmpty)
        #expect(try Contents.read(journal.state).sequences == Array(16..<next))
        #expect(
          try journal.writer.commit([UInt8](repeating: 4, count: 3000)) == Sequence(next))
      }
    }
  }

  @Test("a write torn over released groups is no corruption of what lies between its sectors")
  func tornOverReleased() throws {
    var patient = try filled(20, blocks: 32, acknowledging: true)
    // The third lap's group of two blocks lands on released groups of one block each.
    try patient.live { journal throws in
      for _ in 0..<30 {
        _ = try journal.writer.commit([UInt8](repeating: 2, count: 3000))
        journal.state.acknowledge(0, through: journal.state.committed)
      }
    }
    patient.kit.options.commitByteCountMax = .kibibytes(16)
    try patient.tear { _ in
    } last: { journal throws in
      _ = try journal.writer.commit([UInt8](repeating: 2, count: 12_000))
    } keeping: {
      // Bodies of the first and the third block are new, the second block is the old group.
      $0 % 8 > 2 && $0 / 8 % 2 == 0
    }
    try patient.live { journal throws in
      #expect(journal.report.corruptRanges.isEmpty)
      #expect(journal.report.corruptGroupCount == 0)
      #expect(journal.report.warnings.isEmpty)
      #expect(try journal.writer.commit([1]) == Sequence(51))
    }
  }

  @Test("a name that came back is not moved on by what its first life had accepted")
  func nameCameBack() throws {
    var patient = try filled(8)
    patient.kit.options.sinks = [.central, JournalSink(name: "second")]
    try patient.live { journal throws in
      journal.state.acknowledge(1, through: Sequence(8))
      _ = try journal.writer.commit([UInt8](repeating: 9, count: 3000))
    }
    patient.kit.options.sinks = [.central]
    try patient.live { _ in }
    patient.kit.options.sinks = [.central, JournalSink(name: "second")]
    try patient.live { journal throws in #expect(journal.state.acknowledged(1) == .none) }
    try patient.live { journal throws in #expect(journal.state.acknowledged(1) == .none) }
  }

  @Test("a new name's cursor survives the slot that alone knew it: headers know it, too")
  func slotWithNewName() throws {
    var patient = try filled(4)
    patient.kit.options.sinks = [.central, JournalSink(name: "late", start: .newest)]
    try patient.live { journal throws in
      #expect(journal.state.acknowledged(1) == Sequence(4))
      _ = try journal.writer.commit([UInt8](repeating: 9, count: 3000))
    }
    // Slot A or B, whichever names the second sink.
    let slot = try #require([0, 2].first { patient.image[$0 * block + 645] == 2 })
    patient.image[slot * block + 700] ^= 1
    try patient.live { journal throws in
      #expect(journal.state.acknowledged(1) == Sequence(4))
      #expect(try Contents.read(journal.state, sink: 1).sequences == [5])
    }
  }
}
