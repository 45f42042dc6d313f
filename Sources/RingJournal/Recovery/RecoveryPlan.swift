package import GatewayCore

/// Sequences that were committed and cannot be read, and the bytes where they should be.
package struct CorruptRange: Sendable, Hashable {
  package let sequences: SequenceRange
  /// File offsets; two when the range turns round the end of the ring.
  package let bytes: [Range<Int>]
}

/// The ring as recovery leaves it.
struct RecoveryPlan: Sendable {
  /// Groups to read from, in ascending order of sequence and number.
  var kept: [GroupEntry] = []
  var corrupt: [CorruptRange] = []
  var committed: UInt64 = 0
  var oldestKept: UInt64 = 1
  var head: Int
  var lap: UInt64 = 0
  var nextNumber: UInt64 = 1
  /// How many spots each row of the decision table has decided.
  var spotCounts = [Int](repeating: 0, count: SpotDecision.table.count)

  func count(of decision: SpotDecision) -> Int {
    zip(SpotDecision.table, spotCounts).reduce(0) {
      $1.0.decision == decision ? $0 + $1.1 : $0
    }
  }

  fileprivate mutating func decide(_ facts: SpotFacts) -> SpotDecision {
    let row = SpotDecision.row(for: facts)
    spotCounts[row] += 1
    return SpotDecision.table[row].decision
  }
}

/// Applies the table to everything the scan met. `floor` is the slowest sink's durable cursor.
func planRecovery(
  _ scan: ScanResult, blocks: ControlBlocks, floor: UInt64, layout: JournalLayout
) -> RecoveryPlan {
  let superblock = blocks.superblock
  var evidence = scan.evidence
  for superblock in blocks.slots { evidence.note(superblock) }
  var plan = RecoveryPlan(head: superblock?.headOffset ?? layout.dataStart)
  plan.spotCounts[SpotDecision.row(for: [])] += scan.blankBlockCount
  plan.committed = evidence.through
  plan.oldestKept = max(superblock?.oldestKept ?? 1, scan.newestHeader?.oldestKept ?? 1)
  plan.nextNumber = evidence.nextNumber
  let frontier = Frontier(newest: scan.newestHeader, superblock: superblock)
  if let frontier { plan.keepIntact(scan.groups, frontier) }
  plan.placeHead(scan.newest, superblock: superblock)
  let released = max(floor, max(plan.oldestKept, 1) - 1)
  let reach = CutReach(head: plan.head, released: released, layout: layout)
  if let frontier {
    plan.judgeDamaged(
      scan.damaged, frontier, followedBelow: evidence.followedBelow, reach: reach)
  }
  plan.findHoles(
    floor: floor, end: evidence.end(superblock) ?? plan.head, reach: reach, layout: layout)
  return plan
}

extension RecoveryPlan {
  /// The rows for the intact groups.
  fileprivate mutating func keepIntact(_ groups: [GroupEntry], _ frontier: Frontier) {
    // From the newest to the oldest: what begins at or behind a newer group is superseded.
    var lowestFirst = UInt64.max
    for group in groups.sorted(by: { $0.number > $1.number }) {
      let facts = SpotFacts([.isHeaderIntact, .isBodyIntact])
        .with(.isLapCurrent, frontier.lapFits(group))
        .with(.isNeeded, group.first < lowestFirst)
      guard decide(facts) == .keep else { continue }
      kept.append(group)
      lowestFirst = group.first
    }
    kept.reverse()
  }

  /// The rows for groups with an intact header and a body that is not.
  fileprivate mutating func judgeDamaged(
    _ groups: [GroupEntry], _ frontier: Frontier, followedBelow: UInt64, reach: CutReach
  ) {
    for group in groups {
      let isNeeded =
        group.first <= committed && !isKept(group.first...min(group.last, committed))
        && !reach.covers(group.first...group.last, at: [group.offset..<group.end])
      _ = decide(
        SpotFacts.isHeaderIntact
          .with(.isLapCurrent, frontier.lapFits(group))
          .with(.isFollowed, group.number < followedBelow)
          .with(.isNeeded, isNeeded))
    }
  }

