package import GatewayCore

/// Which sequences of one journal the centre has been told about, in whatever order: a sorted list
/// of disjoint, non-adjacent ranges. A stream without losses is one range, so the list stays tiny.
package struct SequenceCoverage: Sendable {
  package private(set) var ranges: [SequenceRange] = []

  package init() {}

  /// How many sequences are known.
  package var count: UInt64 { ranges.reduce(0) { $0 + $1.count } }

  /// Adds a range; parts known already are fine. O(log n), plus the move of what lies behind.
  package mutating func insert(_ range: SequenceRange) {
    // The first range that ends at or beyond the sequence just before the new one: it may merge.
    let start = index { $0.last.next >= range.first }
    var end = start
    var first = range.first
    var last = range.last
    while end < ranges.count, ranges[end].first <= range.last.next {
      first = min(first, ranges[end].first)
      last = max(last, ranges[end].last)
      end += 1
    }
    ranges.replaceSubrange(start..<end, with: [SequenceRange(first, last)])
  }

  /// The sequences between the first and the last known one that nothing has accounted for.
  package var missing: [SequenceRange] {
    zip(ranges, ranges.dropFirst()).map { SequenceRange($0.last.next, $1.first.previous) }
  }

  /// Binary search for the first range that satisfies a condition which holds from there on.
  private func index(where condition: (SequenceRange) -> Bool) -> Int {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if condition(ranges[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
