import GatewayCore
import Platform

/// Elapsed time: nanoseconds that have certainly passed since the journal was created. The age of a
/// record is a difference of two such times. It never exceeds the true age, and no step of the wall
/// clock can change it.
///
/// It grows with the powered time of every boot. The time for which the machine was off is added
/// where the wall clock can tell it, which is where it was synchronised at both ends: at the
/// *anchor*, the newest synchronised moment of an earlier boot, and at a moment of this boot. A
/// clock is often synchronised some minutes after the start only; then the time off is added in
/// that moment, once. What was received between the anchor and that moment is no older for it:
/// those elapsed times are moved by the same amount whenever they are looked at, see `TimeOff`.
///
///     boot 1        off        boot 2, not yet synchronised     synchronised
///     ──────anchor┊            ┊────────────────────────────────────┊──────
///                 └───────────── wall clock here − wall clock there ┘
///
/// A pure value: it is told the clocks' readings.
struct ElapsedTime: Sendable, Equatable {
  /// A moment at which the wall clock was synchronised.
  struct Anchor: Sendable, Equatable {
    var wall: Int64
    var elapsed: Int64
    var bootID: BootID
  }

  /// Time for which the machine was off, that was added late: an elapsed time that was taken after
  /// `after` and up to `through` is to be moved by `amount`.
  struct TimeOff: Sendable, Equatable {
    var after: Int64
    var through: Int64
    var amount: Int64
  }

  /// More are not remembered: the two oldest become one, which makes records rather too young.
  static let timesOffMax = 16

  /// The newest moment that the disk remembers; by the clocks of its boot.
  struct Mark: Sendable, Equatable {
    var elapsed: Int64
    var bootID: BootID
    var monotonic: Int64
  }

  private let boot: BootID
  /// Elapsed time less the powered time of this boot.
  private var offset: Int64
  /// The newest one known, of whatever boot; what a superblock remembers.
  private(set) var anchor: Anchor?
  /// Ascending; what a superblock remembers, before any group that was written after.
  private(set) var timesOff: [TimeOff]

  /// - Parameters:
  ///   - boot: this boot.
  ///   - powered: CLOCK_BOOTTIME now.
  ///   - monotonic: CLOCK_MONOTONIC now.
  init(
    since mark: Mark?, anchor: Anchor?, timesOff: [TimeOff] = [], boot: BootID,
    powered: MonotonicTime, monotonic: MonotonicTime
  ) {
    self.boot = boot
    self.timesOff = timesOff
    self.anchor = anchor
    var passed: Int64 = 0
    if let mark, mark.bootID != .unknown, boot != .unknown {
      // A boot that began after the mark has been up for less than what has passed since.
      passed =
        mark.bootID == boot
        ? monotonic.nanoseconds &- mark.monotonic : powered.nanoseconds
    }
    let known = max(mark?.elapsed ?? 0, 0)
    offset = known &+ max(passed, 0) &- powered.nanoseconds
  }

  /// Whether the next synchronised moment of this boot will add the time off.
  var awaitsSynchronisation: Bool { anchor.map { isEarlier($0) } ?? false }

  /// Whether the wall clock has been synchronised in this boot.
  var isSynchronised: Bool { boot != .unknown && anchor?.bootID == boot }

  func now(powered: MonotonicTime) -> Int64 { powered.nanoseconds &+ offset }

  /// The wall clock is synchronised and reads `wall`.
  mutating func synchronised(wall: WallTime, powered: MonotonicTime) {
    guard boot != .unknown else { return }
    if let anchor, isEarlier(anchor) {
      let (passed, overflow) = wall.nanoseconds.subtractingReportingOverflow(anchor.wall)
      let known = now(powered: powered) &- anchor.elapsed
      if !overflow, passed > known {
        add(
          TimeOff(
            after: anchor.elapsed, through: now(powered: powered), amount: passed &- known))
      }
    }
    anchor = Anchor(
      wall: wall.nanoseconds, elapsed: now(powered: powered), bootID: boot)
  }

  private mutating func add(_ timeOff: TimeOff) {
    offset &+= timeOff.amount
    timesOff.append(timeOff)
    guard timesOff.count > ElapsedTime.timesOffMax else { return }
    timesOff[1].after = timesOff[0].after
    timesOff[1].amount &+= timesOff[0].amount
    timesOff.removeFirst()
  }

  private func isEarlier(_ anchor: Anchor) -> Bool {
    boot != .unknown && anchor.bootID != .unknown && anchor.bootID != boot
  }
}

extension ElapsedTime {
  /// Goes on from what the control blocks and the newest group tell.
  init(newest: GroupHeader?, superblock: Superblock?, environment: JournalEnvironment) {
    var mark = superblock.map {
      Mark(elapsed: $0.elapsed, bootID: $0.bootID, monotonic: $0.monotonicTime)
    }
    var anchor = superblock?.anchor
    if let newest {
      let span = newest.committedAt &- newest.monotonicBase
      let atCommit = newest.elapsedBase &+ span
      if atCommit >= mark?.elapsed ?? 0 {
        mark = Mark(elapsed: atCommit, bootID: newest.bootID, monotonic: newest.committedAt)
      }
      // Still synchronised at the commit: a tail is sealed when that changes.
      if newest.isClockSynchronised, atCommit >= anchor?.elapsed ?? 0 {
        anchor = Anchor(
          wall: newest.wallBase &+ span, elapsed: atCommit, bootID: newest.bootID)
      }
    }
    let clock = environment.clock
    self.init(
      since: mark, anchor: anchor, timesOff: superblock?.timesOff ?? [],
      boot: environment.bootID, powered: clock.powered(), monotonic: clock.monotonic())
  }
}

extension Array where Element == ElapsedTime.TimeOff {
  /// An elapsed time as it must be read now.
  func corrected(_ elapsed: Int64) -> Int64 {
    for timeOff in self where timeOff.after < elapsed && elapsed <= timeOff.through {
      return elapsed &+ timeOff.amount
    }
    return elapsed
  }
}
