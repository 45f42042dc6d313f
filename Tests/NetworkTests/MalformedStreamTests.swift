// Goal: no bytes from either broker end the gateway, make it grow, or cost it its backlog. Method:
// the real process between scripted brokers whose valid streams are changed by a seeded generator,
// one life after another over one journal; then brokers that behave, to which everything must flow
// that was acknowledged before the noise and after it. (What is acknowledged in between nobody can
// say: the identifiers change too.) Crafted packets beside it. Cannot show: all streams.

import Audit
import GatewayCore
import Mosquitto
import Platform
import PumpTelemetry
import Synchronization
import TestSupport
import Testing

@Suite("malformed streams", .serialized)
struct MalformedStreamTests {
  /// Lives; each meets a changed stream of either broker, most of them two or three.
  private static let lifeCount = Campaign.number("PENSTOCK_MALFORMED_LIVES", 10)
  private static let seed = UInt64(Campaign.number("PENSTOCK_MALFORMED_SEED", 1))
  /// KiB resident at the worst.
  private static let memoryMax = 96 << 10

  @Test(
    "whatever either broker sends, the gateway lives, stays small and loses nothing",
    arguments: [ProtocolVersion.v5, .v311])
  func mutated(version: ProtocolVersion) throws {
    let noise = Noise(seed: Self.seed)
    var options = GatewayStage.Options()
    options.version = version
    options.believes = { !noise.isOn }
    let stage = try GatewayStage(options)
    stage.field.withRole { role in
      role.greeted = { noise.disturb($0) }
      role.windowMax = 20
    }
    stage.central.withRole { role in
      role.joined = { noise.disturb($0) }
      role.isAway = true
    }
    try stage.startSubscribed()
    stage.send(500)
    try stage.gateway.wait(for: "a backlog") { stage.acknowledgedCount == 500 }
    #expect(try stage.gateway.stop() == 0)
    stage.central.withRole { $0.isAway = false }
    noise.begin()
    var peak = 0
    for life in 0..<Self.lifeCount {
      let before = noise.linkCount
      try stage.gateway.start()
      stage.field.withRole { $0.limit = $0.sentCount + 30 }
      try stage.gateway.wait(for: "the noise to be heard") {
        noise.linkCount >= before + 2
          && (noise.linkCount >= before + 3 || noise.age > .milliseconds(400))
      }
      peak = max(peak, try stage.gateway.memory("VmHWM"))
      if life.isMultiple(of: 2) {
        try stage.gateway.kill()
      } else {
        #expect(try stage.gateway.stop() == 0)
      }
    }
    noise.end()
    try stage.startSubscribed()
    stage.send(500)
    try stage.drain()
    let report = stage.ledger.report()
    Campaign.tell(
      "malformed streams, MQTT \(version == .v5 ? "5" : "3.1.1"), seed \(Self.seed)",
      runs: "\(Self.lifeCount) lives, \(noise.linkCount) streams, \(noise.changeCount) packets "
        + "changed, peak resident \(peak / 1024) MiB", report.counts)
    #expect(report.counts.lost == 0, "\(report.table(allowedRedelivery: .max))")
    #expect(report.counts.undecodable == 0)
    #expect(noise.changeCount >= Self.lifeCount)
    #expect(peak < Self.memoryMax)
    #expect(try stage.gateway.stop() == 0)
  }

  struct Crafted: Sendable, CustomTestStringConvertible {
    let name: String
    /// After a valid CONNACK. Packet identifiers are none that the broker uses.
    let bytes: [UInt8]
    var testDescription: String { name }

