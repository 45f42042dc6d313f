package import GatewayCore

/// How much may go over a metered link in a period.
package struct DataBudget: Sendable, Hashable {
  package enum Period: String, Sendable, Hashable, CaseIterable {
    case day
    case month
  }

  package enum WhenSpent: String, Sendable, Hashable, CaseIterable {
    /// Nothing goes over the link until the next period.
    case pause
    /// Urgent sinks go on, and what they use is counted beyond the budget.
    case urgentOnly = "urgent-only"
  }

  package var byteCount: ByteCount
  package var period: Period = .month
  /// The day on which a month of the contract begins.
  package var resetsOn: Int = 1
  package var whenSpent: WhenSpent = .pause

  /// Every month has these days.
  package static let resetDays = 1...28
  package static let byteRange = ByteCount.mebibytes(1)...ByteCount.gibibytes(1 << 20)

  package init(byteCount: ByteCount) { self.byteCount = byteCount }

  /// The first day of the period that a day (since 1970-01-01) belongs to.
  func periodStart(of day: Int) -> Int {
    switch period {
    case .day: return day
    case .month:
      var start = day
      while CivilTime(day: start).date.day != resetsOn { start -= 1 }
      return start
    }
  }

  func nextPeriodStart(after day: Int) -> Int {
    var next = day + 1
    while periodStart(of: next) != next { next += 1 }
    return next
  }
}

/// What the file beside the journals says: in this period, so many bytes are counted as used.
struct BudgetRecord: Sendable, Equatable {
  /// Days since 1970-01-01.
  var periodStart: Int
  var byteCount: Int

  private static let title = "penstock data budget 1"

  var text: String {
    """
    \(Self.title)
    period \(periodStart) \(CivilTime(day: periodStart).dateText)
    bytes \(byteCount)

    """
  }

  init(periodStart: Int, byteCount: Int) {
    self.periodStart = periodStart
    self.byteCount = byteCount
  }

  /// Nil for anything but what `text` writes.
  init?(text: String) {
    let lines = text.split(separator: "\n")
    guard lines.count == 3, lines[0] == Self.title else { return nil }
    let period = lines[1].split(separator: " ")
    let bytes = lines[2].split(separator: " ")
    guard period.count == 3, period[0] == "period", let start = Int(period[1]),
      bytes.count == 2, bytes[0] == "bytes", let count = Int(bytes[1]), count >= 0,
      (0...3_000_000).contains(start)
    else { return nil }
    self.init(periodStart: start, byteCount: count)
    guard self.text == text else { return nil }
  }
}

/// The account of one budget. A pure value: the owner brings day and file.
///
/// ## Invariants
/// 1. Never more is used than the file says (`reserved`): room is written down before it is used.
///    So after a crash at most one step too much is counted, and never too little.
/// 2. A step is as large as what was used since the start, from `stepMin` to a thousandth of the
///    budget (at least 256 KiB): about a thousand writes per period, and a program that crashes
///    again and again wastes `stepMin` each time.
/// 3. A period never begins again, and none is left early, because a clock that is not synchronised
///    went back.
struct BudgetLedger: Sendable {
  enum Verdict: Equatable, Sendable {
    case go
    /// Make this durable first, then ask again.
    case reserve(BudgetRecord)
    /// It does not fit in what is left of the period.
    case spent
  }

  static let stepMin = 16 << 10
  static let stepMaxAtLeast = 256 << 10

  let budget: DataBudget
  private(set) var spent: Int
  /// Nil until the clock was looked at for the first time.
  private(set) var periodStart: Int?
  private var reserved: Int
  private var spentAtStart: Int
  /// Something did not fit: the rest of the period is not picked over.
  private var isRefused = false

  /// - Parameter record: what the file says; nil when there is none.
  init(budget: DataBudget, record: BudgetRecord?) {
    self.budget = budget
    periodStart = record?.periodStart
    spent = record?.byteCount ?? 0
    reserved = spent
    spentAtStart = spent
  }

  var isSpent: Bool { isRefused || spent >= budget.byteCount.rawValue }
  var left: Int { max(0, budget.byteCount.rawValue - spent) }

  /// The day it is. A later period than the known one begins anew; an earlier one is believed when
  /// the clock is synchronised, and what was used stays used.
  mutating func look(day: Int, isSynchronised: Bool) {
    let start = budget.periodStart(of: day)
    guard let known = periodStart else {
      periodStart = start
      return
    }
    if start > known {
      periodStart = start
      (spent, reserved, spentAtStart, isRefused) = (0, 0, 0, false)
    } else if start < known, isSynchronised {
      periodStart = start
      reserved = min(reserved, spent)
    }
  }

  /// Whether `byteCount` may be used now; it is not used yet.
  /// - Parameter isExempt: goes on when the budget is spent.
  mutating func ask(_ byteCount: Int, isExempt: Bool) -> Verdict {
    if !isExempt {
      if spent + byteCount > budget.byteCount.rawValue { isRefused = true }
      if isSpent { return .spent }
    }
    return reservation(for: byteCount).map { .reserve($0) } ?? .go
  }

  /// What must be written before `byteCount` more is used; nil: nothing.
  func reservation(for byteCount: Int) -> BudgetRecord? {
    guard let periodStart, spent + byteCount > reserved else { return nil }
    let stepMax = max(Self.stepMaxAtLeast, budget.byteCount.rawValue / 1000)
    let step = min(max(spent - spentAtStart, Self.stepMin), stepMax)
    return BudgetRecord(periodStart: periodStart, byteCount: spent + byteCount + step)
  }

  mutating func use(_ byteCount: Int) { spent += byteCount }

  /// The file says so now, or cannot be written and is as good as written.
  mutating func wrote(_ record: BudgetRecord) {
    if record.periodStart == periodStart { reserved = record.byteCount }
  }

  /// What was used so far, for another budget to go on with; nil before the first look at the
  /// clock.
  var record: BudgetRecord? {
    periodStart.map { BudgetRecord(periodStart: $0, byteCount: spent) }
  }

  /// For an orderly end: exactly what was used. Nil when the file says so already.
  var exact: BudgetRecord? {
    guard let periodStart, spent != reserved else { return nil }
    return BudgetRecord(periodStart: periodStart, byteCount: spent)
  }
}
