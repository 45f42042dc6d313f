// Goal: the counter sees an allocation when there is one and none when there is none: without this
// pair of controls a "zero allocations" result proves nothing.

import AllocationCounting
import Testing

@Suite("the allocation counter")
struct AllocationCounterTests {
  @Test("an array of n bytes is one allocation of at least n bytes")
  func counts() {
    var kept: [[UInt8]] = []
    kept.reserveCapacity(4)
    let count = AllocationCounter.measure {
      kept.append([UInt8](repeating: 1, count: 5000))
    }
    #expect(kept.count == 1)
    #expect(count.allocations == 1)
    #expect(count.bytes >= 5000)
  }

  @Test("arithmetic and appending within capacity allocate nothing")
  func countsNothing() {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(1000)
    let count = AllocationCounter.measure {
      for value in 0..<1000 { bytes.append(UInt8(truncatingIfNeeded: value)) }
    }
    #expect(bytes.count == 1000)
    #expect(count.allocations == 0)
  }
}