    static let all = [
      Crafted(name: "SUBACK without codes", bytes: [0x90, 3, 0, 1, 0]),
      Crafted(name: "SUBACK without anything", bytes: [0x90, 0]),
      Crafted(name: "SUBACK that says it is longer", bytes: [0x90, 0x7f, 0, 1, 0]),
      Crafted(name: "remaining length 0x7FFFFFFF", bytes: [0x32, 0xff, 0xff, 0xff, 0x7f, 0, 3]),
      Crafted(name: "remaining length of five bytes", bytes: [0x32, 0xff, 0xff, 0xff, 0xff, 0x7f]),
      Crafted(name: "PUBLISH without topic", bytes: [0x32, 2, 0, 0]),
      Crafted(
        name: "PUBLISH whose topic is longer than it", bytes: [0x32, 4, 0xff, 0xff, 0x61, 1]),
      Crafted(name: "PUBLISH with packet identifier 0", bytes: [0x32, 6, 0, 1, 0x61, 0, 0, 0]),
      Crafted(name: "PUBLISH of QoS 3", bytes: [0x36, 6, 0, 1, 0x61, 0, 1, 0]),
      Crafted(
        name: "PUBLISH whose properties are longer than it",
        bytes: [0x32, 9, 0, 1, 0x61, 0, 1, 0xff, 0xff, 0x7f, 0x26]),
      Crafted(
        name: "PUBLISH with a topic alias",
        bytes: [0x32, 9, 0, 1, 0x61, 0xff, 0xf6, 3, 0x23, 0, 1]),
      Crafted(name: "PUBACK with an unknown property", bytes: [0x40, 6, 0, 1, 0, 2, 0x7f, 0]),
      Crafted(
        name: "PUBLISH with an unknown property",
        bytes: [0x32, 8, 0, 1, 0x61, 0xff, 0xf8, 2, 0x7f, 0]),
      Crafted(name: "DISCONNECT with an unknown property", bytes: [0xe0, 4, 0x8e, 2, 0x7f, 0]),
      Crafted(
        name: "PUBLISH that nobody asked for", bytes: [0x32, 6, 0, 1, 0x61, 0xff, 0xf7, 0]),
      Crafted(name: "a second CONNACK", bytes: [0x20, 3, 0, 0, 0]),
      Crafted(
        name: "a CONNECT", bytes: [0x10, 13, 0, 4, 0x4d, 0x51, 0x54, 0x54, 5, 2, 0, 60, 0, 0, 0]),
      Crafted(name: "PUBREL of an unknown message", bytes: [0x62, 2, 0, 9]),
      Crafted(name: "PUBACK of an unknown message", bytes: [0x40, 2, 0, 9]),
      Crafted(name: "packet type 0", bytes: [0x00, 0]),
      Crafted(name: "packet type 15", bytes: [0xf0, 1, 0]),
    ]
  }

  @Test(
    "crafted packets to both halves: alive and small, and the next broker is used",
    arguments: Crafted.all)
  func crafted(_ row: Crafted) throws {
    let stage = try GatewayStage()
    let sentCount = Counter()
    let craft: @Sendable (MQTTPeerLink) -> Void = { link in
      guard sentCount.increment() < 4 else { return }
      link.alter = { packet in
        // CONNACK passes, then the packet, then silence.
        packet[0] == 0x20 ? packet + row.bytes : []
      }
    }
    stage.field.withRole {
      $0.greeted = craft
      $0.limit = 20
    }
    stage.central.withRole { $0.joined = craft }
    try stage.gateway.start()
    try stage.gateway.wait(for: "the crafted packets") { sentCount.value >= 2 }
    // Some of them end the connection, others are ignored; either way the links go.
    let patience = Deadline(in: .milliseconds(300))
    try stage.gateway.wait(for: "the gateway to have read them") {
      patience.isOver || sentCount.value > 4
    }
    while sentCount.value <= 4 {
      stage.field.cutAll()
      stage.central.cutAll()
      let count = sentCount.value
      try stage.gateway.wait(for: "another connection") { sentCount.value > count }
    }
    try stage.drain()
    #expect(try stage.gateway.memory("VmHWM") < Self.memoryMax)
    #expect(stage.ledger.report().counts.lost == 0)
    #expect(try stage.gateway.stop() == 0)
  }
}

/// Changes what links send. On the peers' threads.
private final class Noise: Sendable {
  private struct State {
    var generator: SplitMix64
    var linkCount = 0
    var changeCount = 0
    var lastLink = Clock.monotonic()
    var isOn = false
  }

  private let state: Mutex<State>

  init(seed: UInt64) { state = Mutex(State(generator: SplitMix64(seed: seed))) }

  var linkCount: Int { state.withLock { $0.linkCount } }
  var changeCount: Int { state.withLock { $0.changeCount } }
  /// Since the last link came.
  var age: Duration { Clock.monotonic().since(state.withLock { $0.lastLink }) }

  var isOn: Bool { state.withLock { $0.isOn } }
  func begin() { state.withLock { $0.isOn = true } }
  func end() { state.withLock { $0.isOn = false } }

  /// Of the next few packets of the link one is changed, and then more and more often.
  func disturb(_ link: MQTTPeerLink) {
    let first = state.withLock { state -> Int? in
      guard state.isOn else { return nil }
      state.linkCount += 1
      state.lastLink = Clock.monotonic()
      return Int.random(in: 0..<6, using: &state.generator)
    }
    guard var countdown = first else { return }
    link.alter = { [self] packet in
      defer { countdown -= 1 }
      if countdown > 0 { return packet }
      return state.withLock { state in
        state.changeCount += 1
        return ByteMutation.apply(to: packet, &state.generator)
      }
    }
  }
}
