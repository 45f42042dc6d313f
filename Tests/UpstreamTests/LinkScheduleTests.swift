// Goal: on a link that is full, what matters goes first, nobody starves, and a link that is not
// full holds up nobody. Method: the schedule is driven as a value with a manual clock; a simulated
// link is filled by several sinks and what each waits is measured. Cannot show: what the kernel
// does with bytes of several sockets (IntegrationTests do).

import GatewayCore
import Testing

@testable import Upstream

private func time(_ milliseconds: Int64) -> MonotonicTime {
  MonotonicTime(nanoseconds: milliseconds * 1_000_000)
}

/// The value under test, where an expectation may change it.
private final class Schedule {
  private var value: LinkSchedule
  init(limit: RateLimit?) { value = LinkSchedule(limit: limit) }
  var next: [Int] { value.next }
  func join(priority: Int) -> Int { value.join(priority: priority) }
  func withdraw(_ member: Int) { value.withdraw(member) }
  func leave(_ member: Int) { value.leave(member) }
  func change(limit: RateLimit?) { value.change(limit: limit) }
  func report(_ member: Int, isBackedUp: Bool) { value.report(member, isBackedUp: isBackedUp) }
  func ask(
    _ member: Int, _ byteCount: Int, isBacklog: Bool = true, at milliseconds: Int64
  ) -> LinkSchedule.Answer {
    value.ask(member, byteCount: byteCount, isBacklog: isBacklog, now: time(milliseconds))
  }
}

