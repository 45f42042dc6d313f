// Goal: a link that never carries a full batch still carries everything, in smaller ones, and a
// good link is not slowed down. Method: the value; then the real loop against a scripted broker
// whose connections take a few records each. Cannot show: a real radio link.

import Batching
import Envelope
import Mosquitto
import Testing

@testable import Upstream

@Suite struct BatchPaceTests {
  @Test("one fruitless connection is an accident, the second begins to count; success sets it back")
  func value() {
    var pace = BatchPace()
    #expect(pace.connectionEnded(hadSent: false) == false)
    #expect(pace.connectionEnded(hadSent: true) == false)
    #expect(pace.divisor == 1)
    for expected in [2, 4, 8, 16, 32, 64, 128, 256] {
      #expect(pace.connectionEnded(hadSent: true) == true)
      #expect(pace.divisor == expected)
    }
    #expect(pace.connectionEnded(hadSent: true) == false)
    #expect(pace.divisor == BatchPace.divisorMax)
    #expect(pace.accepted() == true)
    #expect(pace.divisor == 128)
    // That connection was not fruitless.
    #expect(pace.connectionEnded(hadSent: true) == false)
    #expect(pace.connectionEnded(hadSent: true) == false)
    #expect(pace.connectionEnded(hadSent: true) == true)
    for _ in 0..<8 { _ = pace.accepted() }
    #expect(pace.divisor == 1)
    #expect(pace.accepted() == false)
  }

  @Test("connections that end after some records: batches shrink until one is through, all arrives")
  func shrinks() throws {
    let kit = try SinkKit()
    kit.options.batch.recordCountMax = 64
    try kit.commit([Int](repeating: 10, count: 200))
    var left = 0
    kit.broker.onConnect = { _ in left = 20 }
    kit.broker.answer = { publish in
      let count = (try? publish.envelope().events.count) ?? 0
      guard count <= left else { return .cut(nil) }
      left -= count
      return .code(.success)
    }
    try kit.drain(.seconds(20))
    #expect(kit.cursor == 200)
  }

  @Test("a good link: the batches are as large as they may be, whatever broke once")
  func goodLink() throws {
    let kit = try SinkKit()
    kit.options.batch.recordCountMax = 50
    try kit.commit([Int](repeating: 10, count: 200))
    var count = 0
    kit.broker.answer = { _ in
      count += 1
      return count == 1 ? .cut(nil) : .code(.success)
    }
    try kit.drain(.seconds(10))
    let sizes = try kit.broker.published.map { try $0.envelope().events.count }
    #expect(sizes.count >= 5 && sizes.allSatisfy { $0 == 50 })
  }
}
