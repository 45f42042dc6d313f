/// One row of a decision table: which facts it asks for, and what follows. Recovery's decisions are
/// tables in data, so that documentation, code and tests can be compared row by row.
struct DecisionRow<Decision: Sendable>: Sendable {
  let name: StaticString
  /// One character per fact, the highest bit first: 1 true, 0 false, _ either.
  let pattern: StaticString
  let decision: Decision
  private let asked: UInt8
  private let wanted: UInt8

  init(_ name: StaticString, _ pattern: StaticString, _ decision: Decision) {
    self.name = name
    self.pattern = pattern
    self.decision = decision
    var (asked, wanted) = (UInt8(0), UInt8(0))
    for character in pattern.description.utf8 {
      precondition(asked < 0x80, "a table has at most 8 facts")
      asked = asked << 1 | (character == UInt8(ascii: "_") ? 0 : 1)
      wanted = wanted << 1 | (character == UInt8(ascii: "1") ? 1 : 0)
    }
    self.asked = asked
    self.wanted = wanted
  }

  func fits(_ facts: UInt8) -> Bool { facts & asked == wanted }
}

extension Array {
  /// Index of the row that fits these facts; a table has one for any.
  func row<Decision>(for facts: UInt8) -> Int where Element == DecisionRow<Decision> {
    guard let row = firstIndex(where: { $0.fits(facts) }) else {
      preconditionFailure("a decision table answers every case")
    }
    return row
  }
}
