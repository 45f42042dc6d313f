/// The number a record gets when it enters the journal. Dense: the next record gets the next
/// number, no number is ever used twice, so a missing number *is* a lost record. The first is 1.
package struct Sequence: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
  package let rawValue: UInt64

  @inlinable package init(rawValue: UInt64) { self.rawValue = rawValue }
  @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }

  /// The number before the first record: "nothing yet" for cursors and watermarks.
  package static let none = Sequence(0)
  package static let first = Sequence(1)

  // Inlinable, as what compares and counts: these are asked for with every record.
  @inlinable package var next: Sequence { Sequence(rawValue + 1) }
  @inlinable package var previous: Sequence { Sequence(rawValue == 0 ? 0 : rawValue - 1) }

  /// How many records lie between `other` (exclusive) and `self` (inclusive); 0 when behind.
  package func count(since other: Sequence) -> UInt64 {
    rawValue > other.rawValue ? rawValue - other.rawValue : 0
  }

  package func advanced(by count: UInt64) -> Sequence { Sequence(rawValue + count) }

  @inlinable package static func == (left: Sequence, right: Sequence) -> Bool {
    left.rawValue == right.rawValue
  }

  @inlinable package static func < (left: Sequence, right: Sequence) -> Bool {
    left.rawValue < right.rawValue
  }

  package var description: String { String(rawValue) }
}

/// A run of sequences, both ends included.
package struct SequenceRange: Hashable, Sendable, CustomStringConvertible {
  package let first: Sequence
  package let last: Sequence

  @inlinable package init(_ first: Sequence, _ last: Sequence) {
    precondition(first <= last, "a sequence range runs forward")
    self.first = first
    self.last = last
  }

  @inlinable package var count: UInt64 { last.rawValue - first.rawValue + 1 }

  @inlinable package func contains(_ sequence: Sequence) -> Bool {
    first <= sequence && sequence <= last
  }

  package var description: String { "\(first)–\(last)" }
}
