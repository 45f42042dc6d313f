package import GatewayCore
import Platform
import Synchronization

extension JournalWriter {
  /// Makes sure that a group of `byteCount` bytes can be written at the head (or at the start of
  /// the region when it does not fit before the end), releasing the oldest groups that lie there.
  /// False: a required sink still needs one of them and the policy is to wait.
  mutating func reserve(
    _ byteCount: Int, besideTail: Bool = false
  ) throws(JournalError) -> Bool {
    let length = Block.roundUp(byteCount)
    if length <= reservedByteCount { return true }
    // A copy of the tail that goes down to P needs nothing new.
    if let tail, tail.isUpper, !besideTail {
      precondition(length == Block.byteCount, "a tail is one block")
      return true
    }
    let layout = access.layout
    let wraps = head + length > layout.dataEnd
    while let oldest = state.index.withLock({ $0.first }) {
      let isInTheWay =
        wraps
        ? oldest.offset >= head || oldest.offset < layout.dataStart + length
        : oldest.offset < head + length && oldest.end > head
      // The newest group ends at the head; when it comes up, everything older is gone.
      if !isInTheWay || oldest.end == head { break }
      guard try release(oldest) else {
        try noteFullRing()
        return false
      }
    }
    let end = wraps ? layout.dataEnd : head + length
    if end > superblock.highWater {
      superblock.highWater =
        wraps
        ? layout.dataEnd : min(end + layout.superblockEveryByteCount, layout.dataEnd)
      try writeSuperblock(sync: true)
    }
    reservedByteCount = length
    return true
  }

  /// Lets go of the oldest group, when that is allowed; durable knowledge of it comes first.
  private mutating func release(_ oldest: GroupEntry) throws(JournalError) -> Bool {
    let last = oldest.last
    Failpoint.releaseBefore.reach()
    if last > durable.floor && last >= durable.oldestKept {
      if last <= state.floor {
        try writeSuperblock(sync: true)
      } else {
        let requiredFloor = state.requiredFloor
        let isRequired = last > requiredFloor
        let expiry = state.expiry()
        let isExpired = expiry.isExpired(oldest)
        let mayGo = isExpired && !options.keepsExpired
        if isRequired && !mayGo && options.whenFull == .block { return false }
        giveUp(
          from: oldest, requiredFloor: requiredFloor, mayDropRequired: isRequired,
          expiry: expiry)
        Failpoint.giveUp.reach()
        try writeSuperblock(sync: true)
      }
    }
    state.publish(oldestKept: last + 1)
    state.index.withLock { $0.removeFirst() }
    Failpoint.releaseAfter.reach()
    return true
  }

  /// Publishes a higher `oldestKept`: the records below become a gap for every sink that has
  /// neither got them nor holds them in memory, because they expired or because the ring is full,
  /// and what required sinks lose is counted. Gives up a 256th of the ring at a time, because each
  /// step costs a sync; groups that go for one reason only.
  private mutating func giveUp(
    from oldest: GroupEntry, requiredFloor: UInt64, mayDropRequired: Bool, expiry: RecordExpiry
  ) {
    let isExpired = expiry.isExpired(oldest)
    let step = access.layout.dataByteCount / 256
    let last = state.index.withLock { index in
      var (last, byteCount) = (oldest.last, oldest.occupiedByteCount)
      // Never the newest group: it may be the tail.
      for position in 1..<max(index.count - 1, 1) {
        let entry = index[position]
        if byteCount + entry.occupiedByteCount > step { break }
        if !mayDropRequired && entry.last > requiredFloor { break }
        if expiry.isExpired(entry) != isExpired { break }
        last = entry.last
        byteCount += entry.occupiedByteCount
      }
      return last
    }
    // A reader that meets the new `oldestKept` asks for the reason at once.
    if isExpired {
      state.noteExpired(SequenceRange(Sequence(oldest.first), Sequence(last)))
    }
    state.publish(oldestKept: last + 1)
    let lostFrom = max(state.takenFloor + 1, oldest.first)
    guard mayDropRequired, last >= lostFrom else { return }
    state.countLostToRequired(
      SequenceRange(Sequence(lostFrom), Sequence(last)), isExpired ? .expired : access.dropReason)
  }

  /// Whether the synced superblock has what every sink has accepted beyond its cursor.
  var hasDurableIntervals: Bool {
    for index in state.sinks.indices
    where state.sinks[index].intervalsVersion.load(ordering: .relaxed) != durable.intervals[index] {
      return false
    }
    return true
  }

  /// Once per episode the cursors become durable, so that the space they release can be used after
  /// a crash, too.
  private mutating func noteFullRing() throws(JournalError) {
    guard !hasNotedFullRing else { return }
    hasNotedFullRing = true
    try writeSuperblock(sync: true)
  }

