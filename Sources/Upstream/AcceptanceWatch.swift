package import GatewayCore

/// When a consumer that says nothing is to be asked: the oldest batch that it has not accepted is
/// sent once more, alone, after `timeout`, and then after twice, four times … as long, at most an
/// hour or `timeout` itself. When it accepts that one, and for another `timeout` nothing else, then
/// what the broker had before is not there any more, because a broker hands on in order: all of it
/// is sent once more. A pure value: no clock.
package struct AcceptanceWatch: Sendable {
  package enum Verdict: Equatable, Sendable {
    case quiet(until: MonotonicTime?)
    /// Nothing was accepted for too long: send this once more.
    case overdue(SequenceRange)
    /// What the broker took before this time, and the consumer has not accepted, is lost.
    case lost(before: MonotonicTime)
  }

  private let timeout: Duration
  private var lastProgress = MonotonicTime(nanoseconds: .min)
  private var attempt = 0
  /// The last batch that was sent once more and not accepted yet, and when that was decided.
  private var probe: (range: SequenceRange, at: MonotonicTime)?
  /// When the last one was decided that was accepted.
  private var answered: MonotonicTime?

  private static let pauseMax: Duration = .seconds(3_600)

  package init(timeout: Duration) { self.timeout = timeout }

  /// Nothing has been accepted for too long.
  package var isOverdue: Bool { attempt > 0 }

  /// - Parameter oldest: what the consumer's word is awaited about, and since when.
  package mutating func check(
    _ oldest: (range: SequenceRange, since: MonotonicTime)?, now: MonotonicTime
  ) -> Verdict {
    guard let oldest else { return .quiet(until: nil) }
    let deadline = max(oldest.since, lastProgress, probe?.at ?? oldest.since) + pause
    guard now >= deadline else { return .quiet(until: deadline) }
    attempt += 1
    probe = (oldest.range, now)
    guard let time = answered.take(), oldest.since < time else { return .overdue(oldest.range) }
    return .lost(before: time)
  }

  /// The consumer has accepted something: everything through `cursor`.
  package mutating func accepted(through cursor: Sequence, now: MonotonicTime) {
    attempt = 0
    lastProgress = now
    guard let probe, probe.range.last <= cursor else { return }
    answered = probe.at
    self.probe = nil
  }

  private var pause: Duration {
    var pause = timeout
    for _ in 0..<attempt where pause < Self.pauseMax { pause = min(pause * 2, Self.pauseMax) }
    return max(pause, timeout)
  }
}
