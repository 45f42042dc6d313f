package import GatewayCore

/// What tells which of two readings of an asset is the newer one, whatever their times say: first
/// the era (the hub counts on when a gateway begins a new journal or epoch), then the sequence.
package struct ReadingOrder: Sendable, Hashable, Comparable {
  package let era: UInt64
  package let sequence: UInt64

  package init(era: UInt64, sequence: UInt64) {
    self.era = era
    self.sequence = sequence
  }

  package static func < (left: ReadingOrder, right: ReadingOrder) -> Bool {
    (left.era, left.sequence) < (right.era, right.sequence)
  }
}

/// The least and the greatest value of the last while, in a bounded number of pieces: the window
/// reaches back by its length and at most one piece more.
struct ExtremesWindow: Sendable, Hashable {
  static let piecesMax = 33

  struct Piece: Sendable, Hashable {
    var index: Int64
    var least: Double
    var greatest: Double
  }

  /// Oldest first, indices rising.
  var pieces: [Piece] = []

  mutating func add(_ value: Double, at time: WallTime, length: Duration) {
    // At least a nanosecond: a length is a second or more.
    let width = length.nanoseconds / Int64(Self.piecesMax - 1)
    var index = time.nanoseconds / width
    if time.nanoseconds < 0, index * width != time.nanoseconds { index -= 1 }
    pieces.removeAll { $0.index < index - Int64(Self.piecesMax - 1) }
    if let last = pieces.last, last.index >= index {
      pieces[pieces.count - 1].least = min(last.least, value)
      pieces[pieces.count - 1].greatest = max(last.greatest, value)
    } else {
      pieces.append(Piece(index: index, least: value, greatest: value))
    }
  }

  var least: Double { pieces.reduce(.infinity) { min($0, $1.least) } }
  var greatest: Double { pieces.reduce(-.infinity) { max($0, $1.greatest) } }
}

/// What one rule remembers of one asset. Bounded: below 1 KiB.
struct RuleState: Sendable, Hashable {
  /// The alert that stands.
  var alert: String?
  /// Since when a threshold has been passed without a break.
  var since: WallTime?
  /// Of a combination: when each comparison held last.
  var lastHeld: [WallTime?] = []
  var window = ExtremesWindow()

  /// The times are worth nothing any more; what stands, stands.
  mutating func forgetTimes() {
    since = nil
    lastHeld = lastHeld.map { _ in nil }
    window = ExtremesWindow()
  }
}

/// What all rules remember of one asset: made by `AlertEvaluator`, kept by the hub as `bytes`.
package struct AssetAlerts: Sendable, Hashable {
  package let asset: String
  /// The newest reading that was evaluated.
  package internal(set) var order: ReadingOrder?
  /// Its time.
  package internal(set) var time: WallTime?
  /// Of each rule that is about this asset: its place among the rules, and its state.
  var states: [(rule: Int, state: RuleState)]

  /// The alerts that stand, by rule.
  package func standing(_ rules: AlertRuleSet) -> [(rule: String, alert: String)] {
    states.compactMap { entry in
      entry.state.alert.map { (rules.rules[entry.rule].name, $0) }
    }
  }

  package static func == (left: AssetAlerts, right: AssetAlerts) -> Bool {
    left.asset == right.asset && left.order == right.order && left.time == right.time
      && left.states.elementsEqual(right.states) { $0.rule == $1.rule && $0.state == $1.state }
  }

  package func hash(into hasher: inout Hasher) {
    hasher.combine(asset)
    hasher.combine(order)
    hasher.combine(time)
    for entry in states {
      hasher.combine(entry.rule)
      hasher.combine(entry.state)
    }
  }
}

/// An alert that was raised or cleared.
package struct AlertChange: Sendable, Hashable {
  package enum Kind: String, Sendable, Hashable { case raised, cleared }

  package let kind: Kind
  /// The same for raise and clear, and no other alert's: rule, asset and the order of the reading
  /// that raised it.
  package let alert: String
  package let rule: String
  package let asset: String
  package let severity: AlertSeverity
  package let startsMaintenance: Bool
  package let message: String
  /// nil where the rule is about no metric, or about several.
  package let metric: String?
  package let value: Double?
  package let limit: Double?
  /// When it became true, in the time of the readings.
  package let time: WallTime
}
