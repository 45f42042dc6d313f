package import GatewayCore
package import Platform
import Synchronization

/// What the two halves of the gateway share: how far is committed, what is still kept, and one
/// acknowledged cursor per sink. Any thread.
///
/// ## Invariants
/// 1. `acknowledged ≤ committed`, each monotonic for the life of the file; what a sink has accepted
///    beyond its cursor only grows, until the cursor has come there.
/// 2. `committed` is published only after the sync that made it true, and after the index knows it.
/// 3. `oldestKept` is published before anything below it is overwritten.
package final class JournalState: Sendable {
  package let identity: JournalIdentity
  package let epoch: Epoch
  /// Of the epochs before this one, as far as the ring knows.
  private let lineage: EpochLineage
  /// The ingest thread polls it: signalled when a sink acknowledges.
  package let writerWakeUp: WakeUp

  let access: JournalAccess
  let index: Mutex<GroupIndex>
  let sinks: [SinkState]
  private let committedSequence: Atomic<UInt64>
  private let oldestKeptSequence: Atomic<UInt64>
  private let headOffset: Atomic<Int>
  /// Age after which a record is no longer delivered; nil: never.
  let expireAfter: Duration?
  /// A full ring may not give up what has expired.
  let keepsExpired: Bool
  let elapsedTime: Mutex<ElapsedTime>
  let bootClocks: Mutex<BootClocks>
  let expiryLedger: Mutex<LossLedger>
  private let gapCounters: [GapReason: Counter]
  /// Lost before this opening, by `GapReason.place`.
  private let lostBefore: LossCounts
  private let losses: Mutex<LossLedger>
  let wear: Mutex<JournalWear>

  init(
    access: JournalAccess, epoch: Epoch, lineage: EpochLineage = EpochLineage(),
    index: consuming GroupIndex, committed: UInt64,
    oldestKept: UInt64, head: Int, sinks: [SinkState], before: Superblock, writerWakeUp: WakeUp,
    expireAfter: Duration?, keepsExpired: Bool, elapsedTime: ElapsedTime, bootClocks: BootClocks
  ) {
    self.expireAfter = expireAfter
    self.keepsExpired = keepsExpired
    self.elapsedTime = Mutex(elapsedTime)
    self.bootClocks = Mutex(bootClocks)
    expiryLedger = Mutex(before.expiry)
    lostBefore = before.lost
    wear = Mutex(before.wear)
    losses = Mutex(before.losses)
    identity = JournalIdentity(access.identity)
    self.epoch = epoch
    self.lineage = lineage
    self.access = access
    self.index = Mutex(index)
    self.sinks = sinks
    self.writerWakeUp = writerWakeUp
    committedSequence = Atomic(committed)
    oldestKeptSequence = Atomic(oldestKept)
    headOffset = Atomic(head)
    gapCounters = Dictionary(
      uniqueKeysWithValues: GapReason.allCases.map { ($0, Counter()) })
  }

  /// The newest sequence that is on disk; 0 when nothing is.
  package var committed: Sequence { Sequence(committedSequence.load(ordering: .acquiring)) }

  /// Sequences below were released or given up.
  package var oldestKept: Sequence {
    Sequence(oldestKeptSequence.load(ordering: .sequentiallyConsistent))
  }

  /// How far the epoch has numbered this journal's records; nil for one that is not of its life, or
  /// so old that the ring holds nothing of it.
  package func lastSequence(of epoch: Epoch) -> Sequence? {
    epoch == self.epoch ? committed : lineage.last(of: epoch).map { min($0, committed) }
  }

  package func acknowledged(_ sink: Int) -> Sequence {
    Sequence(sinks[sink].acknowledged.load(ordering: .acquiring))
  }

  /// The sink has accepted everything up to and including `through`. Never moves back: an older
  /// value is ignored. Wakes the writer, which makes it durable (at the latest a second later).
  package func acknowledge(_ sink: Int, through: Sequence) {
    precondition(through <= committed, "a sink acknowledges only what was committed")
    let hasMoved = sinks[sink].intervals.withLock { intervals in
      let count = intervals.ranges.count
      let through = intervals.absorb(through: through)
      if intervals.ranges.count != count { sinks[sink].noteNewIntervals() }
      let before = sinks[sink].acknowledged.max(
        through.rawValue, ordering: .acquiringAndReleasing)
      return before.oldValue < through.rawValue
    }
    if hasMoved { writerWakeUp.signal() }
  }

  /// The sink has accepted `range`, which need not begin at its cursor: what does not adjoin it is
  /// remembered, durable at the latest a second later, and joins the cursor when that comes there.
  /// False, and nothing is remembered, when there is no place: ask `hasRoom` before sending.
  package func accept(_ sink: Int, _ range: SequenceRange) -> Bool {
    precondition(range.last <= committed, "a sink accepts only what was committed")
    if range.first <= acknowledged(sink).next {
      acknowledge(sink, through: range.last)
      return true
    }
    let isTaken = sinks[sink].intervals.withLock { intervals in
      sinks[sink].noteNewIntervals()
      return intervals.insert(range)
    }
    writerWakeUp.signal()
    return isTaken
  }

  /// All of it as it was at one moment, and which version of the intervals that was.
  func acceptance(
    _ sink: Int
  ) -> (cursor: UInt64, intervals: AcceptedIntervals, version: UInt64) {
    let state = sinks[sink]
    return state.intervals.withLock { intervals in
      (
        state.acknowledged.load(ordering: .acquiring), intervals,
        state.intervalsVersion.load(ordering: .relaxed)
      )
    }
  }

  /// What the sink has accepted beyond its cursor.
  package func acceptedIntervals(_ sink: Int) -> AcceptedIntervals {
    sinks[sink].intervals.withLock { $0 }
  }

  /// The parts of `range` that the sink has not accepted.
  func unaccepted(_ range: SequenceRange, by sink: Int) -> [SequenceRange] {
    let known = acknowledged(sink)
    guard range.last > known else { return [] }
    return acceptedIntervals(sink).missing(
      in: SequenceRange(max(range.first, known.next), range.last))
  }

  /// Counts what of `range` some required sink has not accepted.
  func countLostToRequired(_ range: SequenceRange, _ reason: GapReason) {
    for sink in sinks.indices where sinks[sink].isRequired {
      for part in unaccepted(range, by: sink) { countLost(part, reason) }
    }
  }

  /// Signalled at each commit; the sink's reader thread polls it.
  package func wakeUp(sink: Int) -> WakeUp { sinks[sink].wakeUp }

  /// A reader with its own descriptor and buffer, positioned behind the sink's acknowledged cursor.
  /// - Parameter isBeside: the sink has another reader, which says how far the sink holds records;
  ///   this one reads single ranges once more.
  package func makeReader(
    sink: Int, isBeside: Bool = false
  ) throws(JournalError) -> JournalReader {
    try JournalReader(
      state: self, sink: sink, position: acknowledged(sink).next,
      skippedThrough: sinks[sink].skippedThrough, isBeside: isBeside)
  }

  func publish(committed: UInt64, head: Int) {
    headOffset.store(head, ordering: .relaxed)
    committedSequence.store(committed, ordering: .releasing)
    for sink in sinks { sink.wakeUp.signal() }
  }

  func publish(oldestKept: UInt64) {
    oldestKeptSequence.max(oldestKept, ordering: .sequentiallyConsistent)
  }

  func count(_ records: UInt64, lostTo reason: GapReason) {
    gapCounters[reason]?.value.add(records, ordering: .relaxed)
  }

  /// Counts committed records that cannot be delivered any more, each once, for whatever reason it
  /// was met first.
  func countLost(_ range: SequenceRange, _ reason: GapReason) {
    let new = losses.withLock { $0.insert(range) }
    if new > 0 { count(new, lostTo: reason) }
  }

  /// What was counted and can still be met, when nobody reads below `sequence` any more.
  func losses(from sequence: Sequence) -> LossLedger {
    losses.withLock {
      $0.prune(below: sequence)
      return $0
    }
  }

  /// What no required sink has acknowledged, holds in memory or was told to skip begins behind
  /// this. A sink's reader says what it will take before it looks whether that still counts, and
  /// the writer gives records up before it looks here; so either sees the other, and no record is
  /// both delivered and counted as lost. What a sink held and did not deliver after all, its reader
  /// meets again, and counts.
  var takenFloor: UInt64 {
    var floor = UInt64.max
    for sink in sinks where sink.isRequired {
      let acknowledged = sink.acknowledged.load(ordering: .acquiring)
      let taken = sink.taken.load(ordering: .sequentiallyConsistent)
      floor = min(floor, max(acknowledged, taken, sink.skippedThrough))
    }
    return floor == .max ? committed.rawValue : floor
  }

  /// All that was lost since the journal was created.
  var lostRecords: LossCounts {
    var lost = lostBefore
    for (reason, counter) in gapCounters {
      lost[reason.place] += counter.value.load(ordering: .relaxed)
    }
    return lost
  }

  /// The slowest required sink; what is committed when no sink is required.
  var requiredFloor: UInt64 {
    sinks.lazy.filter { $0.isRequired }
      .map { $0.acknowledged.load(ordering: .acquiring) }.min() ?? committed.rawValue
  }

  /// The slowest sink of all.
  var floor: UInt64 {
    sinks.lazy.map { $0.acknowledged.load(ordering: .acquiring) }.min() ?? committed.rawValue
  }

  /// Bytes of the data region between the first group that a required sink still needs and the
  /// head.
  func usedByteCount(floor: UInt64) -> Int {
    let layout = access.layout
    let head = headOffset.load(ordering: .relaxed)
    let wanted = max(floor + 1, oldestKept.rawValue)
    return index.withLock { index in
      guard let newest = index.last, newest.last >= wanted else { return 0 }
      return layout.distance(
        from: index[index.position(of: wanted) ?? 0].offset, to: head)
    }
  }

  package func statistics() -> JournalStatistics {
    let floor = requiredFloor
    let wanted = max(floor + 1, oldestKept.rawValue)
    let facts = index.withLock { index in
      let oldest = index.count == 0 ? nil : index[index.position(of: wanted) ?? 0]
      return (
        index.occupiedByteCount, index.count,
        oldest.flatMap { $0.last >= wanted ? $0.received(from: wanted) : nil }
      )
    }
    var gaps: [GapReason: UInt64] = [:]
    for (reason, counter) in gapCounters {
      let value = counter.value.load(ordering: .relaxed)
      if value > 0 { gaps[reason] = value }
    }
    return JournalStatistics(
      identity: identity, capacity: ByteCount(access.layout.dataByteCount),
      used: ByteCount(usedByteCount(floor: floor)), kept: ByteCount(facts.0), committed: committed,
      oldestKept: oldestKept,
      sinks: sinks.indices.map { index in
        let acceptance = acceptance(index)
        return JournalStatistics.Sink(
          name: sinks[index].name, isRequired: sinks[index].isRequired,
          acknowledged: Sequence(acceptance.cursor), accepted: acceptance.intervals.ranges)
      },
      groupCount: facts.1, gapRecords: gaps, lostRecords: lostRecords.byReason,
      wear: wear.withLock { $0 },
      oldestUndelivered: facts.2.map { WallTime(nanoseconds: $0) })
  }

  private final class Counter: Sendable {
    let value = Atomic<UInt64>(0)
  }
}

