// Goal: with `drain: live-first` what is new is sent ahead of a backlog, the backlog is marked, all
// of it arrives, what was accepted is not sent again, and the cursor never passes what was not.
// Method: the real loop over a real journal on a small file, against a scripted broker that notes
// what it accepted; random cuts and refusals. Cannot show: a crash (the journal's model does).

import Envelope
import GatewayCore
import Mosquitto
import Platform
import RingJournal
import Testing

@testable import Upstream

/// Accepts, and knows what it has accepted.
private final class Ledger {
  let kit: SinkKit
  private(set) var accepted: Set<UInt64> = []
  /// In the order of their coming: first, last, marked.
  private(set) var envelopes: [EnvelopeHeader] = []
  private(set) var duplicateCount = 0
  /// What the broker says to the n-th publish.
  var answer: (Int) -> CentralBroker.Answer = { _ in .code(.success) }
  /// Done after the n-th publish.
  var after: (Int) throws -> Void = { _ in }
  var failure: (any Error)?

  init(_ kit: SinkKit) {
    self.kit = kit
    kit.options.drain = .liveFirst
    kit.options.inFlightMax = 2
    kit.broker.answer = { [unowned self] in take($0) }
  }

  private func take(_ publish: Published) -> CentralBroker.Answer {
    // Honest at any moment: what the cursor has passed, and what lies beyond it, was accepted.
    let cursor = kit.cursor
    for sequence in stride(from: 1, through: cursor, by: 1) where !accepted.contains(sequence) {
      Issue.record("the cursor \(cursor) has passed \(sequence)")
    }
    for range in kit.journal.acceptedIntervals(0).ranges {
      for sequence in range.first.rawValue...range.last.rawValue
      where !accepted.contains(sequence) {
        Issue.record("\(sequence) counts as accepted")
      }
    }
    do {
      let envelope = try publish.envelope()
      try envelope.verifyAccounting()
      envelopes.append(envelope.header)
      let answer = answer(envelopes.count)
      if case .code(.success) = answer {
        let header = envelope.header
        for sequence in header.first.rawValue...header.last.rawValue
        where !accepted.insert(sequence).inserted {
          duplicateCount += 1
        }
      }
      try after(envelopes.count)
      return answer
    } catch {
      failure = error
      return .code(.success)
    }
  }
}

@Suite struct SinkLoopLiveFirstTests {
  private func kit(_ count: Int) throws -> (SinkKit, Ledger) {
    let kit = try SinkKit()
    try kit.commit([Int](repeating: 10, count: count))
    return (kit, Ledger(kit))
  }

  @Test("what comes during a backlog overtakes it; the backlog is marked, and all arrives once")
  func overtakes() throws {
    let (kit, ledger) = try kit(40)
    ledger.after = { number in
      if number == 3 { try kit.commit([Int](repeating: 10, count: 6)) }
    }
    try kit.drain(.seconds(10))
    #expect(ledger.failure == nil)
    #expect(kit.cursor == 46)
    #expect(ledger.accepted == Set(1...46) && ledger.duplicateCount == 0)
    let live = ledger.envelopes.filter { $0.first > Sequence(40) }
    let backlog = ledger.envelopes.filter { $0.first <= Sequence(40) }
    #expect(live.allSatisfy { !$0.isBacklog } && backlog.allSatisfy { $0.isBacklog })
    #expect(live.map(\.first) == live.map(\.first).sorted())
    #expect(backlog.map(\.first) == backlog.map(\.first).sorted())
    let firstLive = ledger.envelopes.firstIndex { $0.first > Sequence(40) } ?? .max
    #expect(firstLive <= 6, "\(ledger.envelopes.map(\.first.rawValue))")
    #expect(kit.journal.acceptedIntervals(0).isEmpty)
  }

  @Test("control: in-order keeps what is new waiting")
  func control() throws {
    let (kit, ledger) = try kit(40)
    kit.options.drain = .inOrder
    ledger.after = { number in
      if number == 3 { try kit.commit([Int](repeating: 10, count: 6)) }
    }
    try kit.drain(.seconds(10))
    #expect(ledger.envelopes.map(\.first) == ledger.envelopes.map(\.first).sorted())
    #expect(ledger.envelopes.allSatisfy { !$0.isBacklog })
  }

