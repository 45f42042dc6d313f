// Goal: no message can block the window of the session: each is journalled or a dead letter, is
// acknowledged and counted, and the next one flows. Method: one of each kind from a scripted broker
// to the real process. Cannot show: what a broker would not let through in the first place.

import Audit
import Envelope
import GatewayCore
import Mosquitto
import Platform
import TestSupport
import Testing

@Suite("poison", .serialized)
struct PoisonTests {
  struct Poison: Sendable, CustomTestStringConvertible {
    let name: String
    let version: ProtocolVersion
    let message: FieldRole.Message
    /// nil: delivered as data.
    var deadLetter: String?
    /// KiB that it may cost at its worst, beside what the gateway needs anyhow.
    var memoryMax = 64 << 10

    var testDescription: String { "\(name), MQTT \(version == .v5 ? "5" : "3.1.1")" }
  }

  private static let topic = "pumps/p1/metrics"
  private static let hugeByteCount = Campaign.number("PENSTOCK_HUGE_PAYLOAD", 64 << 20)

  private static let kinds: [(String, FieldRole.Message, String?, Int)] = [
    ("no payload", .init(topic: topic, payload: []), nil, 64 << 10),
    ("NUL and bytes that are no text", .init(topic: topic, payload: [0, 0xff, 0]), nil, 64 << 10),
    ("no id", .init(topic: topic, payload: Array(#"{"value":1}"#.utf8)), nil, 64 << 10),
    (
      "a topic of 65,535 bytes",
      .init(
        topic: "pumps/" + String(repeating: "t", count: 65_535 - 14) + "/metrics", payload: [1]),
      nil, 64 << 10
    ),
    (
      "far beyond max_record and the packet size that CONNECT allows",
      .init(topic: topic, payload: [UInt8](repeating: 0x78, count: hugeByteCount)), "too-large",
      // The library holds the packet, and the payload once more.
      2 * hugeByteCount / 1024 + 64 << 10
    ),
  ]

  private static let rows = [ProtocolVersion.v5, .v311].flatMap { version in
    kinds.map { name, message, deadLetter, memory in
      Poison(
        name: name, version: version, message: message, deadLetter: deadLetter, memoryMax: memory)
    }
  }

  @Test("each is taken, acknowledged and counted, and the next one flows", arguments: rows)
  func taken(_ row: Poison) throws {
    var options = GatewayStage.Options()
    options.version = row.version
    options.message = { $0 == 0 ? row.message : Load.message($0) }
    let stage = try GatewayStage(options)
    stage.field.withRole { $0.windowMax = 1 }
    try stage.startSubscribed()
    stage.send(3)
    try stage.gateway.wait(for: "three PUBACKs and events") {
      stage.acknowledgedCount == 3 && stage.events.count == 3
    }
    let event = try #require(stage.events.first)
    #expect(event.reason == row.deadLetter)
    #expect(event.topic == row.message.topic)
    if row.deadLetter == nil { #expect(event.payload == row.message.payload) }
    let dead = try stage.gateway.metric("penstock_ingest_dead_letters_total")
    let journalled = try stage.gateway.metric("penstock_ingest_journalled_total")
    #expect((dead, journalled) == (row.deadLetter == nil ? (0, 3) : (1, 2)))
    #expect(stage.field.withRole { $0.connectCount } == 1)
    let peak = try stage.gateway.memory("VmHWM")
    Campaign.tell("poison, \(row.testDescription)", "peak resident \(peak / 1024) MiB")
    #expect(peak < row.memoryMax + 64 << 10)
    #expect(try stage.gateway.stop() == 0)
  }

  @Test("with missing_id: dead-letter, a message without id is acknowledged as one")
  func missingID() throws {
    var options = GatewayStage.Options()
    options.routeLines = ["missing_id: dead-letter"]
    options.message = { number in
      number == 0 ? .init(topic: Self.topic, payload: Array("{}".utf8)) : Load.message(number)
    }
    let stage = try GatewayStage(options)
    try stage.startSubscribed()
    stage.send(2)
    try stage.gateway.wait(for: "both") {
      stage.acknowledgedCount == 2 && stage.events.count == 2
    }
    #expect(stage.events.map(\.reason) == ["missing-id", nil])
    #expect(try stage.gateway.stop() == 0)
  }

  /// No MQTT: a topic that is not UTF-8, or holds a NUL. libmosquitto ends the connection before
  /// our code sees the message, as the standard wants, so it cannot be acknowledged.
  @Test(
    "a topic that MQTT forbids ends the connection, in words, until the broker gives it up",
    arguments: [[0x70, 0xff, 0xfe], [0x70, 0x00, 0x71]] as [[UInt8]])
  func forbiddenTopic(_ middle: [UInt8]) throws {
    var options = GatewayStage.Options()
    let poisoned = Counter()
    options.message = { number in
      var message = Load.message(number)
      // The broker believes in it for two deliveries.
      guard number == 5, poisoned.value < 2 else { return message }
      message.packet = { id, isDuplicate in
        poisoned.increment()
        let topic = Array("pumps/".utf8) + middle + Array("/metrics".utf8)
        let body =
          [0, UInt8(topic.count)] + topic + [UInt8(id >> 8), UInt8(id & 0xff), 0, 0x7b, 0x7d]
        return MQTTPacket.packet(header: isDuplicate ? 0x3a : 0x32, body)
      }
      return message
    }
    let stage = try GatewayStage(options)
    try stage.startSubscribed()
    stage.send(20)
    try stage.gateway.wait(for: "the complaint") {
      try stage.gateway.healthPage().contains("protocol")
        || stage.gateway.log.contains("malformed") || stage.gateway.log.contains("Malformed")
    }
    try stage.drain()
    let report = try stage.report()
    #expect(report.isClean(allowedRedelivery: 0), "\(report.table(allowedRedelivery: 0))")
    #expect(report.counts.delivered == 20)
    #expect(poisoned.value == 2)
    #expect(try stage.gateway.stop() == 0)
  }
}
