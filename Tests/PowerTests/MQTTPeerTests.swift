// Goal: the scripted broker is a fair oracle: its codec loses nothing, its session behaves as a
// broker's, a cut falls where it was asked for. Method: a client on a raw socket. Cannot show: that
// it accepts whatever a real broker does.

import Glibc
import Platform
import TestSupport
import Testing

@Suite("the scripted MQTT peer")
struct MQTTPeerTests {
  /// The other end of a link.
  private struct Client: ~Copyable {
    let descriptor: FileDescriptor
    let version: MQTTPacket.Version
    var reader = MQTTPacketReader()

    init(port: UInt16, version: MQTTPacket.Version) throws {
      descriptor = try Self.connected(port)
      self.version = version
      reader.version = version
    }

    private static func connected(_ port: UInt16) throws -> FileDescriptor {
      let raw = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      guard raw >= 0 else { throw SystemError("socket") }
      let descriptor = FileDescriptor(owning: raw)
      var limit = timeval(tv_sec: 10, tv_usec: 0)
      unsafe setsockopt(
        raw, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      address.sin_addr = in_addr(s_addr: in_addr_t(0x7f00_0001).bigEndian)
      let code = unsafe withUnsafePointer(to: &address) {
        unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          unsafe Glibc.connect(raw, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
      guard code == 0 else { throw SystemError("connect") }
      return descriptor
    }

    func send(_ packet: MQTTPacket) {
      let bytes = packet.encoded(version)
      _ = unsafe Glibc.send(descriptor.raw, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    /// nil: the peer has closed.
    mutating func next() throws -> MQTTPacket? {
      var chunk = [UInt8](repeating: 0, count: 4096)
      while true {
        if let packet = try reader.next() { return packet }
        let count = unsafe recv(descriptor.raw, &chunk, chunk.count, 0)
        if count == 0 { return nil }
        guard count > 0 else { throw SystemError("recv") }
        reader.append(chunk[..<count])
      }
    }

    mutating func publishes(_ count: Int) throws -> [MQTTPacket.Publish] {
      var found: [MQTTPacket.Publish] = []
      while found.count < count, let packet = try next() {
        if case .publish(let publish) = packet { found.append(publish) }
      }
      return found
    }
  }

  private func hello(_ version: MQTTPacket.Version, clean: Bool = false) -> MQTTPacket {
    var connect = MQTTPacket.Connect(
      version: version, clientID: "c", sessionExpiry: version == .v311 ? .max : 3600)
    connect.cleanStart = clean
    connect.receiveMaximum = 7
    return .connect(connect)
  }

  private func makeRole() -> FieldRole {
    var role = FieldRole { .init(topic: "t/\($0)", payload: Array("payload \($0)".utf8)) }
    role.limit = 100
    return role
  }

  @Test("every packet survives the codec, byte by byte", arguments: [MQTTPacket.Version.v311, .v5])
  func codec(version: MQTTPacket.Version) throws {
    let properties: [UInt8] = version == .v5 ? [0x01, 1] : []
    let long = [UInt8](repeating: 0x7a, count: 70_000)
    var hello = MQTTPacket.Connect(version: version, clientID: "id", sessionExpiry: .max)
    if version == .v5 { (hello.receiveMaximum, hello.sessionExpiry) = (11, 12) }
    let packets: [MQTTPacket] = [
      .connect(hello), .connectAcknowledged(.init(sessionPresent: true, properties: properties)),
      .publish(.init(topic: "a", payload: [], id: 0)),
      .publish(
        .init(topic: "a/é", payload: long, id: 9, isDuplicate: true, properties: properties)),
      .publishAcknowledged(id: 9, code: version == .v5 ? 0x87 : 0),
      .subscribe(id: 3, filters: ["a/+", "#"]), .subscribeAcknowledged(id: 3, codes: [1, 0x80]),
      .unsubscribe(id: 4, filters: ["#"]),
      .unsubscribeAcknowledged(id: 4, codes: version == .v5 ? [0] : []),
      .pingRequest, .pingResponse, .disconnect(code: version == .v5 ? 0x8e : 0),
    ]
    var reader = MQTTPacketReader()
    reader.version = version
    var found: [MQTTPacket] = []
    for byte in packets.flatMap({ $0.encoded(version) }) {
      reader.append([byte])
      while let packet = try reader.next() { found.append(packet) }
    }
    #expect(found == packets)
  }

  @Test(
    "what was not acknowledged comes again with DUP, in order, to the session that comes back",
    arguments: [MQTTPacket.Version.v311, .v5])
  func redelivery(version: MQTTPacket.Version) throws {
    let peer = try MQTTPeer(makeRole())
    var first = try Client(port: peer.port, version: version)
    peer.withRole { $0.limit = 7 }
    first.send(hello(version))
    first.send(.subscribe(id: 1, filters: ["#"]))
    let sent = try first.publishes(7)
    #expect(sent.map(\.topic) == (0..<7).map { "t/\($0)" })
    #expect(sent.allSatisfy { !$0.isDuplicate })
    first.send(.publishAcknowledged(id: sent[0].id, code: 0))
    first.send(.publishAcknowledged(id: sent[2].id, code: version == .v5 ? 0x97 : 0))
    first.send(.pingRequest)
    while let packet = try first.next(), packet != .pingResponse {}
    #expect(peer.withRole { $0.acknowledgedCount } == (version == .v5 ? 1 : 2))

    // The newer link of the same client takes over.
    var second = try Client(port: peer.port, version: version)
    second.send(hello(version))
    guard case .connectAcknowledged(let answer) = try second.next() else {
      Issue.record("no CONNACK")
      return
    }
    #expect(answer.sessionPresent)
    peer.withRole { $0.limit = 9 }
    let again = try second.publishes(7)
    #expect(again.map(\.topic) == [1, 3, 4, 5, 6, 7, 8].map { "t/\($0)" })
    #expect(again.map(\.isDuplicate) == [true, true, true, true, true, false, false])
    #expect(again[0].id == sent[1].id)
    #expect(peer.withRole { $0.sentCount } == 9)
    #expect(try first.next() == nil)

    var clean = try Client(port: peer.port, version: version)
    clean.send(hello(version, clean: true))
    guard case .connectAcknowledged(let other) = try clean.next() else {
      Issue.record("no CONNACK")
      return
    }
    #expect(!other.sessionPresent)
  }

  /// Says hello, then goes after exactly some bytes more.
  private struct Cutter: MQTTPeerRole {
    let byteCount: Int
    mutating func received(_ packet: MQTTPacket, on link: MQTTPeerLink) {
      link.cut(.close, afterByteCount: byteCount)
      link.send(.connectAcknowledged(.init()))
      link.send([UInt8](repeating: 0xd0, count: 64))
    }
    mutating func turn(on link: MQTTPeerLink) {}
    mutating func ended(_ link: MQTTPeerLink) {}
  }

  @Test("a cut falls after exactly the bytes that were asked for", arguments: [0, 1, 4, 5, 6, 40])
  func cut(byteCount: Int) throws {
    let peer = try MQTTPeer(Cutter(byteCount: byteCount))
    let client = try Client(port: peer.port, version: .v5)
    client.send(hello(.v5))
    var bytes = [UInt8](repeating: 0, count: 4096)
    var total = 0
    while true {
      let count = unsafe recv(client.descriptor.raw, &bytes, bytes.count, 0)
      if count <= 0 { break }
      total += count
    }
    #expect(total == byteCount)
  }

  @Test("bytes that are no MQTT end the link and are told")
  func noise() throws {
    let peer = try MQTTPeer(makeRole())
    var client = try Client(port: peer.port, version: .v5)
    let noise: [UInt8] = [0x10, 0xff, 0xff, 0xff, 0xff, 0xff]
    _ = unsafe Glibc.send(client.descriptor.raw, noise, noise.count, Int32(MSG_NOSIGNAL))
    #expect(try client.next() == nil)
    #expect(peer.errors.count == 1)
  }
}
