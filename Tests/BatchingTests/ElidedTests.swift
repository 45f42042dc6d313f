// Goal: a record that is kept and not delivered is accounted for, costs no message of its own, and
// the cursor passes it. Method: a real journal on a small file, batches and raw messages. Cannot
// show: who sets the flag (the intake's tests do).

import Envelope
import GatewayCore
import Platform
import RingJournal
import Testing

@testable import Batching

@Suite("records that are not delivered") struct ElidedTests {
  /// `e` is kept back, anything else is delivered; each is a commit of its own.
  private func kit(_ records: String) throws -> BatchKit {
    let kit = try BatchKit()
    for record in records {
      try kit.commit(
        [Array("\(record)".utf8)], kind: record == "d" ? .deadLetter : .data,
        flags: record == "e" ? [.elided, .aggregated] : [])
    }
    return kit
  }

  @Test("an envelope counts them as elided, between the events and alone")
  func envelopes() throws {
    let kit = try kit("eexee1eeed2e")
    var batcher = try kit.makeBatcher { $0.recordCountMax = 2 }
    let batches = try batcher.all()
    #expect(try verify(batches, through: 12))
    let envelopes = try batches.map { try $0.envelope() }
    let sequences = envelopes.flatMap(\.events).map(\.sequence)
    #expect(sequences == [3, 6, 10, 11].map { Sequence($0) })
    #expect(envelopes.flatMap(\.elided).reduce(0) { $0 + $1.count } == 8)
    #expect(envelopes.flatMap(\.gaps).isEmpty)
    #expect(batches.map(\.recordCount).reduce(0, +) == 4)
  }

  @Test("elided records alone do not hurry a batch; a delivered one behind them does")
  func delay() throws {
    let kit = try kit("eee")
    var batcher = try kit.makeBatcher { $0.delayMax = .milliseconds(1) }
    let now = Clock.monotonic()
    guard case .wait(let until) = try batcher.next(now: now + .seconds(10)) else {
      Issue.record("nobody waits for elided records")
      return
    }
    #expect(until > now + .seconds(50) && until <= now + Batcher.elidedDelay + .seconds(1))
    try kit.commit("1")
    guard case .batch(let batch) = try batcher.next(now: Clock.monotonic() + .seconds(1)) else {
      Issue.record("the record is due")
      return
    }
    #expect(batch.range == SequenceRange(.first, Sequence(4)))
    // In the end they go alone.
    try kit.commit([[1]], flags: [.elided])
    guard
      case .batch(let rest) = try batcher.next(now: Clock.monotonic() + .seconds(3600)),
      case .idle = try batcher.next(now: Clock.monotonic() + .seconds(3600))
    else {
      Issue.record("the cursor would stand still")
      return
    }
    #expect(rest.range == SequenceRange(Sequence(5), Sequence(5)) && rest.recordCount == 0)
  }

  @Test("a raw route passes them with the next message; nothing is published for them")
  func raw() throws {
    let kit = try kit("ee1eed2eee")
    var batcher = try kit.makeBatcher { $0.format = .raw }
    let batches = try batcher.all()
    #expect(batches.map(\.range.first) == [.first, Sequence(4), Sequence(7)])
    #expect(batches.map(\.range.last) == [Sequence(3), Sequence(6), Sequence(7)])
    #expect(
      batches.map(\.bytes).enumerated().filter { $0.offset != 1 }.map(\.element) == [[49], [50]])
    let notice = try batches[1].envelope()
    try notice.verifyAccounting()
    #expect(notice.elided.reduce(0) { $0 + $1.count } == 2 && notice.events.count == 1)
    // What is sent again begins with the same ones, also when the reader stood behind them.
    try kit.commit("3")
    guard case .batch(let last) = try batcher.next(now: Clock.monotonic()) else {
      Issue.record("a message is there")
      return
    }
    #expect(last.range == SequenceRange(Sequence(8), Sequence(11)))
    batcher.rewind(to: last.range.first)
    guard case .batch(let again) = try batcher.next(now: Clock.monotonic()) else {
      Issue.record("a message is there")
      return
    }
    #expect(again.range == last.range && again.bytes == last.bytes)
  }

  @Test("a gap behind elided records is told for itself alone")
  func gap() throws {
    let kit = try BatchKit()
    try kit.commit([[1]], flags: [.elided])
    try kit.commit([[UInt8](repeating: 2, count: 3000)])
    try kit.commit([[UInt8](repeating: 3, count: 3000)])
    try kit.damage(recordOf: 2)
    for format in BatchFormat.allCases {
      var batcher = try kit.makeBatcher { $0.format = format }
      let batches = try batcher.all()
      #expect(try verify(batches, through: 3), "\(format)")
      let envelopes = try batches.filter { if case .topic = $0.destination { false } else { true } }
        .map { try $0.envelope() }
      #expect(envelopes.flatMap(\.gaps).map(\.range) == [SequenceRange(Sequence(2), Sequence(2))])
      #expect(envelopes.flatMap(\.elided).map(\.count) == [1])
    }
  }

  @Test("the one record of a refused batch is found among them")
  func onlyRecord() throws {
    let kit = try kit("ee1e")
    var batcher = try kit.makeBatcher()
    let batch = try #require(try batcher.all().first)
    #expect(batch.recordCount == 1)
    let found = try batcher.withOnlyRecord(in: batch.range) { record, _ in
      #expect(record.sequence == Sequence(3))
    }
    #expect(found == SequenceRange(Sequence(3), Sequence(3)))
  }
}
