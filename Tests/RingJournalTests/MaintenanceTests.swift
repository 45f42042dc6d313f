// Goal: what an operator does to a journal is done wholly or not at all, loses nothing that could
// be read, and leaves a file that a gateway starts with. Method: journals on the simulated disk,
// maintained, opened and read; the power goes after each disk operation in turn, with un-synced
// sectors kept or dropped at random.
import GatewayCore
import JournalSimulation
import Platform
import Synchronization
import Testing

@testable import RingJournal

@Suite("Maintenance of a journal")
struct MaintenanceTests {
  /// 60 records in groups of their own, the first 20 acknowledged, cleanly stopped.
  private func filled(blocks: Int = 64, kit: JournalKit? = nil) throws -> JournalKit {
    let kit = kit ?? JournalKit(blocks: blocks)
    var journal = try kit.open()
    for index in 1...60 {
      let payload = [UInt8](repeating: UInt8(index), count: 2500)
      #expect(try journal.writer.commit(payload) == Sequence(UInt64(index)))
    }
    journal.state.acknowledge(0, through: Sequence(20))
    try journal.writer.close()
    return kit
  }

  private func resized(_ kit: JournalKit, blocks: Int) -> JournalKit {
    var kit = kit
    kit.options.capacity = ByteCount((4 + blocks) * 4096)
    return kit
  }

