// Goal: the codec of the scripted peer loses nothing and believes nothing: the oracle of the other
// tests stands on it. Method: round trips, every packet cut at each byte, seeded mutations. Cannot
// show: agreement with other codecs (the tests against libmosquitto and Mosquitto do).

import PumpTelemetry
import TestSupport
import Testing

@Suite("the codec of the scripted MQTT peer")
struct PacketCodecTests {
  private static let versions: [MQTTPacket.Version] = [.v311, .v5]

  /// One of each kind, and more where a field can be there or not.
  private func packets(_ version: MQTTPacket.Version) -> [MQTTPacket] {
    let isV5 = version == .v5
    let properties: [UInt8] = isV5 ? [0x01, 1] : []
    let long = [UInt8](repeating: 0x7a, count: 70_000)
    var hello = MQTTPacket.Connect(version: version, clientID: "id", sessionExpiry: .max)
    if isV5 { (hello.receiveMaximum, hello.sessionExpiry) = (11, 12) }
    return [
      .connect(hello), .connectAcknowledged(.init(sessionPresent: true, properties: properties)),
      .publish(.init(topic: "a", payload: [], id: 0)),
      .publish(
        .init(topic: "a/é", payload: long, id: 9, isDuplicate: true, properties: properties)),
      .publish(.init(topic: "b", payload: [0], id: .max, isExactlyOnce: true, isRetained: true)),
      .publishAcknowledged(id: 9, code: isV5 ? 0x87 : 0), .publishReceived(id: 9),
      .publishReleased(id: 10), .publishCompleted(id: 11),
      .subscribe(id: 3, filters: ["a/+", "#"]), .subscribeAcknowledged(id: 3, codes: [1, 0x80]),
      .unsubscribe(id: 4, filters: ["#"]),
      .unsubscribeAcknowledged(id: 4, codes: isV5 ? [0] : []),
      .pingRequest, .pingResponse, .disconnect(code: isV5 ? 0x8e : 0),
    ]
  }

  private func read(
    _ bytes: some Sequence<UInt8>, _ version: MQTTPacket.Version
  ) throws -> [MQTTPacket] {
    var reader = MQTTPacketReader()
    reader.version = version
    reader.append(Array(bytes)[...])
    var found: [MQTTPacket] = []
    while let packet = try reader.next() { found.append(packet) }
    return found
  }

  @Test("every packet survives the codec, byte by byte", arguments: versions)
  func roundTrip(version: MQTTPacket.Version) throws {
    var reader = MQTTPacketReader()
    reader.version = version
    var found: [MQTTPacket] = []
    for byte in packets(version).flatMap({ $0.encoded(version) }) {
      reader.append([byte])
      while let packet = try reader.next() { found.append(packet) }
    }
    #expect(found == packets(version))
  }

  @Test("a stream that ends in the middle of a packet waits for the rest", arguments: versions)
  func shortStream(version: MQTTPacket.Version) throws {
    for packet in packets(version) {
      let bytes = packet.encoded(version)
      let ends = Array(bytes.indices.prefix(200)) + [bytes.count - 1]
      for end in ends { #expect(try read(bytes[..<end], version) == []) }
    }
  }

  /// A payload, a list of codes and an absent reason may be short; all else must be told.
  @Test(
    "a packet whose length says less than its fields need is told, or reads as a shorter one",
    arguments: versions)
  func shortPacket(version: MQTTPacket.Version) throws {
    var toldCount = 0
    for packet in packets(version) {
      let bytes = packet.encoded(version)
      guard bytes.count < 200 else { continue }
      for count in 0..<bytes.count - 2 {
        let cut = MQTTPacket.packet(header: bytes[0], Array(bytes[2..<2 + count]))
        do {
          let found = try read(cut, version)
          #expect(found.count == 1)
          #expect(found.first != packet)
          for other in found { #expect(try read(other.encoded(version), version) == found) }
        } catch let error as MQTTPacketError {
          #expect(!error.description.isEmpty)
          toldCount += 1
        }
      }
    }
    #expect(toldCount > 40)
  }

  @Test(
    "whatever the bytes, the codec tells or reads; what it reads, it writes and reads again",
    arguments: versions)
  func mutations(version: MQTTPacket.Version) throws {
    var generator = SplitMix64(seed: 5)
    let streams = packets(version).map { $0.encoded(version) }.filter { $0.count < 200 }
    var (readCount, toldCount) = (0, 0)
    for _ in 0..<Campaign.number("PENSTOCK_CODEC_MUTATIONS", 20_000) {
      let stream = ByteMutation.apply(
        to: streams[Int.random(in: streams.indices, using: &generator)], &generator)
      do {
        let found = try read(stream, version)
        for packet in found {
          // A CONNECT decides the version of what follows.
          if case .connect = packet { continue }
          let again = try read(packet.encoded(version), version)
          if again != [packet] { Issue.record("\(packet) becomes \(again)") }
        }
        readCount += found.count
      } catch is MQTTPacketError {
        toldCount += 1
      }
    }
    #expect(readCount > 1000 && toldCount > 1000, "\(readCount) read, \(toldCount) told")
  }

  @Test("lengths that no packet of a test has are told before a byte is kept")
  func hugeLengths() {
    for length in [[0xff, 0xff, 0xff, 0x7f], [0xff, 0xff, 0xff, 0xff]] as [[UInt8]] {
      #expect(throws: MQTTPacketError.self) { try read([0x30] + length, .v5) }
    }
  }
}
