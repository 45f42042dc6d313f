package import GatewayCore

/// What a sink has accepted beyond its cursor: ascending, disjoint, not adjoining ranges, at most
/// `countMax`, because that is how many a superblock has room for. `live-first` delivery makes
/// them: what is new goes first, the backlog fills in behind.
package struct AcceptedIntervals: Sendable, Hashable {
  package static let countMax = 8

  package private(set) var ranges: [SequenceRange] = []

  package init() {}

  package var isEmpty: Bool { ranges.isEmpty }

  /// Whether `range` can be taken without exceeding `countMax`: it extends one that is there, or
  /// there is a place for another.
  package func hasRoom(for range: SequenceRange) -> Bool {
    ranges.count < Self.countMax || ranges.contains { Self.touches($0, range) }
  }

  /// Adds a range; what it touches becomes one with it. False, and nothing changes, when there is
  /// no place for it.
  package mutating func insert(_ range: SequenceRange) -> Bool {
    guard hasRoom(for: range) else { return false }
    var (first, last) = (range.first, range.last)
    for other in ranges where Self.touches(other, range) {
      first = min(first, other.first)
      last = max(last, other.last)
    }
    ranges.removeAll { Self.touches($0, range) }
    let position = ranges.firstIndex { $0.first > first } ?? ranges.endIndex
    ranges.insert(SequenceRange(first, last), at: position)
    return true
  }

  /// Everything through `cursor` is accepted: forgets that, and answers how far the contiguous run
  /// reaches when what adjoins is counted in.
  package mutating func absorb(through cursor: Sequence) -> Sequence {
    var cursor = cursor
    while let first = ranges.first, first.first <= cursor.next {
      cursor = max(cursor, first.last)
      ranges.removeFirst()
    }
    return cursor
  }

  /// Forgets what lies beyond `last`.
  package mutating func clamp(through last: Sequence) {
    ranges = ranges.compactMap { range in
      range.first > last ? nil : SequenceRange(range.first, min(range.last, last))
    }
  }

  package func contains(_ sequence: Sequence) -> Bool { ranges.contains { $0.contains(sequence) } }

  /// The parts of `range` that are not accepted here, ascending.
  package func missing(in range: SequenceRange) -> [SequenceRange] {
    var missing: [SequenceRange] = []
    var next = range.first
    for accepted in ranges where accepted.last >= range.first && accepted.first <= range.last {
      if accepted.first > next { missing.append(SequenceRange(next, accepted.first.previous)) }
      next = accepted.last.next
    }
    if next <= range.last { missing.append(SequenceRange(next, range.last)) }
    return missing
  }

  /// They overlap or adjoin.
  private static func touches(_ left: SequenceRange, _ right: SequenceRange) -> Bool {
    left.first <= right.last.next && right.first <= left.last.next
  }
}
