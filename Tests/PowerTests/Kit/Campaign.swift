import Audit
import GatewayCore
import Platform

/// How long the campaigns are, and the line that each leaves behind.
enum Campaign {
  /// The value of an environment variable, or what `make test` takes.
  static func number(_ name: String, _ small: Int) -> Int {
    Environment.value(of: name).flatMap { Int($0) } ?? small
  }

  /// Power cuts, shared among the filesystems and moments.
  static let cutCount = number("PENSTOCK_POWER_CUTS", 6)
  /// Failures at the N-th call, N = 1 … this, for each kind of failure.
  static let callCount = number("PENSTOCK_DISK_CALLS", 3)
  /// Disks that lose pages.
  static let lostPagesCount = number("PENSTOCK_LOST_PAGES", 1)
  static let seed = UInt64(number("PENSTOCK_POWER_SEED", 1))

  /// One line to standard output, for the log of every run.
  static func tell(
    _ name: String, runs: String, _ counts: AuditCounts, since start: Stopwatch
  ) {
    Console.line(
      "campaign \(name): \(runs), sent \(counts.sent), acknowledged \(counts.acknowledged), "
        + "lost \(counts.lost), invented \(counts.invented), wrong \(counts.corrupt), "
        + "duplicated \(counts.duplicated), reused \(counts.reused), out of order "
        + "\(counts.outOfOrderBySequence), redelivered \(counts.redelivered), "
        + "\(start.seconds()) s")
  }
}

/// When a campaign began.
struct Stopwatch {
  private let start = Clock.monotonic().nanoseconds

  func seconds() -> String {
    let tenths = (Clock.monotonic().nanoseconds - start) / 100_000_000
    return "\(tenths / 10).\(tenths % 10)"
  }
}
