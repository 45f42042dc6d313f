// Goal: each message becomes exactly the record, dead letter or duplicate that the policies say.
// Method: messages go straight into the intake, the journal is read back. Cannot show: what a
// broker would send again (IngestLoopTests do).

import AllocationCounting
import Deduplication
import GatewayCore
import Mosquitto
import RingJournal
import Testing

@testable import Ingest

/// What a record says, copied out of the journal.
private struct Kept: Equatable {
  var kind: RecordKind
  var reason: DeadLetterReason?
  var isJSON: Bool
  var isRetained: Bool
  var id: String
  var payload: [UInt8]
  var properties: [UInt8]
}

/// Takes the messages in, commits, and reads all records back.
private func keep(_ messages: [Sent], _ kit: IngestKit) throws -> [Kept] {
  let (intake, state) = try kit.openIntake()
  for message in messages { intake.receive(message) }
  if let failure = intake.failure { throw failure }
  _ = try intake.commit()
  var kept: [Kept] = []
  var reader = try state.makeReader(sink: 0)
  _ = try reader.read { record, bytes in
    func copy(_ range: Range<Int>) -> [UInt8] {
      var copied: [UInt8] = []
      copied.append(bytes.extracting(range))
      return copied
    }
    kept.append(
      Kept(
        kind: record.kind, reason: record.reason, isJSON: record.flags.contains(.json),
        isRetained: record.flags.contains(.retained),
        id: String(decoding: copy(record.idTextBytes), as: UTF8.self),
        payload: copy(record.payload), properties: copy(record.properties)))
    return true
  }
  return kept
}

private func userProperty(_ name: String, _ value: String) -> [UInt8] {
  var bytes: [UInt8] = []
  MQTTPropertyWriter.appendUserProperty(
    name: Array(name.utf8).span, value: Array(value.utf8).span, to: &bytes)
  return bytes
}

