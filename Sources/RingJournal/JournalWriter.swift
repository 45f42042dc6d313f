package import GatewayCore
import Platform
import Synchronization

/// The one writer of the file, owned by the ingest thread: append, commit, then release PUBACKs.
///
/// ## Invariants
/// 1. Bytes that hold the newest synced copy of a record are never written to: a group goes to free
///    blocks, a newer copy of the tail to the other of the tail's two blocks.
/// 2. A group is overwritten only when a *durable* cursor of every sink is past it, or a durable
///    `oldestKept` gives it up.
/// 3. The first failed write or sync poisons the writer. Nothing is retried: after a failed sync
///    the kernel may have dropped the pages and marked them clean.
///
/// ## The tail
/// A group that fits in one block and leaves room stays open as the *tail*: its records remain in
/// the buffer, and the next commit writes them again together with the new ones, as a group with
/// the same first sequence and a higher number, to the other block of the pair (P, P + 1). It moves
/// to P + 1 only while another commit of the same size would still fit, so that the last copy
/// normally rests at P and P + 1 becomes the next P. The tail is sealed when it is full, when the
/// wall clock or its synchronisation changes, when it grows old, and by opening the journal again.
package struct JournalWriter: ~Copyable, Sendable {
  package let state: JournalState
  package var identity: JournalIdentity { state.identity }
  package var epoch: Epoch { state.epoch }

  let options: JournalOptions
  let access: JournalAccess
  let file: any DiskFile
  let clock: any JournalClock

  // The open group: 256 bytes for its header, the tail's records, the new records.
  var buffer: AlignedBuffer
  var usedByteCount = GroupHeader.byteCount
  var tailByteCount = GroupHeader.byteCount
  var tailSequenceCount: UInt64 = 0
  var newSequenceCount: UInt64 = 0
  var newRecordCount = 0
  var newRecordByteCount = 0
  var newRefusalCount: UInt64 = 0
  /// The last record of the open group, while it is a tombstone that may still grow.
  var openTombstone: OpenTombstone?
  var firstSequence: UInt64
  var base: GroupBase?
  var tail: Tail?

  // The ring. `head` is where the next group goes, once the tail is sealed.
  var head: Int
  var lap: UInt64
  var nextNumber: UInt64
  var lastHeaderChecksum: UInt32
  var reservedByteCount = 0

  // The superblock.
  var superblock: Superblock
  var slotBuffer: AlignedBuffer
  /// Index of the slot that the next write goes to.
  var slotToWrite: Int
  var byteCountSinceSuperblock = 0
  var durable: DurableCursors
  var poison: JournalError?
  var isClosed = false
  var hasNotedFullRing = false

  /// Times of the open group, taken when its first record came.
  struct GroupBase: Sendable {
    var monotonic: Int64
    var wall: Int64
    var elapsed: Int64
    var isSynchronised: Bool

    func microseconds(of received: MonotonicTime) -> Int32 {
      Int32(clamping: (received.nanoseconds &- monotonic) / 1000)
    }
  }

  /// The newest synced copy of the unsealed tail.
  struct Tail: Sendable {
    var offset: Int
    /// At P + 1 of its pair; the other block is the one before.
    var isUpper: Bool
    var otherOffset: Int { isUpper ? offset - Block.byteCount : offset + Block.byteCount }
  }

  /// What is on disk of the cursors, and since when more is known in memory.
  struct DurableCursors: Sendable {
    var acknowledged: [UInt64]
    var oldestKept: UInt64
    /// Last written anywhere, synced or not.
    var written: [UInt64]
    /// The same of what was accepted beyond the cursors, which no group carries: which version.
    var intervals: [UInt64]
    var writtenIntervals: [UInt64]
    var dirtySince: MonotonicTime?
    var lastUnsyncedWrite: MonotonicTime?

    var floor: UInt64 { acknowledged.min() ?? .max }
  }

  /// Less room than this is not worth keeping a tail open for.
  static let tailRoomMin = 96
  /// The wall clock may differ this much from the tail's base before the tail is sealed.
  static let wallStepMax: Int64 = 50_000_000
  /// Record times are 32-bit microseconds; a tail is sealed at less than half of that.
  static let tailAgeMax: Int64 = 900 * 1_000_000_000
  /// A cursor that no commit has carried for this long is written and synced: it
  /// bounds what a power cut makes us deliver again.
  static let cursorSyncDelay: Duration = .seconds(1)
  /// ... and for this long written without a sync, which is enough for a killed process. Not
  /// at once: at five messages a second and more the next commit carries it at no cost.
  static let cursorWriteDelay: Duration = .milliseconds(100)

  /// The sequence that the next appended record gets.
  package var nextSequence: Sequence {
    Sequence(firstSequence + tailSequenceCount + newSequenceCount)
  }
  /// Records appended since the last commit.
  package var openRecordCount: Int { newRecordCount }
  /// Bytes of records appended since the last commit.
  package var openByteCount: ByteCount { ByteCount(usedByteCount - tailByteCount) }
  /// The largest topic + id text + properties + payload that one record can have.
  package var recordByteCountMax: Int {
    buffer.count - GroupHeader.byteCount - RecordHeader.byteCount - 8
  }

  /// Share of the data region that is free or already released by the required sinks, in memory, or
  /// holds only expired records.
  package var freeFraction: Double {
    1 - Double(state.usedByteCount(floor: releasableFloor)) / Double(access.layout.dataByteCount)
  }

  /// Copies one record into the open group. No heap allocation, no I/O unless space must be made.
  /// Throws `recordTooLarge`, `poisoned`, `closed`, and `writeFailed` when making space fails.
  package mutating func append(
    _ draft: RecordDraft, topic: Span<UInt8>, idText: Span<UInt8>, properties: Span<UInt8>,
    payload: Span<UInt8>
  ) throws(JournalError) -> AppendResult {
    try checkUsable()
    let header = try recordHeader(
      draft, topic: topic.count, idText: idText.count, properties: properties.count,
      payload: payload.count)
    let byteCount = header.byteCount
    openTombstone = nil
    // Nearly every record of a busy group finds its room reserved by one before it.
    if newRecordCount == 0 || tail != nil || usedByteCount + byteCount > reservedByteCount {
      if newRecordCount == 0 { beginGroup() }
      switch try makeRoom(byteCount) {
      case .found: break
      case .groupFull: return .groupFull
      case .ringFull: return .ringFull
      }
    }
    store(
      header, byteCount, received: draft.receivedMonotonic, topic: topic, idText: idText,
      properties: properties, payload: payload)
    let sequence = nextSequence
    usedByteCount += byteCount
    newRecordCount += 1
    newSequenceCount += 1
    newRecordByteCount += topic.count + payload.count
    return .appended(sequence)
  }

  private enum Room {
    case found
    case groupFull
    case ringFull
  }

  /// Sees to it that a record of `byteCount` bytes can join the open group.
  private mutating func makeRoom(_ byteCount: Int) throws(JournalError) -> Room {
    if tail != nil && usedByteCount + byteCount > Block.byteCount {
      // Sealing moves the new records to a group of their own, so its space comes first: should
      // there be none, what was taken can still be committed as a copy of the tail.
      let separate = GroupHeader.byteCount + usedByteCount - tailByteCount + byteCount
      guard separate <= buffer.count else { return .groupFull }
      guard try reserve(separate, besideTail: true) else { return .ringFull }
      sealTail()
    }
    guard usedByteCount + byteCount <= buffer.count else { return .groupFull }
    return try reserve(usedByteCount + byteCount) ? .found : .ringFull
  }

  @inline(__always)
  private func recordHeader(
    _ draft: RecordDraft, topic: Int, idText: Int, properties: Int, payload: Int
  ) throws(JournalError) -> RecordHeader {
    var idCount = 0
    var storedCount = 0
    switch draft.idText {
    case .absent: break
    case .stored:
      idCount = idText
      storedCount = idText
    case .payload(let offset, let count):
      precondition(
        offset >= 0 && count >= 0 && offset + count <= payload, "the id text lies in the payload")
      idCount = count
    }
    precondition(idCount <= Int(UInt8.max), "longer ids become a digest")
    let total = RecordHeader.byteCount(
      topic: topic, storedID: storedCount, properties: properties, payload: payload)
    guard topic <= Int(UInt16.max), properties <= Int(UInt16.max),
      GroupHeader.byteCount + total <= buffer.count
    else { throw tooLarge(total) }
    return RecordHeader(
      kind: draft.kind, reason: draft.reason, flags: draft.flags, payloadByteCount: payload,
      topicByteCount: topic, propertiesByteCount: properties, idText: draft.idText,
      idTextByteCount: idCount, receiveMicroseconds: 0, idHash: draft.idHash,
      payloadDigest: draft.payloadDigest)
  }

  private func tooLarge(_ byteCount: Int) -> JournalError {
    JournalError(
      .recordTooLarge,
      "a record of \(byteCount) bytes does not fit into a commit group of \(buffer.count) bytes; "
        + "raise journal.commit.max_bytes or lower max_record")
  }

  /// Takes the times of a new group, or checks that the tail's still hold.
  private mutating func beginGroup() {
    let now = state.readClock()
    if tail != nil, let base {
      let sinceBase = now.monotonic &- base.monotonic
      let drift = now.wall &- (base.wall &+ sinceBase)
      if drift.magnitude > UInt64(JournalWriter.wallStepMax)
        || base.isSynchronised != now.isSynchronised || sinceBase > JournalWriter.tailAgeMax
      {
        sealTail()
      }
    }
    if tail == nil {
      base = GroupBase(
        monotonic: now.monotonic, wall: now.wall, elapsed: now.elapsed,
        isSynchronised: now.isSynchronised)
    }
  }

  @inline(__always)
  private mutating func store(
    _ header: RecordHeader, _ byteCount: Int, received: MonotonicTime, topic: Span<UInt8>,
    idText: Span<UInt8>, properties: Span<UInt8>, payload: Span<UInt8>
  ) {
    guard let base else { preconditionFailure("a group has its times before its first record") }
    var header = header
    header.receiveMicroseconds = base.microseconds(of: received)
    header.flags = header.flags.setting(.clockSynchronised, to: base.isSynchronised)
    buffer.withMutableBytes(usedByteCount..<usedByteCount + byteCount) { bytes in
      // The padding of at most 7 bytes; the rest is overwritten.
      bytes.store(UInt64(0), at: byteCount - 8)
      header.encode(into: &bytes, at: 0)
      var offset = RecordHeader.byteCount
      bytes.store(topic, at: offset)
      offset += topic.count
      if case .stored = header.idText {
        bytes.store(idText, at: offset)
        offset += idText.count
      }
      if !properties.isEmpty { bytes.store(properties, at: offset) }
      bytes.store(payload, at: offset + properties.count)
    }
  }

  /// Leaves the tail's records where they are on disk; new ones become a group of their own.
  mutating func sealTail() {
    guard tail != nil else { return }
    Failpoint.tailSeal.reach()
    buffer.move(tailByteCount..<usedByteCount, to: GroupHeader.byteCount)
    usedByteCount -= tailByteCount - GroupHeader.byteCount
    firstSequence += tailSequenceCount
    tail = nil
    tailSequenceCount = 0
    tailByteCount = GroupHeader.byteCount
  }

  func checkUsable() throws(JournalError) {
    if let poison {
      throw JournalError(
        .poisoned, "the journal stopped accepting records: \(poison.message)",
        cause: poison.cause)
    }
    if isClosed { throw JournalError(.closed, "the journal is closed; open it again") }
  }

  /// Runs one disk operation; its failure is remembered and final.
  mutating func onDisk(
    _ what: StaticString, _ operation: () throws(SystemError) -> Void
  ) throws(JournalError) {
    do throws(SystemError) {
      try operation()
    } catch {
      let failure = JournalError(
        .writeFailed, "\(what) failed; nothing more is acknowledged, check the disk and restart",
        cause: error)
      poison = failure
      throw failure
    }
  }
}
