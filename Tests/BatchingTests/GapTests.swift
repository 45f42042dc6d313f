// Goal: everything that is lost leaves as a gap with its reason, in the envelope's own words.
// Method: one journal fact per reason, through reader, batcher and encoder, and decoded again.
// Cannot show: the counters of a running gateway (the integration tests do).

import Envelope
import GatewayCore
import Platform
import Testing

@testable import Batching
@testable import RingJournal

/// How a reason comes about in a journal; nil where it is not a journal's doing.
private struct Fact: CustomTestStringConvertible {
  let reason: GapReason
  let count: UInt64
  var topic: String?
  let make: @Sendable (BatchKit) throws -> Batcher
  var testDescription: String { reason.text }

  static let all: [Fact] = [
    Fact(reason: .ringFull, count: 60) { kit in
      // Too much for the ring, and all of it too large to share a block.
      for _ in 0..<100 { try kit.commit([[UInt8](repeating: 1, count: 3000)]) }
      return try kit.makeBatcher()
    },
    Fact(reason: .quota, count: 3, topic: "pumps/mad") { kit in
      try kit.refuse("pumps/mad", count: 3)
      try kit.commit("1")
      return try kit.makeBatcher()
    },
    Fact(reason: .corrupt, count: 1) { kit in
      for byte in 1...3 as ClosedRange<UInt8> {
        try kit.commit([[UInt8](repeating: byte, count: 3000)])
      }
      try kit.damage(recordOf: 2)
      return try kit.makeBatcher()
    },
    Fact(reason: .skipped, count: 2) { kit in
      try kit.commit("1", "2", "3")
      let reader = try JournalReader(
        state: kit.state, sink: 0, position: .first, skippedThrough: 2)
      return kit.makeBatcher(reader: reader)
    },
  ]
}

@Suite("gaps") struct GapTests {
  @Test("a journal's fact is a gap in the envelope and in what is counted", arguments: Fact.all)
  private func told(fact: Fact) throws {
    let kit = try BatchKit(blocks: 48, whenFull: .dropOldest)
    var batcher = try fact.make(kit)
    let batches = try batcher.all()
    #expect(try verify(batches, through: kit.state.committed.rawValue))
    let gaps = try batches.flatMap { try $0.envelope().gaps }
    #expect(gaps.map(\.reason) == [fact.reason])
    #expect(gaps.map(\.topic) == [fact.topic])
    #expect(batches.flatMap(\.gaps) == gaps)
    let count = try #require(gaps.first).range.count
    if fact.reason == .ringFull {
      #expect(count == kit.state.oldestKept.rawValue - 1 && count >= fact.count - 10)
    } else {
      #expect(count == fact.count)
    }
    let text = String(
      decoding: try #require(batches.first { !$0.gaps.isEmpty }).bytes, as: UTF8.self)
    #expect(text.contains(#""count":\#(count),"reason":"\#(fact.reason.text)""#))
    if let topic = fact.topic { #expect(text.contains(#","topic":"\#(topic)"}"#)) }
    // Skips are counted by the command that makes them.
    if fact.reason != .skipped {
      #expect(kit.state.statistics().gapRecords == [fact.reason: count])
    }
  }

  @Test("refusals of one source that adjoin are one gap, also across commits; another begins anew")
  func runs() throws {
    let kit = try BatchKit()
    try kit.refuse("pumps/1", count: 2)
    try kit.refuse("pumps/1", count: 3)
    try kit.refuse("pumps/2", count: 1)
    try kit.commit("1")
    var batcher = try kit.makeBatcher()
    let batch = try #require(try batcher.all().first)
    #expect(
      try batch.envelope().gaps == [
        Gap(SequenceRange(.first, Sequence(5)), .quota, topic: "pumps/1"),
        Gap(SequenceRange(Sequence(6), Sequence(6)), .quota, topic: "pumps/2"),
      ])
    #expect(batch.recordCount == 4 && batch.tombstoneCount == 3 && batch.divisibleCount == 4)
    #expect(batch.gaps.reduce(0) { $0 + $1.range.count } == 6)
  }

  @Test("a refusal alone is told, raw routes too, and can never become a dead letter")
  func alone() throws {
    let kit = try BatchKit()
    try kit.refuse("pumps/1", count: 9)
    for format in BatchFormat.allCases {
      var batcher = try kit.makeBatcher { $0.format = format }
      let batch = try #require(try batcher.all().first)
      let gap = Gap(SequenceRange(.first, Sequence(9)), .quota, topic: "pumps/1")
      #expect(try batch.envelope().gaps == [gap])
      #expect(batch.gaps == [gap] && batch.divisibleCount == 0)
      if format == .raw { #expect(batch.destination == .notices(.gaps)) }
    }
  }
}
