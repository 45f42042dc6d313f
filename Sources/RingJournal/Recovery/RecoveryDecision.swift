package import GatewayCore

/// What recovery believes, decided from facts alone: no I/O here.
///
/// Every intact group header that the scan met is one row of this table. "Followed" means that
/// something later proves the group was committed: an intact group with a higher number, or a
/// superblock that counts its records. Only the last write can be torn, because every commit ends
/// with a successful sync before the next begins; so damage that is followed is corruption of
/// acknowledged data.
///
///     row                   header  lap  body  newer copy  followed   decision
///     A never written         0      _    _        _          _       .nothing
///     B another lap           1      0    _        _          _       .staleLap
///     C superseded copy       1      1    _        1          _       .staleCopy
///     D intact                1      1    1        0          _       .keep
///     E torn tail             1      1    0        0          0       .tornTail
///     F rotten                1      1    0        0          1       .corrupt
///
/// A group whose header is destroyed too is row A; what it held is missing from the sequence, and a
/// hole between kept groups (or before what a superblock or cursor proves to have been committed)
/// is corruption all the same. After row E the ring goes on where the torn write began.
///
/// The lap fits when the group lies at or before the newest one and has its lap, or lies behind it
/// and has the lap before. That refuses the remains of older laps at the end of the region, and
/// blocks that a lost or misdirected write left stale.
struct SpotFacts: Sendable, Equatable {
  var isHeaderIntact: Bool
  var isLapCurrent: Bool
  var isBodyIntact: Bool
  var hasNewerCopy: Bool
  var isFollowed: Bool
}

enum SpotDecision: Sendable, Equatable {
  case nothing, staleLap, staleCopy, keep, tornTail, corrupt
}

func decide(_ spot: SpotFacts) -> SpotDecision {
  guard spot.isHeaderIntact else { return .nothing }  // A
  guard spot.isLapCurrent else { return .staleLap }  // B
  guard !spot.hasNewerCopy else { return .staleCopy }  // C
  if spot.isBodyIntact { return .keep }  // D
  return spot.isFollowed ? .corrupt : .tornTail  // F, E
}

/// Sequences that were committed and cannot be read, and the bytes where they should be.
package struct CorruptRange: Sendable, Hashable {
  package let sequences: SequenceRange
  /// File offsets; two when the range turns round the end of the ring.
  package let bytes: [Range<Int>]
}

/// The ring as recovery leaves it.
struct RecoveryPlan: Sendable {
  var kept: [GroupEntry] = []
  var corrupt: [CorruptRange] = []
  var staleLapCount = 0
  var staleCopyCount = 0
  var tornTailCount = 0
  var corruptGroupCount = 0
  var committed: UInt64 = 0
  var oldestKept: UInt64 = 1
  var head: Int
  var lap: UInt64 = 0
  var nextNumber: UInt64 = 1
}

/// Applies the table to everything the scan met. `floor` is the slowest sink's durable cursor.
func planRecovery(
  _ scan: ScanResult, superblock: Superblock?, floor: UInt64, layout: JournalLayout
) -> RecoveryPlan {
  var plan = RecoveryPlan(head: superblock?.headOffset ?? layout.dataStart)
  let newest = scan.newest
  var provenNext = superblock?.nextSequence ?? 1
  if let newest {
    provenNext = max(provenNext, newest.last + 1)
    for index in 0..<8 { provenNext = max(provenNext, newest.acknowledged[index] + 1) }
  }
  keepIntact(scan.groups, newest: newest, into: &plan)
  let newestNumber = newest?.number ?? 0
  var numberOfCopy: [UInt64: UInt64] = [:]
  if !scan.damaged.isEmpty {
    for group in scan.groups {
      numberOfCopy[group.first] = max(numberOfCopy[group.first] ?? 0, group.number)
    }
  }
  for spot in scan.damaged {
    let position = newest.map {
      spot.number > $0.number || lapFits(spot, newest: $0)
    }
    let hasNewerCopy = (numberOfCopy[spot.first] ?? 0) > spot.number
    let facts = SpotFacts(
      isHeaderIntact: true, isLapCurrent: position ?? true, isBodyIntact: false,
      hasNewerCopy: hasNewerCopy,
      isFollowed: spot.number < newestNumber || spot.last < provenNext)
    switch decide(facts) {
    case .staleLap: plan.staleLapCount += 1
    case .staleCopy: plan.staleCopyCount += 1
    case .tornTail: plan.tornTailCount += 1
    case .corrupt: plan.corruptGroupCount += 1
    case .nothing, .keep: break
    }
  }
  placeHead(newest, superblock: superblock, into: &plan)
  plan.committed = provenNext - 1
  plan.oldestKept = max(superblock?.oldestKept ?? 1, newest?.oldestKept ?? 1)
  findHoles(floor: floor, superblock: superblock, layout: layout, into: &plan)
  return plan
}

