// Goal: what leaves carries the properties that MessageProperties.swift lists. Method: read back.

import Envelope
import GatewayCore
import Testing

@Suite("Envelope: message properties")
struct MessagePropertiesTests {
  private func list(_ bytes: [UInt8]) -> [String] {
    var reader = MQTTPropertyReader()
    var list: [String] = []
    while let property = reader.next(in: bytes.span) {
      let name = String(decoding: bytes[property.name], as: UTF8.self)
      let value = String(decoding: bytes[property.value], as: UTF8.self)
      switch property.identifier.shape {
      case .pair: list.append("\(name)=\(value)")
      case .text, .binary: list.append("\(property.identifier.rawValue):\(value)")
      default: list.append("\(property.identifier.rawValue)#\(property.number)")
      }
    }
    #expect(!reader.isMalformed)
    return list
  }

  private func raw(
    id: String, kept: [UInt8], dwell: Duration = .zero, clockSync: ClockSync = .synchronised
  ) -> [String] {
    var properties: [UInt8] = []
    var raw = RawProperties()
    raw.append(
      id: Array(id.utf8).span, journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch,
      sequence: Sequence(17),
      received: (WallTime(nanoseconds: 1_795_413_600_123_000_000), clockSync), kept: kept.span,
      dwell: dwell, to: &properties)
    return list(properties)
  }

  private let identity = [
    "penstock-journal=01234567-89ab-4cde-8f01-23456789abcd", "penstock-epoch=9f3c000000000001",
    "penstock-sequence=17", "penstock-time=2026-11-23T06:00:00.123Z",
  ]

