// Goal: with `accept: hub` the loop subscribes, hears the consumer and sends once more what it
// misses, from the ring, without moving the cursor back. Method: the real loop over a real journal
// on a small file, against a scripted broker whose consumer the test is. Cannot show: a real broker
// and its queue (IntegrationTests).

import Batching
import Envelope
import GatewayCore
import Mosquitto
import Platform
import RingJournal
import Testing

@testable import Upstream

/// What a consumer keeps: ranges, in memory.
private final class Consumer {
  let kit: SinkKit
  private(set) var ranges: [ClosedRange<UInt64>] = []
  private(set) var events: [Event] = []
  private(set) var envelopes: [Envelope] = []
  /// Batches that never reach it.
  var loses: (Envelope) -> Bool = { _ in false }
  var isSilent = false

  init(_ kit: SinkKit) {
    self.kit = kit
    kit.options.acceptance = .hub
    kit.options.acceptTimeout = .milliseconds(50)
    kit.broker.answer = { [unowned self] publish in
      take(publish)
      return .code(.success)
    }
  }

  private func take(_ publish: Published) {
    guard let envelope = try? publish.envelope(), !loses(envelope) else { return }
    envelopes.append(envelope)
    events += envelope.events
    ranges.append(envelope.header.first.rawValue...envelope.header.last.rawValue)
    if !isSilent { kit.broker.tell(word) }
  }

  var missing: [SequenceRange] {
    let known = Set(ranges.flatMap { Array($0) })
    var missing: [SequenceRange] = []
    for sequence in stride(from: 1, to: known.max() ?? 0, by: 1) where !known.contains(sequence) {
      if let last = missing.last, last.last.rawValue + 1 == sequence {
        missing[missing.count - 1] = SequenceRange(last.first, Sequence(sequence))
      } else {
        missing.append(SequenceRange(Sequence(sequence), Sequence(sequence)))
      }
    }
    return missing
  }

  var word: AcceptanceMessage {
    AcceptanceMessage(
      journal: kit.journal.identity.id, epoch: kit.journal.epoch,
      through: Sequence(ranges.map(\.upperBound).max() ?? 0), missing: missing)
  }
}

@Suite struct SinkLoopConsumerTests {
  private func kit(_ count: Int) throws -> SinkKit {
    let kit = try SinkKit()
    try kit.commit([Int](repeating: 10, count: count))
    return kit
  }

  @Test("the cursor follows the consumer; every batch is sent once")
  func follows() throws {
    let kit = try kit(20)
    let consumer = Consumer(kit)
    try kit.drain(.seconds(10))
    #expect(kit.cursor == 20)
    #expect(kit.broker.subscriptions == [kit.options.topic + "/accepted"])
    #expect(consumer.events.count == 20)
    #expect(kit.broker.heldCount == 0)
  }

  @Test("control: with accept: broker the PUBACK is enough, and a batch that is lost stays lost")
  func control() throws {
    let kit = try kit(20)
    let consumer = Consumer(kit)
    kit.options.acceptance = .broker
    consumer.loses = { $0.header.first == Sequence(3) }
    try kit.drain(.seconds(10))
    #expect(kit.cursor == 20)
    #expect(consumer.missing == [SequenceRange(Sequence(3), Sequence(4))])
  }

  @Test("batches that the broker took and lost are missed, and sent once more")
  func missing() throws {
    let kit = try kit(20)
    let consumer = Consumer(kit)
    var lost: Set<Sequence> = []
    consumer.loses = { envelope in
      [3, 5, 15].contains(envelope.header.first.rawValue)
        && lost.insert(envelope.header.first).inserted
    }
    try kit.drain(.seconds(10))
    #expect(kit.cursor == 20)
    #expect(lost.count == 3)
    #expect(consumer.missing.isEmpty)
    // 3–4 and 5–6 may come in one or two batches; nothing else comes twice.
    #expect(Set(consumer.events.map(\.sequence)).count == 20)
    #expect(consumer.events.count == 20)
    #expect(consumer.envelopes.allSatisfy { !$0.header.isReplay })
  }

  @Test("the last batch is lost, with nothing behind it that could show it: it is asked about")
  func lastLost() throws {
    let kit = try kit(6)
    let consumer = Consumer(kit)
    var count = 0
    consumer.loses = { envelope in
      guard envelope.header.last == Sequence(6) else { return false }
      count += 1
      return count == 1
    }
    try kit.drain(.seconds(10))
    #expect(kit.cursor == 6)
    #expect(count == 2)
  }

  @Test("a broker that lost everything: one is sent once more, then all the others")
  func queueLost() throws {
    let kit = try kit(20)
    let consumer = Consumer(kit)
    var sentFirst: Set<Sequence> = []
    consumer.loses = { sentFirst.insert($0.header.first).inserted }
    try kit.drain(.seconds(20))
    #expect(kit.cursor == 20)
    #expect(Set(consumer.events.map(\.sequence)).count == 20)
  }

