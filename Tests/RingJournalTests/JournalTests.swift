// Goal: the life of a record as the modules above see it: append, commit, read, acknowledge, wrap.
// Method: a small ring on the simulated disk. Cannot show: what a real kernel and disk do.
import GatewayCore
import JournalSimulation
import Platform
import RingJournal
import Synchronization
import Testing

@Suite("The ring journal")
struct JournalTests {
  @Test("a committed record is read back with everything that was appended")
  func roundTrip() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    #expect(journal.report.isCreated)
    var draft = RecordDraft(
      kind: .deadLetter, reason: .conflict, flags: [.json, .retained],
      idHash: MessageIDHash(high: 3, low: 4), payloadDigest: 5,
      idText: .payload(offset: 2, count: 3), receivedMonotonic: kit.clock.monotonic())
    draft.flags.qualityOfService = .atLeastOnce
    let (topic, properties, payload) = (
      Array("pumps/1".utf8), Array("props".utf8), Array("0123456789".utf8)
    )
    let result = try journal.writer.append(
      draft, topic: topic.span, idText: [UInt8]().span, properties: properties.span,
      payload: payload.span)
    #expect(result == .appended(.first))
    #expect(journal.state.committed == .none)
    let receipt = try journal.writer.commit()
    #expect(receipt.range == SequenceRange(.first, .first))
    var reader = try journal.state.makeReader(sink: 0)
    var seen = 0
    let outcome = try reader.read { record, bytes in
      seen += 1
      #expect(record.sequence == .first)
      #expect(record.epoch == journal.state.epoch)
      #expect(record.kind == .deadLetter && record.reason == .conflict)
      #expect(record.flags == draft.flags.union(.clockSynchronised))
      #expect(record.idHash == draft.idHash && record.payloadDigest == 5)
      #expect(copy(bytes, record.topic) == topic)
      #expect(copy(bytes, record.idTextBytes) == Array("234".utf8))
      #expect(copy(bytes, record.properties) == properties)
      #expect(copy(bytes, record.payload) == payload)
      #expect(record.committedAt != nil)
      return true
    }
    #expect(seen == 1 && outcome == .caughtUp)
  }

  @Test("records that were appended but not committed are not shown")
  func uncommittedIsInvisible() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    _ = try journal.writer.commit([1])
    _ = try journal.writer.append([2])
    #expect(try Contents.read(journal.state).sequences == [1])
    _ = try journal.writer.commit()
    #expect(try Contents.read(journal.state).sequences == [1, 2])
  }

  @Test("a stopped reader begins again with the record it was stopped before")
  func stopAndGoOn() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    for index in 0..<100 { _ = try journal.writer.commit([UInt8(index)]) }
    var reader = try journal.state.makeReader(sink: 0)
    var taken: [UInt64] = []
    while true {
      var inThisPass = 0
      let outcome = try reader.read { record, _ in
        if inThisPass == 7 { return false }
        inThisPass += 1
        taken.append(record.sequence.rawValue)
        return true
      }
      if outcome == .caughtUp { break }
      #expect(outcome == .stopped)
    }
    #expect(taken == Array(1...100))
    reader.seek(to: Sequence(42))
    #expect(try Contents.read(&reader).sequences == Array(42...100))
  }

  @Test("the ring turns many times while its sink keeps up, with dense sequences")
  func wraps() throws {
    let kit = JournalKit(blocks: 16, commit: .kibibytes(8))
    var journal = try kit.open()
    var reader = try journal.state.makeReader(sink: 0)
    var next: UInt64 = 1
    for round in 0..<400 {
      for _ in 0...(round % 5) {
        let payload = [UInt8](repeating: UInt8(truncatingIfNeeded: next), count: 900)
        #expect(try journal.writer.append(payload) == .appended(Sequence(next)))
        next += 1
      }
      _ = try journal.writer.commit()
      let contents = try Contents.read(&reader)
      #expect(contents.gaps.isEmpty)
      #expect(contents.sequences.last == next - 1)
      for (sequence, payload) in contents.payloads {
        #expect(payload.first == UInt8(truncatingIfNeeded: sequence))
      }
      journal.state.acknowledge(0, through: journal.state.committed)
    }
    #expect(journal.state.statistics().used == ByteCount(0))
    #expect(journal.writer.freeFraction == 1)
  }

  @Test("a full ring takes nothing under block, and goes on when the sink has acknowledged")
  func blocks() throws {
    let kit = JournalKit(blocks: 16, commit: .kibibytes(8))
    var journal = try kit.open()
    let payload = [UInt8](repeating: 7, count: 3000)
    var count: UInt64 = 0
    while try journal.writer.commit(payload) != nil { count += 1 }
    #expect(count >= 14)
    #expect(journal.writer.freeFraction < 0.1)
    #expect(try Contents.read(journal.state).sequences == Array(1...count))
    journal.state.acknowledge(0, through: Sequence(3))
    #expect(try journal.writer.commit(payload) == Sequence(count + 1))
    #expect(try Contents.read(journal.state).sequences == Array(4...count + 1))
    #expect(journal.state.statistics().gapRecords.isEmpty)
  }

  @Test("drop-oldest goes on for ever; what was not read becomes a counted gap")
  func dropsOldest() throws {
    var kit = JournalKit(blocks: 16, commit: .kibibytes(8))
    kit.options.whenFull = .dropOldest
    var journal = try kit.open()
    let payload = [UInt8](repeating: 7, count: 3000)
    for _ in 0..<100 { #expect(try journal.writer.commit(payload) != nil) }
    let contents = try Contents.read(journal.state)
    #expect(contents.gaps.count == 1)
    let lost = contents.gaps.first?.range.last.rawValue ?? 0
    #expect(contents.gaps.first == Gap(SequenceRange(.first, Sequence(lost)), .ringFull))
    #expect(contents.sequences == Array(lost + 1...100))
    #expect(journal.state.statistics().gapRecords == [.ringFull: lost])
    #expect(lost <= 90)
    // The loss is known after a crash, too, with its reason.
    kit.disk.crash(.nothing, seed: 1)
    let again = try kit.open()
    let after = try Contents.read(again.state)
    #expect(after.gaps == contents.gaps)
    #expect(after.sequences == contents.sequences)
  }

  @Test("a best-effort sink is overwritten past and gets a gap; the required one loses nothing")
  func bestEffort() throws {
    let kit = JournalKit(
      blocks: 16, commit: .kibibytes(8),
      sinks: [.central, JournalSink(name: "copy", required: false)])
    var journal = try kit.open()
    let payload = [UInt8](repeating: 7, count: 3000)
    for _ in 0..<50 {
      #expect(try journal.writer.commit(payload) != nil)
      journal.state.acknowledge(0, through: journal.state.committed)
    }
    let copy = try Contents.read(journal.state, sink: 1)
    #expect(copy.gaps.count == 1 && copy.gaps.first?.reason == .ringFull)
    #expect(copy.sequences.last == 50)
    #expect(journal.state.statistics().gapRecords.isEmpty)
  }

  @Test("one record per commit fills blocks to at least three quarters")
  func tailIsEfficient() throws {
    let kit = JournalKit(blocks: 64)
    var journal = try kit.open()
    let payload = [UInt8](repeating: 1, count: 200)
    let topic = Array("pumps/ND01/metrics".utf8)
    var records = 0
    while case .appended = try journal.writer.append(payload, topic: topic) {
      _ = try journal.writer.commit()
      records += 1
    }
    let useful = records * ((48 + topic.count + payload.count + 7) / 8 * 8)
    #expect(Double(useful) / Double(64 * 4096) >= 0.75)
    #expect(try Contents.read(journal.state).sequences == Array(1...UInt64(records)))
  }

  @Test("mixed commit sizes never lose or repeat a record while the tail flips under a reader")
  func flippingTail() throws {
    let kit = JournalKit(blocks: 256)
    var journal = try kit.open()
    var reader = try journal.state.makeReader(sink: 0)
    var generator = SeededGenerator(seed: 11)
    var seen: [UInt64] = []
    for _ in 0..<300 {
      for _ in 0...Int.random(in: 0...2, using: &generator) {
        let size = Int.random(in: 0...700, using: &generator)
        _ = try journal.writer.append([UInt8](repeating: 9, count: size))
      }
      _ = try journal.writer.commit()
      if Bool.random(using: &generator) {
        let part = try Contents.read(&reader)
        #expect(part.gaps.isEmpty)
        seen += part.sequences
      }
    }
    seen += try Contents.read(&reader).sequences
    #expect(seen == Array(1...journal.state.committed.rawValue))
  }

  @Test("a group takes at least 100 small records at no more than 1.5 bytes per useful byte")
  func writeAmplification() throws {
    let kit = JournalKit(blocks: 512, commit: .kibibytes(256))
    var journal = try kit.open()
    let payload = [UInt8](repeating: 1, count: 200)
    let topic = Array("pumps/ND01/metrics".utf8)
    for _ in 0..<100 { _ = try journal.writer.append(payload, topic: topic) }
    let receipt = try journal.writer.commit()
    #expect(receipt.range?.count == 100)
    let useful = 100 * (payload.count + topic.count)
    #expect(Double(receipt.byteCount.rawValue) / Double(useful) <= 1.5)
  }

  @Test("a group that has its largest size asks for a commit first")
  func groupFull() throws {
    let kit = JournalKit(blocks: 64, commit: .kibibytes(8))
    var journal = try kit.open()
    let payload = [UInt8](repeating: 1, count: 3000)
    #expect(try journal.writer.append(payload) == .appended(Sequence(1)))
    #expect(try journal.writer.append(payload) == .appended(Sequence(2)))
    #expect(try journal.writer.append(payload) == .groupFull)
    _ = try journal.writer.commit()
    #expect(try journal.writer.append(payload) == .appended(Sequence(3)))
  }

  @Test("a record that fits into no group is refused, the journal goes on")
  func tooLarge() throws {
    let kit = JournalKit(blocks: 64, commit: .kibibytes(8))
    var journal = try kit.open()
    let error = #expect(throws: JournalError.self) {
      _ = try journal.writer.append([UInt8](repeating: 1, count: 9000))
    }
    #expect(error?.code == .recordTooLarge)
    let largest = [UInt8](repeating: 1, count: journal.writer.recordByteCountMax - 1)
    #expect(try journal.writer.commit(largest) == .first)
  }

  @Test("a failed sync poisons: every later call says so, nothing is retried")
  func poison() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    _ = try journal.writer.commit([1])
    let syncs = kit.disk.state.withLock { state in
      state.failingSyncs = [5]
      return state.syncCount
    }
    _ = try journal.writer.append([2])
    let first = #expect(throws: JournalError.self) { _ = try journal.writer.commit() }
    #expect(first?.code == .writeFailed && first?.cause?.code == 5)
    for _ in 0..<3 {
      let later = #expect(throws: JournalError.self) { _ = try journal.writer.commit() }
      #expect(later?.code == .poisoned && later?.cause?.code == 5)
    }
    #expect(throws: JournalError.self) { _ = try journal.writer.append([3]) }
    #expect(throws: JournalError.self) { try journal.writer.maintain(now: kit.clock.monotonic()) }
    #expect(throws: JournalError.self) { try journal.writer.close() }
    #expect(kit.disk.state.withLock { $0.syncCount } == syncs)
    #expect(journal.state.committed == .first)
    #expect(try Contents.read(journal.state).sequences == [1])
  }

  @Test("an idle cursor is written after a moment and synced after a second")
  func idleCursor() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    _ = try journal.writer.commit([1])
    #expect(try journal.writer.maintain(now: kit.clock.monotonic()) == nil)
    journal.state.acknowledge(0, through: .first)
    let wait = try journal.writer.maintain(now: kit.clock.monotonic())
    #expect(wait.map { $0 > .zero && $0 <= .milliseconds(100) } ?? false)
    kit.clock.advance(.milliseconds(150))
    let syncs = kit.disk.state.withLock { $0.syncCount }
    _ = try journal.writer.maintain(now: kit.clock.monotonic())
    #expect(kit.disk.state.withLock { $0.syncCount } == syncs)
    // A killed process has lost nothing of it.
    kit.disk.kill()
    var again = try kit.open()
    #expect(again.state.acknowledged(0) == .first)
    _ = try again.writer.commit([2])
    again.state.acknowledge(0, through: Sequence(2))
    _ = try again.writer.maintain(now: kit.clock.monotonic())
    kit.clock.advance(.seconds(1))
    #expect(try again.writer.maintain(now: kit.clock.monotonic()) == nil)
    // A power cut has not, either.
    kit.disk.crash(.nothing, seed: 1)
    let third = try kit.open()
    #expect(third.state.acknowledged(0) == Sequence(2))
  }

  @Test("a cursor becomes durable with the next commit, at no extra write")
  func cursorRidesAlong() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    for index in 0..<5 { _ = try journal.writer.commit([UInt8(index)]) }
    journal.state.acknowledge(0, through: Sequence(4))
    let writes = kit.disk.state.withLock { $0.writes.count }
    _ = try journal.writer.commit([9])
    #expect(kit.disk.state.withLock { $0.writes.count } == writes + 1)
    kit.disk.crash(.nothing, seed: 1)
    let again = try kit.open()
    #expect(again.state.acknowledged(0) == Sequence(4))
    #expect(try Contents.read(again.state).sequences == [5, 6])
  }

  @Test("a step of the wall clock or of its synchronisation begins a new group")
  func clockStepSealsTail() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    _ = try journal.writer.commit([1])
    _ = try journal.writer.commit([2])
    #expect(journal.state.statistics().groupCount == 1)
    kit.clock.stepWall(.seconds(3600))
    _ = try journal.writer.commit([3])
    #expect(journal.state.statistics().groupCount == 2)
    kit.clock.setSynchronised(false)
    _ = try journal.writer.commit([4])
    #expect(journal.state.statistics().groupCount == 3)
    #expect(try Contents.read(journal.state).sequences == [1, 2, 3, 4])
  }

  @Test("every opening has its own epoch; sequences go on")
  func epochs() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    _ = try journal.writer.commit([1])
    let first = journal.state.epoch
    try journal.writer.close()
    kit.disk.kill()
    var again = try kit.open()
    #expect(again.report.wasCleanStop)
    #expect(again.state.epoch != first)
    #expect(try again.writer.commit([2]) == Sequence(2))
    var epochs: [Epoch] = []
    var reader = try again.state.makeReader(sink: 0)
    _ = try reader.read { record, _ in
      epochs.append(record.epoch)
      return true
    }
    #expect(epochs == [first, again.state.epoch])
    kit.disk.kill()
    #expect(try !kit.open().report.wasCleanStop)
  }

  @Test("the inspector sees the live file's numbers without touching it")
  func inspector() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    for index in 0..<20 { _ = try journal.writer.commit([UInt8](repeating: 1, count: 500 + index)) }
    journal.state.acknowledge(0, through: Sequence(6))
    _ = try journal.writer.commit([1])
    let writes = kit.disk.state.withLock { $0.writes.count }
    let seen = try JournalInspector.statistics(
      path: JournalKit.path, environment: kit.environment)
    let own = journal.state.statistics()
    #expect(seen.committed == own.committed && seen.sinks == own.sinks)
    #expect(seen.used == own.used && seen.groupCount == own.groupCount)
    #expect(seen.identity.id == own.identity.id)
    #expect(kit.disk.state.withLock { $0.writes.count } == writes)
  }
}
