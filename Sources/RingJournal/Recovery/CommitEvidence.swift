/// What the intact headers prove to have been committed, whatever became of the bodies.
///
/// Every commit is synced before the next write begins. So whoever could write a header knew that
/// everything before it was on the disk, and that stays true for ever: through later crashes,
/// openings and laps. Which lap a header is of, whether its body is whole, whether it was itself
/// ever synced, does not matter for what it says about others. A header proves
///
/// 1. the sequences below its own first one, those that a sink had acknowledged, and those that had
///    been given up (a copy of the tail repeats the tail's first sequence, so only its cursors may
///    prove more);
/// 2. the group that the same opening wrote before it, to its last sequence: a copy of the tail
///    proves the copy before. Not a group of another opening: that may have been torn, was judged
///    when the later opening began, and its sequences were given to other records. What the earlier
///    opening had committed, rule 1 of the later one's first header proves.
///
/// The writer never uses the number of a visible header again (`nextNumber`), so that numbers tell
/// the order of writes, also across torn ones.
struct CommitEvidence: Sendable, Equatable {
  private struct Written: Equatable {
    var number: UInt64
    var epoch: UInt64
    var first: UInt64
    var last: UInt64
    var end: Int

    init(_ header: GroupHeader) {
      number = header.number
      epoch = header.epoch
      first = header.first
      last = header.last
      end = header.offset + header.occupiedByteCount
    }
  }

  /// A sequence or a number beyond this comes from no writer.
  private static let sequenceMax = UInt64.max - UInt64(UInt32.max)
  private static let numberMax = sequenceMax

  private var provenByContent: UInt64 = 0
  private var newest: Written?
  private var beforeNewest: Written?

  /// The number that the next group takes: higher than any that can be seen.
  private(set) var nextNumber: UInt64 = 1
  /// Groups with a lower number were not the last write: something with a higher one exists.
  private(set) var followedBelow: UInt64 = 0

  /// Everything up to this sequence was committed.
  var through: UInt64 {
    guard let newest, let beforeNewest, newest.epoch == beforeNewest.epoch else {
      return provenByContent
    }
    return max(provenByContent, beforeNewest.last)
  }

  /// File offset where the last write ended: the newest visible group or, when the superblock is
  /// younger, its head.
  func end(_ superblock: Superblock?) -> Int? {
    guard let newest else { return superblock?.headOffset }
    if let superblock, superblock.nextGroupNumber > newest.number { return superblock.headOffset }
    // Of a tail both copies.
    guard let beforeNewest, beforeNewest.first == newest.first else { return newest.end }
    return max(newest.end, beforeNewest.end)
  }

  mutating func note(_ header: GroupHeader) {
    prove(header.first - 1)
    for index in 0..<8 { prove(header.acknowledged[index]) }
    if header.oldestKept > 0 { prove(header.oldestKept - 1) }
    if header.number < CommitEvidence.numberMax {
      nextNumber = max(nextNumber, header.number + 1)
      followedBelow = max(followedBelow, header.number)
    }
    if newest.map({ header.number > $0.number }) ?? true {
      beforeNewest = newest
      newest = Written(header)
    } else if let newest, header.number < newest.number,
      beforeNewest.map({ header.number > $0.number }) ?? true
    {
      beforeNewest = Written(header)
    }
  }

  /// A group that is whole proves its own records.
  mutating func noteIntact(_ header: GroupHeader) { prove(header.last) }

  /// A superblock of either slot, synced or not: its writer knew what was committed.
  mutating func note(_ superblock: Superblock) {
    if superblock.nextSequence > 0 { prove(superblock.nextSequence - 1) }
    if superblock.oldestKept > 0 { prove(superblock.oldestKept - 1) }
    for sink in superblock.sinks { prove(sink.acknowledged) }
    if superblock.nextGroupNumber <= CommitEvidence.numberMax {
      nextNumber = max(nextNumber, superblock.nextGroupNumber)
      followedBelow = max(followedBelow, superblock.nextGroupNumber)
    }
  }

  private mutating func prove(_ sequence: UInt64) {
    if sequence <= CommitEvidence.sequenceMax { provenByContent = max(provenByContent, sequence) }
  }
}
