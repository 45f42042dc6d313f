// Goal: the cursor of a sink passes only what was accepted, or stored here as a dead letter, and
// every envelope that is accepted adjoins the one before. Method: the real loop over a real
// journal on a small file, against a scripted broker. Cannot show: what libmosquitto does with the
// calls (MosquittoTests do).

import Batching
import Envelope
import GatewayCore
import Mosquitto
import Platform
import Synchronization
import Testing

@testable import Upstream

/// The envelopes that were accepted, each once, account for every sequence from 1 through `last`.
private func accounts(_ accepted: [Published], through last: UInt64) throws -> Bool {
  var next = Sequence.first
  for publish in accepted {
    let envelope = try publish.envelope()
    try envelope.verifyAccounting()
    guard envelope.header.first == next else { return false }
    next = envelope.header.last.next
  }
  return next == Sequence(last + 1)
}

/// What of a publish's first and last sequences stands in its envelope.
private func range(_ publish: Published) throws -> ClosedRange<UInt64> {
  let header = try publish.envelope().header
  return header.first.rawValue...header.last.rawValue
}

@Suite struct SinkLoopTests {
  @Test("accepted batches move the cursor to the end, each sent once, in order")
  func accepted() throws {
    let kit = try SinkKit()
    try kit.commit([10, 20, 30, 40, 50])
    try kit.drain()
    #expect(kit.cursor == 5)
    #expect(try kit.broker.published.map(range) == [1...2, 3...4, 5...5])
    #expect(try accounts(kit.broker.published, through: 5))
  }

  @Test(
    "a refused batch is sent again after a pause, with everything behind it, in order",
    arguments: [0x10, 0x80, 0x83, 0x87, 0x90, 0x97] as [UInt8])
  func refused(code: UInt8) throws {
    let kit = try SinkKit()
    try kit.commit([10, 20, 30, 40, 50, 60])
    var refusals = 0
    kit.broker.answer = { publish in
      guard refusals == 0, (try? range(publish)) == 3...4 else { return .code(.success) }
      refusals += 1
      return .code(ReasonCode(rawValue: code))
    }
    try kit.drain()
    #expect(kit.cursor == 6)
    #expect(try kit.broker.published.map(range) == [1...2, 3...4, 5...6, 3...4, 5...6])
  }

  @Test("a broker that never answers: a new connection, and everything again from the cursor")
  func silence() throws {
    let kit = try SinkKit()
    kit.options.answerTimeout = .milliseconds(20)
    try kit.commit([10, 20, 30])
    kit.broker.answer = { $0.connection < 2 ? .silence : .code(.success) }
    try kit.drain()
    #expect(kit.cursor == 3)
    #expect(kit.broker.connectionCount == 2)
    #expect(try kit.broker.published.map(range) == [1...2, 3...3, 1...2, 3...3])
  }

  @Test("a cut connection: what was not accepted is sent again from the cursor")
  func cut() throws {
    let kit = try SinkKit()
    try kit.commit([10, 20, 30, 40, 50, 60])
    kit.options.inFlightMax = 1
    kit.broker.answer = { publish in
      publish.connection == 1 && (try? range(publish)) == 3...4 ? .cut(nil) : .code(.success)
    }
    try kit.drain()
    #expect(kit.cursor == 6)
    #expect(try kit.broker.published.map(range) == [1...2, 3...4, 3...4, 5...6])
    #expect(kit.broker.cursors == [0, 2, 2, 4])
  }

  @Test("handing over awaits the answers to what is in flight, and the next one goes on from there")
  func handOver() throws {
    let kit = try SinkKit()
    try kit.commit([10, 20, 30, 40, 50, 60])
    kit.options.inFlightMax = 1
    kit.broker.readsBeforeAnswer = 3
    kit.broker.answer = { [control = kit.control] _ in
      control.advance(to: .handOver(until: Clock.monotonic() + .seconds(30)))
      return .code(.success)
    }
    try kit.run()
    #expect(kit.cursor == 2)
    #expect(kit.control.takeOver())
    kit.options.batch.recordCountMax = 4
    try kit.drain()
    #expect(kit.cursor == 6)
    #expect(try kit.broker.published.map(range) == [1...2, 3...6])
    #expect(kit.broker.connectionCount == 2)
  }

  @Test("handing over waits for a silent or absent broker no longer than its limit")
  func handOverInVain() throws {
    let kit = try SinkKit()
    try kit.commit([10, 20, 30])
    kit.broker.answer = { [control = kit.control] _ in
      control.advance(to: .handOver(until: Clock.monotonic() + .milliseconds(50)))
      return .silence
    }
    try kit.run()
    #expect(kit.cursor == 0)
    #expect(kit.control.takeOver())
    // Without a connection there is nothing to wait for.
    kit.broker.acceptsConnections = false
    kit.broker.onConnect = { [control = kit.control] _ in
      control.advance(to: .handOver(until: Clock.monotonic() + .seconds(30)))
    }
    let start = Clock.monotonic()
    try kit.run()
    #expect(Clock.monotonic().since(start) < .seconds(5))
    #expect(kit.control.takeOver())
  }

