package import GatewayCore
import Platform

/// Whose clock connect windows and budget periods go by.
package enum LinkTimeZone: String, Sendable, Hashable, CaseIterable {
  case utc
  /// The machine's: /etc/localtime, or the variable TZ.
  case local
}

/// What the way to one broker may carry, and when; shared by all sinks that deliver to it.
package struct LinkOptions: Sendable, Hashable {
  /// Of all sinks together, beside their own limits.
  package var rateLimit: RateLimit?
  /// Nil: at any time.
  package var connectWindow: ConnectWindow?
  package var timeZone: LinkTimeZone = .utc
  package var dataBudget: DataBudget?

  package init() {}

  package static let priorityRange = 0...9
}

/// What a link reads of the machine: the clock on the wall, which window and period go by.
package struct LinkClock: Sendable {
  package var wall: @Sendable () -> WallTime
  /// Seconds east of UTC.
  package var localOffset: @Sendable (WallTime) -> Int
  package var isSynchronised: @Sendable () -> Bool

  package init(
    wall: @escaping @Sendable () -> WallTime,
    localOffset: @escaping @Sendable (WallTime) -> Int = { _ in 0 },
    isSynchronised: @escaping @Sendable () -> Bool = { true }
  ) {
    self.wall = wall
    self.localOffset = localOffset
    self.isSynchronised = isSynchronised
  }

  package static let system = LinkClock(
    wall: { Clock.wall() }, localOffset: { Clock.utcOffset(at: $0) },
    isSynchronised: { Clock.isSynchronised() })
}

/// Why a sink is disconnected on purpose, and until when.
struct LinkClosure: Sendable, Equatable {
  enum Reason: String, CaseIterable {
    case connectWindow = "connect-window"
    case dataBudget = "data-budget"
  }

  var reason: Reason
  /// By the wall clock as it is now.
  var until: CivilTime
  var isClockSynchronised: Bool
  /// Of the budget.
  var byteCount: ByteCount?

  var state: StageState {
    let clock = isClockSynchronised ? "" : ", by a clock that is not synchronised"
    return switch reason {
    case .connectWindow:
      StageState(.outsideWindow, "outside connect_window; connects at \(until)\(clock)")
    case .dataBudget:
      StageState(
        .budgetSpent,
        "the data budget of \(byteCount?.description ?? "") is spent; goes on at \(until)\(clock)")
    }
  }
}