  private func expectWhole(_ kit: JournalKit, from: UInt64 = 21) throws {
    var ids: [UInt64] = []
    let journal = try kit.open { record, _ in ids.append(record.sequence.rawValue) }
    #expect(journal.report.corruptRanges == [])
    let contents = try Contents.read(journal.state)
    #expect(contents.sequences == Array(from...60))
    #expect(contents.gaps == [])
    for sequence in from...60 {
      #expect(
        contents.payloads[sequence] == [UInt8](repeating: UInt8(sequence), count: 2500))
    }
    #expect(ids.last == 60)
  }

  // MARK: - Create

  @Test(
    "a journal is created ahead of its first start, with the one it follows; never over another")
  func create() throws {
    let kit = JournalKit()
    var options = kit.options
    let previous = PreviousJournal(id: JournalID(high: 1, low: 2), lastSequence: Sequence(3))
    options.previous = previous
    let identity = try JournalMaintenance.create(
      path: JournalKit.path, options: options, environment: kit.environment)
    #expect(identity.previous == previous)
    let journal = try kit.open()
    #expect(journal.report.wasCleanStop && !journal.report.isCreated)
    #expect(journal.state.identity == identity)
    let error = #expect(throws: JournalError.self) {
      try JournalMaintenance.create(
        path: JournalKit.path, options: options, environment: kit.environment)
    }
    #expect(error?.code == .alreadyThere)
  }

  // MARK: - Skip

  @Test("skipped records become one gap for the sink, are counted once, and the rest is delivered")
  func skip() throws {
    let kit = try filled()
    let report = try JournalMaintenance.skip(
      path: JournalKit.path, through: Sequence(30), environment: kit.environment)
    #expect(report.lostRecordCount == 10)
    #expect(report.sinks.map(\.skipped) == [SequenceRange(Sequence(21), Sequence(30))])
    let again = try JournalMaintenance.skip(
      path: JournalKit.path, through: Sequence(30), environment: kit.environment)
    #expect(again.lostRecordCount == 0 && again.sinks.map(\.skipped) == [nil])
    // Also after a crash of the gateway that follows.
    for _ in 0..<2 {
      let journal = try kit.open()
      let contents = try Contents.read(journal.state)
      #expect(contents.gaps == [Gap(SequenceRange(Sequence(21), Sequence(30)), .skipped)])
      #expect(contents.sequences == Array(31...60))
      #expect(journal.state.statistics().lostRecords == [.skipped: 10])
      kit.disk.crash(.nothing, seed: 1)
    }
  }

  @Test("one of two sinks skips; a rehearsal changes nothing; nonsense is refused")
  func skipOne() throws {
    var kit = JournalKit(sinks: [.central, JournalSink(name: "second")])
    kit = try filled(kit: kit)
    func skip(_ through: UInt64, _ sink: String?, rehearse: Bool = false) throws -> SkipReport {
      try JournalMaintenance.skip(
        path: JournalKit.path, through: Sequence(through), sink: sink, isRehearsal: rehearse,
        environment: kit.environment)
    }
    #expect(try skip(30, "second", rehearse: true).lostRecordCount == 30)
    #expect(try skip(30, "second").lostRecordCount == 30)
    // Of these, 30 were counted when the other one skipped them.
    #expect(try skip(40, nil).lostRecordCount == 10)
    let journal = try kit.open()
    #expect(try Contents.read(journal.state, sink: 0).sequences.first == 41)
    #expect(try Contents.read(journal.state, sink: 1).sequences.first == 41)
    #expect(journal.state.statistics().lostRecords == [.skipped: 40])
    kit.disk.crash(.everything, seed: 1)
    for (through, sink) in [(61, nil), (0, nil), (5, "third")] as [(UInt64, String?)] {
      let error = #expect(throws: JournalError.self) { _ = try skip(through, sink) }
      #expect(error?.code == .badOptions)
    }
  }

  @Test("nothing is done while a gateway has the journal")
  func locked() throws {
    let kit = try filled()
    let journal = try kit.open()
    let refusals: [() throws -> Void] = [
      {
        _ = try JournalMaintenance.skip(
          path: JournalKit.path, through: Sequence(30), environment: kit.environment)
      },
      {
        _ = try JournalMaintenance.resize(
          path: JournalKit.path, capacity: .kibibytes(512), environment: kit.environment)
      },
      {
        _ = try JournalMaintenance.repair(
          path: JournalKit.path, copyPath: nil, environment: kit.environment)
      },
    ]
    for refusal in refusals {
      let error = #expect(throws: JournalError.self) { try refusal() }
      #expect(error?.code == .locked)
    }
    #expect(journal.state.committed == Sequence(60))
  }

  // MARK: - Resize

  @Test(
    "a resized ring has the same identity, records, cursors and ids, larger or smaller",
    arguments: [200, 80, 64, 48])
  func resize(blocks: Int) throws {
    let kit = try filled()
    let before = try kit.open().state
    kit.disk.crash(.everything, seed: 1)
    let target = resized(kit, blocks: blocks)
    let report = try JournalMaintenance.resize(
      path: JournalKit.path, capacity: target.options.capacity, environment: kit.environment)
    #expect(report.keptGroupCount >= 40)
    #expect(report.keptGroupCount + report.droppedGroupCount == 60)
    var hashes: Set<UInt64> = []
    do {
      let journal = try target.open { record, _ in hashes.insert(record.sequence.rawValue) }
      #expect(journal.report.warnings == [])
      #expect(journal.report.wasCleanStop)
      let (old, new) = (before.identity, journal.state.identity)
      #expect(old.id == new.id && old.hashKey == new.hashKey && old.createdAt == new.createdAt)
      #expect(new.capacity == target.options.capacity)
      #expect(journal.state.acknowledged(0) == Sequence(20))
    }
    // The ids of all kept groups are visited: the deduplication knows them again.
    #expect(hashes.count == report.keptGroupCount)
    kit.disk.crash(.nothing, seed: 1)
    try expectWhole(target)
    kit.disk.crash(.nothing, seed: 1)
    // ... and the ring turns on from there.
    var journal = try target.open()
    for index in 61...400 {
      journal.state.acknowledge(0, through: journal.state.committed)
      let payload = [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: 2500)
      #expect(try journal.writer.commit(payload) == Sequence(UInt64(index)))
    }
    #expect(try Contents.read(journal.state).sequences == [400])
  }

  @Test("a size that could not hold what is undelivered is refused, with the size that could")
  func tooSmall() throws {
    let kit = try filled()
    let capacity = ByteCount((4 + 40) * 4096)
    let error = #expect(throws: JournalError.self) {
      try JournalMaintenance.resize(
        path: JournalKit.path, capacity: capacity, environment: kit.environment)
    }
    #expect(error?.code == .badOptions)
    let words = error?.message.split(separator: " ") ?? []
    let minimum = words.firstIndex(of: "least").flatMap { Int(words[$0 + 1]) }
    let byteCount = try #require(minimum)
    try expectWhole(kit)
    kit.disk.crash(.nothing, seed: 1)
    _ = try JournalMaintenance.resize(
      path: JournalKit.path, capacity: ByteCount(byteCount), environment: kit.environment)
  }

  @Test("the power may go at any moment of a resize: the old file or the new one, both whole")
  func resizeCut() throws {
    var operations = 0
    var sawOld = false
    var sawNew = false
    while true {
      let kit = try filled()
      kit.disk.state.withLock { [operations] in $0.operationsUntilPowerOff = operations }
      let target = resized(kit, blocks: 100)
      var isDone = true
      do throws(JournalError) {
        _ = try JournalMaintenance.resize(
          path: JournalKit.path, capacity: target.options.capacity, environment: kit.environment)
      } catch {
        isDone = false
      }
      kit.disk.crash(.sectors, seed: UInt64(operations))
      let capacity = try JournalInspector.statistics(
        path: JournalKit.path, environment: kit.environment
      ).identity.capacity
      if capacity == target.options.capacity { sawNew = true } else { sawOld = true }
      try expectWhole(capacity == target.options.capacity ? target : kit)
      if isDone { break }
      operations += 1
    }
    #expect(sawOld && sawNew && operations > 10)
  }

  // MARK: - Repair

  @Test("an intact journal is left alone; a copy is made all the same")
  func intact() throws {
    let kit = try filled()
    let report = try JournalMaintenance.repair(
      path: JournalKit.path, copyPath: "/data/copy", environment: kit.environment)
    #expect(report.wasIntact)
    #expect(kit.disk.exists("/data/copy"))
    try expectWhole(kit)
  }

  @Test("control blocks, end of file and a group: all that can be read stays, the rest is a gap")
  func repair() throws {
    let kit = try filled()
    kit.disk.damage(JournalKit.path) { bytes in
      // The older slot, an identity copy, one group; then cut off the last three groups.
      for offset in [4096, 8192] { for index in 0..<4096 { bytes[offset + index] = 0xff } }
      bytes[4 * 4096 + 29 * 4096 + 1000] ^= 1
      bytes.removeLast(bytes.count - (4 + 57) * 4096)
    }
    let refused = #expect(throws: JournalError.self) { _ = try kit.open() }
    #expect(refused?.code == .truncated)
    kit.disk.crash(.nothing, seed: 1)
    let report = try JournalMaintenance.repair(
      path: JournalKit.path, copyPath: "/data/copy", environment: kit.environment)
    #expect(!report.wasIntact)
    #expect(report.extendedBy == ByteCount(7 * 4096))
    #expect(report.recovery.repairedBlockCount >= 2)
    let gaps = [(30, 30), (58, 60)].map {
      SequenceRange(Sequence(UInt64($0.0)), Sequence(UInt64($0.1)))
    }
    #expect(report.recovery.corruptRanges.map(\.sequences) == gaps)
    let journal = try kit.open()
    let contents = try Contents.read(journal.state)
    #expect(contents.gaps == gaps.map { Gap($0, .corrupt) })
    #expect(contents.sequences == Array(21...29) + Array(31...57))
    #expect(journal.state.statistics().lostRecords == [.corrupt: 4])
  }

  @Test("both superblocks lost: the caller must name the sinks")
  func superblocks() throws {
    let kit = try filled()
    kit.disk.damage(JournalKit.path) { bytes in
      for offset in [0, 8192] { for index in 0..<4096 { bytes[offset + index] = 0xff } }
    }
    let refused = #expect(throws: JournalError.self) {
      try JournalMaintenance.repair(
        path: JournalKit.path, copyPath: nil, environment: kit.environment)
    }
    #expect(refused?.code == .sinksUnknown)
    let report = try JournalMaintenance.repair(
      path: JournalKit.path, copyPath: nil, sinks: [.central], environment: kit.environment)
    #expect(report.recovery.corruptRanges == [])
    let journal = try kit.open()
    #expect(try Contents.read(journal.state).sequences.last == 60)
  }

  @Test("what is no journal is not touched")
  func beyondRepair() throws {
    let kit = try filled()
    kit.disk.damage(JournalKit.path) { bytes in
      for index in 0..<4 * 4096 { bytes[index] = 0xff }
    }
    let refused = #expect(throws: JournalError.self) {
      try JournalMaintenance.repair(
        path: JournalKit.path, copyPath: "/data/copy", environment: kit.environment)
    }
    #expect(refused?.code == .foreign)
    #expect(!kit.disk.exists("/data/copy"))
  }
}