  @Test("the cursor never passes a publish that has no answer")
  func unanswered() throws {
    let kit = try SinkKit()
    try kit.commit([10, 20, 30, 40])
    kit.broker.answer = { ((try? range($0)) == 1...2) ? .silence : .code(.success) }
    try kit.drain(.milliseconds(50))
    #expect(kit.cursor == 0)
  }

  @Test("never more outstanding than the broker's receive maximum")
  func receiveMaximum() throws {
    let kit = try SinkKit()
    kit.options.batch.recordCountMax = 1
    kit.broker.acknowledgement.receiveMaximum = 3
    try kit.commit([Int](repeating: 10, count: 20))
    try kit.drain()
    #expect(kit.cursor == 20)
    #expect(kit.broker.outstandingMax == 3)
  }

  @Test("a broker that takes QoS 0 only gets nothing, and nothing becomes a dead letter")
  func qualityOfServiceZero() throws {
    let kit = try SinkKit()
    kit.broker.acknowledgement.maximumQualityOfService = .atMostOnce
    try kit.commit([10, 20, 30])
    kit.broker.onConnect = { connection in
      // Somebody allows QoS 1 at the broker.
      if connection == 3 { kit.broker.acknowledgement.maximumQualityOfService = .exactlyOnce }
    }
    try kit.drain()
    #expect(kit.broker.connectionCount == 3)
    #expect(kit.cursor == 3)
    #expect(try kit.broker.published.map(range) == [1...2, 3...3])
  }

