package import GatewayCore
import Platform
import RingJournal
import Synchronization

/// A clock that moves when it is told to, and by a microsecond at each reading.
package final class ManualClock: JournalClock {
  package init() {}

  private let time = Mutex(
    (monotonic: Int64(1_000_000_000), wall: Int64(1_764_000_000_000_000_000)))
  private let synchronised = Atomic<Bool>(true)

  package func monotonic() -> MonotonicTime {
    time.withLock {
      $0.monotonic += 1000
      $0.wall += 1000
      return MonotonicTime(nanoseconds: $0.monotonic)
    }
  }
  package func powered() -> MonotonicTime {
    MonotonicTime(nanoseconds: time.withLock { $0.monotonic })
  }
  package func wall() -> WallTime { WallTime(nanoseconds: time.withLock { $0.wall }) }
  package func isSynchronised() -> Bool { synchronised.load(ordering: .relaxed) }
  package func setSynchronised(_ value: Bool) { synchronised.store(value, ordering: .relaxed) }
  package func advance(_ duration: Duration) {
    time.withLock {
      $0.monotonic += duration.nanoseconds
      $0.wall += duration.nanoseconds
    }
  }
  /// The machine was off for a while: monotonic time begins again.
  package func reboot() {
    time.withLock {
      $0.monotonic = 1_000_000_000
      $0.wall += 30_000_000_000
    }
  }
  package func stepWall(_ duration: Duration) { time.withLock { $0.wall += duration.nanoseconds } }
}
