package import GatewayCore

/// Sequences as closed ranges: ascending, disjoint, not adjoining. A stream without losses is one
/// range. Any sequence may be in it or not; nothing is remembered twice.
package struct IntervalSet: Sendable, Hashable {
  package private(set) var ranges: [SequenceRange] = []

  package init() {}

  package init(_ ranges: [SequenceRange]) {
    for range in ranges { insert(range) }
  }

  package var isEmpty: Bool { ranges.isEmpty }
  package var last: Sequence? { ranges.last?.last }
  package var count: UInt64 { ranges.reduce(0) { $0 + $1.count } }

  package func contains(_ sequence: Sequence) -> Bool {
    let index = firstIndex { $0.last >= sequence }
    return index < ranges.count && ranges[index].first <= sequence
  }

  /// Whether any sequence of `range` is in the set.
  package func intersects(_ range: SequenceRange) -> Bool {
    let index = firstIndex { $0.last >= range.first }
    return index < ranges.count && ranges[index].first <= range.last
  }

  /// Adds a range; parts known already are fine. O(log n), plus the move of what lies behind.
  package mutating func insert(_ range: SequenceRange) {
    let start = firstIndex { $0.last.next >= range.first }
    var (end, first, last) = (start, range.first, range.last)
    while end < ranges.count, ranges[end].first <= range.last.next {
      first = min(first, ranges[end].first)
      last = max(last, ranges[end].last)
      end += 1
    }
    ranges.replaceSubrange(start..<end, with: [SequenceRange(first, last)])
  }

  /// Takes a range out; parts that are not in it are fine.
  package mutating func remove(_ range: SequenceRange) {
    let start = firstIndex { $0.last >= range.first }
    var end = start
    var rest: [SequenceRange] = []
    while end < ranges.count, ranges[end].first <= range.last {
      let hit = ranges[end]
      if hit.first < range.first {
        rest.append(SequenceRange(hit.first, range.first.previous))
      }
      if hit.last > range.last { rest.append(SequenceRange(range.last.next, hit.last)) }
      end += 1
    }
    if end > start { ranges.replaceSubrange(start..<end, with: rest) }
  }

  /// The parts of `range` that are in the set.
  package func intersection(_ range: SequenceRange) -> [SequenceRange] {
    var parts: [SequenceRange] = []
    var index = firstIndex { $0.last >= range.first }
    while index < ranges.count, ranges[index].first <= range.last {
      parts.append(
        SequenceRange(max(ranges[index].first, range.first), min(ranges[index].last, range.last)))
      index += 1
    }
    return parts
  }

  /// The parts of `range` that are not.
  package func missing(in range: SequenceRange) -> [SequenceRange] {
    var missing: [SequenceRange] = []
    var next = range.first
    for part in intersection(range) {
      if part.first > next { missing.append(SequenceRange(next, part.first.previous)) }
      next = part.last.next
    }
    if next <= range.last { missing.append(SequenceRange(next, range.last)) }
    return missing
  }

  /// What lies between 1 and the last sequence and is not in the set.
  package var holes: [SequenceRange] {
    guard let last else { return [] }
    return missing(in: SequenceRange(.first, last))
  }

  /// The last sequence before the first hole at or above 1; `.none` when 1 itself is missing.
  package var contiguous: Sequence {
    guard let first = ranges.first, first.first == .first else { return .none }
    return first.last
  }

  /// Binary search for the first range that satisfies what holds from there on.
  private func firstIndex(where condition: (SequenceRange) -> Bool) -> Int {
    // Nearly always the answer lies at the end.
    if let last = ranges.last, !condition(last) { return ranges.count }
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if condition(ranges[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

extension IntervalSet {
  /// `1-540,600,700-712`: how a database keeps the set, so that a person can read it there.
  package var text: String {
    ranges.map { $0.first == $0.last ? "\($0.first)" : "\($0.first)-\($0.last)" }
      .joined(separator: ",")
  }

  /// Nil for what `text` never wrote.
  package init?(text: String) {
    for part in text.split(separator: ",") {
      let ends = part.split(separator: "-", omittingEmptySubsequences: false)
      guard ends.count <= 2, let first = UInt64(ends[0]), let last = UInt64(ends[ends.count - 1]),
        first >= 1, first <= last, last < .max,
        ranges.last.map({ $0.last.next.rawValue < first }) ?? true
      else { return nil }
      ranges.append(SequenceRange(Sequence(first), Sequence(last)))
    }
  }
}
