/// Exponential back-off with full jitter: the pause before attempt n is uniform in
/// `minimum ... min(maximum, minimum · 2ⁿ)`, so that gateways cut off together do not return
/// together. Source: M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
///
/// A pure value: no clock. The owner calls `succeeded` only after the link has *held*, otherwise a
/// peer that accepts and drops would be hammered at the shortest pause.
package struct Backoff: Sendable {
  package let minimum: Duration
  package let maximum: Duration
  /// Failures since the last success.
  package private(set) var attempt: Int = 0

  package init(minimum: Duration = .milliseconds(500), maximum: Duration = .seconds(60)) {
    precondition(minimum > .zero && minimum <= maximum, "a back-off grows from a positive pause")
    self.minimum = minimum
    self.maximum = maximum
  }

  /// The pause before the next attempt; counts one failure.
  package mutating func next(using generator: inout some RandomNumberGenerator) -> Duration {
    var ceiling = minimum
    for _ in 0..<attempt where ceiling < maximum { ceiling = min(maximum, ceiling * 2) }
    attempt += 1
    let pause = Int64.random(in: minimum.nanoseconds...ceiling.nanoseconds, using: &generator)
    return .nanoseconds(pause)
  }

  package mutating func next() -> Duration {
    var generator = SystemRandomNumberGenerator()
    return next(using: &generator)
  }

  package mutating func succeeded() { attempt = 0 }
}
