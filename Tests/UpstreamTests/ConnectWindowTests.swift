// Goal: a connect window opens and closes when its text says, in any week, over midnight and over
// the steps of daylight saving, and what is told of it is when it happens. Method: window and link
// are asked as values, with a manual clock and a zone that changes its offset. Cannot show: that
// the sink's thread obeys (IntegrationTests do).

import GatewayCore
import Logging
import Platform
import Synchronization
import Testing

@testable import Upstream

/// Monday 2026-11-23, 00:00 UTC.
private let monday = 20_780

private func civil(_ day: Int, _ hour: Int, _ minute: Int = 0, _ second: Int = 0) -> CivilTime {
  let seconds = Int64(day) * 86_400 + Int64(hour * 3600 + minute * 60 + second)
  return CivilTime(WallTime(nanoseconds: seconds * 1_000_000_000))
}

@Suite struct CivilTimeTests {
  @Test("days, weekdays and text, on both sides of 1970")
  func calendar() {
    #expect(civil(monday, 22, 5).description == "2026-11-23 22:05 UTC")
    #expect(civil(monday, 0).weekday == 0)
    #expect(civil(monday + 6, 23, 59, 59).secondOfWeek == 7 * 86_400 - 1)
    #expect(CivilTime(day: 0).weekday == 3)
    let before = CivilTime(WallTime(nanoseconds: -1))
    #expect(before.day == -1 && before.second == 86_399 && before.weekday == 2)
    #expect(CivilTime(day: -4).weekday == 6)
  }

  @Test("an offset moves the clock, not the moment", arguments: [3600, -18_000, 20_700, 0])
  func offset(seconds: Int) {
    let wall = civil(monday, 23, 30).wall
    let local = CivilTime(wall, utcOffset: seconds)
    #expect(local.wall == wall)
    #expect((local.day * 86_400 + local.second) - (monday * 86_400 + 84_600) == seconds)
  }

  @Test("the text names the offset")
  func offsetText() {
    let wall = civil(monday, 23, 30).wall
    #expect(CivilTime(wall, utcOffset: 3600).description == "2026-11-24 00:30 +01:00")
    #expect(CivilTime(wall, utcOffset: -12_600).description == "2026-11-23 20:00 -03:30")
  }
}

@Suite struct ConnectWindowTests {
  private let nights = ConnectWindow(spans: [.init(opens: 22 * 60, closes: 6 * 60)])

  @Test("a night: open from its first second to its last, over midnight and over Sunday")
  func night() {
    for day in monday..<monday + 14 {
      #expect(!nights.isOpen(at: civil(day, 21, 59, 59)))
      #expect(nights.isOpen(at: civil(day, 22)))
      #expect(nights.isOpen(at: civil(day, 23, 59, 59)))
      #expect(nights.isOpen(at: civil(day, 0)))
      #expect(nights.isOpen(at: civil(day, 5, 59, 59)))
      #expect(!nights.isOpen(at: civil(day, 6)))
      #expect(!nights.isOpen(at: civil(day, 12)))
    }
    #expect(nights.secondsUntilOpen(at: civil(monday, 21, 59, 30)) == 30)
    #expect(nights.secondsUntilOpen(at: civil(monday, 6)) == 16 * 3600)
    #expect(nights.secondsUntilOpen(at: civil(monday, 23)) == 0)
  }

  @Test("weekdays are those of the beginning: Friday's night ends on Saturday, Sunday's on Monday")
  func weekdays() {
    let window = ConnectWindow(spans: [.init(weekdays: [4, 6], opens: 22 * 60, closes: 6 * 60)])
    #expect(!window.isOpen(at: civil(monday + 3, 23)))
    #expect(window.isOpen(at: civil(monday + 4, 23)))
    #expect(window.isOpen(at: civil(monday + 5, 5)))
    #expect(!window.isOpen(at: civil(monday + 5, 23)))
    #expect(!window.isOpen(at: civil(monday + 6, 5)))
    #expect(window.isOpen(at: civil(monday + 6, 23)))
    #expect(window.isOpen(at: civil(monday + 7, 5)))
    #expect(window.secondsUntilOpen(at: civil(monday, 12)) == (4 * 24 + 10) * 3600)
  }

