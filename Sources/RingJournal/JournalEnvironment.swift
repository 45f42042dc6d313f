package import GatewayCore
package import Platform

/// The clocks a journal reads. Once per commit, never per record.
package protocol JournalClock: Sendable {
  func monotonic() -> MonotonicTime
  func wall() -> WallTime
  /// CLOCK_BOOTTIME: powered time of this boot.
  func powered() -> MonotonicTime
  func isSynchronised() -> Bool
}

/// The machine's clocks.
package struct SystemJournalClock: JournalClock {
  package init() {}
  package func monotonic() -> MonotonicTime { Clock.monotonic() }
  package func wall() -> WallTime { Clock.wall() }
  package func powered() -> MonotonicTime { Clock.powered() }
  package func isSynchronised() -> Bool { Clock.isSynchronised() }
}

/// What surrounds a journal: disk, clocks, boot; and the switches that only tests may turn.
package struct JournalEnvironment: Sendable {
  package var disk: any Disk
  package var clock: any JournalClock
  package var bootID: BootID
  /// Where identities, keys and epochs come from. Tests give a seeded sequence, so that equal seeds
  /// are equal files.
  package var random: @Sendable () -> UInt64 = { .random(in: .min ... .max) }

  /// Test only. Negative control: nothing is ever synced, so a crash must lose records.
  package var isSyncDisabled = false
  /// Test only. Negative control: checksums are computed, but every comparison says yes, so damage
  /// must be delivered.
  package var isVerificationDisabled = false
  /// Test only. tmpfs is good enough to test on.
  package var allowsUnsafeFilesystem = false
  /// Test only. A small ring that turns often.
  package var spacing = JournalLayout.standardSpacing
  /// Test only. Small pieces, so that opening a small ring reads ahead, too; a ring of one piece is
  /// read without a thread.
  package var scanChunkByteCount: Int?

  package init(disk: any Disk, clock: any JournalClock, bootID: BootID) {
    self.disk = disk
    self.clock = clock
    self.bootID = bootID
  }

  package static let posix = JournalEnvironment(
    disk: POSIXDisk.shared, clock: SystemJournalClock(), bootID: .current())
}
