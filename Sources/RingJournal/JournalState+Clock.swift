import GatewayCore
import Platform
import Synchronization

/// All clocks, read together.
struct ClockReading: Sendable {
  var monotonic: Int64
  var wall: Int64
  var elapsed: Int64
  var isSynchronised: Bool
}

extension JournalState {
  /// Elapsed time now, see `ElapsedTime`. Any thread. Asks whether the wall clock is synchronised
  /// only while the time for which the machine was off is still to be added.
  package func elapsed() -> Duration {
    let clock = access.environment.clock
    let awaits = elapsedTime.withLock { $0.awaitsSynchronisation }
    if awaits { return .nanoseconds(readClock().elapsed) }
    let powered = clock.powered()
    return .nanoseconds(elapsedTime.withLock { $0.now(powered: powered) })
  }

  /// Reads the clocks, and learns what a synchronised wall clock teaches.
  func readClock() -> ClockReading {
    let clock = access.environment.clock
    let isSynchronised = clock.isSynchronised()
    let monotonic = clock.monotonic()
    let wall = clock.wall()
    let powered = clock.powered()
    if isSynchronised {
      bootClocks.withLock {
        // After any group of this boot, so that the first of them counts.
        $0.note(
          access.environment.bootID, number: .max, wall: wall.nanoseconds,
          monotonic: monotonic.nanoseconds)
      }
    }
    let elapsed = elapsedTime.withLock {
      if isSynchronised { $0.synchronised(wall: wall, powered: powered) }
      return $0.now(powered: powered)
    }
    return ClockReading(
      monotonic: monotonic.nanoseconds, wall: wall.nanoseconds, elapsed: elapsed,
      isSynchronised: isSynchronised)
  }

  /// What to add to the monotonic times of a group that was taken before its boot's clock was
  /// synchronised; nil while that is not known. In this boot the clock itself may know by now.
  func wallOffset(of group: GroupHeader) -> Int64? {
    guard !group.isClockSynchronised, group.bootID != .unknown else { return nil }
    if let known = bootClocks.withLock({ $0.offset(of: group.bootID) }) { return known }
    guard group.bootID == access.environment.bootID else { return nil }
    _ = readClock()
    return bootClocks.withLock { $0.offset(of: group.bootID) }
  }

  var timesOff: [ElapsedTime.TimeOff] { elapsedTime.withLock { $0.timesOff } }

  var anchor: ElapsedTime.Anchor? { elapsedTime.withLock { $0.anchor } }
}
