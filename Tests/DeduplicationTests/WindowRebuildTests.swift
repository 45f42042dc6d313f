// Goal: rebuilding a window gathers ids, and changes nothing but the time. Method: compared with
// inserting one at a time. Cannot show: the time (see the benchmark of opening).

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

  private func hash(_ number: UInt64) -> MessageIDHash {
    MessageIDHash(
      high: (number + 1) &* 0x9e37_79b9_7f4a_7c15, low: (number + 1) &* 0xbf58_476d_1ce4_e5b9)
  }
}