  @Test("whole days, and spans that adjoin or overlap, have no hole between them")
  func adjoining() {
    let window = ConnectWindow(spans: [
      .init(weekdays: [5, 6], opens: 0, closes: 1440),
      .init(weekdays: [0], opens: 0, closes: 8 * 60),
      .init(weekdays: [0], opens: 7 * 60, closes: 9 * 60),
    ])
    for second in 0..<(2 * 24 + 9) * 3600 where second % 60 < 2 {
      let time = CivilTime(
        WallTime(nanoseconds: (Int64(monday + 5) * 86_400 + Int64(second)) * 1_000_000_000))
      if !window.isOpen(at: time) { Issue.record("closed at \(time)") }
    }
    #expect(!window.isOpen(at: civil(monday + 7, 9)))
    #expect(!window.isOpen(at: civil(monday + 4, 23, 59, 59)))
  }
}

/// A clock on the wall that tests set.
private final class WallClock: Sendable {
  private struct Contents {
    var wall = WallTime(nanoseconds: 0)
    var isSynchronised = true
  }
  private let contents = Mutex(Contents())
  /// Central Europe in 2026: +02:00 from March 29 to October 25, 01:00 UTC, else +01:00.
  static func localOffset(_ wall: WallTime) -> Int {
    let seconds = wall.nanoseconds / 1_000_000_000
    return (1_774_746_000..<1_792_890_000).contains(seconds) ? 7200 : 3600
  }

  func set(_ wall: WallTime, isSynchronised: Bool = true) {
    contents.withLock {
      $0.wall = wall
      $0.isSynchronised = isSynchronised
    }
  }

  var clock: LinkClock {
    LinkClock(
      wall: { self.contents.withLock { $0.wall } }, localOffset: Self.localOffset,
      isSynchronised: { self.contents.withLock { $0.isSynchronised } })
  }
}

@Suite struct LinkClosureTests {
  private let wallClock = WallClock()

  private func link(_ change: (inout LinkOptions) -> Void, directory: String? = nil) -> BrokerLink {
    var options = LinkOptions()
    change(&options)
    return BrokerLink(
      broker: "central", options: options, priorities: [5], directory: directory,
      clock: wallClock.clock, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
  }

  private func seconds(_ wall: WallTime) -> Int64 { wall.nanoseconds / 1_000_000_000 }

  @Test("closed outside the window and told until when; urgent sinks are never kept out")
  func window() throws {
    let link = link { $0.connectWindow = ConnectWindow(spans: [.init(opens: 1320, closes: 360)]) }
    let wakeUp = try WakeUp()
    let normal = link.join(priority: 5, isUrgent: false, wakeUp: wakeUp)
    let urgent = link.join(priority: 5, isUrgent: true, wakeUp: wakeUp)
    wallClock.set(civil(monday, 12).wall)
    let closure = try #require(link.closure(for: normal))
    #expect(closure.state.kind == .outsideWindow)
    #expect(closure.state.detail == "outside connect_window; connects at 2026-11-23 22:00 UTC")
    #expect(link.closure(for: urgent) == nil)
    wallClock.set(civil(monday, 22).wall)
    #expect(link.closure(for: normal) == nil)
    // A step back by NTP closes it again, and a clock that nobody set is named.
    wallClock.set(civil(monday, 21).wall, isSynchronised: false)
    let again = try #require(link.closure(for: normal))
    #expect(again.state.detail.hasSuffix("22:00 UTC, by a clock that is not synchronised"))
  }

  @Test("local time: the hour that is named is the hour it opens, also over daylight saving")
  func daylightSaving() throws {
    let link = link {
      $0.timeZone = .local
      $0.connectWindow = ConnectWindow(spans: [.init(opens: 4 * 60, closes: 5 * 60)])
    }
    let member = link.join(priority: 5, isUrgent: false, wakeUp: try WakeUp())
    // 2026-03-28 22:00 +01:00, the evening before; and 2026-10-24 22:00 +02:00.
    for (evening, opening) in [
      (1_774_731_600, "2026-03-29 04:00 +02:00"), (1_792_872_000, "2026-10-25 04:00 +01:00"),
    ] as [(Int64, String)] {
      wallClock.set(WallTime(nanoseconds: evening * 1_000_000_000))
      let until = try #require(link.closure(for: member)).until
      #expect(until.description == opening)
      wallClock.set(WallTime(nanoseconds: until.wall.nanoseconds - 1_000_000_000))
      #expect(link.closure(for: member) != nil)
      wallClock.set(until.wall)
      #expect(link.closure(for: member) == nil)
    }
  }

  @Test("an hour that daylight saving skips does not happen, one that it repeats happens twice")
  func skippedHour() throws {
    let link = link {
      $0.timeZone = .local
      $0.connectWindow = ConnectWindow(spans: [.init(opens: 2 * 60, closes: 3 * 60)])
    }
    let member = link.join(priority: 5, isUrgent: false, wakeUp: try WakeUp())
    func openMinutes(from start: Int64) -> Int {
      (0..<24 * 60).count { minute in
        wallClock.set(WallTime(nanoseconds: (start + Int64(minute) * 60) * 1_000_000_000))
        return link.closure(for: member) == nil
      }
    }
    // From local noon to noon, before the change, over it, and in autumn.
    #expect(openMinutes(from: 1_774_609_200) == 60)
    #expect(openMinutes(from: 1_774_695_600) == 0)
    #expect(openMinutes(from: 1_792_836_000) == 120)
  }

  @Test("a budget that is spent closes until its next period, and says so")
  func budget() throws {
    let link = link {
      $0.dataBudget = DataBudget(byteCount: .mebibytes(1))
      $0.dataBudget?.resetsOn = 15
    }
    wallClock.set(civil(monday, 12).wall)
    let member = link.join(priority: 5, isUrgent: false, wakeUp: try WakeUp())
    #expect(link.closure(for: member) == nil)
    let now = MonotonicTime(nanoseconds: 0)
    #expect(link.ask(member, byteCount: 1_000_000, isBacklog: true, now: now) == .go)
    #expect(link.closure(for: member) == nil)
    #expect(link.ask(member, byteCount: 100_000, isBacklog: true, now: now) != .go)
    let closure = try #require(link.closure(for: member))
    #expect(closure.state.kind == .budgetSpent)
    #expect(
      closure.state.detail == "the data budget of 1MiB is spent; goes on at 2026-12-15 00:00 UTC")
    wallClock.set(civil(monday + 21, 23, 59, 59).wall)
    #expect(link.closure(for: member) != nil)
    wallClock.set(civil(monday + 22, 0).wall)
    #expect(link.closure(for: member) == nil)
    #expect(link.ask(member, byteCount: 100_000, isBacklog: true, now: now) == .go)
  }