@Suite struct IntakeTests {
  @Test("a message without its id is data by default, a dead letter when the policy says so")
  func missingID() throws {
    let kit = try IngestKit()
    #expect(try keep([Sent(#"{"value":1}"#)], kit).map(\.kind) == [.data])
    let strict = try IngestKit()
    strict.options.deduplication.missingID = .deadLetter
    let kept = try keep([Sent(#"{"value":1}"#), Sent(#"{"messageId":null}"#)], strict)
    #expect(kept.map(\.reason) == [.missingID, .missingID])
  }

  @Test("same id, other payload: a dead letter, nothing, or data; its redelivery adds nothing")
  func conflicts() throws {
    let messages: [Sent] = [
      .id(1), .id(1, value: 2), .id(1, value: 2), .id(1, value: 3), .id(1), .id(1, value: 3),
    ]
    let expected: [(ConflictPolicy, [DeadLetterReason?])] = [
      (.deadLetter, [nil, .conflict, .conflict]), (.drop, [nil]), (.accept, [nil, nil, nil]),
    ]
    for (policy, reasons) in expected {
      let kit = try IngestKit()
      kit.options.deduplication.onConflict = policy
      #expect(try keep(messages, kit).map(\.reason) == reasons, "\(policy)")
      // The window is rebuilt from the records, conflicts included.
      #expect(try keep(messages, kit).map(\.reason) == reasons, "\(policy), after a restart")
    }
  }

  @Test("a message over max_record is cut, kept as a dead letter, and known when it comes again")
  func tooLarge() throws {
    let kit = try IngestKit()
    var large = Sent(#"{"messageId":"m1","text":"\#(String(repeating: "x", count: 5000))"}"#)
    large.properties = userProperty("a", "b")
    let kept = try keep([large, large], kit)
    #expect(kept.count == 1)
    #expect(kept.first?.reason == .tooLarge)
    #expect(kept.first?.isJSON == false)
    #expect(kept.first?.properties == [])
    #expect(large.payload.starts(with: kept.first?.payload ?? [0]))
    #expect((3000...4096).contains(kept.first?.payload.count ?? 0))
  }

  @Test(
    "more properties or topic than a record holds is too large, not a failure",
    arguments: [(65_535, 10), (65_536, 10), (70_000, 10), (10, 65_535), (70_000, 65_535)])
  func hugeProperties(properties: Int, topic: Int) throws {
    let kit = try IngestKit(blocks: 256)
    kit.options.recordByteCountMax = .mebibytes(1)
    kit.journalOptions.commitByteCountMax = ByteCount(topic > 10 ? 16_384 : 131_072)
    var message = Sent(#"{"messageId":"m1"}"#)
    message.topic = Array(repeating: UInt8(ascii: "t"), count: topic)
    // One property is at most 2 + 2 + 1 + 2 + 65,535 bytes; two make any size.
    if properties > 10 {
      message.properties =
        userProperty("a", String(repeating: "v", count: 30_000))
        + userProperty("b", String(repeating: "v", count: properties - 30_012))
      #expect(message.properties.count == properties)
    }
    let kept = try keep([message, message], kit)
    #expect(kept.count == 1)
    let isOrdinary = properties <= 65_535 && topic == 10
    #expect(kept.first?.reason == (isOrdinary ? nil : .tooLarge))
  }

  @Test("payloads that are no good JSON are kept byte for byte, without the JSON flag")
  func payloads() throws {
    let kit = try IngestKit()
    let payloads: [[UInt8]] = [
      [], [0, 1, 2, 255], [0xC3, 0x28], Array(#"{"a":1,"a":2}"#.utf8), Array(#""\ud800""#.utf8),
      Array("1e999".utf8),
      Array(
        (String(repeating: "[", count: 65)
          + String(
            repeating: "]", count: 65)).utf8),
    ]
    let kept = try keep(payloads.map { Sent(bytes: $0) } + [Sent("{}")], kit)
    #expect(kept.dropLast().map(\.payload) == payloads)
    #expect(kept.dropLast().allSatisfy { !$0.isJSON && $0.kind == .data })
    #expect(kept.last?.isJSON == true)
  }

  @Test("a user property can be the id; properties and the retain flag are kept as they came")
  func userProperties() throws {
    let kit = try IngestKit(selector: .userProperty(name: "message-id"))
    var first = Sent("a")
    first.properties = userProperty("x", "y") + userProperty("message-id", "17")
    first.isRetained = true
    var other = Sent("a")
    other.properties = userProperty("message-id", "18")
    let kept = try keep([first, first, other], kit)
    #expect(kept.map(\.id) == ["17", "18"])
    #expect(kept.map(\.properties) == [first.properties, other.properties])
    #expect(kept.map(\.isRetained) == [true, false])
  }

  @Test("the content is the id within its time only; another topic is another message")
  func content() throws {
    let kit = try IngestKit(selector: .content(within: .seconds(10)))
    var elsewhere = Sent("stop")
    elsewhere.topic = Array("pumps/2/metrics".utf8)
    #expect(try keep([Sent("stop"), Sent("stop"), elsewhere, Sent("go")], kit).count == 3)
    let brief = try IngestKit(selector: .content(within: .nanoseconds(1)))
    #expect(try keep([Sent("stop"), Sent("stop")], brief).count == 2)
  }

  @Test("a message that this route has carried before is dropped, others that went far are not")
  func roundTrip() throws {
    let kit = try IngestKit()
    var round = Sent.id(1)
    round.properties =
      userProperty("penstock-via", "gw-2/up")
      + userProperty(
        "penstock-via", "gw-1/telemetry")
    var other = Sent.id(2)
    other.properties =
      userProperty("penstock-via", "gw-2/up")
      + userProperty(
        "penstock-via", "gw-1/commands") + userProperty("route", "gw-1/telemetry")
    let (intake, state) = try kit.openIntake()
    intake.receive(round)
    // Dropped, and its PUBACK is due like that of any other.
    #expect(intake.oldestHeld != nil)
    #expect(intake.openRecordCount == 0)
    intake.receive(round)
    intake.receive(other)
    #expect(intake.openRecordCount == 1)
    _ = try intake.commit()
    #expect(state.committed == .first)
    #expect(intake.roundTripCount == 2)
    #expect(intake.takeRoundTrip() == "pumps/1/metrics")
    #expect(intake.takeRoundTrip() == nil)
  }

  @Test("10,000 messages of telemetry between commits allocate nothing per message")
  func allocations() throws {
    let kit = try IngestKit(blocks: 2048)
    kit.journalOptions.commitByteCountMax = .mebibytes(1)
    let (intake, state) = try kit.openIntake()
    let messages = (0..<1000).map { Sent.id($0 + 100_000) }
    for message in messages { intake.receive(message) }
    _ = try intake.commit()
    var allocations: UInt64 = 0
    for round in 0..<10 {
      // New ids every time: the window holds 1,000, the oldest go.
      let fresh = (0..<1000).map { Sent.id($0 + 200_000 + round * 1000) }
      allocations +=
        AllocationCounter.measure {
          // By index: in a debug build a loop over the array itself boxes each element.
          for index in 0..<1000 { intake.receive(fresh[index]) }
        }.allocations
      _ = try intake.commit()
    }
    // Each sixteenth of the ring costs a superblock, which copies its tables.
    #expect(allocations <= 8)
    #expect(state.committed == Sequence(11_000))
    let repeated = Sent.id(209_999)
    let again = AllocationCounter.measure { for _ in 0..<1000 { intake.receive(repeated) } }
    #expect(again.allocations == 0)
    #expect(intake.openRecordCount == 0)
  }
}
