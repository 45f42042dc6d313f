// Goal: the schedule gives each pump its turn at the rate asked for and repeats the share asked
// for. Method: long runs counted.
// Cannot show: that a sender keeps up with it.

import PumpTelemetry
import Testing

@Suite("Schedule")
struct ScheduleTests {
  @Test("pumps announce themselves, then measure in turn")
  func turns() {
    var schedule = Schedule(pumps: [4, 7], rate: 10, announces: true, seed: 1)
    let steps = (0..<6).map { _ in schedule.next() }
    #expect(
      steps == [
        .event(.asset, pump: 4), .event(.asset, pump: 7), .event(.metrics, pump: 4),
        .event(.metrics, pump: 7), .event(.metrics, pump: 4), .event(.metrics, pump: 7),
      ])
  }

  @Test("steps are due at the rate, without an error that grows")
  func rate() {
    var schedule = Schedule(pumps: [0], rate: 3000, seed: 1)
    #expect(schedule.nextDue == .zero)
    for _ in 0..<3_000_000 { _ = schedule.next() }
    #expect(schedule.nextDue == .seconds(1000))
  }

  @Test("without a rate every step is due")
  func unlimited() {
    var schedule = Schedule(pumps: [0], rate: nil, seed: 1)
    for _ in 0..<100 { _ = schedule.next() }
    #expect(schedule.nextDue == .zero)
  }

  @Test(
    "the share of repeats is kept and reaches back at most so far", arguments: [0.0, 0.05, 1.0])
  func repeats(share: Double) {
    var schedule = Schedule(pumps: [0, 1, 2], rate: nil, repeatShare: share, seed: 5)
    var fresh = 0
    var again = 0
    for _ in 0..<50_000 {
      switch schedule.next() {
      case .event: fresh += 1
      case .again(let back):
        again += 1
        #expect((1...min(fresh, Schedule.repeatReachMax)).contains(back))
      }
    }
    #expect(abs(Double(again) / Double(fresh) - share) < 0.01)
  }

  @Test("the same seed gives the same steps, another seed others")
  func deterministic() {
    var one = Schedule(pumps: [0, 1], rate: 1, repeatShare: 0.5, seed: 5)
    var two = Schedule(pumps: [0, 1], rate: 9, repeatShare: 0.5, seed: 5)
    var three = Schedule(pumps: [0, 1], rate: 1, repeatShare: 0.5, seed: 6)
    let steps = (0..<200).map { _ in one.next() }
    #expect(steps == (0..<200).map { _ in two.next() })
    #expect(steps != (0..<200).map { _ in three.next() })
  }

  /// Events of each pump and the times at which they were due, up to a time.
  private func dues(
    _ schedule: inout Schedule, until end: Duration
  ) -> [Int: [(kind: PumpEventKind, due: Duration)]] {
    var found: [Int: [(kind: PumpEventKind, due: Duration)]] = [:]
    while let due = schedule.nextDue, due < end {
      if case .event(let kind, let pump) = schedule.next(at: due) {
        found[pump, default: []].append((kind, due))
      }
    }
    return found
  }

  private func plans(_ count: Int, _ change: (inout [PumpPlan]) -> Void) -> [PumpPlan] {
    var plans = FleetPlan(count: count).pumps
    change(&plans)
    return plans
  }

  @Test("a pump with a rate of its own keeps it, and so do the others")
  func ownRate() throws {
    let plans = plans(4) { $0[2].rate = 5 }
    var schedule = Schedule(pumps: [0, 1, 2, 3], rate: 4, seed: 1, plans: plans)
    let dues = dues(&schedule, until: .seconds(100))
    for pump in [0, 1, 3] { #expect(dues[pump]?.count == 100) }
    #expect((499...500).contains(dues[2]?.count ?? 0))
  }

  @Test("a rate set on the way holds from then on, also for a pump that is not announced yet")
  func setRate() throws {
    var schedule = Schedule(pumps: [5, 6], rate: 2, announces: true, seed: 1)
    #expect(schedule.next() == .event(.asset, pump: 5))
    schedule.setRate(10, ofPump: 6, at: .milliseconds(100))
    schedule.setRate(10, ofPump: 99, at: .milliseconds(100))
    var dues = dues(&schedule, until: .seconds(50))
    #expect(dues[6]?.first?.kind == .asset)
    #expect((480...500).contains(dues[6]?.count ?? 0))
    #expect(dues[5]?.count == 49)
    schedule.setRate(1, ofPump: 6, at: .seconds(50))
    schedule.setRate(20, ofPump: 5, at: .seconds(50))
    dues = self.dues(&schedule, until: .seconds(100))
    #expect((49...50).contains(dues[6]?.count ?? 0))
    #expect((999...1000).contains(dues[5]?.count ?? 0))
  }

  @Test("as fast as it goes for all but the pumps that have a rate")
  func mixedWithoutRate() {
    let plans = plans(3) { $0[0].rate = 2 }
    var schedule = Schedule(pumps: [0, 1, 2], rate: nil, seed: 1, plans: plans)
    var count = 0
    // A millisecond between two steps.
    for step in 0..<10_000 {
      if schedule.next(at: .milliseconds(step)) == .event(.metrics, pump: 0) { count += 1 }
    }
    #expect(count == 20)
  }

  @Test(
    "a pump falls silent after its count; when all have, nothing is due", arguments: [nil, 8.0])
  func counts(rate: Double?) throws {
    let plans = plans(3) {
      $0[0].count = 7
      $0[1].count = 3
      $0[2].count = 5
      $0[2].rate = 1
    }
    var schedule = Schedule(
      pumps: [0, 1, 2], rate: rate, repeatShare: 0.3, announces: true, seed: 2, plans: plans)
    let dues = dues(&schedule, until: .seconds(1000))
    #expect(schedule.nextDue == nil)
    #expect([0, 1, 2].map { dues[$0]?.count } == [8, 4, 6])
    for pump in 0..<3 { #expect(dues[pump]?.first?.kind == .asset) }
  }

  @Test("ten thousand pumps of which half have rates: none is forgotten, none comes early")
  func many() throws {
    let plans = plans(10_000) { plans in
      for place in stride(from: 0, to: 10_000, by: 2) { plans[place].rate = Double(1 + place % 7) }
    }
    var schedule = Schedule(
      pumps: Array(0..<10_000), rate: 10_000, announces: true, seed: 1, plans: plans)
    let dues = dues(&schedule, until: .seconds(11))
    for (place, plan) in plans.enumerated() {
      let readings = try #require(dues[place]).dropFirst()
      let expected = (plan.rate ?? 1) * 10
      #expect(abs(Double(readings.count) - expected) <= plan.rate ?? 1, "pump \(place)")
    }
  }
}
