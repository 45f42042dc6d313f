import GatewayCore
import Platform
import Synchronization

extension JournalWriter {
  /// Makes all appended records durable with one write and one fdatasync, publishes `committed` and
  /// wakes the readers. After it returned, their PUBACKs may leave. Nothing open: does nothing.
  /// Throws `writeFailed` once, `poisoned` ever after.
  package mutating func commit() throws(JournalError) -> CommitReceipt {
    try checkUsable()
    guard newRecordCount > 0 else {
      return CommitReceipt(range: nil, byteCount: ByteCount(0), syncDuration: .zero)
    }
    let place = try placeForCommit()
    let byteCount = Block.roundUp(usedByteCount)
    // A group whose elapsed time contains time off needs the superblock that says which times do
    // not: else a crash would leave earlier records that much too old.
    if byteCountSinceSuperblock + byteCount > access.layout.superblockEveryByteCount
      || superblock.timesOff != state.timesOff
    {
      try writeSuperblock(sync: true)
    }
    let range = SequenceRange(
      Sequence(firstSequence + tailSequenceCount), nextSequence.previous)
    let header = encodeGroup(at: place)
    let file = self.file
    Failpoint.journalBeforeWrite.reach()
    // Split borrows: the closure may not capture all of `self`.
    let failure = buffer.withBytes(0..<byteCount) { bytes -> SystemError? in
      do throws(SystemError) {
        file.tear(bytes, at: place.offset, .journalMidWrite)
        try file.write(bytes, at: place.offset)
        return nil
      } catch {
        return error
      }
    }
    try onDisk("writing a commit group") { () throws(SystemError) in
      if let failure { throw failure }
    }
    reachWritten(place)
    let syncDuration = try sync()
    Failpoint.journalAfterSync.reach()
    finishCommit(header, place, byteCount: byteCount)
    Failpoint.journalAfterPublish.reach()
    return CommitReceipt(
      range: range, byteCount: ByteCount(byteCount), syncDuration: syncDuration)
  }

  struct Place {
    var offset: Int
    var lap: UInt64
    /// A newer copy of the tail.
    var isCopy: Bool
    /// At P + 1.
    var isUpper: Bool
  }

  /// Where the open group goes. Seals the tail when a newer copy of it would not pay.
  private mutating func placeForCommit() throws(JournalError) -> Place {
    if let tail {
      let newByteCount = usedByteCount - tailByteCount
      // At P + 1 a copy always goes back to P. At P it pays to move up only when the next commit
      // of this size could come back down.
      if tail.isUpper || usedByteCount + newByteCount <= Block.byteCount {
        return Place(
          offset: tail.otherOffset, lap: lap, isCopy: true, isUpper: !tail.isUpper)
      }
      sealTail()
    }
    let hasRoom = try reserve(usedByteCount)
    precondition(hasRoom, "append reserved the space of what it took")
    let byteCount = Block.roundUp(usedByteCount)
    if head + byteCount <= access.layout.dataEnd {
      return Place(offset: head, lap: lap, isCopy: false, isUpper: false)
    }
    return Place(offset: access.layout.dataStart, lap: lap + 1, isCopy: false, isUpper: false)
  }

  private func reachWritten(_ place: Place) {
    if place.isCopy { (place.isUpper ? Failpoint.tailCopyUp : .tailCopyDown).reach() }
    if place.lap > lap { Failpoint.journalAtWrap.reach() }
    Failpoint.journalBeforeSync.reach()
  }

  private mutating func encodeGroup(at place: Place) -> GroupHeader {
    guard let base else { preconditionFailure("a group has its times before its commit") }
    var header = GroupHeader()
    header.number = nextNumber
    header.lap = place.lap
    header.offset = place.offset
    header.journalLow = access.identity.id.low
    header.epoch = epoch.rawValue
    header.first = firstSequence
    header.sequenceCount = UInt32(tailSequenceCount + newSequenceCount)
    header.usedByteCount = UInt32(usedByteCount)
    header.previousChecksum = lastHeaderChecksum
    header.isClockSynchronised = base.isSynchronised
    header.sinkCount = state.sinks.count
    header.sinkTableVersion = superblock.sinkTableVersion
    for index in state.sinks.indices {
      header.acknowledged[index] = state.acknowledged(index).rawValue
      header.sinkNameChecksums[index] = state.sinks[index].nameChecksum
    }
    header.oldestKept = state.oldestKept.rawValue
    header.bootID = access.environment.bootID
    header.monotonicBase = base.monotonic
    header.wallBase = base.wall
    header.elapsedBase = base.elapsed
    header.committedAt = clock.monotonic().nanoseconds
    buffer.zero(usedByteCount..<Block.roundUp(usedByteCount))
    let seed = access.identity.checksumSeed
    buffer.withMutableBytes(0..<usedByteCount) { header.encode(into: &$0, seed: seed) }
    return header
  }

  private mutating func finishCommit(_ header: GroupHeader, _ place: Place, byteCount: Int) {
    // What the header carried is durable now.
    for index in state.sinks.indices {
      durable.acknowledged[index] = max(
        durable.acknowledged[index], header.acknowledged[index])
      durable.written[index] = max(durable.written[index], header.acknowledged[index])
    }
    durable.oldestKept = max(durable.oldestKept, header.oldestKept)
    // A group carries cursors, but not what was accepted beyond them.
    if hasDurableIntervals { durable.dirtySince = nil }
    hasNotedFullRing = false
    let (recordCount, recordByteCount) = (newRecordCount, newRecordByteCount)
    state.wear.withLock {
      $0.writtenByteCount += UInt64(byteCount)
      $0.recordCount += UInt64(recordCount)
      $0.recordByteCount += UInt64(recordByteCount)
    }
    if newRefusalCount > 0 { state.count(newRefusalCount, lostTo: .quota) }
    let entry = GroupEntry(header)
    state.index.withLock { index in
      if place.isCopy { index.replaceLast(with: entry) } else { index.append(entry) }
    }
    nextNumber += 1
    lastHeaderChecksum = header.headerChecksum
    head = place.offset + byteCount
    lap = place.lap
    byteCountSinceSuperblock += byteCount
    reservedByteCount = 0
    tail = nil
    // The pair's other block must exist, and there must be room for one more record.
    if byteCount == Block.byteCount, Block.byteCount - usedByteCount >= JournalWriter.tailRoomMin,
      place.isUpper || place.offset + 2 * Block.byteCount <= access.layout.dataEnd
    {
      tail = Tail(offset: place.offset, isUpper: place.isUpper)
      tailSequenceCount += newSequenceCount
      tailByteCount = usedByteCount
    } else {
      firstSequence = header.last + 1
      tailSequenceCount = 0
      usedByteCount = GroupHeader.byteCount
      tailByteCount = GroupHeader.byteCount
    }
    newRecordCount = 0
    newSequenceCount = 0
    newRecordByteCount = 0
    newRefusalCount = 0
    openTombstone = nil
    state.publish(committed: header.last, head: head)
  }

  /// One fdatasync and how long it took.
  mutating func sync() throws(JournalError) -> Duration {
    if access.environment.isSyncDisabled { return .zero }
    let start = clock.monotonic()
    let file = self.file
    try onDisk("syncing the journal") { () throws(SystemError) in try file.dataSync() }
    state.wear.withLock { $0.syncCount += 1 }
    return clock.monotonic().since(start)
  }
}
