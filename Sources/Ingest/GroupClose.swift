import GatewayCore

/// When an open commit group is closed. A pure value.
///
/// A group closes at the first of
///
///     held ≥ windowMax          the broker may send no more before we release
///     bytes ≥ byteCountMax      the journal's largest group
///     age ≥ delayMax            upper bound on the delay of a PUBACK, not a wait
///     dry ≥ quiet               the socket has had nothing for as long as half a sync takes, and
///                               the last commit began at least delayMin ago
///
/// `quiet` is what lets reads coalesce under load and costs at most half of what the sync itself
/// costs when there is no load. It also serves MQTT 3.1.1, where the window is not known: a broker
/// whose window is full falls silent. `delayMin` is a wait, for the sake of the flash: where
/// messages come one by one, each commit costs a block and a sync.
package struct GroupClose: Sendable {
  package enum Decision: Equatable, Sendable {
    case close
    /// Read or wait for at most so long, then ask again.
    case wait(Duration)
  }

  package let windowMax: Int
  package let byteCountMax: Int
  package let delayMin: Duration
  package let delayMax: Duration
  /// Moving average of what a sync takes; starts at what a fast disk needs.
  package private(set) var averageSync: Duration = .microseconds(500)

  /// - Parameters:
  ///   - windowMax: un-acknowledged messages the broker lets us hold; `Int.max` if unknown.
  ///   - delayMin: at most `delayMax`.
  package init(
    windowMax: Int, byteCountMax: Int, delayMin: Duration = .zero, delayMax: Duration
  ) {
    precondition(windowMax > 0 && byteCountMax > 0, "a group has room for one message")
    precondition(delayMin <= delayMax, "the configuration holds the two in order")
    self.delayMin = delayMin
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
  ///   - sinceCommit: since the start of the last commit; nil when there was none, or when nothing
  ///     is to be committed now.
  package func decide(
    held: Int, byteCount: Int, age: Duration, dry: Duration?, sinceCommit: Duration? = nil
  ) -> Decision {
    if held >= windowMax || byteCount >= byteCountMax || age >= delayMax { return .close }
    guard let dry else { return .wait(.zero) }
    let rest = max(quiet - dry, sinceCommit.map { delayMin - $0 } ?? .zero)
    return rest <= .zero ? .close : .wait(min(rest, delayMax - age))
  }
}
