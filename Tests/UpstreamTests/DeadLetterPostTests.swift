// Goal: each dead letter is published on its topic before the cursor passes its record, and no
// trouble with that topic holds up the records for good. Method: the real loop over a real journal
// on a small file, against a scripted broker. Cannot show: what a consumer makes of a letter.

import Batching
import Envelope
import GatewayCore
import Mosquitto
import Platform
import RingJournal
import Testing

@testable import Upstream

@Suite("Dead letters on their topic")
struct DeadLetterPostTests {
  private static let topic = "letters"

  private func kit() throws -> SinkKit {
    let kit = try SinkKit()
    kit.options.deadLetterTopic = Self.topic
    return kit
  }

  private func letters(_ kit: SinkKit) throws -> [Event] {
    try kit.broker.published.filter { $0.topic == Self.topic }.flatMap { publish in
      let envelope = try publish.envelope()
      try envelope.verifyAccounting()
      #expect(envelope.header.first == envelope.header.last)
      return envelope.events
    }
  }

  @Test("known when they came: in their envelope, and on their topic with the reason")
  func known() throws {
    let kit = try kit()
    try kit.commit([10])
    try kit.commitDeadLetter(.conflict, #"{"a":1}"#)
    try kit.commitDeadLetter(.missingID, "x")
    try kit.drain()
    #expect(kit.cursor == 3)
    let letters = try letters(kit)
    #expect(letters.map(\.reason) == ["conflict", "missing-id"])
    #expect(letters.map(\.sequence.rawValue) == [2, 3])
    let inline = try kit.broker.published.filter { $0.topic != Self.topic }
      .flatMap { try $0.envelope().events }
    #expect(inline.map(\.sequence.rawValue) == [1, 2, 3])
    #expect(inline.compactMap(\.reason) == ["conflict", "missing-id"])
  }

  @Test("refused for good: on their topic as well, cut where they are too large for it")
  func refused() throws {
    let kit = try kit()
    kit.broker.acknowledgement.maximumPacketByteCount = 25_000
    try kit.commit([10, 30_000, 20])
    try kit.drain()
    #expect(kit.cursor == 3)
    #expect(try kit.deadLetterSizes() == [30_000])
    let letter = try #require(try letters(kit).first)
    #expect(letter.reason == "refused" && letter.sequence == Sequence(2))
    #expect(letter.payload.count == 25_000 / 2 - 1024)
    #expect(letter.attributes.contains { $0.name == "uppenstockcutpayload" && $0.value == "30000" })
  }

  @Test("raw: what is refused or known when it came is on their topic too")
  func raw() throws {
    let kit = try kit()
    kit.options.batch.format = .raw
    try kit.commit([10, 40])
    try kit.commitDeadLetter(.tooLarge, "cut")
    kit.broker.answer = { $0.bytes.count == 40 ? .code(.packetTooLarge) : .code(.success) }
    try kit.drain()
    #expect(kit.cursor == 3)
    #expect(Set(try letters(kit).compactMap(\.reason)) == ["refused", "too-large"])
  }

  @Test("the cursor waits for the letter, and a lost connection sends it again")
  func cursorWaits() throws {
    let kit = try kit()
    try kit.commit([10])
    try kit.commitDeadLetter(.conflict, "x")
    try kit.commit([20])
    kit.broker.answer = { publish in
      guard publish.topic == Self.topic, publish.connection == 1 else { return .code(.success) }
      return .silence
    }
    try kit.drain(.milliseconds(200))
    // Accepted in their envelopes, and not passed.
    #expect(kit.cursor == 1)
    let again = try self.kit()
    try again.commit([10])
    try again.commitDeadLetter(.conflict, "x")
    try again.commit([20])
    again.broker.answer = { publish in
      publish.topic == Self.topic && publish.connection == 1 ? .cut(nil) : .code(.success)
    }
    try again.drain()
    #expect(again.cursor == 3)
    #expect(try letters(again).count == 2)
  }

  @Test(
    "a topic where nobody may publish, or nobody listens, holds up nothing",
    arguments: [ReasonCode.notAuthorized, .noMatchingSubscribers, .topicNameInvalid])
  func refusedLetters(code: ReasonCode) throws {
    let kit = try kit()
    try kit.commitDeadLetter(.conflict, "x")
    try kit.commit([20])
    kit.broker.answer = { $0.topic == Self.topic ? .code(code) : .code(.success) }
    try kit.drain()
    #expect(kit.cursor == 2)
    #expect(try letters(kit).count == 1)
  }

  @Test("a flood of dead letters is read no faster than they are taken")
  func flood() throws {
    let kit = try kit()
    kit.options.batch.recordCountMax = 1
    for number in 0..<3 * DeadLetterPost.waitingMax {
      try kit.commitDeadLetter(.missingID, "\(number)")
    }
    try kit.drain()
    #expect(kit.cursor == UInt64(3 * DeadLetterPost.waitingMax))
    #expect(Set(try letters(kit).map(\.sequence)).count == 3 * DeadLetterPost.waitingMax)
  }

  @Test("live-first: what went ahead of a backlog counts as accepted only with its letter")
  func ahead() throws {
    for isCut in [false, true] {
      let kit = try kit()
      kit.options.drain = .liveFirst
      kit.options.inFlightMax = 2
      try kit.commit([Int](repeating: 10, count: 40))
      let late = SequenceRange(Sequence(41), Sequence(42))
      var (batchCount, letterCount) = (0, 0)
      var failure: (any Error)?
      var isAccepted = false
      kit.broker.answer = { publish in
        if publish.topic == Self.topic {
          letterCount += 1
          return !isCut ? .silence : letterCount == 1 ? .cut(nil) : .code(.success)
        }
        batchCount += 1
        do {
          if batchCount == 3 {
            try kit.commitDeadLetter(.conflict, "x")
            try kit.commit([20])
          }
        } catch { failure = error }
        let ranges = kit.journal.acceptedIntervals(0).ranges
        if letterCount < 2, ranges.contains(where: { $0.last >= late.first }) { isAccepted = true }
        return .code(.success)
      }
      try kit.drain(isCut ? .seconds(30) : .milliseconds(500))
      #expect(failure == nil && !isAccepted)
      #expect(kit.cursor == (isCut ? 42 : 40))
      // The backlog was not held up, and was not sent for ever either.
      if !isCut { #expect(batchCount <= 24, "\(batchCount)") }
    }
  }

  @Test("control: without a topic no letter leaves")
  func without() throws {
    let kit = try SinkKit()
    try kit.commitDeadLetter(.conflict, "x")
    try kit.drain()
    #expect(kit.cursor == 1)
    #expect(kit.broker.published.count == 1)
  }
}
