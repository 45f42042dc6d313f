/// One group that is in the file and may be read.
struct GroupEntry: Sendable, Equatable {
  var first: UInt64
  var number: UInt64
  /// Wall clock base: about when its first record was received.
  var received: Int64
  /// The same of its last record, as of the newest copy.
  var lastReceived: Int64
  /// Elapsed time base, as in its header.
  var elapsed: Int64
  /// File offset, in blocks.
  var block: UInt32
  var sequenceCount: UInt32
  var usedByteCount: UInt32
  /// Low half of the lap: enough to tell this turn from the last.
  var lap: UInt32

  init(_ header: GroupHeader) {
    first = header.first
    number = header.number
    received = header.wallBase
    lastReceived = header.wallBase &+ max(0, header.committedAt &- header.monotonicBase)
    elapsed = header.elapsedBase
    block = UInt32(header.offset / Block.byteCount)
    sequenceCount = header.sequenceCount
    usedByteCount = header.usedByteCount
    lap = UInt32(truncatingIfNeeded: header.lap)
  }

  var last: UInt64 { first + UInt64(sequenceCount) - 1 }
  var offset: Int { Int(block) * Block.byteCount }
  /// About when the record `sequence` was received: a tail collects records for minutes, and when
  /// some of them have left it, the others are the newer ones.
  func received(from sequence: UInt64) -> Int64 { sequence > first ? lastReceived : received }
  var occupiedByteCount: Int { Block.roundUp(Int(usedByteCount)) }
  var end: Int { offset + occupiedByteCount }
}

/// The kept groups in sequence order: sequence → place for readers, the oldest group for the
/// writer. 56 bytes per group, at most one group per block of the data region. Grows by doubling up
/// to that.
struct GroupIndex: Sendable {
  private var entries: [GroupEntry]
  private var head = 0
  private(set) var count: Int
  /// What all groups together occupy.
  private(set) var occupiedByteCount: Int
  private let countMax: Int

  /// Takes over groups that are in ascending order of sequence and number.
  init(_ entries: consuming [GroupEntry], countMax: Int) {
    precondition(entries.count <= countMax, "one group per block at most")
    self.count = entries.count
    occupiedByteCount = entries.reduce(0) { $0 + $1.occupiedByteCount }
    self.entries = entries
    self.countMax = countMax
  }

  subscript(index: Int) -> GroupEntry {
    precondition(index >= 0 && index < count, "a kept group")
    return entries[(head + index) % entries.count]
  }

  var first: GroupEntry? { count == 0 ? nil : self[0] }
  var last: GroupEntry? { count == 0 ? nil : self[count - 1] }

  mutating func append(_ entry: GroupEntry) {
    precondition(last.map { $0.first < entry.first } ?? true, "groups come in order")
    precondition(count < countMax, "one group per block at most")
    if count == entries.count { grow(with: entry) }
    entries[(head + count) % entries.count] = entry
    count += 1
    occupiedByteCount += entry.occupiedByteCount
  }

  /// The tail's newer copy takes the place of the older one.
  mutating func replaceLast(with entry: GroupEntry) {
    precondition(count > 0 && self[count - 1].first == entry.first, "a copy of the same tail")
    occupiedByteCount += entry.occupiedByteCount - self[count - 1].occupiedByteCount
    entries[(head + count - 1) % entries.count] = entry
  }

  mutating func removeFirst() {
    precondition(count > 0, "a group to release")
    occupiedByteCount -= self[0].occupiedByteCount
    head = (head + 1) % entries.count
    count -= 1
  }

  /// Index of the newest group that begins at or before `sequence`; nil when all begin later.
  func position(of sequence: UInt64) -> Int? {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if self[middle].first <= sequence { low = middle + 1 } else { high = middle }
    }
    return low == 0 ? nil : low - 1
  }

  private mutating func grow(with filler: GroupEntry) {
    var larger: [GroupEntry] = []
    let capacity = min(max(64, count * 2), countMax)
    larger.reserveCapacity(capacity)
    for index in 0..<count { larger.append(self[index]) }
    while larger.count < capacity { larger.append(filler) }
    entries = larger
    head = 0
  }
}
