// Goal: a source gets its burst and its rate, no more and no less, each for itself; what waited at
// the broker is no mad device. Method: time is a number. Cannot show: real brokers.

import AllocationCounting
import Filtering
import GatewayCore
import Testing

@testable import Ingest

private func limit(
  _ count: Int, per: Duration = .seconds(1), burst: Int? = nil, topics: [String] = ["#"],
  size: Int? = nil
) -> SourceLimit {
  var limit = SourceLimit()
  limit.topics = topics
  limit.rate = MessageRate(count: count, per: per)
  limit.burst = burst
  limit.recordByteCountMax = size.map { ByteCount($0) }
  return limit
}

private func time(_ milliseconds: Int64) -> MonotonicTime {
  MonotonicTime(nanoseconds: milliseconds * 1_000_000)
}

extension SourceRates {
  /// How many of `count` messages at once are admitted.
  fileprivate mutating func admitted(
    _ count: Int, of topic: String, at milliseconds: Int64, byteCount: Int = 1
  ) -> Int {
    let topic = Array(topic.utf8)
    return (0..<count).count { _ in
      admit(topic.span, byteCount: byteCount, now: time(milliseconds)) == .admitted
    }
  }
}

@Suite struct SourceRatesTests {
  @Test("a burst, then the rate; a silence fills the bucket again, never beyond the burst")
  func rate() {
    var rates = SourceRates([limit(10, burst: 5)])
    #expect(rates.admitted(20, of: "a", at: 0) == 5)
    #expect(rates.admitted(20, of: "a", at: 99) == 0)
    #expect(rates.admitted(20, of: "a", at: 100) == 1)
    #expect(rates.admitted(20, of: "a", at: 350) == 2)
    #expect(rates.admitted(20, of: "a", at: 3_600_000) == 5)
    // Steadily at the rate: all pass.
    var steady = SourceRates([limit(10, burst: 1)])
    #expect((0..<100).allSatisfy { steady.admitted(1, of: "a", at: 100 * $0) == 1 })
  }

  @Test("each source has its own bucket, each topic its first limit, each message its size")
  func rules() {
    var rates = SourceRates([
      limit(1, burst: 1, topics: ["pumps/+/metrics"], size: 100), limit(3, topics: ["pumps/#"]),
    ])
    #expect(rates.admitted(9, of: "pumps/1/metrics", at: 0) == 1)
    #expect(rates.admitted(9, of: "pumps/2/metrics", at: 0) == 1)
    #expect(rates.admitted(9, of: "pumps/1/asset", at: 0) == 3)
    #expect(rates.admitted(9, of: "elsewhere", at: 0) == 9)
    let topic = Array("pumps/3/metrics".utf8)
    #expect(rates.admit(topic.span, byteCount: 101, now: time(0)) == .tooLarge)
    #expect(rates.admit(topic.span, byteCount: 100, now: time(0)) == .admitted)
    #expect(rates.admit(topic.span, byteCount: 100, now: time(0)) == .overRate)
    #expect(rates.sourceCount == 4)
  }

  @Test("what a source could have sent in our absence passes at once, for a minute, once")
  func backlog() {
    var rates = SourceRates([limit(1, burst: 2)])
    #expect(rates.admitted(9, of: "a", at: 0) == 2)
    rates.returned(after: .seconds(100), now: time(100_000))
    #expect(rates.admitted(500, of: "a", at: 100_000) == 100)
    #expect(rates.admitted(500, of: "new", at: 100_000) == 102)
    #expect(rates.admitted(500, of: "a", at: 101_000) == 1)
    // The credit is gone with its minute.
    #expect(rates.admitted(500, of: "late", at: 160_000) == 2)
  }

  @Test("sources beyond the limit share a bucket until a place is free")
  func shared() {
    var rates = SourceRates([limit(1, per: .seconds(3600), burst: 1)], sourcesMax: 2)
    #expect(rates.admitted(2, of: "a", at: 0) == 1)
    #expect(rates.admitted(2, of: "b", at: 0) == 1)
    #expect(rates.admitted(2, of: "c", at: 0) == 1)
    #expect(rates.admitted(2, of: "d", at: 0) == 0)
    #expect(rates.sharedCount == 4)
    // The buckets of a and b are full again: c gets a place of its own.
    #expect(rates.admitted(2, of: "c", at: 3_600_000) == 1)
    #expect(rates.sourceCount == 1)
  }

  @Test("the largest burst and the slowest rate are no overflow; no allocation per message")
  func extremes() {
    var rates = SourceRates([limit(1, per: .seconds(3600), burst: SourceLimit.burstMax)])
    #expect(rates.admitted(100_000, of: "a", at: 1 << 40) == 100_000)
    let topic = Array("a".utf8)
    let allocations = AllocationCounter.measure {
      for _ in 0..<1000 { _ = rates.admit(topic.span, byteCount: 1, now: time(1 << 40)) }
    }
    #expect(allocations.allocations == 0)
  }
}
