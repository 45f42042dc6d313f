// Goal: elapsed time grows with all that has certainly passed and with nothing else, whatever the
// wall clock does. Method: the pure value with scripted readings, then the journal with a manual
// clock over reboots. Cannot show: a clock that claims to be synchronised and is wrong.
import GatewayCore
import JournalSimulation
import Platform
import Testing

@testable import RingJournal

@Suite("Elapsed time")
struct ElapsedTimeTests {
  private static let first = BootID(high: 1, low: 1)
  private static let second = BootID(high: 2, low: 2)
  private static let hour: Int64 = 3_600_000_000_000

  /// One row: what the disk remembers, what this boot reads, and what must come out. In hours.
  struct Row: Sendable, CustomTestStringConvertible {
    var name: String
    /// Of the mark: elapsed 10 h, monotonic 4 h, the wall clock 100 h.
    var markBoot = ElapsedTimeTests.first
    var isMarkSynchronised = true
    /// Of the boot that opens.
    var boot = ElapsedTimeTests.second
    var powered: Int64 = 1
    /// The wall clock when it is first synchronised; nil: it never is.
    var wall: Int64?
    var expected: Int64

    var testDescription: String { name }
  }

  @Test(
    "what has certainly passed",
    arguments: [
      Row(name: "same boot after a crash", boot: first, powered: 6, wall: 102, expected: 12),
      Row(
        name: "same boot, the wall clock stepped a year ahead", boot: first, powered: 6,
        wall: 9000, expected: 12),
      Row(
        name: "same boot, the wall clock stepped back", boot: first, powered: 6, wall: 3,
        expected: 12),
      Row(name: "reboot, synchronised at both ends", wall: 120, expected: 30),
      Row(name: "reboot, synchronised before only", expected: 11),
      Row(
        name: "reboot, synchronised after only", isMarkSynchronised: false, wall: 120,
        expected: 11),
      Row(
        name: "reboot, synchronised at neither end", isMarkSynchronised: false, expected: 11),
      Row(name: "reboot, and the clock is behind: nothing is subtracted", wall: 90, expected: 11),
      Row(name: "unknown boot before", markBoot: .unknown, wall: 120, expected: 10),
      Row(name: "unknown boot now", boot: .unknown, wall: 120, expected: 10),
    ])
  func table(row: Row) {
    let hour = Self.hour
    let anchor = ElapsedTime.Anchor(wall: 100 * hour, elapsed: 10 * hour, bootID: row.markBoot)
    var time = ElapsedTime(
      since: ElapsedTime.Mark(elapsed: 10 * hour, bootID: row.markBoot, monotonic: 4 * hour),
      anchor: row.isMarkSynchronised ? anchor : nil, boot: row.boot,
      powered: MonotonicTime(nanoseconds: row.powered * hour),
      monotonic: MonotonicTime(nanoseconds: row.powered * hour))
    let powered = MonotonicTime(nanoseconds: row.powered * hour)
    if let wall = row.wall {
      time.synchronised(wall: WallTime(nanoseconds: wall * hour), powered: powered)
    }
    #expect(time.now(powered: powered) == row.expected * hour)
    let later = MonotonicTime(nanoseconds: (row.powered + 2) * hour)
    #expect(time.now(powered: later) == (row.expected + 2) * hour)
    // A step after the first synchronisation changes nothing any more.
    if row.wall != nil {
      time.synchronised(wall: WallTime(nanoseconds: 50_000 * hour), powered: later)
      #expect(time.now(powered: later) == (row.expected + 2) * hour)
    }
  }

  @Test("synchronised late: the time off is added then, once")
  func late() {
    let hour = Self.hour
    var time = ElapsedTime(
      since: ElapsedTime.Mark(elapsed: 10 * hour, bootID: Self.first, monotonic: 4 * hour),
      anchor: ElapsedTime.Anchor(wall: 100 * hour, elapsed: 10 * hour, bootID: Self.first),
      boot: Self.second, powered: MonotonicTime(nanoseconds: hour),
      monotonic: MonotonicTime(nanoseconds: hour))
    #expect(time.awaitsSynchronisation)
    let then = MonotonicTime(nanoseconds: 3 * hour)
    #expect(time.now(powered: then) == 13 * hour)
    time.synchronised(wall: WallTime(nanoseconds: 150 * hour), powered: then)
    #expect(time.now(powered: then) == 60 * hour)
    #expect(!time.awaitsSynchronisation)
    // What came between the anchor and this moment is no older for it.
    for (taken, read) in [(9, 9), (10, 10), (11, 58), (13, 60), (61, 61)] as [(Int64, Int64)] {
      #expect(time.timesOff.corrected(taken * hour) == read * hour)
    }
    time.synchronised(wall: WallTime(nanoseconds: 150 * hour), powered: then)
    #expect(time.now(powered: then) == 60 * hour)
  }

