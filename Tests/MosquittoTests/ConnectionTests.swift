import GatewayCore
import Glibc
import Mosquitto
import Platform
import TestSupport
import Testing

@Suite("Connecting")
struct ConnectionTests {
  /// CONNACK of MQTT 5 with success and no properties.
  static let accepted: [UInt8] = [0x20, 3, 0, 0, 0]

  private func failure(
    _ options: ConnectionOptions, within limit: Duration = .seconds(20)
  ) throws -> (error: MosquittoError, recorder: Recorder) {
    let recorder = Recorder()
    var client = Client(options: options, handler: recorder, logger: silent)
    let error = try #require(throws: MosquittoError.self) {
      try client.connect(endpoint: 0)
      try client.drive(within: limit) { false }
    }
    #expect(client.socket == nil)
    #expect(client.wantsWrite == false)
    return (error, recorder)
  }

  @Test(
    "a closed port is named as such, with the broker and what to check", arguments: [false, true])
  func portClosed(usesTLS: Bool) throws {
    let port = try Loopback.freePort()
    let (error, recorder) = try failure(options(port, "c", usesTLS: usesTLS))
    #expect(error.code == .portClosed)
    #expect(error.systemCode == ECONNREFUSED)
    #expect(
      error.description
        == "mqtt\(usesTLS ? "s" : "")://127.0.0.1:\(port): cannot connect: Connection refused. "
        + "Check that the broker runs and that the port is right.")
    #expect(recorder.disconnects.isEmpty)
  }

  @Test("an unknown host name is named as such")
  func unknownName() throws {
    let (error, _) = try failure(options(1883, "c", host: "broker.invalid"))
    #expect(error.code == .nameNotResolved)
  }

  @Test("a name is resolved, also when its first address does not answer")
  func byName() throws {
    let broker = try TestBroker()
    let recorder = Recorder()
    var client = Client(
      options: options(broker.port, "c", host: "localhost"), handler: recorder, logger: silent)
    try client.connectFully(recorder)
    #expect(client.isAccepted == true)
  }

  @Test("TCP that does not answer is given up after connectTimeout")
  func tcpTimeout() throws {
    let peer = try ScriptedPeer(answer: nil)
    var few = options(peer.port, "c")
    few.connectTimeout = .milliseconds(300)
    // A listener with an empty backlog still takes one connection; the next one hangs.
    var first = Client(options: few, handler: Recorder(), logger: silent)
    try first.connect(endpoint: 0)
    let start = Clock.monotonic()
    let (error, _) = try failure(few)
    #expect(error.code == .timedOut)
    #expect(Clock.monotonic().since(start) < .seconds(5))
    #expect(first.socket != nil)
  }

  @Test(
    "a peer that never sends CONNACK is given up after connectTimeout", arguments: [false, true])
  func silentPeer(usesTLS: Bool) throws {
    let peer = try ScriptedPeer(answer: [])
    var few = options(peer.port, "c", usesTLS: usesTLS)
    few.connectTimeout = .milliseconds(300)
    let (error, recorder) = try failure(few)
    #expect(error.code == .timedOut)
    #expect(recorder.disconnects == [nil])
  }

  @Test("a port that speaks something else is a protocol violation")
  func notABroker() throws {
    let page = "HTTP/1.1 400 Bad Request\r\n\r\n" + String(repeating: "no MQTT here ", count: 20)
    let peer = try ScriptedPeer(answer: Array(page.utf8))
    let (error, _) = try failure(options(peer.port, "c"))
    #expect([.protocolViolation, .connectionLost].contains(error.code), "\(error)")
  }

  @Test("a DISCONNECT of the broker ends the connection with its reason")
  func brokerDisconnects() throws {
    let peer = try ScriptedPeer(answer: Self.accepted + [0xE0, 2, 0x8E, 0])
    let (error, recorder) = try failure(options(peer.port, "c"))
    #expect(error.code == .disconnectedByBroker)
    #expect(error.reason == .sessionTakenOver)
    #expect(recorder.acknowledgements.map(\.reason) == [.success])
    #expect(recorder.disconnects == [.sessionTakenOver])
    #expect(error.description.contains("session taken over (0x8E)"))
  }

  @Test("the limits in CONNACK are read", arguments: [nil, 0, 1] as [UInt8?])
  func limits(subscriptionIdentifiers: UInt8?) throws {
    var properties: [UInt8] =
      [0x21, 0, 10] + [0x24, 1] + [0x25, 0] + [0x27, 0, 0, 16, 0] + [0x22, 0, 7]
      + [0x13, 0, 30] + [0x11, 0, 0, 0, 60] + [0x12, 0, 2, 0x61, 0x62]
    if let subscriptionIdentifiers { properties += [0x29, subscriptionIdentifiers] }
    let count = UInt8(properties.count)
    let peer = try ScriptedPeer(answer: [0x20, 3 + count, 1, 0, count] + properties)
    let recorder = Recorder()
    var mine = options(peer.port, "")
    mine.cleanStart = true
    var client = Client(options: mine, handler: recorder, logger: silent)
    try client.connectFully(recorder)
    var expected = ConnectAcknowledgement(reason: .success, sessionPresent: true)
    expected.receiveMaximum = 10
    expected.maximumQualityOfService = .atLeastOnce
    expected.maximumPacketByteCount = 4096
    expected.sessionExpiry = .seconds(60)
    expected.keepAlive = .seconds(30)
    // Available unless the broker says no.
    expected.hasSubscriptionIdentifiers = subscriptionIdentifiers != 0
    #expect(recorder.acknowledgements == [expected])
    let mid = try? client.publish(
      topic: "t", payload: [UInt8](repeating: 0, count: 5000).span, properties: .none)
    #expect(mid == nil, "larger than the broker takes")
    #expect(client.socket != nil, "and the connection is unharmed")
  }

  @Test(
    "the session, its subscriptions and messages survive a disconnect",
    arguments: [ProtocolVersion.v5, .v311])
  func sessionKept(version: ProtocolVersion) throws {
    let broker = try TestBroker()
    let recorder = Recorder()
    var mine = options(broker.port, "keeper")
    mine.protocolVersion = version
    var client = Client(options: mine, handler: recorder, logger: silent)
    try client.connectFully(recorder)
    #expect(recorder.acknowledgements.last?.sessionPresent == false)
    #expect(try client.subscribeFully(recorder, ["a/+", "b/#"]) == [.grantedQoS1, .grantedQoS1])
    try client.disconnect()
    #expect(client.socket == nil)
    #expect(recorder.disconnects == [nil])
    try publish(3, to: "a/1", port: broker.port)
    try client.connectFully(recorder)
    #expect(recorder.acknowledgements.last?.sessionPresent == true)
    try client.drive { recorder.messages.count == 3 }
    #expect(recorder.messages.allSatisfy { $0.header.qualityOfService == .atLeastOnce })
    let mid = try client.unsubscribe(["a/+"])
    try client.flush()
    try client.drive { recorder.unsubscribed == [mid] }
  }

  @Test("session expiry zero ends the session with the connection")
  func sessionNotKept() throws {
    let broker = try TestBroker()
    let recorder = Recorder()
    var mine = options(broker.port, "forgetful")
    mine.sessionExpiry = .zero
    var client = Client(options: mine, handler: recorder, logger: silent)
    try client.connectFully(recorder)
    _ = try client.subscribeFully(recorder, ["a"])
    try client.disconnect()
    try client.connectFully(recorder)
    #expect(recorder.acknowledgements.last?.sessionPresent == false)
  }

  @Test("a broker killed and started again is reached by the same client")
  func brokerRestart() throws {
    var broker = try TestBroker()
    let recorder = Recorder()
    var client = Client(options: options(broker.port, "c"), handler: recorder, logger: silent)
    for _ in 0..<3 {
      try client.connectFully(recorder)
      #expect(try client.publishFully(recorder, topic: "t") == .noMatchingSubscribers)
      try broker.kill()
      #expect(throws: MosquittoError.self) { try client.drive { false } }
      #expect(throws: MosquittoError.self) { try client.read() }
      try broker.start()
    }
    #expect(recorder.disconnects == [nil, nil, nil])
  }

  @Test("a stopped broker is noticed by the keepalive")
  func keepAlive() throws {
    let broker = try TestBroker()
    let recorder = Recorder()
    var mine = options(broker.port, "c")
    mine.keepAlive = .seconds(5)
    var client = Client(options: mine, handler: recorder, logger: silent)
    try client.connectFully(recorder)
    broker.send(signal: SIGSTOP)
    let error = try #require(throws: MosquittoError.self) {
      try client.drive(within: .seconds(30)) { false }
    }
    broker.send(signal: SIGCONT)
    #expect(error.code == .keepAliveExpired)
  }

  @Test("options the library cannot take are refused in words")
  func invalidOptions() throws {
    var mine = options(1, "")
    #expect(try failure(mine).error.code == .invalidOptions)
    mine = options(1, "c")
    mine.password = .value("secret")
    #expect(try failure(mine).error.code == .invalidOptions)
    mine.username = "u"
    mine.password = .file(path: "/nonexistent/password")
    let (error, _) = try failure(mine)
    #expect(error.code == .unreadableFile)
    #expect(error.description.contains("/nonexistent/password"))
  }
}
