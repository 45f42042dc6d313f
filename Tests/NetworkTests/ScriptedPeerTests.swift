// Goal: the scripted broker is a fair oracle: its session behaves as a broker's, a cut falls where
// it was asked for, a slow reader is slow. Method: a client on a raw socket. Cannot show: that it
// accepts whatever a real broker does.

import GatewayCore
import Glibc
import Platform
import TestSupport
import Testing

@Suite("the scripted MQTT peer")
struct ScriptedPeerTests {
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

  /// Reads PUBACKs until a number of bytes has come.
  private struct Reader: MQTTPeerRole {
    var counted = 0
    let cutAfter: Int
    mutating func received(_ packet: MQTTPacket, on link: MQTTPeerLink) {
      guard case .connect = packet else { return counted += 1 }
      link.cut(.close, afterReceivedByteCount: cutAfter)
      link.send(.connectAcknowledged(.init()))
    }
    mutating func turn(on link: MQTTPeerLink) {}
    mutating func ended(_ link: MQTTPeerLink) {}
  }

  @Test(
    "a cut of reading takes exactly the packets that are whole", arguments: [0, 3, 4, 5, 8, 39])
  func readCut(byteCount: Int) throws {
    let peer = try MQTTPeer(Reader(cutAfter: byteCount))
    var client = try Client(port: peer.port, version: .v5)
    client.send(hello(.v5))
    // What comes with the CONNECT would have been read before the cut was asked for.
    _ = try client.next()
    for id in 1...10 { client.send(.publishAcknowledged(id: UInt16(id), code: 0)) }
    // What was not read makes the kernel say RST instead of FIN.
    #expect((try? client.next()) == nil)
    #expect(peer.withRole { $0.counted } == byteCount / 4)
  }

  @Test("what was redelivered with others' identifiers and without DUP is what was sent")
  func shuffledRedelivery() throws {
    var role = makeRole()
    role.redelivery = .init(isMarked: false, keepsIDs: false)
    let peer = try MQTTPeer(role)
    var first = try Client(port: peer.port, version: .v5)
    peer.withRole { $0.limit = 3 }
    first.send(hello(.v5))
    first.send(.subscribe(id: 1, filters: ["#"]))
    let sent = try first.publishes(3)
    var second = try Client(port: peer.port, version: .v5)
    second.send(hello(.v5))
    let again = try second.publishes(3)
    #expect(again.map(\.topic) == sent.map(\.topic))
    #expect(again.map(\.id) == [sent[1].id, sent[2].id, sent[0].id])
    #expect(again.allSatisfy { !$0.isDuplicate })
  }

  @Test("QoS 2 goes its four steps, and stays in the session between them")
  func exactlyOnce() throws {
    var role = FieldRole { _ in .init(topic: "t", payload: [1], quality: 2) }
    role.limit = 1
    let peer = try MQTTPeer(role)
    var first = try Client(port: peer.port, version: .v5)
    first.send(hello(.v5))
    first.send(.subscribe(id: 1, filters: ["#"]))
    let sent = try first.publishes(1)
    #expect(sent.first?.isExactlyOnce == true)
    let id = try #require(sent.first?.id)
    first.send(.publishReceived(id: id))
    #expect(try first.next() == .publishReleased(id: id))
    var second = try Client(port: peer.port, version: .v5)
    second.send(hello(.v5))
    _ = try second.next()
    #expect(try second.next() == .publishReleased(id: id))
    second.send(.publishCompleted(id: id))
    second.send(.pingRequest)
    while let packet = try second.next(), packet != .pingResponse {}
    #expect(peer.withRole { $0.acknowledgedCount } == 1)
  }

  @Test("a client whose place is taken hears why, with MQTT 5, and is put out")
  func takenOver() throws {
    var role = makeRole()
    role.farewell = 0x8e
    for version in [MQTTPacket.Version.v5, .v311] {
      // One each: to a session that it knows a peer says farewell before the SUBSCRIBE.
      let peer = try MQTTPeer(role)
      var client = try Client(port: peer.port, version: version)
      client.send(hello(version))
      client.send(.subscribe(id: 1, filters: ["#"]))
      var packets: [MQTTPacket] = []
      while let packet = try client.next() { packets.append(packet) }
      #expect(
        packets.last
          == (version == .v5 ? .disconnect(code: 0x8e) : .subscribeAcknowledged(id: 1, codes: [1])))
    }
  }

  @Test("a slow reader takes no more than its rate")
  func slowReader() throws {
    var role = CentralRole { _ in }
    role.readRate = 20_000
    let peer = try MQTTPeer(role)
    var client = try Client(port: peer.port, version: .v5)
    client.send(hello(.v5))
    _ = try client.next()
    let start = Clock.monotonic()
    client.send(.publish(.init(topic: "t", payload: [UInt8](repeating: 0, count: 10_000), id: 1)))
    #expect(try client.next() == .publishAcknowledged(id: 1, code: 0))
    let elapsed = Clock.monotonic().since(start)
    #expect(elapsed > .milliseconds(400) && elapsed < .seconds(5), "\(elapsed)")
  }
}
