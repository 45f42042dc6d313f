// Goal: rebuilding a window leaves its index for the end, and changes nothing but the time. Method:
// compared with inserting one at a time. Cannot show: the time (see the benchmark of opening).

import GatewayCore
import Testing

@testable import Deduplication

@Suite("Rebuilding a window")
struct WindowRebuildTests {
  @Test(
    "gives the window that inserting one at a time gives", arguments: [1, 31, 32, 33, 100, 1000])
  func same(capacity: Int) {
    for count in [0, 1, 31, 32, 33, 99, 100, 101, 500, 2500] {
      var plain = DeduplicationWindow(capacity: capacity)
      var rebuild = WindowRebuild(DeduplicationWindow(capacity: capacity))
      let hashes = (0..<count).map { number in
        number % 7 == 3 ? .absent : hash(UInt64(number))
      }
      for index in 0..<count {
        plain.insert(hashes[index], digest: UInt64(index))
        rebuild.insert(hashes[index], digest: UInt64(index))
      }
      let window = rebuild.finish()
      #expect(window.count == plain.count)
      #expect(window.evictedCount == plain.evictedCount)
      for index in 0..<count {
        let answer = window.check(hashes[index], digest: UInt64(index))
        #expect(answer == plain.check(hashes[index], digest: UInt64(index)))
      }
    }
  }

  @Test("of a window within a time forgets what inserting one at a time forgets")
  func sameWithin() {
    for count in [1, 40, 300] {
      let within = Duration.seconds(2)
      var plain = DeduplicationWindow(capacity: 100, within: within)
      var rebuild = WindowRebuild(DeduplicationWindow(capacity: 100, within: within))
      for index in 0..<count {
        let time = MonotonicTime(nanoseconds: Int64(index) * 50_000_000)
        plain.insert(hash(UInt64(index)), digest: 7, at: time)
        rebuild.insert(hash(UInt64(index)), digest: 7, at: time)
      }
      var window = rebuild.finish()
      for later in [Duration.zero, .milliseconds(700), .seconds(3)] {
        let now = MonotonicTime(nanoseconds: Int64(count) * 50_000_000) + later
        plain.expire(now: now)
        window.expire(now: now)
        #expect(window.count == plain.count)
        #expect(window.evictedCount == plain.evictedCount)
        for index in 0..<count {
          let answer = window.check(hash(UInt64(index)), digest: 7)
          #expect(answer == plain.check(hash(UInt64(index)), digest: 7))
        }
      }
      // It goes on as the other one does.
      for index in count..<count + 250 {
        let time = MonotonicTime(nanoseconds: Int64(index + 100) * 50_000_000)
        plain.insert(hash(UInt64(index)), digest: 8, at: time)
        window.insert(hash(UInt64(index)), digest: 8, at: time)
      }
      for index in 0..<count + 250 {
        let answer = window.check(hash(UInt64(index)), digest: 8)
        #expect(answer == plain.check(hash(UInt64(index)), digest: 8))
      }
    }
  }

  private func hash(_ number: UInt64) -> MessageIDHash {
    MessageIDHash(
      high: (number + 1) &* 0x9e37_79b9_7f4a_7c15, low: (number + 1) &* 0xbf58_476d_1ce4_e5b9)
  }
}