/// One sink's cursor and its wake-up.
final class SinkState: Sendable {
  let name: String
  let isRequired: Bool
  let acknowledged: Atomic<UInt64>
  /// Accepted beyond it.
  let intervals: Mutex<AcceptedIntervals>
  /// Grows with each change of them, so that a commit sees without a lock that there is none.
  let intervalsVersion = Atomic<UInt64>(1)
  /// Its reader has handed out what is not above it, or is about to: the sink holds that in memory.
  let taken = Atomic<UInt64>(0)
  /// The operator gave up what is not above it.
  let skippedThrough: UInt64
  let wakeUp: WakeUp
  let nameChecksum: UInt32

  init(
    name: String, isRequired: Bool, acknowledged: UInt64,
    intervals: AcceptedIntervals = AcceptedIntervals(), skippedThrough: UInt64, wakeUp: WakeUp
  ) {
    self.intervals = Mutex(intervals)
    self.skippedThrough = skippedThrough
    self.name = name
    self.isRequired = isRequired
    self.acknowledged = Atomic(acknowledged)
    self.wakeUp = wakeUp
    nameChecksum = GroupHeader.checksum(ofSinkName: name)
  }

  /// While the lock is held.
  func noteNewIntervals() { intervalsVersion.add(1, ordering: .relaxed) }
}

