/// Exponential back-off with full jitter: the pause before attempt n is uniform in
/// `minimum ... min(maximum, minimum · 2ⁿ)`, so that gateways cut off together do not return
/// together. Doubling alone does not part them when the outage is short, as when a broker that all
/// of them share is restarted: a pause may therefore be spread over a longer time. Source:
/// M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
///
/// A pure value: no clock. The owner calls `succeeded` only after the link has *held*, otherwise a
/// peer that accepts and drops would be hammered at the shortest pause.
package struct Backoff: Sendable {
  package let minimum: Duration
  package let maximum: Duration
  /// Failures since the last success.
  package private(set) var attempt: Int = 0
  /// The least ceiling until the next success.
  private var spread: Duration = .zero

  package init(minimum: Duration = .milliseconds(500), maximum: Duration = .seconds(60)) {
    precondition(minimum > .zero && minimum <= maximum, "a back-off grows from a positive pause")
    self.minimum = minimum
    self.maximum = maximum
  }

  /// The pause before the next attempt; counts one failure.
  /// - Parameter spread: this pause, and those that follow until a success, may be so long, or as
  ///   long as they would be anyhow.
  package mutating func next(
    spread: Duration = .zero, using generator: inout some RandomNumberGenerator
  ) -> Duration {
    var ceiling = minimum
    for _ in 0..<attempt where ceiling < maximum { ceiling = min(maximum, ceiling * 2) }
    self.spread = max(self.spread, spread)
    ceiling = max(ceiling, self.spread)
    attempt += 1
    let pause = Int64.random(in: minimum.nanoseconds...ceiling.nanoseconds, using: &generator)
    return .nanoseconds(pause)
  }

  package mutating func next(spread: Duration = .zero) -> Duration {
    var generator = SystemRandomNumberGenerator()
    return next(spread: spread, using: &generator)
  }

  package mutating func succeeded() { (attempt, spread) = (0, .zero) }
}
