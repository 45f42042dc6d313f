import CLinux
package import GatewayCore
import Glibc

/// The clocks of this machine. Each call is one vDSO read, no system call.
package enum Clock {
  /// CLOCK_MONOTONIC: for timers, delays and ages.
  package static func monotonic() -> MonotonicTime {
    MonotonicTime(nanoseconds: read(CLOCK_MONOTONIC))
  }

  /// CLOCK_BOOTTIME: powered time of this boot, suspend included.
  package static func powered() -> MonotonicTime {
    MonotonicTime(nanoseconds: read(CLOCK_BOOTTIME))
  }

  /// CLOCK_REALTIME: for people.
  package static func wall() -> WallTime { WallTime(nanoseconds: read(CLOCK_REALTIME)) }

  /// Whether the kernel believes the wall clock to be synchronised (adjtimex(2): STA_UNSYNC clear).
  /// One system call: ask once per commit, not per message.
  package static func isSynchronised() -> Bool {
    var state = timex()
    let answer = unsafe adjtimex(&state)
    return answer >= 0 && answer != TIME_ERROR && state.status & STA_UNSYNC == 0
  }

  /// Seconds that the machine's time zone is east of UTC at `wall`, daylight saving included: what
  /// /etc/localtime, or the variable TZ, says now. Not for hot paths.
  package static func utcOffset(at wall: WallTime) -> Int {
    tzset()
    var seconds = time_t(wall.nanoseconds / 1_000_000_000)
    var parts = unsafe tm()
    guard unsafe localtime_r(&seconds, &parts) != nil else { return 0 }
    return unsafe Int(parts.tm_gmtoff)
  }

  private static func read(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    let code = unsafe clock_gettime(clock, &time)
    precondition(code == 0, "clock_gettime of a clock every Linux has")
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}
