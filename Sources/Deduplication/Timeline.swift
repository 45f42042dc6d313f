import GatewayCore

/// Says which positions of a window have reached an age, with a few checkpoints instead of a time
/// per entry: one checkpoint per step of time in which something was inserted, named by its first
/// position and that insertion's time. A step expires as a whole when its first entry does; so no
/// entry outlives the age, and none is forgotten more than a step early.
struct Timeline {
  /// The longest age: content that repeats is legal, so this bounds redelivery, not history.
  static let withinMax = Duration.seconds(10)
  private static let stepsMax = 16 * 10 + 2

  private struct Checkpoint {
    let position: UInt64
    let time: Int64
  }

  private let within: Int64
  private let step: Int64
  private var ring = [Checkpoint](repeating: Checkpoint(position: 0, time: 0), count: stepsMax)
  private var first = 0
  private var count = 0
  private var end: UInt64 = 0

  init(within: Duration) {
    precondition(
      within > .zero && within <= Timeline.withinMax, "the configuration bounds `within`")
    self.within = within.nanoseconds
    step = max(1, min(self.within, 1_000_000_000) / 16)
  }

  /// After `expire` for the same time. A time before the last checkpoint's counts as that one's.
  mutating func record(position: UInt64, at time: MonotonicTime) {
    end = position + 1
    let last = count == 0 ? nil : ring[(first + count - 1) % ring.count]
    if let last, time.nanoseconds < last.time &+ step { return }
    precondition(count < ring.count, "checkpoints are a step apart and none is older than the age")
    ring[(first + count) % ring.count] = Checkpoint(position: position, time: time.nanoseconds)
    count += 1
  }

  /// The position before which everything has expired; nil when there is nothing to say.
  mutating func expire(now: MonotonicTime) -> UInt64? {
    var expired = false
    while count > 0 && now.nanoseconds &- ring[first].time >= within {
      dropFirst()
      expired = true
    }
    if !expired { return nil }
    return count == 0 ? end : ring[first].position
  }

  private mutating func dropFirst() {
    first = (first + 1) % ring.count
    count -= 1
  }
}
