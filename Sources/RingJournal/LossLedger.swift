import GatewayCore

/// Sequences that were counted as lost, so that the next sink and the next opening, which meet them
/// again, do not count them again. Kept in the superblock; at most `countMax` ranges, of which the
/// first two become one when another comes: rather count too few than one twice.
struct LossLedger: Sendable, Equatable {
  static let countMax = 32

  /// Ascending, with other sequences between them.
  private(set) var ranges: [SequenceRange] = []

  init() {}

  /// Takes ranges from a superblock; what is not in order is left out.
  init(_ stored: [SequenceRange]) {
    for range in stored.prefix(LossLedger.countMax)
    where ranges.last.map({ $0.last < range.first }) ?? true {
      ranges.append(range)
    }
  }

  /// Enters `range` and answers how many of its sequences were not in the ledger.
  mutating func insert(_ range: SequenceRange) -> UInt64 {
    var new = range.count
    var merged = range
    var rest: [SequenceRange] = []
    for known in ranges {
      if known.last.next < range.first || range.last.next < known.first {
        rest.append(known)
      } else {
        let (first, last) = (max(known.first, range.first), min(known.last, range.last))
        if first <= last { new -= SequenceRange(first, last).count }
        merged = SequenceRange(min(known.first, merged.first), max(known.last, merged.last))
      }
    }
    rest.insert(merged, at: rest.firstIndex { $0.first > merged.first } ?? rest.count)
    if rest.count > LossLedger.countMax {
      rest[1] = SequenceRange(rest[0].first, rest[1].last)
      rest.removeFirst()
    }
    ranges = rest
    return new
  }

  /// Forgets what no sink can meet again.
  mutating func prune(below sequence: Sequence) {
    ranges.removeAll { $0.last < sequence }
  }
}