  @Test("urgent sinks go on beyond a budget where it says so, and are counted")
  func urgent() throws {
    wallClock.set(civil(monday, 12).wall)
    let link = link {
      $0.dataBudget = DataBudget(byteCount: .mebibytes(1))
      $0.dataBudget?.whenSpent = .urgentOnly
    }
    let wakeUp = try WakeUp()
    let normal = link.join(priority: 5, isUrgent: false, wakeUp: wakeUp)
    let urgent = link.join(priority: 5, isUrgent: true, wakeUp: wakeUp)
    let now = MonotonicTime(nanoseconds: 0)
    for _ in 0..<3 {
      #expect(link.ask(urgent, byteCount: 1_000_000, isBacklog: true, now: now) == .go)
    }
    #expect(link.ask(normal, byteCount: 1, isBacklog: true, now: now) != .go)
    #expect(link.closure(for: normal) != nil && link.closure(for: urgent) == nil)
  }

  @Test("the account survives a crash, counting too much by at most a step; an end leaves it exact")
  func account() throws {
    let temporary = try TemporaryDirectory(prefix: "link")
    let directory = temporary.path + "/links"
    let path = directory + "/central.budget"
    func record() throws -> BudgetRecord {
      let bytes = try File.readSmall(path, byteCountMax: 4096)
      return try #require(BudgetRecord(text: String(decoding: bytes, as: UTF8.self)))
    }
    wallClock.set(civil(monday, 12).wall)
    let now = MonotonicTime(nanoseconds: 0)
    let budget: (inout LinkOptions) -> Void = {
      $0.dataBudget = DataBudget(byteCount: .mebibytes(64))
    }
    var used = 0
    for run in 0..<3 {
      // As after a crash: nobody has left.
      let link = link(budget, directory: directory)
      let before = run == 0 ? 0 : try record().byteCount
      #expect(before >= used)
      used = before
      let member = link.join(priority: 5, isUrgent: false, wakeUp: try WakeUp())
      for _ in 0..<200 {
        #expect(link.ask(member, byteCount: 3000, isBacklog: true, now: now) == .go)
        link.use(500)
        used += 3500
        let written = try record().byteCount
        #expect(written >= used && written <= used + BudgetLedger.stepMaxAtLeast + 3500)
      }
    }
    let link = link(budget, directory: directory)
    let member = link.join(priority: 5, isUrgent: false, wakeUp: try WakeUp())
    let start = try record().byteCount
    #expect(link.ask(member, byteCount: 777, isBacklog: true, now: now) == .go)
    #expect(try record().byteCount > start + 777)
    link.leave(member)
    #expect(try record() == BudgetRecord(periodStart: monday - 22, byteCount: start + 777))
  }