  @Test("when the backlog is delivered there is one lane again, in order and unmarked")
  func merges() throws {
    let (kit, ledger) = try kit(20)
    ledger.after = { number in
      if number >= 2 && number < 40 { try kit.commit([10, 10]) }
    }
    try kit.drain(.seconds(10))
    #expect(ledger.failure == nil)
    #expect(ledger.duplicateCount == 0)
    #expect(UInt64(ledger.accepted.count) == kit.cursor)
    let last = ledger.envelopes.suffix(5)
    #expect(last.allSatisfy { !$0.isBacklog })
    #expect(last.map(\.first) == last.map(\.first).sorted())
  }

  @Test("another run over the same journal does not send again what was accepted out of turn")
  func anotherRun() throws {
    let (kit, ledger) = try kit(60)
    ledger.after = { number in
      if number == 2 { try kit.commit([Int](repeating: 10, count: 8)) }
      if number == 12 { kit.control.advance(to: .drain(until: Clock.monotonic())) }
    }
    try kit.drain(.seconds(10))
    #expect(kit.cursor < 60)
    let beyond = kit.journal.acceptedIntervals(0)
    #expect(!beyond.isEmpty)
    // In order from now on: what was accepted stays accepted all the same.
    kit.options.drain = .inOrder
    ledger.after = { _ in }
    try kit.drain(.seconds(10))
    #expect(ledger.failure == nil)
    #expect(kit.cursor == 68)
    // At most what was in flight when it ended.
    #expect(ledger.duplicateCount <= 4)
  }

  @Test("outage upon outage: never more than eight ranges, and everything arrives")
  func manyOutages() throws {
    let (kit, ledger) = try kit(10)
    var rangesMax = 0
    ledger.answer = { number in
      rangesMax = max(rangesMax, kit.journal.acceptedIntervals(0).ranges.count)
      // Each connection takes a few, then it is gone, and more has come when it is back.
      return number <= 200 && number % 5 == 0 ? .cut(nil) : .code(.success)
    }
    kit.broker.onConnect = { number in
      if number <= 30 { try? kit.commit([Int](repeating: 10, count: 10)) }
    }
    ledger.after = { number in
      if number <= 200, number % 5 == 1 { try kit.commit([10, 10, 10, 10]) }
    }
    try kit.drain(.seconds(20))
    #expect(ledger.failure == nil)
    #expect(kit.cursor == kit.journal.committed.rawValue)
    #expect(UInt64(ledger.accepted.count) == kit.cursor)
    #expect(rangesMax > 2 && rangesMax <= AcceptedIntervals.countMax, "\(rangesMax)")
  }

  @Test(
    "cuts, refusals and silence at random: nothing is lost, the cursor is honest", arguments: 0..<12
  )
  func random(seed: UInt64) throws {
    var generator = SplitMix(state: seed)
    let (kit, ledger) = try kit(30)
    kit.options.inFlightMax = Int.random(in: 1...6, using: &generator)
    kit.options.answerTimeout = .milliseconds(30)
    ledger.answer = { number in
      guard number < 250 else { return .code(.success) }
      switch Int.random(in: 0..<20, using: &generator) {
      case 0: return .cut(nil)
      case 1: return .code(.quotaExceeded)
      case 2: return .code(.payloadFormatInvalid)
      case 3 where number % 7 == 0: return .silence
      default: return .code(.success)
      }
    }
    ledger.after = { number in
      if number < 120, number % 3 == 0 { try kit.commit([10, 10, 10]) }
    }
    try kit.drain(.seconds(30))
    #expect(ledger.failure == nil)
    #expect(kit.cursor == kit.journal.committed.rawValue)
    #expect(UInt64(ledger.accepted.count) == kit.cursor)
    #expect(kit.journal.acceptedIntervals(0).isEmpty)
  }

  @Test("a record that is refused for good while it is new becomes a dead letter, like any other")
  func deadLetter() throws {
    let (kit, ledger) = try kit(20)
    ledger.after = { number in
      if number == 2 { try kit.commit([10, 5_000, 10]) }
    }
    kit.broker.acknowledgement.maximumPacketByteCount = 3_000
    try kit.drain(.seconds(10))
    #expect(ledger.failure == nil)
    #expect(kit.cursor == 23)
    #expect(ledger.accepted == Set(1...23))
    #expect(try kit.deadLetterSizes() == [5_000])
  }
}

private struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
    return word ^ word >> 31
  }
}
