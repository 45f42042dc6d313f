// Goal: never more is used than is written down, a crash costs little, and a clock that is wrong
// neither gives a budget twice nor takes it away for ever. Method: the account is driven as a
// value; a random walk with crashes is compared with a plain sum. Cannot show: that the file is
// written (LinkClosureTests do).

import GatewayCore
import Testing

@testable import Upstream

/// 2026-11-23 and 2026-12-01.
private let today = 20_780
private let nextMonth = 20_788

private func budget(_ mebibytes: Int, resetsOn: Int = 1) -> DataBudget {
  var budget = DataBudget(byteCount: .mebibytes(mebibytes))
  budget.resetsOn = resetsOn
  return budget
}

@Suite struct DataBudgetTests {
  @Test("a month begins on its day, over short months and the turn of a year")
  func months() {
    for day in today..<today + 800 {
      for resetsOn in [1, 15, 28] {
        let budget = budget(1, resetsOn: resetsOn)
        let start = budget.periodStart(of: day)
        let next = budget.nextPeriodStart(after: day)
        #expect(start <= day && day < next && (28...31).contains(next - start))
        #expect(CivilTime(day: start).date.day == resetsOn)
        #expect(budget.periodStart(of: next) == next)
      }
    }
    var daily = budget(1)
    daily.period = .day
    #expect(
      daily.periodStart(of: today) == today && daily.nextPeriodStart(after: today) == today + 1)
  }

  @Test("a record is read back, and nothing else is")
  func record() {
    let record = BudgetRecord(periodStart: today, byteCount: 123)
    #expect(record.text == "penstock data budget 1\nperiod 20780 2026-11-23\nbytes 123\n")
    #expect(BudgetRecord(text: record.text) == record)
    for text in [
      "", "penstock data budget 2\nperiod 20780 2026-11-23\nbytes 123\n",
      "penstock data budget 1\nperiod 20780 2026-11-24\nbytes 123\n",
      "penstock data budget 1\nperiod 20780 2026-11-23\nbytes -3\n",
      "penstock data budget 1\nperiod 20780 2026-11-23\nbytes 12", "\0\0\0\0",
    ] { #expect(BudgetRecord(text: text) == nil, "\(text)") }
  }
}

@Suite struct BudgetLedgerTests {
  @Test("a new period gives the whole budget, once")
  func period() {
    var ledger = BudgetLedger(budget: budget(1), record: nil)
    ledger.look(day: today, isSynchronised: true)
    ledger.use(1 << 20)
    #expect(ledger.isSpent && ledger.left == 0)
    ledger.look(day: nextMonth - 1, isSynchronised: true)
    #expect(ledger.isSpent)
    ledger.look(day: nextMonth, isSynchronised: true)
    #expect(!ledger.isSpent && ledger.spent == 0)
  }

  @Test("a clock that went back gives nothing: not believed, or believed and what was used stays")
  func clockBack() {
    for isSynchronised in [false, true] {
      var ledger = BudgetLedger(budget: budget(1), record: nil)
      ledger.look(day: nextMonth, isSynchronised: true)
      ledger.use(1000)
      ledger.look(day: today, isSynchronised: isSynchronised)
      #expect(ledger.spent == 1000)
      #expect(ledger.periodStart == (isSynchronised ? today - 22 : nextMonth))
      // Forward again: new only to a clock that was believed before.
      ledger.look(day: nextMonth, isSynchronised: true)
      #expect(ledger.spent == (isSynchronised ? 0 : 1000))
    }
  }

  @Test("what does not fit closes the period for all but those who are exempt")
  func refused() {
    var ledger = BudgetLedger(budget: budget(1), record: nil)
    ledger.look(day: today, isSynchronised: true)
    ledger.use((1 << 20) - 100)
    let verdicts = [
      ledger.ask(101, isExempt: false), ledger.ask(1, isExempt: false),
      ledger.ask(101, isExempt: true),
    ]
    #expect(verdicts[..<2] == [.spent, .spent])
    guard case .reserve = verdicts[2] else {
      Issue.record("an exempt sink goes on: \(verdicts[2])")
      return
    }
  }

  @Test(
    "over any number of crashes: never too little is counted, and little too much",
    arguments: 1...20 as ClosedRange<UInt64>)
  func crashes(seed: UInt64) {
    var state = seed
    func random(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(limit))
    }
    let budget = budget(100_000)
    var file: BudgetRecord?
    var (used, writes, crashes) = (0, 0, 0)
    var ledger = BudgetLedger(budget: budget, record: file)
    ledger.look(day: today, isSynchronised: true)
    for _ in 0..<20_000 {
      if random(2000) == 0 {
        crashes += 1
        ledger = BudgetLedger(budget: budget, record: file)
        ledger.look(day: today, isSynchronised: true)
      }
      let byteCount = random(20_000)
      if case .reserve(let record) = ledger.ask(byteCount, isExempt: false) {
        file = record
        writes += 1
        ledger.wrote(record)
      }
      if ledger.ask(byteCount, isExempt: false) != .go { Issue.record("not let go") }
      ledger.use(byteCount)
      used += byteCount
      if (file?.byteCount ?? 0) < used {
        Issue.record("\(used) used, \(file?.byteCount ?? 0) written")
      }
    }
    let step = max(BudgetLedger.stepMaxAtLeast, budget.byteCount.rawValue / 1000)
    #expect((file?.byteCount ?? 0) - used <= (crashes + 1) * (step + 20_000))
    // 200 MB of 100 GiB: a write for each doubling from 16 KiB to 104 MiB after each start.
    #expect(writes <= (crashes + 1) * 14, "\(writes) writes, \(crashes) crashes")
  }
}
