import GatewayCore

/// Corrupt sequences that were counted as lost, so that the next sink and the next opening, which
/// meet them again, do not count them again. Kept in the superblock; at most `countMax` ranges, of
/// which the first two become one when another comes: rather count too few than one twice.
struct CorruptionLedger: Sendable, Equatable {
  static let countMax = 32

  /// Ascending, apart from each other.
  private(set) var ranges: [SequenceRange] = []

  init() {}

  /// Takes ranges from a superblock; what is not in order is left out.
  init(_ stored: [SequenceRange]) {
    for range in stored.prefix(CorruptionLedger.countMax)
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
      if known.last < range.first || range.last < known.first {
        rest.append(known)
      } else {
        let shared = SequenceRange(max(known.first, range.first), min(known.last, range.last))
        new -= shared.count
        merged = SequenceRange(min(known.first, merged.first), max(known.last, merged.last))
      }
    }
    rest.insert(merged, at: rest.firstIndex { $0.first > merged.first } ?? rest.count)
    if rest.count > CorruptionLedger.countMax {
      rest[1] = SequenceRange(rest[0].first, rest[1].last)
      rest.removeFirst()
    }
    ranges = rest
    return new
  }

  /// Forgets what no sink can meet again.
  mutating func prune(below oldestKept: Sequence) {
    ranges.removeAll { $0.last < oldestKept }
  }
}
