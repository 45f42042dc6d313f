import CoreMetrics
import GatewayCore
package import Logging
import Platform
import Synchronization

/// The way to one broker, shared by the threads of all sinks that deliver to it: decides who sends
/// next, when it may be used, and keeps the account of what it carried. Any thread. The lock is
/// never held over a file or a socket.
package final class BrokerLink: Sendable {
  /// One sink's place at the link.
  struct Member: Sendable {
    let number: Int
    let isUrgent: Bool
  }

  private struct Contents {
    var options: LinkOptions
    /// Sinks of different priorities, or a bound that they share: packets are handed over one at a
    /// time, so that what has been handed over does not stand in the way.
    var isOrdered: Bool
    var schedule: LinkSchedule
    /// By member; nil of those who have left.
    var wakeUps: [WakeUp?] = []
    var memberCount = 0
    var ledger: BudgetLedger?
    /// One thread writes at a time; the others wait for it in their own loops.
    var isWriting = false
    var isWriteFailing = false
    var gauges: Gauges?

    var waiting: [WakeUp] { schedule.next.compactMap { wakeUps[$0] } }
  }

  /// Of a link that has a budget.
  private struct Gauges {
    let spent: Gauge
    let left: Gauge

    init(broker: String) {
      func gauge(_ name: String) -> Gauge {
        Gauge(label: "penstock_link_\(name)", dimensions: [("broker", broker)])
      }
      spent = gauge("budget_spent_bytes")
      left = gauge("budget_left_bytes")
    }

    func destroy() {
      spent.destroy()
      left.destroy()
    }
  }

  private let broker: String
  private let clock: LinkClock
  /// Of the account; nil: it is kept in memory alone.
  private let directory: String?
  private let logger: Logger
  private let contents: Mutex<Contents>

  /// How long others wait while one thread writes the account.
  private static let writePause = Duration.milliseconds(100)
  /// Also how often a closed link is looked at.
  private static let lookPause = Duration.seconds(1)

  /// - Parameters:
  ///   - priorities: of the sinks that will join.
  ///   - directory: where the account of a budget is kept; it is created. Nil keeps it in memory
  ///     only.
  package init(
    broker: String, options: LinkOptions, priorities: [Int], directory: String?,
    clock: LinkClock = .system, logger: Logger
  ) {
    self.broker = broker
    self.directory = directory
    self.clock = clock
    self.logger = logger
    contents = Mutex(
      Contents(
        options: options, isOrdered: Self.isOrdered(options, priorities),
        schedule: LinkSchedule(limit: options.rateLimit)))
    if let budget = options.dataBudget { open(budget) }
    lookAtPeriod()
  }

  /// A link that holds up nothing: of one-shot commands and tests.
  package static func unlimited() -> BrokerLink {
    BrokerLink(
      broker: "", options: LinkOptions(), priorities: [], directory: nil,
      logger: Logger(label: "penstock.link"))
  }

  /// Whether bytes are counted.
  var isMetered: Bool { contents.withLock { $0.ledger != nil } }

  /// Whether packets are handed over one at a time.
  var isOrdered: Bool { contents.withLock { $0.isOrdered } }

  // MARK: Options

  /// From now on these, also for the connections that there are. What was carried in this period
  /// stays counted.
  /// - Parameter priorities: of the sinks that deliver to the broker from now on.
  package func adopt(_ options: LinkOptions, priorities: [Int]) {
    let earlier = contents.withLock { contents in
      defer { contents.options = options }
      contents.isOrdered = Self.isOrdered(options, priorities)
      contents.schedule.change(limit: options.rateLimit)
      return contents.options.dataBudget
    }
    if options.dataBudget != earlier { open(options.dataBudget) }
    wake { $0.wakeUps.compactMap { $0 } }
    lookAtPeriod()
  }

  /// Some sink is a member.
  package var isInUse: Bool { contents.withLock { $0.memberCount > 0 } }

  private static func isOrdered(_ options: LinkOptions, _ priorities: [Int]) -> Bool {
    Set(priorities).count > 1 || options.rateLimit != nil
  }

  /// Goes on with the account there is, in memory or in the file.
  private func open(_ budget: DataBudget?) {
    var record: BudgetRecord?
    if budget != nil, let directory, !isMetered {
      // Where that fails, writing fails, and that is told.
      try? File.makeDirectory(directory)
      record = Self.read(Self.path(in: directory, broker), logger)
    }
    contents.withLock { contents in
      let known = contents.ledger?.record ?? record
      contents.ledger = budget.map { BudgetLedger(budget: $0, record: known) }
      if budget == nil { contents.gauges?.destroy() }
      contents.gauges = budget == nil ? nil : contents.gauges ?? Gauges(broker: broker)
    }
  }

  private static func path(in directory: String, _ broker: String) -> String {
    "\(directory)/\(broker).budget"
  }

  // MARK: Members

  func join(priority: Int, isUrgent: Bool, wakeUp: WakeUp) -> Member {
    contents.withLock {
      let number = $0.schedule.join(priority: priority)
      if number < $0.wakeUps.count {
        $0.wakeUps[number] = wakeUp
      } else {
        $0.wakeUps.append(wakeUp)
      }
      $0.memberCount += 1
      return Member(number: number, isUrgent: isUrgent)
    }
  }

  /// The sink's thread ends. The last one leaves the exact account behind.
  func leave(_ member: Member) {
    wake {
      $0.schedule.leave(member.number)
      $0.wakeUps[member.number] = nil
      return $0.waiting
    }
    let record = contents.withLock { contents -> BudgetRecord? in
      contents.memberCount -= 1
      guard contents.memberCount == 0, !contents.isWriting, let record = contents.ledger?.exact
      else { return nil }
      contents.isWriting = true
      return record
    }
    if let record { write(record) }
  }

  /// The member has no connection, or nothing to send.
  func withdraw(_ member: Member) {
    wake {
      $0.schedule.withdraw(member.number)
      return $0.waiting
    }
  }

  /// Whether another member goes first.
  func hasSuperior(_ member: Member) -> Bool {
    contents.withLock { $0.schedule.hasSuperior(member.number) }
  }

  func report(_ member: Member, isBackedUp: Bool) {
    wake {
      $0.schedule.report(member.number, isBackedUp: isBackedUp)
      return isBackedUp ? [] : $0.waiting
    }
  }

  private func wake(_ change: (inout sending Contents) -> [WakeUp]) {
    let woken = contents.withLock { change(&$0) }
    for wakeUp in woken { wakeUp.signal() }
  }

  // MARK: Asking

  /// Asks to hand over one packet; `go` counts it.
  func ask(
    _ member: Member, byteCount: Int, isBacklog: Bool, now: MonotonicTime
  ) -> LinkSchedule.Answer {
    while true {
      var reservation: BudgetRecord?
      var woken: [WakeUp] = []
      let answer = contents.withLock { contents -> LinkSchedule.Answer in
        let isExempt = member.isUrgent && contents.ledger?.budget.whenSpent == .urgentOnly
        switch contents.ledger?.ask(byteCount, isExempt: isExempt) {
        case .spent: return .wait(until: now + Self.lookPause, .dataBudget)
        case .reserve(let record):
          if !contents.isWriting { reservation = record }
          contents.isWriting = true
          return .wait(until: now + Self.writePause, .dataBudget)
        case .go, nil: break
        }
        let answer = contents.schedule.ask(
          member.number, byteCount: byteCount, isBacklog: isBacklog, now: now)
        if answer == .go {
          contents.ledger?.use(byteCount)
          woken = contents.waiting
        }
        return answer
      }
      for wakeUp in woken { wakeUp.signal() }
      guard let reservation else { return answer }
      write(reservation)
    }
  }

  /// Bytes that went over the link besides what was asked for: answers, headers, what TCP sent
  /// again.
  func use(_ byteCount: Int) {
    let reservation = contents.withLock { contents -> BudgetRecord? in
      contents.ledger?.use(byteCount)
      guard !contents.isWriting, let record = contents.ledger?.reservation(for: 0) else {
        return nil
      }
      contents.isWriting = true
      return record
    }
    if let reservation { write(reservation) }
    showBudget()
  }

  /// Why the link may not be used by this member now. One look at the wall clock.
  func closure(for member: Member) -> LinkClosure? {
    let options = contents.withLock { $0.options }
    guard options.connectWindow != nil || options.dataBudget != nil else { return nil }
    let (time, isSynchronised) = lookAtPeriod()
    if let window = options.connectWindow, !member.isUrgent, !window.isOpen(at: time) {
      return LinkClosure(
        reason: .connectWindow,
        until: wallClock(secondsAfter: time, window.secondsUntilOpen(at: time)),
        isClockSynchronised: isSynchronised)
    }
    guard let budget = options.dataBudget,
      !(member.isUrgent && budget.whenSpent == .urgentOnly),
      contents.withLock({ $0.ledger?.isSpent ?? false })
    else { return nil }
    let next = CivilTime(
      day: budget.nextPeriodStart(after: time.day), utcOffset: time.utcOffset)
    return LinkClosure(
      reason: .dataBudget, until: wallClock(secondsAfter: next, 0),
      isClockSynchronised: isSynchronised, byteCount: budget.byteCount)
  }

  // MARK: -

  @discardableResult
  private func lookAtPeriod() -> (CivilTime, isSynchronised: Bool) {
    let wall = clock.wall()
    let time = CivilTime(wall, utcOffset: offset(at: wall))
    let isSynchronised = clock.isSynchronised()
    if isMetered {
      contents.withLock { $0.ledger?.look(day: time.day, isSynchronised: isSynchronised) }
      showBudget()
    }
    return (time, isSynchronised)
  }

  private func offset(at wall: WallTime) -> Int {
    contents.withLock { $0.options.timeZone } == .utc ? 0 : clock.localOffset(wall)
  }

  /// What the clock on the wall will show: where daylight saving begins or ends in between, the
  /// hour that is named stays the same and the moment moves.
  private func wallClock(secondsAfter time: CivilTime, _ seconds: Int) -> CivilTime {
    let even = WallTime(nanoseconds: time.wall.nanoseconds + Int64(seconds) * 1_000_000_000)
    let offset = offset(at: even)
    let shift = Int64(offset - time.utcOffset) * 1_000_000_000
    return CivilTime(WallTime(nanoseconds: even.nanoseconds - shift), utcOffset: offset)
  }

  private func showBudget() {
    let reading = contents.withLock { contents in
      contents.ledger.map { (spent: $0.spent, left: $0.left, gauges: contents.gauges) }
    }
    guard let reading else { return }
    reading.gauges?.spent.record(reading.spent)
    reading.gauges?.left.record(reading.left)
  }

  // MARK: The account's file

  private static let recordByteCountMax = 4096

  private static func read(_ path: String, _ logger: Logger) -> BudgetRecord? {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try File.readSmall(path, byteCountMax: recordByteCountMax)
    } catch {
      if !error.isMissingFile {
        logger.error("the account of a data budget cannot be read", metadata: ["error": "\(error)"])
      }
      return nil
    }
    guard let record = BudgetRecord(text: String(decoding: bytes, as: UTF8.self)) else {
      logger.error(
        "the account of a data budget is damaged: this period is counted from 0 again",
        metadata: ["file": "\(path)"])
      return nil
    }
    return record
  }

  /// The one who has set `isWriting`.
  private func write(_ record: BudgetRecord) {
    var failure: SystemError?
    if let directory {
      do throws(SystemError) {
        try File.replace(Self.path(in: directory, broker), with: Array(record.text.utf8))
      } catch {
        failure = error
      }
    }
    let isNews = contents.withLock { contents -> Bool in
      contents.isWriting = false
      contents.ledger?.wrote(record)
      defer { contents.isWriteFailing = failure != nil }
      return failure != nil && !contents.isWriteFailing
    }
    guard isNews, let failure else { return }
    logger.error(
      "the account of a data budget cannot be written: a restart will count too little",
      metadata: ["error": "\(failure)"])
  }
}
