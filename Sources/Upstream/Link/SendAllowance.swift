import GatewayCore

/// How many bytes a connection may have under way on a link where others go first: few enough that
/// they do not wait behind them, enough to keep the link busy. A pure value.
///
/// A modem takes what it is given and sends it in its own time, and what stands in its queue nobody
/// can overtake, whatever the order in which packets are handed over. That queue shows in the round
/// trip: what it takes longer than the shortest one is time that bytes have waited. So the
/// allowance grows while that time is short and the allowance is used up, and shrinks when it is
/// long, to what would wait for `aim`, at most once in a round trip. (The idea is RFC 6817's.)
///
/// On a link that is fast it grows to `most` within some round trips, and holds up nothing.
struct SendAllowance: Sendable {
  static let first = 16 << 10
  static let least = 4 << 10
  static let most = 4 << 20
  /// Below, there is room for more.
  static let shortQueue = Duration.milliseconds(100)
  /// Above, it is too much.
  static let longQueue = Duration.milliseconds(250)
  /// In between.
  static let aim = Duration.milliseconds(175)
  /// How often the round trip is looked at, at most.
  static let lookPause = Duration.milliseconds(50)

  private(set) var byteCount = SendAllowance.first
  private var lookedAt: MonotonicTime?

  /// Whether it is time to look at the round trip again.
  func isDue(now: MonotonicTime) -> Bool {
    lookedAt.map { now.since($0) >= Self.lookPause } ?? true
  }

  /// Nobody goes first any more.
  mutating func lift() { byteCount = Self.most }

  /// - Parameters:
  ///   - roundTrip: of late.
  ///   - shortest: what it is when nothing waits.
  ///   - isUsedUp: the connection had more to send than it was allowed.
  mutating func look(
    roundTrip: Duration, shortest: Duration, isUsedUp: Bool, now: MonotonicTime
  ) {
    // What was changed last must have had its effect.
    if let lookedAt, now.since(lookedAt) < max(roundTrip, Self.lookPause) { return }
    let waiting = roundTrip - shortest
    guard waiting > Self.longQueue || (waiting < Self.shortQueue && isUsedUp) else { return }
    // What is under way now takes `roundTrip`.
    let wanted = Double(byteCount) * ((shortest + Self.aim).seconds / roundTrip.seconds)
    let bounds = Double(byteCount) / 4...Double(byteCount) * 2
    byteCount = min(
      max(Int(min(max(wanted, bounds.lowerBound), bounds.upperBound)), Self.least), Self.most)
    lookedAt = now
  }
}