  @Test("a damaged account is no reason to stop, and is written anew")
  func damagedAccount() throws {
    let temporary = try TemporaryDirectory(prefix: "link")
    try File.replace(temporary.path + "/central.budget", with: Array("bytes -1\n".utf8))
    wallClock.set(civil(monday, 12).wall)
    let link = link(
      { $0.dataBudget = DataBudget(byteCount: .mebibytes(64)) }, directory: temporary.path)
    let member = link.join(priority: 5, isUrgent: false, wakeUp: try WakeUp())
    let now = MonotonicTime(nanoseconds: 0)
    #expect(link.ask(member, byteCount: 100, isBacklog: true, now: now) == .go)
    link.leave(member)
    let bytes = try File.readSmall(temporary.path + "/central.budget", byteCountMax: 4096)
    #expect(BudgetRecord(text: String(decoding: bytes, as: UTF8.self))?.byteCount == 100)
  }

  @Test("a reload changes window and budget under a member; what was used stays used")
  func adopt() throws {
    let temporary = try TemporaryDirectory(prefix: "link")
    let now = MonotonicTime(nanoseconds: 0)
    wallClock.set(civil(monday, 12).wall)
    let link = link({ _ in }, directory: temporary.path)
    let wakeUp = try WakeUp()
    let member = link.join(priority: 5, isUrgent: false, wakeUp: wakeUp)
    #expect(!link.isMetered && !link.isOrdered)
    func adopt(_ priorities: [Int] = [5], _ change: (inout LinkOptions) -> Void = { _ in }) {
      var options = LinkOptions()
      change(&options)
      wakeUp.clear()
      link.adopt(options, priorities: priorities)
      #expect(Poll.wait(socket: nil, wakeUp: wakeUp, timeout: .zero).wokenUp)
    }
    adopt { $0.connectWindow = ConnectWindow(spans: [.init(opens: 1320, closes: 360)]) }
    #expect(link.closure(for: member)?.reason == .connectWindow)
    adopt([1, 5]) { $0.dataBudget = DataBudget(byteCount: .mebibytes(2)) }
    #expect(link.closure(for: member) == nil)
    #expect(link.isMetered && link.isOrdered)
    #expect(link.ask(member, byteCount: 1_500_000, isBacklog: true, now: now) == .go)
    adopt { $0.dataBudget = DataBudget(byteCount: .mebibytes(1)) }
    #expect(link.closure(for: member)?.reason == .dataBudget)
    adopt { $0.dataBudget = DataBudget(byteCount: .mebibytes(2)) }
    #expect(link.closure(for: member) == nil)
    #expect(link.ask(member, byteCount: 1_000_000, isBacklog: true, now: now) != .go)
    adopt()
    #expect(!link.isMetered)
    #expect(link.ask(member, byteCount: 1_000_000, isBacklog: true, now: now) == .go)
    // With a budget again it goes on from the file, which counts too much rather than too little.
    adopt { $0.dataBudget = DataBudget(byteCount: .mebibytes(64)) }
    #expect(link.ask(member, byteCount: 1, isBacklog: true, now: now) == .go)
    link.leave(member)
    let bytes = try File.readSmall(temporary.path + "/central.budget", byteCountMax: 4096)
    let record = try #require(BudgetRecord(text: String(decoding: bytes, as: UTF8.self)))
    #expect((1_500_001...1_500_001 + BudgetLedger.stepMaxAtLeast).contains(record.byteCount))
  }
}