@Suite struct LinkScheduleTests {
  @Test("a link that is not full lets everybody go, whatever the priority")
  func free() {
    let schedule = Schedule(limit: nil)
    let members = [9, 0, 5].map { schedule.join(priority: $0) }
    for step in 0..<100 as Range<Int64> {
      for member in members { #expect(schedule.ask(member, 1000, at: step) == .go) }
    }
  }

  @Test("bytes that a socket does not take hold up lower priorities, and only those")
  func backedUp() {
    let schedule = Schedule(limit: nil)
    let alarms = schedule.join(priority: 9)
    let peers = schedule.join(priority: 9)
    let metrics = schedule.join(priority: 1)
    schedule.report(alarms, isBackedUp: true)
    #expect(schedule.ask(peers, 100, at: 0) == .go)
    #expect(schedule.ask(metrics, 100, at: 0) == .wait(until: nil, .priority))
    #expect(schedule.next == [])
    schedule.report(alarms, isBackedUp: false)
    #expect(schedule.next == [metrics])
    #expect(schedule.ask(metrics, 100, at: 1) == .go)
    schedule.report(metrics, isBackedUp: true)
    #expect(schedule.ask(alarms, 100, at: 2) == .go)
  }

  @Test("who waits for the bound: the higher priority first, then who asked first")
  func order() {
    let schedule = Schedule(limit: RateLimit(.bytes, perSecond: 1000, burst: 100, scope: .all))
    let (slow, early, late, alarms) = (
      schedule.join(priority: 1), schedule.join(priority: 4), schedule.join(priority: 4),
      schedule.join(priority: 8)
    )
    #expect(schedule.ask(early, 100, at: 0) == .go)
    #expect(schedule.ask(slow, 100, at: 1) == .wait(until: time(100), .rateLimit))
    #expect(schedule.ask(early, 100, at: 2) == .wait(until: time(100), .rateLimit))
    #expect(schedule.ask(late, 100, at: 3) == .wait(until: nil, .rateLimit))
    #expect(schedule.ask(alarms, 100, at: 4) == .wait(until: time(100), .rateLimit))
    // Asking again keeps the place.
    #expect(schedule.ask(slow, 100, at: 100) == .wait(until: nil, .priority))
    #expect(schedule.ask(early, 100, at: 100) == .wait(until: nil, .priority))
    #expect(schedule.ask(alarms, 100, at: 100) == .go)
    #expect(schedule.next == [early])
    #expect(schedule.ask(late, 100, at: 200) == .wait(until: nil, .rateLimit))
    #expect(schedule.ask(early, 100, at: 200) == .go)
    #expect(schedule.ask(late, 100, at: 300) == .go)
    #expect(schedule.ask(slow, 100, at: 400) == .go)
  }

  @Test("a bound for the backlog holds up nothing that is live")
  func liveIsFree() {
    let schedule = Schedule(
      limit: RateLimit(.bytes, perSecond: 1000, burst: 100, scope: .backlog))
    let (metrics, alarms) = (schedule.join(priority: 1), schedule.join(priority: 8))
    #expect(schedule.ask(alarms, 100, at: 0) == .go)
    #expect(schedule.ask(alarms, 100, at: 0) == .wait(until: time(100), .rateLimit))
    for step in 1..<50 as Range<Int64> {
      #expect(schedule.ask(metrics, 100, isBacklog: false, at: step) == .go)
    }
  }

  @Test("who withdraws, or does not ask any more, holds up nobody")
  func lapse() {
    let schedule = Schedule(limit: RateLimit(.bytes, perSecond: 1000, burst: 100, scope: .all))
    let (alarms, metrics) = (schedule.join(priority: 9), schedule.join(priority: 1))
    #expect(schedule.ask(metrics, 100, at: 0) == .go)
    #expect(schedule.ask(alarms, 100, at: 1) == .wait(until: time(100), .rateLimit))
    #expect(schedule.ask(metrics, 100, at: 2) == .wait(until: nil, .priority))
    schedule.withdraw(alarms)
    #expect(schedule.next == [metrics])
    #expect(schedule.ask(metrics, 100, at: 100) == .go)
    #expect(schedule.ask(alarms, 100, at: 101) == .wait(until: time(200), .rateLimit))
    #expect(schedule.ask(metrics, 100, at: 102) == .wait(until: nil, .priority))
    #expect(schedule.ask(metrics, 100, at: 3100) == .wait(until: nil, .priority))
    #expect(schedule.ask(metrics, 100, at: 3101) == .go)
  }

  @Test("who has left holds up nobody, and the next who comes gets the number")
  func leave() {
    let schedule = Schedule(limit: nil)
    let (alarms, metrics) = (schedule.join(priority: 9), schedule.join(priority: 1))
    schedule.report(alarms, isBackedUp: true)
    #expect(schedule.ask(metrics, 100, at: 0) == .wait(until: nil, .priority))
    schedule.leave(alarms)
    #expect(schedule.next == [metrics])
    #expect(schedule.ask(metrics, 100, at: 1) == .go)
    #expect(schedule.join(priority: 0) == alarms)
    #expect(schedule.join(priority: 0) == metrics + 1)
    schedule.report(alarms, isBackedUp: true)
    #expect(schedule.ask(metrics, 100, at: 2) == .go, "the priority is the new member's")
  }

  @Test("another bound holds from the next packet on; the same one leaves all as it is")
  func changed() {
    let tight = RateLimit(.bytes, perSecond: 100, burst: 100, scope: .all)
    let schedule = Schedule(limit: tight)
    let (first, second) = (schedule.join(priority: 5), schedule.join(priority: 5))
    #expect(schedule.ask(first, 100, at: 0) == .go)
    #expect(schedule.ask(first, 100, at: 1) == .wait(until: time(1000), .rateLimit))
    schedule.change(limit: tight)
    #expect(schedule.ask(second, 100, at: 2) == .wait(until: nil, .rateLimit))
    schedule.change(limit: nil)
    #expect(schedule.ask(second, 100, at: 3) == .go)
    #expect(schedule.ask(first, 100, at: 3) == .go)
    schedule.change(limit: RateLimit(.bytes, perSecond: 1000, burst: 100, scope: .all))
    #expect(schedule.ask(first, 100, at: 4) == .go)
    #expect(schedule.ask(first, 100, at: 4) == .wait(until: time(104), .rateLimit))
  }

  /// Bytes of each member that left within `seconds`, when those in `greedy` always want more.
  private func run(
    priorities: [Int], byteCounts: [Int], greedy: Set<Int>, seconds: Int64, rate: Int = 10_000
  ) -> [Int] {
    let schedule = Schedule(
      limit: RateLimit(.bytes, perSecond: rate, burst: 100, scope: .all))
    for priority in priorities { _ = schedule.join(priority: priority) }
    var sent = [Int](repeating: 0, count: priorities.count)
    for step in 0..<seconds * 1000 {
      for member in greedy.sorted() {
        while schedule.ask(member, byteCounts[member], at: step) == .go {
          sent[member] += byteCounts[member]
        }
      }
    }
    return sent
  }

  @Test("a lower priority gets its twentieth of a full link, and the rest goes to the higher one")
  func share() {
    let sent = run(
      priorities: [9, 0], byteCounts: [500, 2000], greedy: [0, 1], seconds: 1000)
    let part = Double(sent[1]) / Double(sent[0] + sent[1])
    #expect(part > 0.045 && part < 0.055, "\(sent)")
  }

  @Test("several lower priorities share the twentieth, and each of them gets on")
  func shareOfSeveral() {
    let sent = run(
      priorities: [9, 5, 0, 0], byteCounts: [500, 1000, 1000, 1000], greedy: [0, 1, 2, 3],
      seconds: 1000)
    let lower = sent[1...].reduce(0, +)
    let part = Double(lower) / Double(sent[0] + lower)
    #expect(part > 0.045 && part < 0.055, "\(sent)")
    for bytes in sent[1...] { #expect(bytes * 6 > lower, "\(sent)") }
  }

  @Test("equal priorities share a link evenly, packet by packet")
  func even() {
    let sent = run(
      priorities: [5, 5, 5], byteCounts: [1000, 1000, 1000], greedy: [0, 1, 2], seconds: 300)
    for bytes in sent { #expect(abs(bytes * 3 - sent.reduce(0, +)) <= 3000, "\(sent)") }
  }

  /// The longest an alarm waits while eight sinks fill the link.
  private func longestWait(alarmPriority: Int) -> Int64 {
    let schedule = Schedule(
      limit: RateLimit(.bytes, perSecond: 10_000, burst: 1000, scope: .all))
    let metrics = (0..<8).map { _ in schedule.join(priority: 1) }
    let alarms = schedule.join(priority: alarmPriority)
    var (longest, raisedAt): (Int64, Int64?) = (0, nil)
    for step in 0..<120_000 as Range<Int64> {
      if step % 3000 == 0, raisedAt == nil { raisedAt = step }
      for member in metrics { while schedule.ask(member, 5000, at: step) == .go {} }
      if let raised = raisedAt, schedule.ask(alarms, 200, at: step) == .go {
        longest = max(longest, step - raised)
        raisedAt = nil
      }
    }
    return longest
  }

  @Test("an alarm waits for at most one packet of others; with equal priorities for all of them")
  func alarms() {
    // 5,000 bytes that left from a full bucket of 1,000, and its own 200, at 10,000 a second.
    #expect(longestWait(alarmPriority: 9) <= 430)
    // Negative control: without an order it stands in line.
    #expect(longestWait(alarmPriority: 1) > 2000)
  }
}
