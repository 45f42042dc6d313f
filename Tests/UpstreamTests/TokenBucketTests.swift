// Goal: no more leaves than a limit allows, to the unit, and what the limit allows does leave.
// Method: bucket and line are driven as values with a manual clock; a random walk is compared with
// the bound itself, and the size of a packet with the bytes of MQTT 5.0, section 3.3. Cannot show:
// that the loop asks (SinkLoopTests and IntegrationTests do).

import GatewayCore
import Mosquitto
import Testing

@testable import Upstream

private func time(_ milliseconds: Int64) -> MonotonicTime {
  MonotonicTime(nanoseconds: milliseconds * 1_000_000)
}

/// The value under test, where an expectation may change it.
private final class Bucket {
  private var value: TokenBucket
  init(perSecond: Int, burst: Int) { value = TokenBucket(perSecond: perSecond, burst: burst) }
  func delay(of cost: Int, now: MonotonicTime) -> Duration { value.delay(of: cost, now: now) }
  func take(_ cost: Int, now: MonotonicTime) { value.take(cost, now: now) }
}

private final class Line {
  private var value: BacklogLine
  init(age: Duration, committed: Sequence) { value = BacklogLine(age: age, committed: committed) }
  func connected(committed: Sequence, now: MonotonicTime) {
    value.connected(committed: committed, now: now)
  }
  func contains(_ first: Sequence, committed: Sequence, now: MonotonicTime) -> Bool {
    value.observe(committed: committed, now: now)
    return value.contains(first)
  }
}

@Suite struct TokenBucketTests {
  @Test("a full bucket gives its burst at once, then exactly the rate")
  func burstThenRate() {
    let bucket = Bucket(perSecond: 1000, burst: 300)
    for _ in 0..<3 {
      #expect(bucket.delay(of: 100, now: time(5)) == .zero)
      bucket.take(100, now: time(5))
    }
    #expect(bucket.delay(of: 100, now: time(5)) == .milliseconds(100))
    #expect(bucket.delay(of: 1, now: time(5)) == .milliseconds(1))
    #expect(bucket.delay(of: 100, now: time(104)) == .milliseconds(1))
    #expect(bucket.delay(of: 100, now: time(105)) == .zero)
  }

  @Test("a pause of a year gives no more than one burst")
  func longIdle() {
    let bucket = Bucket(perSecond: Int(10) << 30, burst: 64)
    bucket.take(64, now: time(0))
    let later = MonotonicTime(nanoseconds: 365 * 86_400 * 1_000_000_000)
    #expect(bucket.delay(of: 64, now: later) == .zero)
    bucket.take(64, now: later)
    #expect(bucket.delay(of: 1, now: later) > .zero)
  }

  @Test("time that goes back gives nothing and takes nothing")
  func backwards() {
    let bucket = Bucket(perSecond: 1000, burst: 100)
    bucket.take(100, now: time(1000))
    #expect(bucket.delay(of: 50, now: time(10)) == .milliseconds(50))
    #expect(bucket.delay(of: 50, now: time(1049)) == .milliseconds(1))
    #expect(bucket.delay(of: 50, now: time(1050)) == .zero)
  }

  @Test("what is larger than the bucket leaves alone, from a full one, and is paid back")
  func largerThanBurst() {
    let bucket = Bucket(perSecond: 100, burst: 100)
    bucket.take(50, now: time(0))
    #expect(bucket.delay(of: 1000, now: time(0)) == .milliseconds(500))
    #expect(bucket.delay(of: 1000, now: time(500)) == .zero)
    bucket.take(1000, now: time(500))
    // 900 are owed; then there is room for one more unit.
    #expect(bucket.delay(of: 1, now: time(500)) == .milliseconds(9010))
    #expect(bucket.delay(of: 1000, now: time(500)) == .milliseconds(10_000))
  }

  @Test("a rate of one a second, and the largest of all, wait for neither too long nor for ever")
  func extremes() {
    let slow = Bucket(perSecond: 1, burst: 1)
    slow.take(1, now: time(0))
    #expect(slow.delay(of: 1, now: time(1)) == .milliseconds(999))
    let fast = Bucket(perSecond: Int(10) << 30, burst: Int(10) << 30)
    fast.take(Int(10) << 30, now: time(0))
    #expect(fast.delay(of: 1, now: time(0)) == .nanoseconds(1))
    #expect(fast.delay(of: Int(10) << 30, now: time(1000)) == .zero)
  }

