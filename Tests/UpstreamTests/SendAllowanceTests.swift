// Goal: where others go first, what a connection has under way makes them wait for a quarter of a
// second, and the link is still busy, be it slow or fast, near or far. Method: the value decides
// about a simulated link with an endless queue; each side of the decision has its case. Cannot
// show: what TCP and a modem make of it (LinkTests do).

import GatewayCore
import Testing

@testable import Upstream

@Suite struct SendAllowanceTests {
  /// A link with a queue without an end, whose only sender fills its allowance.
  private struct Link {
    var bytesPerSecond: Double
    /// Of an empty link, in seconds.
    var roundTrip: Double

    /// Seconds for which a byte waits in the queue, and the part of the time in which the link is
    /// busy, once `seconds` have passed.
    func run(
      _ allowance: inout SendAllowance, from start: Int = 0, seconds: Int
    ) -> (waits: Double, isBusy: Double) {
      var smoothed = roundTrip
      func waits(_ byteCount: Int) -> Double {
        max(0, Double(byteCount) / bytesPerSecond - roundTrip)
      }
      for step in start * 100..<(start + seconds) * 100 {
        // An acknowledgement every 10 ms, or as often as there are packets.
        smoothed += (roundTrip + waits(allowance.byteCount) - smoothed) / 8
        allowance.look(
          roundTrip: .nanoseconds(Int64(smoothed * 1e9)),
          shortest: .nanoseconds(Int64(roundTrip * 1e9)), isUsedUp: true,
          now: MonotonicTime(nanoseconds: Int64(step) * 10_000_000))
      }
      let count = Double(allowance.byteCount)
      return (waits(allowance.byteCount), min(1, count / (bytesPerSecond * roundTrip)))
    }
  }

  @Test(
    "the queue gets short and the link stays busy",
    arguments: [8e3, 32e3, 125e3, 1e6, 12.5e6], [0.002, 0.05, 0.6])
  func settles(bytesPerSecond: Double, roundTrip: Double) {
    var allowance = SendAllowance()
    let (waits, isBusy) = Link(bytesPerSecond: bytesPerSecond, roundTrip: roundTrip)
      .run(&allowance, seconds: 30)
    let least = Double(SendAllowance.least) / bytesPerSecond
    #expect(waits <= max(0.25, least), "\(waits) s in the queue")
    let isLimited = allowance.byteCount == SendAllowance.most
    #expect(isBusy > 0.99 || isLimited, "\(isBusy), \(allowance.byteCount) bytes")
  }

  @Test("a link that gets slow while it is in use is left as short a queue")
  func slower() {
    var allowance = SendAllowance()
    _ = Link(bytesPerSecond: 12.5e6, roundTrip: 0.05).run(&allowance, seconds: 10)
    #expect(allowance.byteCount >= 512 << 10)
    let (waits, isBusy) = Link(bytesPerSecond: 32e3, roundTrip: 0.05)
      .run(&allowance, from: 10, seconds: 120)
    #expect(waits <= 0.25 && isBusy > 0.99, "\(waits) s, \(allowance.byteCount) bytes")
  }

  @Test("what is not used up does not grow, and nothing changes twice in one round trip")
  func limits() {
    func time(_ milliseconds: Int64) -> MonotonicTime {
      MonotonicTime(nanoseconds: milliseconds * 1_000_000)
    }
    var allowance = SendAllowance()
    allowance.look(
      roundTrip: .milliseconds(20), shortest: .milliseconds(20), isUsedUp: false, now: time(0))
    #expect(allowance.byteCount == SendAllowance.first)
    allowance.look(
      roundTrip: .milliseconds(20), shortest: .milliseconds(20), isUsedUp: true, now: time(0))
    #expect(allowance.byteCount == 2 * SendAllowance.first)
    #expect(!allowance.isDue(now: time(49)) && allowance.isDue(now: time(50)))
    for milliseconds in [50, 300, 599] as [Int64] {
      allowance.look(
        roundTrip: .milliseconds(600), shortest: .milliseconds(20), isUsedUp: true,
        now: time(milliseconds))
      #expect(allowance.byteCount == 2 * SendAllowance.first)
    }
    for step in 1...10 as ClosedRange<Int64> {
      allowance.look(
        roundTrip: .milliseconds(600), shortest: .milliseconds(20), isUsedUp: true,
        now: time(step * 600))
    }
    #expect(allowance.byteCount == SendAllowance.least)
    allowance.lift()
    #expect(allowance.byteCount == SendAllowance.most)
  }
}
