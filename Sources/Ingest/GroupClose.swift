import GatewayCore

/// When an open commit group is closed. A pure value.
///
/// A group closes at the first of
///
///     held ≥ windowMax          the broker may send no more before we release
///     bytes ≥ byteCountMax      the journal's largest group
///     age ≥ delayMax            upper bound on the delay of a PUBACK, not a wait
///     dry ≥ quiet               the socket has had nothing for as long as half a sync takes
///
/// `quiet` is what lets reads coalesce under load and costs at most half of what the sync itself
/// costs when there is no load. It also serves MQTT 3.1.1, where the window is not known: a broker
/// whose window is full falls silent.
package struct GroupClose: Sendable {
  package enum Decision: Equatable, Sendable {
    case close
    /// Read or wait for at most so long, then ask again.
    case wait(Duration)
  }

  package let windowMax: Int
  package let byteCountMax: Int
  package let delayMax: Duration
  /// Moving average of what a sync takes; starts at what a fast disk needs.
  package private(set) var averageSync: Duration = .microseconds(500)

  /// - Parameter windowMax: un-acknowledged messages the broker lets us hold; `Int.max` if unknown.
  package init(windowMax: Int, byteCountMax: Int, delayMax: Duration) {
    precondition(windowMax > 0 && byteCountMax > 0, "a group has room for one message")
    self.windowMax = windowMax
    self.byteCountMax = byteCountMax
    self.delayMax = delayMax
  }

  /// Silence after which nothing more is expected for this group.
  package var quiet: Duration { min(delayMax, averageSync / 2) }

  package mutating func synced(in duration: Duration) {
    averageSync = (averageSync * 7 + duration) / 8
  }

  /// - Parameters:
  ///   - held: PUBACKs not released, duplicates included.
  ///   - byteCount: uncommitted bytes.
  ///   - age: of the oldest held message.
  ///   - dry: how long the socket has had nothing to read; nil while it has.
  package func decide(held: Int, byteCount: Int, age: Duration, dry: Duration?) -> Decision {
    if held >= windowMax || byteCount >= byteCountMax || age >= delayMax { return .close }
    guard let dry else { return .wait(.zero) }
    if dry >= quiet { return .close }
    return .wait(min(quiet - dry, delayMax - age))
  }
}