/// Rows B, C and D for the intact groups.
private func keepIntact(
  _ groups: [GroupEntry], newest: GroupHeader?, into plan: inout RecoveryPlan
) {
  guard let newest else { return }
  var current: [GroupEntry] = []
  current.reserveCapacity(groups.count)
  for group in groups {
    // The other copy of the newest tail lies behind it in the same lap.
    let isOtherCopy = group.first == newest.first
    if isOtherCopy || lapFits(group, newest: newest) {
      current.append(group)
    } else {
      plan.staleLapCount += 1
    }
  }
  current.sort { $0.number < $1.number }
  for group in current {
    // The highest number wins for a sequence.
    while let last = plan.kept.last, last.first >= group.first {
      plan.kept.removeLast()
      plan.staleCopyCount += 1
    }
    plan.kept.append(group)
  }
}

private func lapFits(_ group: GroupEntry, newest: GroupHeader) -> Bool {
  let expected = group.offset <= newest.offset ? newest.lap : newest.lap &- 1
  return group.lap == UInt32(truncatingIfNeeded: expected)
}

/// The ring goes on behind the newest group, or where a superblock says that it went on.
private func placeHead(
  _ newest: GroupHeader?, superblock: Superblock?, into plan: inout RecoveryPlan
) {
  plan.lap = superblock?.headLap ?? 0
  plan.nextNumber = superblock?.nextGroupNumber ?? 1
  guard let newest, newest.number + 1 >= plan.nextNumber else { return }
  plan.head = newest.offset + newest.occupiedByteCount
  plan.lap = newest.lap
  plan.nextNumber = newest.number + 1
}

private func findHoles(
  floor: UInt64, superblock: Superblock?, layout: JournalLayout, into plan: inout RecoveryPlan
) {
  func bytes(from start: Int, to end: Int) -> [Range<Int>] {
    if start <= end { return start == end ? [] : [start..<end] }
    return [start..<layout.dataEnd, layout.dataStart..<end].filter { !$0.isEmpty }
  }
  guard let first = plan.kept.first, let last = plan.kept.last else {
    let start = max(plan.oldestKept, floor + 1)
    if start <= plan.committed {
      plan.corrupt = [
        CorruptRange(
          sequences: SequenceRange(Sequence(start), Sequence(plan.committed)),
          bytes: bytes(from: layout.dataStart, to: plan.head))
      ]
    }
    return
  }
  let start = max(plan.oldestKept, floor + 1)
  if start < first.first {
    plan.corrupt.append(
      CorruptRange(
        sequences: SequenceRange(Sequence(start), Sequence(first.first - 1)),
        bytes: bytes(from: plan.head, to: first.offset)))
  }
  for (before, after) in zip(plan.kept, plan.kept.dropFirst())
  where after.first > before.last + 1 {
    plan.corrupt.append(
      CorruptRange(
        sequences: SequenceRange(Sequence(before.last + 1), Sequence(after.first - 1)),
        bytes: bytes(from: before.end, to: after.offset)))
  }
  if plan.committed > last.last {
    plan.corrupt.append(
      CorruptRange(
        sequences: SequenceRange(Sequence(last.last + 1), Sequence(plan.committed)),
        bytes: bytes(from: last.end, to: plan.head)))
  }
  // Below the slowest cursor nothing was lost, only released.
  plan.oldestKept = max(plan.oldestKept, min(first.first, floor + 1))
}
