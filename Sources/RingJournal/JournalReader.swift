package import GatewayCore
import Platform
import Synchronization

/// Reads committed records in sequence order, beside a writer that never waits for it. Owned by one
/// thread; its own descriptor, one buffer allocated at the start.
///
/// The tail's copies flip between two blocks and `drop-oldest` overwrites, so what was read counts
/// only when the group's checksums and number are those the index gave; otherwise the index is
/// asked again. A group that stays wrong becomes a gap, reason corrupt.
package struct JournalReader: ~Copyable, Sendable {
  /// The next sequence to read.
  package private(set) var position: Sequence
  /// Nothing beyond is read: a reader that has come so far has caught up. Nil: all there is.
  package var limit: Sequence?

  private let state: JournalState
  /// Nil: reads for nobody, and what it misses is nobody's loss.
  private let sink: Int?
  /// Whether it tells how far the sink holds records in memory. Only one reader of a sink does.
  private var saysTaken: Bool
  private let skippedThrough: Sequence
  private let file: any DiskFile
  private var buffer: AlignedBuffer
  /// File offsets whose bytes the buffer holds, from its start.
  private var buffered: Range<Int> = 0..<0
  private var group: CurrentGroup?
  /// From here to what is buffered the page cache holds what was read; nil before the first read.
  private var cachedFrom: Int?
  /// Why the buffer is empty.
  private var readError: SystemError?

  /// A group that was read and found intact, and how far it was walked.
  private struct CurrentGroup {
    var header: GroupHeader
    var bufferOffset: Int
    var nextSequence: UInt64
    var nextOffset: Int
  }

  /// Small neighbouring groups are fetched together.
  private static let readAheadByteCount = 128 << 10
  /// What a sink has read is not read again, unless a connection breaks: it must not push the field
  /// broker's pages, and everybody else's, out of the page cache when a backlog of hours drains. So
  /// much of it stays, for the broken connection.
  private static let keptCacheByteCount = 4 << 20
  /// How often a group may turn out to be something else before it counts as corrupt. Each time the
  /// index is asked anew, so only a writer that laps the reader can use these up.
  private static let attemptsMax = 8

  /// - Parameters:
  ///   - skippedThrough: up to here the operator gave up what was not delivered.
  ///   - isBeside: another reader of the sink says how far the sink holds records.
  init(
    state: JournalState, sink: Int?, position: Sequence, skippedThrough: UInt64,
    isBeside: Bool = false
  ) throws(JournalError) {
    self.skippedThrough = Sequence(skippedThrough)
    self.sink = sink
    saysTaken = sink != nil && !isBeside
    self.state = state
    self.position = position
    let access = state.access
    do throws(SystemError) {
      file = try access.environment.disk.open(access.path, .readOnly)
    } catch {
      throw JournalError(
        .openFailed, "the journal \(access.path) cannot be opened for reading", cause: error)
    }
    buffer = AlignedBuffer(
      count: max(Block.roundUp(access.groupByteCountMax), JournalReader.readAheadByteCount)
        + Block.byteCount)
  }

  /// From now on this is the sink's first reader, and says how far the sink holds records; or it is
  /// one beside it.
  package mutating func setBeside(_ isBeside: Bool) {
    saysTaken = sink != nil && !isBeside
    publishTaken(through: position.previous.rawValue)
  }

  /// What has expired as of now.
  package func expiry() -> RecordExpiry { state.expiry() }

  /// With its owner goes what the owner held.
  deinit { publishTaken(through: 0) }

  /// Reads on from `sequence`, forward or back. What was read from there on, the owner has
  /// forgotten: when the ring gives it up meanwhile, it is lost.
  package mutating func seek(to sequence: Sequence) {
    position = max(sequence, .first)
    publishTaken(through: position.previous.rawValue)
    if let current = group, position.rawValue < current.nextSequence {
      group?.nextSequence = current.header.first
      group?.nextOffset = GroupHeader.byteCount
    }
  }

  /// Calls `body` for committed records from `position` on, with the bytes that their ranges index.
  /// `body` returns true to consume a record and go on, false to stop before it.
  /// A group whose sectors the disk cannot read becomes a gap like one that is damaged: the rest is
  /// delivered, and nobody has to come.
  /// - Throws: `readFailed` when nothing can be read any more: a disk that was pulled out has lost
  ///   no record, and a gap for all of them would be a lie that moves the cursor.
  package mutating func read(
    _ body: (JournalRecord, Span<UInt8>) -> Bool
  ) throws(JournalError) -> ReadOutcome {
    defer { publishTaken(through: position.previous.rawValue) }
    var attempts = 0
    while true {
      let committed = min(state.committed, limit ?? Sequence(.max))
      guard position <= committed else { return .caughtUp }
      // Before the ring's own losses: these were counted when the operator gave them up.
      if position <= skippedThrough {
        return gap(through: min(skippedThrough, committed), .skipped)
      }
      let oldestKept = state.oldestKept
      if position < oldestKept {
        return givenUpGap(through: min(oldestKept.previous, committed))
      }
      let (entry, next) = lookUp(position.rawValue)
      guard let entry else {
        // The index has lost it since `oldestKept` was read, or recovery never had it.
        if state.oldestKept > position { continue }
        return gap(through: min(Sequence(next.map { $0 - 1 } ?? .max), committed), .corrupt)
      }
      guard load(entry) else {
        attempts += 1
        if attempts < JournalReader.attemptsMax || lookUp(position.rawValue).0 != entry { continue }
        if let readError { try checkDisk(after: readError) }
        return corruptGap(through: min(Sequence(entry.last), committed))
      }
      attempts = 0
      // Said first, asked then; see `JournalState.takenFloor`.
      publishTaken(through: min(entry.last, committed.rawValue))
      if state.oldestKept > position { continue }
      switch walk(through: committed.rawValue, body) {
      case .end: continue
      case .stopped: return .stopped
      case .malformed:
        // The checksum is right, so we wrote it so: not the disk's fault, but no reason to stop.
        return corruptGap(through: min(Sequence(entry.last), committed))
      }
    }
  }

  private mutating func corruptGap(through last: Sequence) -> ReadOutcome {
    countMissed(SequenceRange(position, last), .corrupt)
    return gap(through: last, .corrupt)
  }

  /// What the ring gave up. The writer has counted what this sink did not hold then.
  private mutating func givenUpGap(through last: Sequence) -> ReadOutcome {
    let given = state.givenUp(SequenceRange(position, last))
    if let sink, state.sinks[sink].isRequired { countMissed(given.range, given.reason) }
    return gap(through: given.range.last, given.reason)
  }

  /// What the sink had accepted before is not lost when it is read once more and is gone.
  private func countMissed(_ range: SequenceRange, _ reason: GapReason) {
    guard let sink else { return state.countLost(range, reason) }
    for part in state.unaccepted(range, by: sink) { state.countLost(part, reason) }
  }

  private func publishTaken(through sequence: UInt64) {
    guard let sink, saysTaken else { return }
    state.sinks[sink].taken.store(sequence, ordering: .sequentiallyConsistent)
  }

  private mutating func gap(through last: Sequence, _ reason: GapReason) -> ReadOutcome {
    let range = SequenceRange(position, last)
    position = last.next
    return .gap(Gap(range, reason))
  }

  /// The group that holds `sequence`, or the first sequence of the next group that exists.
  private func lookUp(_ sequence: UInt64) -> (GroupEntry?, next: UInt64?) {
    state.index.withLock { index in
      let position = index.position(of: sequence)
      if let position, index[position].last >= sequence { return (index[position], nil) }
      let next = (position ?? -1) + 1
      return (nil, next < index.count ? index[next].first : nil)
    }
  }

  /// Makes `entry` the current group; false when the bytes there are not (or no longer) that group.
  private mutating func load(_ entry: GroupEntry) -> Bool {
    if let group, group.header.number == entry.number, group.header.first == entry.first {
      return true
    }
    group = nil
    let wanted = entry.offset..<entry.offset + Int(entry.usedByteCount)
    if buffered.lowerBound <= wanted.lowerBound, wanted.upperBound <= buffered.upperBound,
      adopt(entry)
    {
      return true
    }
    let byteCount = min(
      max(entry.occupiedByteCount, JournalReader.readAheadByteCount),
      state.access.layout.dataEnd - entry.offset, buffer.count)
    guard entry.occupiedByteCount <= byteCount else { return false }
    // A bad sector behind the group is not the group's fault.
    fetch(entry.offset, byteCount)
    if buffered.isEmpty { fetch(entry.offset, entry.occupiedByteCount) }
    return wanted.upperBound <= buffered.upperBound && adopt(entry)
  }

  /// Reads into the buffer; leaves it empty when the disk cannot.
  private mutating func fetch(_ offset: Int, _ byteCount: Int) {
    let file = self.file
    readError = nil
    forgetCache(before: offset)
    do throws(SystemError) {
      let count = try buffer.withMutableBytes(0..<byteCount) { bytes throws(SystemError) in
        try file.read(into: &bytes, at: offset)
      }
      buffered = offset..<offset + count
    } catch {
      readError = error
      buffered = offset..<offset
    }
  }

  /// Another sink reads the same pages, sooner or later: with several they stay.
  private mutating func forgetCache(before offset: Int) {
    guard saysTaken, state.sinks.count == 1 else { return }
    // Less where the ring has turned, or the reader has gone back.
    let first = min(cachedFrom ?? offset, offset)
    let behind = offset - JournalReader.keptCacheByteCount
    cachedFrom = first
    guard behind - first >= JournalReader.keptCacheByteCount else { return }
    file.dropCache(of: first..<behind)
    cachedFrom = behind
  }

  /// One bad place, or no disk at all? Asks for the identity, which lies in two places and does not
  /// change, past the page cache where the filesystem can.
  private func checkDisk(after error: SystemError) throws(JournalError) {
    let access = state.access
    var block = AlignedBuffer(count: Block.byteCount)
    for copy in 0..<2 {
      do throws(SystemError) {
        let file = try access.environment.disk.open(access.path, .scan)
        _ = try block.withMutableBytes(0..<Block.byteCount) { bytes throws(SystemError) in
          try file.read(into: &bytes, at: access.layout.identityCopies[copy])
        }
        return
      } catch {
        continue
      }
    }
    throw JournalError(
      .readFailed,
      "nothing of \(access.path) can be read any more; is the disk still there? "
        + "Nothing was given up, start again when it is back",
      cause: error)
  }

  /// Checks the buffered bytes of `entry` and starts to walk them.
  private mutating func adopt(_ entry: GroupEntry) -> Bool {
    let start = entry.offset - buffered.lowerBound
    let access = state.access
    let verifying = !access.environment.isVerificationDisabled
    let header = buffer.withBytes(start..<start + Int(entry.usedByteCount)) { bytes in
      guard
        let header = GroupHeader.decode(
          bytes, offset: entry.offset, identity: access.identity, verifying: verifying),
        header.number == entry.number, header.first == entry.first,
        header.sequenceCount == entry.sequenceCount, header.usedByteCount == entry.usedByteCount,
        header.bodyIsIntact(
          bytes, seed: access.identity.checksumSeed, verifying: verifying)
      else { return nil as GroupHeader? }
      return header
    }
    guard let header else { return false }
    group = CurrentGroup(
      header: header, bufferOffset: start, nextSequence: header.first,
      nextOffset: GroupHeader.byteCount)
    return true
  }

  private enum WalkEnd { case end, stopped, malformed }

  private mutating func walk(
    through committed: UInt64, _ body: (JournalRecord, Span<UInt8>) -> Bool
  ) -> WalkEnd {
    guard var current = group else { return .end }
    if position.rawValue < current.nextSequence {
      current.nextSequence = current.header.first
      current.nextOffset = GroupHeader.byteCount
    }
    let (used, last) = (Int(current.header.usedByteCount), min(current.header.last, committed))
    let committedAt = current.header.committedAt(boot: state.access.environment.bootID)
    let wallOffset = state.wallOffset(of: current.header)
    let elapsedBase = state.timesOff.corrected(current.header.elapsedBase)
    var position = self.position.rawValue
    let start = current.bufferOffset
    let end = buffer.withBytes(start..<start + used) { bytes -> WalkEnd in
      while current.nextSequence <= last {
        guard let header = RecordHeader.decode(bytes, at: current.nextOffset, end: used) else {
          return .malformed
        }
        guard
          let taken = header.sequenceCount(bytes, at: current.nextOffset),
          current.nextSequence + (taken - 1) <= current.header.last
        else { return .malformed }
        // A tombstone may reach beyond the limit.
        let lastTaken = min(current.nextSequence + (taken - 1), last)
        if lastTaken >= position {
          let record = JournalRecord(
            header, sequences: max(current.nextSequence, position)...lastTaken,
            offset: current.nextOffset, group: current.header, committedAt: committedAt,
            wallOffset: wallOffset, elapsedBase: elapsedBase)
          guard body(record, bytes) else { return .stopped }
          position = lastTaken + 1
        }
        current.nextSequence += taken
        current.nextOffset += header.byteCount
      }
      return .end
    }
    group = current
    self.position = Sequence(position)
    return end
  }
}