  @Test("records larger than the CONNACK's limit are dead letters, accounted for as elided")
  func tooLargeForBroker() throws {
    let kit = try SinkKit()
    kit.options.batch.recordCountMax = 4
    kit.broker.acknowledgement.maximumPacketByteCount = 3000
    // Two in a row, and one at the end.
    try kit.commit([10, 5000, 6000, 20, 30, 7000])
    try kit.drain()
    #expect(kit.cursor == 6)
    #expect(try accounts(kit.broker.published, through: 6))
    let elided = try kit.broker.published.flatMap { try $0.envelope().elided }
    #expect(
      elided.flatMap { Array($0.first.rawValue...$0.last.rawValue) } == [2, 3, 6])
    #expect(try kit.deadLetterSizes() == [5000, 6000, 7000])
  }

  @Test(
    "records the broker refuses for good are split down to, stored, and passed",
    arguments: [ReasonCode.packetTooLarge, .payloadFormatInvalid])
  func refusedForGood(code: ReasonCode) throws {
    let kit = try SinkKit()
    kit.options.batch.recordCountMax = 8
    try kit.commit([10, 20, 30, 31, 40, 50, 60, 70])
    var accepted: [Published] = []
    kit.broker.answer = { publish in
      let sizes = (try? publish.envelope().events.map(\.payload.count)) ?? []
      if sizes.contains(30) || sizes.contains(31) { return .code(code) }
      accepted.append(publish)
      return .code(.success)
    }
    try kit.drain()
    #expect(kit.cursor == 8)
    #expect(try accepted.flatMap { try $0.envelope().events.map(\.payload.count) }.contains(70))
    #expect(try kit.deadLetterSizes() == [30, 31])
    var covered: Set<UInt64> = []
    for publish in accepted { covered.formUnion(try range(publish)) }
    #expect(covered == Set(1...8))
  }

  @Test(
    "a record the client library refuses is a dead letter; the connection stays, the rest goes",
    arguments: [MosquittoError.Code.invalidArgument, .packetTooLarge])
  func refusedByLibrary(code: MosquittoError.Code) throws {
    let kit = try SinkKit()
    kit.options.batch.recordCountMax = 8
    try kit.commit([10, 20, 30, 40, 50])
    kit.broker.answer = { publish in
      let sizes = (try? publish.envelope().events.map(\.payload.count)) ?? []
      return sizes.contains(30) ? .refusedByLibrary(code) : .code(.success)
    }
    try kit.drain(.seconds(10))
    #expect(kit.cursor == 5)
    #expect(kit.broker.connectionCount == 1)
    #expect(try accounts(kit.broker.published, through: 5))
    let delivered = try kit.broker.published.flatMap { try $0.envelope().events }
    #expect(delivered.map(\.payload.count) == [10, 20, 40, 50])
    let elided = try kit.broker.published.flatMap { try $0.envelope().elided }
    #expect(elided.map { $0.first.rawValue...$0.last.rawValue } == [3...3])
    #expect(try kit.deadLetterSizes() == [30])
  }

  @Test(
    "raw: a record the client library refuses is a dead letter; the connection stays",
    arguments: [MosquittoError.Code.invalidArgument, .packetTooLarge])
  func rawRefusedByLibrary(code: MosquittoError.Code) throws {
    let kit = try SinkKit()
    kit.options.batch.format = .raw
    // The first, two in a row, and the last.
    try kit.commit([31, 10, 32, 33, 20, 34])
    kit.broker.answer = { publish in
      publish.bytes.count > 30 ? .refusedByLibrary(code) : .code(.success)
    }
    try kit.drain(.seconds(10))
    #expect(kit.cursor == 6)
    #expect(kit.broker.connectionCount == 1)
    #expect(kit.broker.published.map(\.bytes.count) == [10, 20])
    #expect(try kit.deadLetterSizes() == [31, 32, 33, 34])
  }

  @Test("an error of a connection that is gone is a lost connection, not a dead letter")
  func refusedWithoutConnection() throws {
    let kit = try SinkKit()
    try kit.commit([10, 20])
    let broker = kit.broker
    broker.answer = { publish in
      guard publish.connection == 1 else { return .code(.success) }
      broker.drop()
      return .refusedByLibrary(.invalidArgument)
    }
    try kit.drain(.seconds(10))
    #expect(kit.cursor == 2)
    #expect(broker.connectionCount == 2)
    #expect(try kit.deadLetterSizes() == [])
  }

  @Test("an envelope without any record is never a dead letter: it is sent again, alarmed")
  func nothingToStore() throws {
    let kit = try SinkKit()
    kit.options.batch.recordCountMax = 1
    try kit.commit([10])
    var refusals = 0
    kit.broker.answer = { _ in
      refusals += 1
      return .code(refusals <= 4 ? .payloadFormatInvalid : .success)
    }
    try kit.drain()
    #expect(kit.cursor == 1)
    #expect(try kit.deadLetterSizes() == [10])
    #expect(kit.broker.published.count == 5)
  }

  @Test("a broker that is away ends neither the run nor the drain before its time")
  func away() throws {
    let kit = try SinkKit()
    try kit.commit([10])
    kit.broker.acceptsConnections = false
    let start = Clock.monotonic()
    try kit.drain(.milliseconds(50))
    #expect(Clock.monotonic().since(start) >= .milliseconds(50))
    #expect(kit.cursor == 0)
    #expect(kit.broker.connectionCount > 1)
  }

  @Test("a broker that comes back during the drain gets everything")
  func comesBack() throws {
    let kit = try SinkKit()
    try kit.commit([10, 20, 30])
    let broker = kit.broker
    broker.onConnect = { broker.acceptsConnections = $0 >= 5 }
    try kit.drain()
    #expect(kit.cursor == 3)
    #expect(broker.connectionCount == 5)
  }

  @Test("stop is final and leaves at once")
  func stop() throws {
    let kit = try SinkKit()
    try kit.commit([10, 20])
    kit.control.advance(to: .stop)
    try kit.drain()
    #expect(kit.cursor == 0)
    #expect(kit.broker.published.isEmpty)
  }

  @Test("a record that the dead letter file cannot hold whole is cut, not fatal")
  func hugeDeadLetter() throws {
    let kit = try SinkKit(blocks: 4096, commit: .mebibytes(2))
    kit.broker.acknowledgement.maximumPacketByteCount = 10_000
    try kit.commit([10, 1_500_000, 20])
    try kit.drain()
    #expect(kit.cursor == 3)
    let sizes = try kit.deadLetterSizes()
    #expect(sizes.count == 1 && sizes.allSatisfy { $0 > 1_000_000 && $0 < 1_500_000 })
  }

  @Test("a limit holds everything back and loses nothing, in order", arguments: [true, false])
  func rateLimit(isLimited: Bool) throws {
    let kit = try SinkKit()
    kit.options.rateLimit =
      isLimited ? RateLimit(.messages, perSecond: 20, burst: 1, scope: .all) : nil
    try kit.commit([10, 20, 30, 40, 50, 60, 70, 80])
    let start = Clock.monotonic()
    try kit.drain()
    // Four batches: the first leaves at once, each other a twentieth of a second later.
    let isSlow = Clock.monotonic().since(start) >= .milliseconds(150)
    #expect(isLimited == isSlow)
    #expect(kit.cursor == 8)
    #expect(try kit.broker.published.map(range) == [1...2, 3...4, 5...6, 7...8])
  }

  @Test(
    "a limit for the backlog lets pass what is committed while the connection stands",
    arguments: RateLimit.Scope.allCases)
  func backlogLimit(scope: RateLimit.Scope) throws {
    let kit = try SinkKit()
    kit.options.batch.recordCountMax = 1
    kit.options.batch.delayMax = .seconds(20)
    // After the first message the bucket owes for minutes.
    kit.options.rateLimit = RateLimit(.bytes, perSecond: 1, burst: 1, scope: scope)
    try kit.commit([10])
    kit.broker.answer = { publish in
      if (try? range(publish)) == 1...1 { try? kit.commit([20, 30, 40]) }
      return .code(.success)
    }
    try kit.drain(scope == .backlog ? .seconds(15) : .milliseconds(200))
    #expect(kit.cursor == (scope == .backlog ? 4 : 1))
  }
}