/// How to reach the file: what readers, the writer and recovery all need.
struct JournalAccess: Sendable {
  let path: String
  let identity: Identity
  let layout: JournalLayout
  let environment: JournalEnvironment
  /// The largest group that may be in the file.
  let groupByteCountMax: Int
  /// What records that the ring gave up are called.
  let dropReason: GapReason
}

/// A moment's numbers. Sizes are of the data region.
package struct JournalStatistics: Sendable, Hashable {
  package struct Sink: Sendable, Hashable {
    package let name: String
    package let isRequired: Bool
    package let acknowledged: Sequence
    /// Accepted beyond it, out of turn (`drain: live-first`). Ascending, disjoint.
    package let accepted: [SequenceRange]

    /// Records that it still needs.
    package func missing(of committed: Sequence) -> UInt64 {
      committed.count(since: acknowledged) - accepted.reduce(0) { $0 + $1.count }
    }
  }

  package let identity: JournalIdentity
  package let capacity: ByteCount
  /// Occupied by what a required sink has not acknowledged.
  package let used: ByteCount
  /// Occupied by every group that is still in the file, acknowledged ones too.
  package let kept: ByteCount
  package let committed: Sequence
  package let oldestKept: Sequence
  package let sinks: [Sink]
  package let groupCount: Int
  /// Records given up since this opening, by reason; of a file that is only looked at, records that
  /// cannot be read. Records that only a best-effort sink missed are not counted here.
  package let gapRecords: [GapReason: UInt64]
  /// The same since the journal was created, as of the last superblock after a crash.
  package let lostRecords: [GapReason: UInt64]
  package let wear: JournalWear
  /// About when the oldest record that a required sink still needs was received.
  package let oldestUndelivered: WallTime?
}
