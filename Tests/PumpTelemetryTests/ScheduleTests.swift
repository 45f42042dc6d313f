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
}
