// Goal: a batcher that is confined to a range hands out exactly that, to its very end, marked as it
// is told, and goes on from anywhere afterwards. Method: real journals on small files. Cannot show:
// who confines it (UpstreamTests).

import Batching
import Envelope
import GatewayCore
import RingJournal
import Testing

@Suite struct ConfinedTests {
  private func range(_ first: UInt64, _ last: UInt64) -> SequenceRange {
    SequenceRange(Sequence(first), Sequence(last))
  }

  /// Everything that is due now; the ranges adjoin.
  private func drain(_ batcher: inout Batcher) throws -> [Batch] {
    var batches: [Batch] = []
    while case .batch(let batch) = try batcher.next(now: MonotonicTime(nanoseconds: .max - 1)) {
      if let last = batches.last { #expect(last.range.last.next == batch.range.first) }
      batches.append(batch)
    }
    return batches
  }

  @Test("a range in envelopes: no more, no less, with its mark, though it does not fill a batch")
  func envelopes() throws {
    let kit = try BatchKit()
    try kit.commit("a", "b", "c", "d", "e", "f")
    var batcher = try kit.makeBatcher { $0.recordCountMax = 3 }
    batcher.confine(to: range(2, 5), isReplay: true)
    let replayed = try drain(&batcher)
    #expect(replayed.map(\.range) == [range(2, 4), range(5, 5)])
    #expect(try replayed.allSatisfy { try $0.envelope().header.isReplay })
    #expect(batcher.isExhausted == true)
    batcher.confine(to: range(1, 1), isBacklog: true)
    let header = try drain(&batcher).map { try $0.envelope().header }
    #expect(header.map(\.isBacklog) == [true] && header.map(\.isReplay) == [false])
    batcher.release(from: Sequence(3))
    #expect(batcher.isExhausted == false)
    let rest = try drain(&batcher)
    #expect(rest.map(\.range) == [range(3, 5), range(6, 6)])
    #expect(try rest.allSatisfy { try !$0.envelope().header.isBacklog })
  }

  @Test("elided records at the end of the range are accounted for there, in either format")
  func elidedAtEnd() throws {
    for format in BatchFormat.allCases {
      let kit = try BatchKit()
      try kit.commit("a", "b")
      try kit.commit([[1], [2]], flags: [.elided])
      try kit.commit("c")
      var batcher = try kit.makeBatcher { $0.format = format }
      // It has read ahead before it is sent back.
      _ = try drain(&batcher)
      batcher.confine(to: range(1, 4))
      let batches = try drain(&batcher)
      #expect(batches.first?.range.first == .first && batches.last?.range.last == Sequence(4))
      #expect(batcher.isExhausted == true)
    }
  }
}