  /// The cursor chores: a cursor that no commit carries is written after `cursorWriteDelay` and
  /// synced after `cursorSyncDelay`. Call it after a commit, when `writerWakeUp` fired and
  /// when the returned time has passed; cheap when there is nothing to do. Nil: nothing is pending.
  @discardableResult
  package mutating func maintain(now: MonotonicTime) throws(JournalError) -> Duration? {
    try checkUsable()
    // A clock that was synchronised late tells how long the machine was off.
    _ = state.elapsed()
    var isDurable = true
    var isWritten = true
    for index in state.sinks.indices {
      let version = state.sinks[index].intervalsVersion.load(ordering: .relaxed)
      if version != durable.intervals[index] { isDurable = false }
      if version != durable.writtenIntervals[index] { isWritten = false }
      let acknowledged = state.acknowledged(index).rawValue
      if acknowledged > durable.acknowledged[index] { isDurable = false }
      if acknowledged > durable.written[index] { isWritten = false }
    }
    guard !isDurable else {
      durable.dirtySince = nil
      return nil
    }
    let dirtySince = durable.dirtySince ?? now
    durable.dirtySince = dirtySince
    let age = now.since(dirtySince)
    if age >= JournalWriter.cursorSyncDelay {
      try writeSuperblock(sync: true)
      return nil
    }
    guard !isWritten, newRecordCount == 0 else { return JournalWriter.cursorSyncDelay - age }
    let sinceWrite = durable.lastUnsyncedWrite.map { now.since($0) } ?? age
    let wait = JournalWriter.cursorWriteDelay - min(age, sinceWrite)
    if wait > .zero { return wait }
    durable.lastUnsyncedWrite = now
    try writeSuperblock(sync: false)
    Failpoint.cursorAfterWrite.reach()
    return JournalWriter.cursorSyncDelay - age
  }

  /// Writes what is known now to the slot that was not synced last; with `sync` it becomes the
  /// synced one.
  mutating func writeSuperblock(sync isSynced: Bool) throws(JournalError) {
    superblock.generation += 1
    superblock.nextSequence = state.committed.rawValue + 1
    superblock.oldestKept = state.oldestKept.rawValue
    superblock.headOffset = head
    superblock.headLap = lap
    superblock.nextGroupNumber = nextNumber
    superblock.lastHeaderChecksum = lastHeaderChecksum
    let now = state.readClock()
    superblock.elapsed = now.elapsed
    superblock.wallTime = now.wall
    superblock.anchor = state.anchor
    superblock.timesOff = state.timesOff
    superblock.bootID = access.environment.bootID
    superblock.monotonicTime = now.monotonic
    superblock.isClockSynchronised = now.isSynchronised
    for index in state.sinks.indices {
      let acceptance = state.acceptance(index)
      durable.writtenIntervals[index] = acceptance.version
      superblock.sinks[index].acknowledged = acceptance.cursor
      superblock.sinks[index].intervals = acceptance.intervals
    }
    superblock.lost = state.lostRecords
    superblock.wear = state.wear.withLock {
      $0.writtenByteCount += UInt64(Block.byteCount)
      return $0
    }
    superblock.expiry = state.expiredSequences()
    let required = superblock.sinks.lazy.filter(\.isRequired).map { $0.acknowledged + 1 }.min()
    superblock.losses = state.losses(
      from: min(state.oldestKept, required.map { Sequence($0) } ?? state.oldestKept))
    let (superblock, identity) = (self.superblock, access.identity)
    slotBuffer.withMutableBytes(0..<Block.byteCount) {
      superblock.encode(identity: identity, into: &$0)
    }
    let (file, offset) = (self.file, access.layout.slots[slotToWrite])
    Failpoint.superblockBeforeWrite.reach()
    let failure = slotBuffer.withBytes(0..<Block.byteCount) { bytes -> SystemError? in
      do throws(SystemError) {
        file.tear(bytes, at: offset, .superblockMidWrite)
        try file.write(bytes, at: offset)
        return nil
      } catch {
        return error
      }
    }
    try onDisk("writing the superblock") { () throws(SystemError) in
      if let failure { throw failure }
    }
    for index in superblock.sinks.indices {
      durable.written[index] = superblock.sinks[index].acknowledged
    }
    guard isSynced else { return }
    Failpoint.superblockBeforeSync.reach()
    _ = try sync()
    Failpoint.superblockAfterSync.reach()
    slotToWrite = 1 - slotToWrite
    for index in superblock.sinks.indices {
      durable.acknowledged[index] = superblock.sinks[index].acknowledged
      durable.intervals[index] = durable.writtenIntervals[index]
    }
    durable.oldestKept = superblock.oldestKept
    durable.dirtySince = nil
    byteCountSinceSuperblock = 0
  }

  /// Clean stop: commits nothing, makes cursors and the clean flag durable. A writer that is simply
  /// dropped is a crash, which recovery is made for. Throws `poisoned` when it was poisoned.
  package mutating func close() throws(JournalError) {
    try checkUsable()
    superblock.isCleanStop = newRecordCount == 0
    Failpoint.closeBefore.reach()
    try writeSuperblock(sync: true)
    Failpoint.closeAfter.reach()
    isClosed = true
  }
}