  @Test("of too many times off the two oldest become one, and no record becomes older")
  func many() {
    var time = ElapsedTime(
      since: nil, anchor: nil, boot: Self.first, powered: MonotonicTime(nanoseconds: 0),
      monotonic: MonotonicTime(nanoseconds: 0))
    var wall: Int64 = 1000
    time.synchronised(wall: WallTime(nanoseconds: wall), powered: MonotonicTime(nanoseconds: 0))
    var taken: [(early: Int64, elapsed: Int64)] = []
    for boot in 2...UInt64(ElapsedTime.timesOffMax + 10) {
      time = ElapsedTime(
        since: ElapsedTime.Mark(
          elapsed: time.anchor?.elapsed ?? 0, bootID: Self.first, monotonic: 0),
        anchor: time.anchor, timesOff: time.timesOff, boot: BootID(high: 9, low: boot),
        powered: MonotonicTime(nanoseconds: 10), monotonic: MonotonicTime(nanoseconds: 10))
      let early = time.now(powered: MonotonicTime(nanoseconds: 10))
      wall += 1000
      time.synchronised(
        wall: WallTime(nanoseconds: wall), powered: MonotonicTime(nanoseconds: 20))
      // Received 10 before the synchronisation.
      taken.append((early, time.now(powered: MonotonicTime(nanoseconds: 20)) - 10))
    }
    #expect(time.timesOff.count == ElapsedTime.timesOffMax)
    for record in taken { #expect(time.timesOff.corrected(record.early) >= record.elapsed) }
    for record in taken.suffix(ElapsedTime.timesOffMax - 1) {
      #expect(time.timesOff.corrected(record.early) == record.elapsed)
    }
  }

  @Test("nothing is known of a new journal: time begins at nought")
  func new() {
    let time = ElapsedTime(
      since: nil, anchor: nil, boot: Self.first, powered: MonotonicTime(nanoseconds: 77),
      monotonic: MonotonicTime(nanoseconds: 77))
    #expect(time.now(powered: MonotonicTime(nanoseconds: 77)) == 0)
    #expect(!time.awaitsSynchronisation)
  }

  // MARK: - In the journal

  private func rebooted(_ kit: JournalKit, _ number: UInt64, off: Duration) -> JournalKit {
    var next = kit
    next.clock.reboot(off: off)
    next.environment.bootID = BootID(high: 1, low: number)
    return next
  }

  private func seconds(_ state: JournalState) -> Int64 { state.elapsed().components.seconds }

  @Test("over reboots: time off counts only between two synchronised moments, crash or not")
  func reboots() throws {
    var kit = JournalKit()
    do {
      var journal = try kit.open()
      _ = try journal.writer.commit([1])
      kit.clock.advance(.seconds(100))
      _ = try journal.writer.commit([2])
      #expect(seconds(journal.state) == 100)
      kit.disk.kill()
    }
    // An hour off; the clock of this boot is not synchronised before its end.
    kit.clock.setSynchronised(false)
    kit = rebooted(kit, 3, off: .seconds(3600))
    do {
      var journal = try kit.open()
      #expect(seconds(journal.state) == 101)
      kit.clock.stepWall(.seconds(1_000_000))
      _ = try journal.writer.commit([3])
      #expect(seconds(journal.state) == 101)
      kit.disk.kill()
    }
    // The same boot again, still not synchronised; then it is, at the true time.
    do {
      var journal = try kit.open()
      #expect(seconds(journal.state) == 101)
      kit.clock.stepWall(.seconds(-1_000_000))
      kit.clock.setSynchronised(true)
      kit.clock.advance(.seconds(10))
      #expect(seconds(journal.state) == 100 + 3600 + 1 + 10)
      _ = try journal.writer.maintain(now: kit.clock.monotonic())
      try journal.writer.close()
    }
    do {
      let journal = try kit.open()
      #expect(seconds(journal.state) == 3711)
      kit.disk.kill()
    }
    // Off and on with the clock synchronised all the time, found by the idle chores alone.
    kit = rebooted(kit, 4, off: .seconds(60))
    let journal = try kit.open()
    #expect(seconds(journal.state) == 3711 + 61)
  }

  @Test("a reader learns the corrected receive time as soon as a synchronised moment is known")
  func corrected() throws {
    var kit = JournalKit()
    let trueStart = kit.clock.wall().nanoseconds
    // The clock is ten years behind until it is synchronised.
    let wrong = Duration.seconds(-315_360_000)
    kit.clock.setSynchronised(false)
    kit.clock.stepWall(wrong)
    var journal = try kit.open()
    try append(&journal.writer, kit)
    kit.clock.advance(.seconds(50))
    #expect(try received(journal.state).map(\.isCorrected) == [false])
    kit.disk.kill()

    // Crash before the synchronisation: nothing is known yet.
    journal = try kit.open()
    #expect(try received(journal.state).map(\.isCorrected) == [false])
    kit.clock.stepWall(.zero - wrong)
    kit.clock.setSynchronised(true)
    // The running clock knows at once, before anything is written.
    var found = try received(journal.state)
    #expect(found.map(\.isCorrected) == [true])
    #expect((found[0].time - trueStart).magnitude < 1_000_000)
    try append(&journal.writer, kit)
    kit.disk.kill()

    // Another boot, with a wrong clock again: the scan has met the synchronised group.
    kit.clock.setSynchronised(false)
    kit = rebooted(kit, 9, off: .seconds(100))
    kit.clock.stepWall(wrong)
    journal = try kit.open()
    try append(&journal.writer, kit)
    found = try received(journal.state)
    #expect(found.map(\.isCorrected) == [true, false, false])
    #expect(found.map(\.isSynchronised) == [false, true, false])
    #expect((found[0].time - trueStart).magnitude < 1_000_000)
    #expect((found[1].time - trueStart - 50_000_000_000).magnitude < 1_000_000)
  }

  @Test("time off that is added late ages what came before it, and nothing that came after")
  func lateAges() throws {
    var kit = JournalKit()
    func ages(_ state: JournalState) throws -> [Int64] {
      var found: [Int64] = []
      var reader = try state.makeReader(sink: 0)
      let expiry = reader.expiry()
      _ = try reader.read { record, _ in
        found.append(expiry.age(of: record).components.seconds)
        return true
      }
      return found
    }
    do {
      var journal = try kit.open()
      try append(&journal.writer, kit)
      kit.disk.kill()
    }
    kit.clock.setSynchronised(false)
    kit = rebooted(kit, 3, off: .seconds(1000))
    do {
      var journal = try kit.open()
      kit.clock.advance(.seconds(5))
      try append(&journal.writer, kit)
      kit.clock.advance(.seconds(10))
      #expect(try ages(journal.state) == [16, 10])
      kit.clock.setSynchronised(true)
      #expect(try ages(journal.state) == [1016, 10])
      try append(&journal.writer, kit)
      kit.disk.crash(.everything, seed: 1)
    }
    // Known after a crash, too, because the superblock went before the group.
    let journal = try kit.open()
    kit.clock.advance(.seconds(4))
    #expect(try ages(journal.state) == [1020, 14, 4])
  }

  private struct Received {
    var time: Int64
    var isCorrected: Bool
    var isSynchronised: Bool
  }

  private func append(_ writer: inout JournalWriter, _ kit: JournalKit) throws {
    let none = [UInt8]()
    _ = try writer.append(
      RecordDraft(receivedMonotonic: kit.clock.monotonic()), topic: [0x74].span,
      idText: none.span, properties: none.span, payload: none.span)
    _ = try writer.commit()
  }

  private func received(_ state: JournalState) throws -> [Received] {
    var reader = try state.makeReader(sink: 0)
    var found: [Received] = []
    _ = try reader.read { record, _ in
      found.append(
        Received(
          time: record.received.nanoseconds, isCorrected: record.isReceivedCorrected,
          isSynchronised: record.flags.contains(.clockSynchronised)))
      return true
    }
    return found
  }
}

@Suite("Clocks of boots")
struct BootClocksTests {
  @Test("the first synchronised moment of a boot counts; of too many boots the oldest goes")
  func table() {
    var clocks = BootClocks()
    func boot(_ number: Int) -> BootID { BootID(high: 7, low: UInt64(number)) }
    clocks.note(boot(1), number: 5, wall: 1000, monotonic: 10)
    clocks.note(boot(1), number: 6, wall: 5000, monotonic: 20)
    #expect(clocks.offset(of: boot(1)) == 990)
    clocks.note(boot(1), number: 4, wall: 900, monotonic: 5)
    #expect(clocks.offset(of: boot(1)) == 895)
    clocks.note(.unknown, number: 1, wall: 1, monotonic: 0)
    #expect(clocks.offset(of: .unknown) == nil)
    for number in 2...BootClocks.countMax + 1 {
      clocks.note(boot(number), number: UInt64(10 * number), wall: 1, monotonic: 0)
    }
    #expect(clocks.offset(of: boot(1)) == nil)
    #expect(clocks.offset(of: boot(2)) == 1)
    #expect(clocks.offset(of: boot(BootClocks.countMax + 1)) == 1)
  }
}
