// Goal: rates, times to full and to drain say what they promise. Method: hand-made readings.

import GatewayCore
import Testing

@testable import Control

private func reading(_ seconds: Int64, committed: UInt64, _ acknowledged: UInt64...)
  -> RateWindow.Reading
{
  RateWindow.Reading(
    time: MonotonicTime(nanoseconds: seconds * 1_000_000_000), committed: Sequence(committed),
    acknowledged: acknowledged.map { Sequence($0) })
}

@Suite("rates of the last minute") struct RateWindowTests {
  @Test("from the oldest reading of the last minute to now")
  func minute() throws {
    var window = RateWindow()
    window.add(reading(0, committed: 0, 0))
    window.add(reading(40, committed: 4000, 2000))
    window.add(reading(80, committed: 8000, 8000))
    let rates = try #require(window.rates(to: reading(90, committed: 9000, 9000)))
    #expect(rates.committed == 100)
    #expect(rates.acknowledged == [140])
  }

  @Test("nothing is said from too little")
  func tooShort() {
    var window = RateWindow()
    #expect(window.rates(to: reading(1, committed: 5, 5)) == nil)
    window.add(reading(1, committed: 5, 5))
    #expect(window.rates(to: reading(1, committed: 9, 9)) == nil)
    #expect(window.rates(to: reading(120, committed: 9, 9)) == nil)
    // Another set of destinations cannot be compared.
    #expect(window.rates(to: reading(5, committed: 9, 9, 9)) == nil)
  }

  @Test("what is kept is bounded")
  func bounded() {
    var window = RateWindow()
    for second in 0..<1000 { window.add(reading(Int64(second) / 100, committed: 0, 0)) }
    #expect(window.rates(to: reading(10, committed: 0, 0)) != nil)
    #expect(MemoryLayout<RateWindow>.size < 64)
  }

  @Test("time to drain counts what goes beyond what comes; to full, what comes alone")
  func forecasts() throws {
    var window = RateWindow()
    window.add(reading(0, committed: 1000, 0, 900))
    let rates = try #require(window.rates(to: reading(10, committed: 2000, 1500, 1000)))
    #expect(rates.timeToDrain(500, sink: 0) == .seconds(10))
    #expect(rates.timeToDrain(1000, sink: 1) == nil)
    #expect(rates.timeToDrain(0, sink: 0) == nil)
    #expect(rates.timeToFull(ByteCount(1_000_000), bytesPerRecord: 100) == .seconds(100))
    #expect(rates.timeToFull(ByteCount(1_000_000), bytesPerRecord: nil) == nil)
  }

  @Test("means count only what came since")
  func means() {
    let earlier = DurationTotal(count: 10, total: .seconds(10))
    #expect(
      DurationTotal(count: 14, total: .seconds(12)).mean(since: earlier) == .milliseconds(500))
    #expect(earlier.mean(since: earlier) == nil)
  }
}
