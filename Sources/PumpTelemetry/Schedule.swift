/// Which pump sends when, and which messages are sent again on purpose. Pure: times are counted
/// from the start of the run, the caller reads the clock.
///
/// Every pump announces itself once (when asked to), then the pumps measure in turn, for ever. A
/// step that is late is due at once; no step is left out.
package struct Schedule: Sendable {
  package enum Step: Hashable, Sendable {
    case event(PumpEventKind, pump: Int)
    /// Send once more, byte by byte, the new message before the last `back` (1 is the last one).
    case again(back: Int)
  }

  /// How far back a repeated send reaches.
  package static let repeatReachMax = 1000

  private let pumps: [Int]
  private let interval: Double
  private let repeatShare: Double
  private let announces: Bool
  private var generator: SplitMix64
  private var freshCount = 0
  private var stepCount = 0
  private var repeatsLast = false

  /// - Parameters:
  ///   - pumps: those of the fleet that this schedule drives; not empty.
  ///   - rate: steps per second, repeats included; nil for "as fast as it goes".
  ///   - repeatShare: 0 ... 1, of the new messages that are followed by a repeated send.
  ///   - announces: a new-asset event of each pump comes first.
  package init(
    pumps: [Int], rate: Double?, repeatShare: Double = 0, announces: Bool = false, seed: UInt64
  ) {
    precondition(!pumps.isEmpty, "a schedule drives a pump")
    precondition((0...1).contains(repeatShare), "the command bounds the share of repeats")
    if let rate { precondition(rate > 0, "the command bounds the rate") }
    self.pumps = pumps
    interval = rate.map { 1e9 / $0 } ?? 0
    self.repeatShare = repeatShare
    self.announces = announces
    generator = SplitMix64(seed: seed, stream: .max)
  }

  /// When the next step is due, after the start.
  package var nextDue: Duration { .nanoseconds(Int64(Double(stepCount) * interval)) }

  /// Goes on by one step.
  package mutating func next() -> Step {
    stepCount += 1
    if repeatsLast {
      repeatsLast = false
      let reach = min(freshCount, Schedule.repeatReachMax)
      return .again(back: Int.random(in: 1...reach, using: &generator))
    }
    let turn = freshCount
    freshCount += 1
    repeatsLast = repeatShare > 0 && generator.unit() < repeatShare
    let kind: PumpEventKind = announces && turn < pumps.count ? .asset : .metrics
    return .event(kind, pump: pumps[turn % pumps.count])
  }
}
