import GatewayCore

/// Lost records by reason. Inline, so that writing a superblock allocates nothing for it.
struct LossCounts: Sendable, Equatable {
  static let count = 8
  private var values: [8 of UInt64] = .init(repeating: 0)

  /// `place`: see `GapReason.place`; the rest is zero.
  subscript(place: Int) -> UInt64 {
    get { values[place] }
    set { values[place] = newValue }
  }

  static func == (left: LossCounts, right: LossCounts) -> Bool {
    (0..<count).allSatisfy { left[$0] == right[$0] }
  }

  /// The reasons that lost something.
  var byReason: [GapReason: UInt64] {
    var counts: [GapReason: UInt64] = [:]
    for reason in GapReason.allCases where self[reason.place] > 0 {
      counts[reason] = self[reason.place]
    }
    return counts
  }
}