  @Test("never more batches with the broker than may be unaccepted")
  func bounded() throws {
    let kit = try kit(40)
    let consumer = Consumer(kit)
    consumer.isSilent = true
    kit.options.unacceptedMax = 5
    kit.options.inFlightMax = 3
    kit.options.acceptTimeout = .seconds(60)
    try kit.drain(.milliseconds(200))
    #expect(kit.cursor == 0)
    #expect(kit.broker.published.count == 5)
  }

  @Test("what the consumer accepted while nobody was connected is not sent again")
  func retained() throws {
    let kit = try kit(20)
    let consumer = Consumer(kit)
    consumer.isSilent = true
    // Sent on the first connection, and the consumer speaks only between the two.
    kit.broker.onConnect = { number in
      if number == 2 { kit.broker.retained = consumer.word.encode() }
    }
    var count = 0
    let take = kit.broker.answer
    kit.broker.answer = { publish in
      count += 1
      if count == 6 { return .cut(nil) }
      if count == 7 { consumer.isSilent = false }
      return take(publish)
    }
    try kit.drain(.seconds(10))
    #expect(kit.cursor == 20)
    #expect(consumer.events.count == 20)
  }

  @Test("a range below the cursor is sent as a replay; the cursor does not move back")
  func replay() throws {
    let kit = try kit(20)
    let consumer = Consumer(kit)
    try kit.drain(.seconds(10))
    #expect(kit.cursor == 20)
    let before = consumer.envelopes.count
    // Its database is gone, it has begun anew and asks for all: after the next batch.
    try kit.commit([10])
    let asked = AcceptanceMessage(
      journal: kit.journal.identity.id, epoch: kit.journal.epoch, through: Sequence(20),
      missing: [SequenceRange(Sequence(4), Sequence(9))])
    kit.broker.retained = asked.encode()
    var replayed: [Envelope] = []
    consumer.isSilent = true
    let take = kit.broker.answer
    kit.broker.answer = { publish in
      let answer = take(publish)
      replayed = consumer.envelopes.dropFirst(before).filter(\.header.isReplay)
      // Only now is the drain over.
      if replayed.flatMap(\.events).count == 6 {
        consumer.isSilent = false
        kit.broker.tell(consumer.word)
      }
      return answer
    }
    try kit.drain(.seconds(10))
    #expect(replayed.flatMap(\.events).map(\.sequence.rawValue) == [4, 5, 6, 7, 8, 9])
    #expect(kit.cursor == 21)
    for envelope in replayed { try envelope.verifyAccounting() }
  }

  @Test("what speaks of another journal, of the future, or not at all is not followed")
  func unbelievable() throws {
    let kit = try kit(6)
    let consumer = Consumer(kit)
    consumer.isSilent = true
    kit.options.acceptTimeout = .seconds(60)
    let own = kit.journal.identity.id
    let words: [[UInt8]] = [
      AcceptanceMessage(
        journal: JournalID(high: 1, low: 2), epoch: kit.journal.epoch, through: Sequence(6)
      ).encode(),
      AcceptanceMessage(
        journal: own, epoch: Epoch(rawValue: kit.journal.epoch.rawValue &+ 1),
        through: Sequence(6)
      ).encode(),
      Array("{\"through\":6}".utf8), Array("nonsense".utf8),
      [UInt8](repeating: 0x20, count: 20_000),
    ]
    for word in words {
      // Once before anything is sent, and again when all of it is.
      kit.broker.retained = word
      var count = 0
      kit.broker.answer = { _ in
        count += 1
        if count == 3 { kit.broker.tell(bytes: word) }
        return .code(.success)
      }
      try kit.drain(.milliseconds(200))
      #expect(count == 3 && kit.cursor == 0, "\(String(decoding: word.prefix(200), as: UTF8.self))")
    }
  }

  @Test("a word beyond what was sent counts as far as that")
  func clamped() throws {
    let kit = try kit(6)
    let consumer = Consumer(kit)
    consumer.isSilent = true
    kit.options.acceptTimeout = .seconds(60)
    kit.options.unacceptedMax = 2
    let word = AcceptanceMessage(
      journal: kit.journal.identity.id, epoch: kit.journal.epoch, through: Sequence(6))
    var count = 0
    kit.broker.answer = { publish in
      count += 1
      if count == 2 { kit.broker.tell(word) }
      return .code(.success)
    }
    // Two batches out, 1–4; the word about 6 counts through 4.
    try kit.drain(.milliseconds(200))
    #expect(kit.cursor == 4)
  }

  @Test("a subscription that is refused ends the connection before anything is sent")
  func refusedSubscription() throws {
    let kit = try kit(2)
    let consumer = Consumer(kit)
    kit.broker.grant = .notAuthorized
    kit.broker.onConnect = { if $0 == 3 { kit.broker.grant = .grantedQoS1 } }
    try kit.drain(.seconds(10))
    #expect(kit.cursor == 2)
    #expect(kit.broker.connectionCount == 3)
    #expect(consumer.events.count == 2)
  }
}