  /// Whether kept groups hold all of these sequences.
  private func isKept(_ sequences: ClosedRange<UInt64>) -> Bool {
    var (low, high) = (0, kept.count)
    while low < high {
      let middle = (low + high) / 2
      if kept[middle].last < sequences.lowerBound { low = middle + 1 } else { high = middle }
    }
    var next = sequences.lowerBound
    while low < kept.count, kept[low].first <= next {
      if kept[low].last >= sequences.upperBound { return true }
      next = kept[low].last + 1
      low += 1
    }
    return false
  }

  /// The ring goes on behind the newest intact group, or where a superblock says that it went on.
  fileprivate mutating func placeHead(_ newest: GroupHeader?, superblock: Superblock?) {
    lap = superblock?.headLap ?? 0
    guard let newest else { return }
    if let superblock, superblock.nextGroupNumber > newest.number + 1, !newest.reaches(superblock) {
      return
    }
    head = newest.offset + newest.occupiedByteCount
    lap = newest.lap
  }

  /// Committed sequences that no kept group holds.
  fileprivate mutating func findHoles(
    floor: UInt64, end: Int, reach: CutReach, layout: JournalLayout
  ) {
    func bytes(from start: Int, to end: Int) -> [Range<Int>] {
      if start <= end { return start == end ? [] : [start..<end] }
      return [start..<layout.dataEnd, layout.dataStart..<end].filter { !$0.isEmpty }
    }
    func note(_ first: UInt64, _ last: UInt64, _ bytes: [Range<Int>]) {
      guard first <= last, !reach.covers(first...last, at: bytes) else { return }
      corrupt.append(
        CorruptRange(sequences: SequenceRange(Sequence(first), Sequence(last)), bytes: bytes))
    }
    // Below the slowest cursor nothing was lost, only released.
    let start = max(oldestKept, floor + 1)
    guard let first = kept.first, let last = kept.last else {
      note(start, committed, bytes(from: layout.dataStart, to: end))
      return
    }
    note(start, first.first - 1, bytes(from: head, to: first.offset))
    for (before, after) in zip(kept, kept.dropFirst()) {
      note(before.last + 1, after.first - 1, bytes(from: before.end, to: after.offset))
    }
    note(last.last + 1, committed, bytes(from: last.end, to: end))
    oldestKept = max(oldestKept, min(first.first, floor + 1))
  }
}

/// How far the writer is known to have come. Groups before this place are of its lap, groups from
/// there on of the lap before; anything else is the remains of an older turn.
private struct Frontier {
  private let offset: Int
  private let lap: UInt64
  /// The older copy of the newest tail lies behind it, in the same lap.
  private let tailFirst: UInt64?

  /// Nil: nobody ever wrote a group.
  init?(newest: GroupHeader?, superblock: Superblock?) {
    guard let newest else { return nil }
    if let superblock, superblock.nextGroupNumber > newest.number + 1, !newest.reaches(superblock) {
      // The newest groups are gone. What lies where they were is older than they: to keep it would
      // put the oldest records of the ring behind its head.
      offset = superblock.headOffset
      lap = superblock.headLap
      tailFirst = nil
    } else {
      offset = newest.offset + newest.occupiedByteCount
      lap = newest.lap
      tailFirst = newest.first
    }
  }

  func lapFits(_ group: GroupEntry) -> Bool {
    let isBehind = group.offset >= offset && group.first != tailFirst
    return group.lap == UInt32(truncatingIfNeeded: isBehind ? lap &- 1 : lap)
  }
}

/// Where the last write may have gone when the power was cut, over groups that had been released
/// for it: holes among them mean nothing.
private struct CutReach {
  private let released: UInt64
  private let places: [Range<Int>]

  init(head: Int, released: UInt64, layout: JournalLayout) {
    self.released = released
    let length = layout.groupByteCountMax
    places =
      head + length <= layout.dataEnd
      ? [head..<head + length]
      : [head..<layout.dataEnd, layout.dataStart..<layout.dataStart + length]
  }

  func covers(_ sequences: ClosedRange<UInt64>, at bytes: [Range<Int>]) -> Bool {
    sequences.upperBound <= released
      && bytes.allSatisfy { range in places.contains { $0.overlaps(range) } }
  }
}

extension GroupHeader {
  /// It lies at the superblock's head or behind it, although it is older: the older copy of a tail
  /// whose newer one is gone. The ring must go on behind it.
  fileprivate func reaches(_ superblock: Superblock) -> Bool {
    lap == superblock.headLap && offset >= superblock.headOffset
  }
}