  @Test(
    "whatever is asked and when: never more than burst + rate × time, in any span",
    arguments: 1...40 as ClosedRange<UInt64>)
  func neverMore(seed: UInt64) {
    var generator = SplitMix(state: seed)
    let rate = Int.random(in: 1...5000, using: &generator)
    let burst = Int.random(in: 1...2000, using: &generator)
    let bucket = Bucket(perSecond: rate, burst: burst)
    var now: Int64 = 0
    var taken: [(at: Int64, cost: Int)] = []
    for _ in 0..<400 {
      now += Int64.random(in: 0...300_000_000, using: &generator)
      let cost = Int.random(in: 1...burst, using: &generator)
      let at = MonotonicTime(nanoseconds: now)
      let delay = bucket.delay(of: cost, now: at)
      if delay > .zero {
        // Waiting as long as told is enough, and one nanosecond less is not.
        let early = MonotonicTime(nanoseconds: now + delay.nanoseconds - 1)
        #expect(bucket.delay(of: cost, now: early) > .zero)
        now += delay.nanoseconds
        #expect(bucket.delay(of: cost, now: MonotonicTime(nanoseconds: now)) == .zero)
      }
      bucket.take(cost, now: MonotonicTime(nanoseconds: now))
      taken.append((now, cost))
    }
    for start in taken.indices {
      var sum: Int128 = 0
      for entry in taken[start...] {
        sum += Int128(entry.cost)
        let span = Int128(entry.at - taken[start].at)
        let isWithin = sum * 1_000_000_000 <= Int128(burst) * 1_000_000_000 + span * Int128(rate)
        if !isWithin { Issue.record("\(sum) in \(span) ns, seed \(seed)") }
      }
    }
  }
}

/// A small generator with a seed (S. Vigna, splitmix64).
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}

@Suite struct BacklogLineTests {
  private let age = Duration.milliseconds(1000)

  @Test("what was there at the start, and what came before the connection stood, is backlog")
  func beforeConnection() {
    let line = Line(age: age, committed: Sequence(10))
    #expect(line.contains(Sequence(10), committed: Sequence(10), now: time(0)))
    #expect(!line.contains(Sequence(11), committed: Sequence(11), now: time(0)))
    line.connected(committed: Sequence(50), now: time(10))
    #expect(line.contains(Sequence(50), committed: Sequence(60), now: time(20)))
    #expect(!line.contains(Sequence(51), committed: Sequence(60), now: time(20)))
  }

  @Test("what comes in and leaves in time is live, for ever")
  func live() {
    let line = Line(age: age, committed: .none)
    line.connected(committed: .none, now: time(0))
    for step in 1...1000 {
      // Each record leaves 200 ms after it came, ten a second.
      let (sent, committed) = (UInt64(step), UInt64(step + 2))
      #expect(
        !line.contains(
          Sequence(sent), committed: Sequence(committed), now: time(Int64(step) * 100 + 200)))
    }
  }

  @Test("what waited for longer than the age, at most twice that, is backlog")
  func late() {
    for lag in 1...40 as ClosedRange<Int64> {
      let line = Line(age: age, committed: .none)
      line.connected(committed: .none, now: time(0))
      // Record n comes at 100 n ms, and it is its turn `lag` tenths of a second later.
      for step in 0...100 as ClosedRange<Int64> {
        let record = Sequence(UInt64(max(0, step - lag)))
        let isBacklog = line.contains(
          record, committed: Sequence(UInt64(step)), now: time(step * 100))
        guard record > .none, step >= 40 else { continue }
        if lag < 10 { #expect(!isBacklog, "lag \(lag), step \(step)") }
        if lag > 20 { #expect(isBacklog, "lag \(lag), step \(step)") }
      }
    }
  }

  @Test("what comes in behind a backlog that drains in order is backlog until it is caught up with")
  func behindBacklog() {
    let line = Line(age: age, committed: Sequence(1000))
    line.connected(committed: Sequence(1000), now: time(0))
    // 200 a second leave, 100 a second come: caught up after ten seconds.
    var sent: UInt64 = 0
    for second in 1...60 as ClosedRange<Int64> {
      let committed = 1000 + UInt64(second) * 100
      sent = min(sent + 200, committed)
      let isBacklog = line.contains(
        Sequence(sent), committed: Sequence(committed), now: time(second * 1000))
      if second <= 7 { #expect(isBacklog, "second \(second)") }
      if second > 12 { #expect(!isBacklog, "second \(second)") }
    }
  }
}

@Suite struct PublishPacketTests {
  @Test(
    "the size of a packet is that of its bytes",
    arguments: [
      // Fixed header 2, topic 2 + 1, packet identifier 2, no property length over 3.1.1.
      (1, 0, 0, ProtocolVersion.v311, 7), (1, 0, 0, .v5, 8), (1, 5, 0, .v311, 7),
      (1, 5, 0, .v5, 13),
      // Remaining length 127 and 128, 16,383 and 16,384, 2,097,151 and 2,097,152.
      (10, 0, 113, .v311, 129), (10, 0, 114, .v311, 131), (10, 0, 16_369, .v311, 16_386),
      (10, 0, 16_370, .v311, 16_388), (10, 0, 2_097_137, .v311, 2_097_155),
      (10, 0, 2_097_138, .v311, 2_097_157),
      // Property length 127 and 128.
      (1, 127, 0, .v5, 136), (1, 128, 0, .v5, 138),
    ])
  func size(topic: Int, properties: Int, payload: Int, version: ProtocolVersion, size: Int) {
    #expect(
      PublishPacket.byteCount(
        topicByteCount: topic, propertyByteCount: properties, payloadByteCount: payload,
        version: version) == size)
  }
}