  @Test("a raw record says how far its time can be trusted")
  func clockSync() {
    #expect(raw(id: "x", kept: []).last == "penstock-time=2026-11-23T06:00:00.123Z")
    #expect(
      raw(id: "x", kept: wire(user: [("penstock-time", "old")]), clockSync: .corrected)
        == ["penstock-id=x"] + identity + ["penstock-clocksync=corrected"])
    #expect(raw(id: "x", kept: [], clockSync: .unsynchronised).last == "penstock-clocksync=false")
  }

  @Test("a raw record and an envelope that are sent once more say so, and nobody else does")
  func replay() {
    let before = wire(user: [("penstock-replay", "true")])
    #expect(!raw(id: "x", kept: before).contains("penstock-replay=true"))
    var properties: [UInt8] = []
    var again = RawProperties()
    again.append(
      id: Span(), journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch,
      sequence: Sequence(17), received: (WallTime(nanoseconds: 0), .synchronised), kept: Span(),
      dwell: .zero, isReplay: true, to: &properties)
    #expect(list(properties).last == "penstock-replay=true")
    var envelope: [UInt8] = []
    EnvelopeProperties.append(
      EnvelopeHeader(
        gateway: "g", site: "s", route: "r", journal: EnvelopeEncoder.journal, isReplay: true,
        epoch: EnvelopeEncoder.epoch, first: Sequence(2), last: Sequence(3)),
      compression: .none, to: &envelope)
    #expect(list(envelope).suffix(2) == ["penstock-replay=true", "penstock-via=g/r"])
  }

  @Test("a raw record keeps its properties and says which record it is")
  func rawRecord() {
    let kept = wire(
      contentType: "a/b", user: [("k", "v"), ("penstock-via", "gw-a"), ("penstock-sequence", "5")]
    ) { MQTTPropertyWriter.append(.subscriptionIdentifier, number: 300, to: &$0) }
    #expect(
      raw(id: "c-1", kept: kept)
        == ["3:a/b", "k=v", "penstock-via=gw-a", "penstock-id=c-1"] + identity)
  }

  @Test("the way a record has come grows by its route, and whoever is in it is recognised")
  func via() {
    let kept = wire(user: [("penstock-via", "gw-a/up"), ("k", "gw-c/up")])
    var properties: [UInt8] = []
    var raw = RawProperties(via: Via.name(gateway: "gw-b", route: "down"))
    raw.append(
      id: Array("x".utf8).span, journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch,
      sequence: Sequence(17), received: (WallTime(nanoseconds: 0), .synchronised),
      kept: kept.span, dwell: .zero, to: &properties)
    #expect(
      list(properties).prefix(3)
        == ["penstock-via=gw-a/up", "k=gw-c/up", "penstock-via=gw-b/down"])
    func passed(_ name: String) -> Bool {
      Via.contains(Array(name.utf8).span, in: properties.span)
    }
    #expect(passed("gw-a/up") && passed("gw-b/down"))
    #expect(!passed("gw-c/up") && !passed("gw-a/u") && !passed("gw-a/upper") && !passed(""))
    // Not by name, and all the same too far.
    for hop in 3...Via.countMax {
      #expect(!passed("gw-z/up"))
      MQTTPropertyWriter.appendUserProperty(
        name: "penstock-via".utf8.span, value: "hop/\(hop)".utf8.span, to: &properties)
    }
    #expect(passed("gw-z/up"))
  }

  @Test("a record without an id gets the one the envelope would give it")
  func rawWithoutID() {
    #expect(
      raw(id: "", kept: [])
        == ["penstock-id=01234567-89ab-4cde-8f01-23456789abcd-9f3c000000000001-17"] + identity)
  }

  @Test(
    "the time in the journal is taken off the expiry, never below one second",
    arguments: [(60, 0, 60), (60, 59, 1), (60, 60, 1), (60, 1000, 1), (5, -3, 5), (0, 0, 1)])
  func expiry(_ interval: UInt32, _ dwell: Int, _ left: Int) {
    let kept = wire { MQTTPropertyWriter.append(.messageExpiryInterval, number: interval, to: &$0) }
    #expect(raw(id: "x", kept: kept, dwell: .seconds(dwell)).first == "2#\(left)")
  }

  @Test(
    "a bound shortens the expiry, gives one to a record without, and tells where it stands",
    arguments: [(60, 10, 30, 30), (60, 50, 30, 10), (nil, 0, 30, 30), (nil, 0, 0, 1)]
      as [(UInt32?, Int, Int, UInt8)])
  func bound(_ interval: UInt32?, _ dwell: Int, _ lifeLeft: Int, _ expected: UInt8) throws {
    let kept = wire {
      if let interval {
        MQTTPropertyWriter.append(.messageExpiryInterval, number: interval, to: &$0)
      }
    }
    var properties: [UInt8] = []
    var raw = RawProperties()
    let offset = raw.append(
      id: Span(), journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch,
      sequence: Sequence(17), received: (WallTime(nanoseconds: 0), .synchronised),
      kept: kept.span, dwell: .seconds(dwell), lifeLeft: .seconds(lifeLeft), to: &properties)
    #expect(list(properties).first == "2#\(expected)")
    let place = try #require(offset)
    #expect(properties[place..<place + 4] == [0, 0, 0, expected])
  }

  @Test("malformed properties end the list, and ours follow")
  func malformedKept() {
    #expect(
      raw(id: "x", kept: wire(user: [("k", "v")]) + [0xFF]) == ["k=v", "penstock-id=x"] + identity)
  }

  @Test("an envelope's numbers are its properties, and a compressed one says so")
  func envelope() {
    let numbers = [
      "penstock-position=01234567-89ab-4cde-8f01-23456789abcd/2-3",
      "penstock-via=g/r",
    ]
    let kinds = [
      (Compression.none, ["3:application/vnd.penstock+json", "1#1"]),
      (.zstd, ["3:application/vnd.penstock+zstd"]),
    ]
    for (compression, ofKind) in kinds {
      for (site, ofSite) in [("g", []), ("s", ["penstock-site=s"])] {
        let header = EnvelopeHeader(
          gateway: "g", site: site, route: "r", journal: EnvelopeEncoder.journal,
          epoch: EnvelopeEncoder.epoch, first: Sequence(2), last: Sequence(3))
        var properties: [UInt8] = []
        EnvelopeProperties.append(header, compression: compression, to: &properties)
        #expect(list(properties) == ofKind + ofSite + numbers)
      }
    }
  }
}
