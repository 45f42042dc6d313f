package import GatewayCore
package import Platform
import Synchronization

/// What the control blocks and the scan say about a file, beside its numbers.
package struct JournalFacts: Sendable {
  package let formatVersion: Int
  /// Of the latest opening; nil when no superblock is whole.
  package let epoch: Epoch?
  /// How often the ring has turned.
  package let lap: UInt64
  package let isCleanStop: Bool
  /// When the newest superblock was written, and whether the clock was right then.
  package let writtenAt: WallTime?
  package let isClockSynchronised: Bool
  /// Superblocks and identity copies that are not whole, of four blocks; repaired by the next
  /// opening.
  package let damagedBlockCount: Int
  /// Bytes that the file is shorter than it was made.
  package let missingByteCount: Int
  /// Last writes that were cut short; never acknowledged.
  package let tornTailCount: Int
  /// Blocks that the disk refuses to read.
  package let unreadableBlockCount: Int
  /// Committed records that cannot be read.
  package let corrupt: [CorruptRange]
  /// Up to where the operator gave up what a sink had not got.
  package let skippedThrough: [String: Sequence]
  /// What filling the file cost when it was created; part of `JournalStatistics.wear`.
  package let filling: JournalWear
}

/// One commit group as its header tells it.
package struct JournalGroup: Sendable {
  package let number: UInt64
  package let lap: UInt64
  /// File offset and size, header and padding included.
  package let offset: Int
  package let occupied: ByteCount
  /// Without the padding.
  package let used: ByteCount
  package let sequences: SequenceRange
  package let epoch: Epoch
  package let bootID: BootID
  package let isClockSynchronised: Bool
  /// When its first record came.
  package let opened: WallTime
  /// When it was written last, by the same clock.
  package let committed: WallTime
  /// The same two instants on the clock of its boot.
  package let openedMonotonic: MonotonicTime
  package let committedMonotonic: MonotonicTime
  /// Elapsed time, as the journal counts it, when its first record came.
  package let elapsed: Duration
  package let oldestKept: Sequence
  /// How far the sinks were; without those whose names are not known any more.
  package let acknowledged: [String: Sequence]
  let headerChecksum: UInt32
  let previousChecksum: UInt32

  init(_ header: GroupHeader, sinks: [SinkState]) {
    number = header.number
    lap = header.lap
    offset = header.offset
    occupied = ByteCount(header.occupiedByteCount)
    used = ByteCount(Int(header.usedByteCount))
    sequences = SequenceRange(Sequence(header.first), Sequence(header.last))
    epoch = Epoch(rawValue: header.epoch)
    bootID = header.bootID
    isClockSynchronised = header.isClockSynchronised
    opened = WallTime(nanoseconds: header.wallBase)
    committed = WallTime(
      nanoseconds: header.wallBase &+ (header.committedAt &- header.monotonicBase))
    openedMonotonic = MonotonicTime(nanoseconds: header.monotonicBase)
    committedMonotonic = MonotonicTime(nanoseconds: header.committedAt)
    elapsed = .nanoseconds(header.elapsedBase)
    oldestKept = Sequence(header.oldestKept)
    headerChecksum = header.headerChecksum
    previousChecksum = header.previousChecksum
    var acknowledged: [String: Sequence] = [:]
    for place in 0..<header.sinkCount {
      let checksum = header.sinkNameChecksums[place]
      if let sink = sinks.first(where: { $0.nameChecksum == checksum }) {
        acknowledged[sink.name] = Sequence(header.acknowledged[place])
      }
    }
    self.acknowledged = acknowledged
  }
}

extension JournalObserver {
  package var identity: JournalIdentity { view.state.identity }

  package var facts: JournalFacts {
    let superblock = view.blocks.superblock
    return JournalFacts(
      formatVersion: Int(Identity.version),
      epoch: superblock.map { Epoch(rawValue: $0.epoch) }, lap: view.plan.lap,
      isCleanStop: superblock?.isCleanStop ?? false,
      writtenAt: superblock.map { WallTime(nanoseconds: $0.wallTime) },
      isClockSynchronised: superblock?.isClockSynchronised ?? false,
      damagedBlockCount: view.blocks.damagedCount,
      missingByteCount: max(0, view.blocks.identity.capacity - view.fileByteCount),
      // On a live file it is the commit that is under way.
      tornTailCount: isLive ? 0 : view.plan.count(of: .tornTail),
      unreadableBlockCount: view.unreadableBlockCount, corrupt: view.plan.corrupt,
      skippedThrough: Dictionary(
        uniqueKeysWithValues: view.state.sinks.filter { $0.skippedThrough > 0 }
          .map { ($0.name, Sequence($0.skippedThrough)) }),
      filling: JournalCreate.wear(of: view.state.access.layout))
  }

  package var statistics: JournalStatistics {
    let state = view.state
    let now = state.statistics()
    var gaps: [GapReason: UInt64] = [:]
    let floor = state.sinks.isEmpty ? state.committed.rawValue : state.requiredFloor
    for range in view.plan.corrupt {
      let lost = range.sequences.last.count(
        since: max(range.sequences.first.previous, Sequence(floor)))
      if lost > 0 { gaps[.corrupt, default: 0] += lost }
    }
    return JournalStatistics(
      identity: now.identity, capacity: now.capacity, used: now.used, kept: now.kept,
      committed: now.committed, oldestKept: now.oldestKept, sinks: now.sinks,
      groupCount: now.groupCount, gapRecords: gaps,
      lostRecords: view.blocks.superblock?.lost.byReason ?? [:],
      wear: view.blocks.superblock?.wear ?? JournalWear(),
      oldestUndelivered: now.oldestUndelivered)
  }

  /// Bytes of the ring between what each sink needs next and the head, by sink.
  package var backlogByteCounts: [String: Int] {
    Dictionary(
      uniqueKeysWithValues: view.state.sinks.map {
        let acknowledged = $0.acknowledged.load(ordering: .relaxed)
        return ($0.name, view.state.usedByteCount(floor: acknowledged))
      })
  }

  /// Hands over the groups that are in the file, the oldest first; false ends it. A group that the
  /// writer replaces meanwhile is left out.
  package mutating func visitGroups(_ body: (JournalGroup) -> Bool) {
    let index = view.state.index.withLock { $0 }
    for place in 0..<index.count where index[place].last >= oldest.rawValue {
      guard let group = group(index[place]) else { continue }
      if !body(group) { return }
    }
  }

  /// The group that holds the record; nil when there is none.
  package mutating func group(holding sequence: Sequence) -> JournalGroup? {
    let entry = view.state.index.withLock { index in
      index.position(of: sequence.rawValue).map { index[$0] }
    }
    guard let entry, entry.last >= sequence.rawValue else { return nil }
    return group(entry)
  }

  private mutating func group(_ entry: GroupEntry) -> JournalGroup? {
    guard let header = probe.header(at: entry.offset), header.number == entry.number else {
      return nil
    }
    return JournalGroup(header, sinks: view.state.sinks)
  }
}
