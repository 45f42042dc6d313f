import GatewayCore

/// A token bucket: at most `burst` at once, `perSecond` in the long run. A pure value: the owner
/// brings the (monotonic) time.
///
/// ## Invariants
/// 1. In any span of `t` seconds no more than `burst + perSecond · t` leaves, exactly: credit is
///    counted in billionths of a unit, so nothing is rounded.
/// 2. What costs more than `burst` leaves alone, from a full bucket, and is paid back: the credit
///    is then negative, and what follows waits for it.
/// 3. A pause, however long, gives no more than a full bucket. Time that goes back gives nothing.
struct TokenBucket: Sendable {
  let perSecond: Int
  let burst: Int
  /// Units × 10⁹; at most `burst` of them.
  private var credit: Int128
  private var refilledAt: MonotonicTime?

  /// Begins full.
  init(perSecond: Int, burst: Int) {
    precondition(perSecond > 0 && burst > 0, "a bucket fills and holds something")
    self.perSecond = perSecond
    self.burst = burst
    credit = Int128(burst) * Self.scale
  }

  init(_ limit: RateLimit) { self.init(perSecond: limit.perSecond, burst: limit.burst) }

  /// How long `cost` has to wait; zero: it may leave now.
  mutating func delay(of cost: Int, now: MonotonicTime) -> Duration {
    refill(now)
    let missing = Int128(min(cost, burst)) * Self.scale - credit
    guard missing > 0 else { return .zero }
    let rate = Int128(perSecond)
    return .nanoseconds(Int64(clamping: (missing + rate - 1) / rate))
  }

  /// It leaves. Only when `delay` says zero.
  mutating func take(_ cost: Int, now: MonotonicTime) {
    precondition(delay(of: cost, now: now) == .zero, "the bucket was asked first")
    credit -= Int128(cost) * Self.scale
  }

  private mutating func refill(_ now: MonotonicTime) {
    guard let last = refilledAt else {
      refilledAt = now
      return
    }
    guard now > last else { return }
    refilledAt = now
    let gained = Int128(now.nanoseconds - last.nanoseconds) * Int128(perSecond)
    credit = min(Int128(burst) * Self.scale, credit + gained)
  }

  private static var scale: Int128 { 1_000_000_000 }
}
