// Goal: what a consumer misses is sent once more, what holds up the cursor first, and never faster
// than allowed; a silent consumer is asked, with growing pauses. Method: both as values with a
// manual clock. Cannot show: the sending (SinkLoopConsumerTests).

import GatewayCore
import Testing

@testable import Upstream

private func time(_ seconds: Int64) -> MonotonicTime {
  MonotonicTime(nanoseconds: seconds * 1_000_000_000)
}

private func range(_ first: UInt64, _ last: UInt64) -> SequenceRange {
  SequenceRange(Sequence(first), Sequence(last))
}

@Suite struct ResendPlanTests {
  private func plan() -> ResendPlan { ResendPlan(pause: .seconds(60)) }

  @Test("what holds up the cursor goes first; what was accepted before is a replay")
  func order() {
    var plan = plan()
    plan.consumerMisses(
      [range(5, 7), range(90, 130)], held: [range(101, 200)], cursor: Sequence(100))
    #expect(
      plan.next(now: time(0), cursor: Sequence(100))
        == ResendPlan.Piece(range: range(101, 130), isReplay: false))
    #expect(plan.next(now: time(0), cursor: Sequence(100)) == nil)
    plan.finished(now: time(1))
    #expect(
      plan.next(now: time(1), cursor: Sequence(100))
        == ResendPlan.Piece(range: range(5, 7), isReplay: true))
    plan.finished(now: time(1))
    #expect(plan.next(now: time(1), cursor: Sequence(100))?.range == range(90, 100))
    plan.finished(now: time(1))
    #expect(plan.next(now: time(1), cursor: Sequence(100)) == nil)
  }

  @Test("what is not with the broker is on its way anyhow")
  func onItsWay() {
    var plan = plan()
    plan.consumerMisses([range(101, 150)], held: [range(101, 110)], cursor: Sequence(100))
    #expect(plan.next(now: time(0), cursor: Sequence(100))?.range == range(101, 110))
    plan.finished(now: time(0))
    #expect(plan.next(now: time(0), cursor: Sequence(100)) == nil)
  }

  @Test("the same is not sent again before the pause has passed, however often it is asked for")
  func pause() {
    var plan = plan()
    for second in Int64(0)..<60 {
      plan.consumerMisses([range(1, 10)], held: [], cursor: Sequence(100))
      let piece = plan.next(now: time(second), cursor: Sequence(100))
      #expect((piece != nil) == (second == 0))
      plan.finished(now: time(second))
    }
    #expect(plan.deadline == time(60))
    // What adjoins it has not been sent yet.
    plan.consumerMisses([range(1, 12)], held: [], cursor: Sequence(100))
    #expect(plan.next(now: time(59), cursor: Sequence(100))?.range == range(11, 12))
    plan.finished(now: time(59))
    #expect(plan.next(now: time(59), cursor: Sequence(100)) == nil)
    #expect(plan.next(now: time(120), cursor: Sequence(100))?.range == range(1, 12))
  }

  @Test("a range of a whole ring is sent in pieces, so that what is urgent can come between")
  func pieces() {
    var plan = plan()
    let cursor = Sequence(10_000_000)
    plan.consumerMisses([range(1, 9_000_000)], held: [], cursor: cursor)
    #expect(plan.next(now: time(0), cursor: cursor)?.range == range(1, 65_536))
    plan.finished(now: time(1))
    plan.add(range(10_000_001, 10_000_010))
    #expect(plan.next(now: time(1), cursor: cursor)?.range == range(10_000_001, 10_000_010))
    plan.finished(now: time(2))
    #expect(plan.next(now: time(2), cursor: cursor)?.range == range(65_537, 131_072))
  }

  @Test("what a lost connection interrupted is due again, unless it was accepted meanwhile")
  func interrupted() {
    var plan = plan()
    plan.add(range(101, 200))
    _ = plan.next(now: time(0), cursor: Sequence(100))
    plan.interrupted()
    #expect(plan.next(now: time(1), cursor: Sequence(150))?.range == range(151, 200))
    plan.interrupted()
    #expect(plan.next(now: time(1), cursor: Sequence(200)) == nil)
    #expect(plan.isEmpty)
  }
}

@Suite struct AcceptanceWatchTests {
  private func watch() -> AcceptanceWatch { AcceptanceWatch(timeout: .seconds(60)) }

  @Test("a silent consumer is asked after the limit, then after growing pauses up to an hour")
  func growingPauses() {
    var watch = watch()
    let oldest = (range: range(1, 10), since: time(0))
    #expect(watch.check(nil, now: time(1_000)) == .quiet(until: nil))
    #expect(watch.check(oldest, now: time(59)) == .quiet(until: time(60)))
    #expect(!watch.isOverdue)
    var (now, pauses) = (Int64(60), [Int64]())
    for _ in 0..<10 {
      #expect(watch.check(oldest, now: time(now)) == .overdue(range(1, 10)))
      guard case .quiet(let next?) = watch.check(oldest, now: time(now)) else { return }
      pauses.append((next.nanoseconds - time(now).nanoseconds) / 1_000_000_000)
      now += pauses[pauses.count - 1]
    }
    #expect(pauses == [120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600, 3_600, 3_600])
    #expect(watch.isOverdue)
  }

  @Test("progress sets the clock back, however old the oldest is")
  func progress() {
    var watch = watch()
    watch.accepted(through: Sequence(10), now: time(100))
    let oldest = (range: range(11, 20), since: time(0))
    #expect(watch.check(oldest, now: time(159)) == .quiet(until: time(160)))
    #expect(watch.check(oldest, now: time(160)) == .overdue(range(11, 20)))
  }

  @Test("the one is accepted and nothing that was sent before it: that is lost")
  func lost() {
    var watch = watch()
    #expect(watch.check((range(1, 10), time(0)), now: time(60)) == .overdue(range(1, 10)))
    watch.accepted(through: Sequence(10), now: time(70))
    #expect(!watch.isOverdue)
    #expect(watch.check((range(11, 20), time(0)), now: time(129)) == .quiet(until: time(130)))
    #expect(watch.check((range(11, 20), time(0)), now: time(130)) == .lost(before: time(60)))
    // It was said once; from now on one is asked about again.
    #expect(watch.check((range(11, 20), time(0)), now: time(250)) == .overdue(range(11, 20)))
  }

  @Test("a consumer that goes on accepting after it has come back has lost nothing")
  func comesBack() {
    var watch = watch()
    #expect(watch.check((range(1, 10), time(0)), now: time(60)) == .overdue(range(1, 10)))
    for batch in UInt64(1)...5 {
      let now = time(100 + Int64(batch) * 50)
      watch.accepted(through: Sequence(batch * 10), now: now)
      let oldest = (range: range(batch * 10 + 1, batch * 10 + 10), since: time(0))
      #expect(watch.check(oldest, now: now) == .quiet(until: now + .seconds(60)))
    }
  }
}
