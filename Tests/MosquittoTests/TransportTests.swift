// Goal: each way to reach a broker, and each way to be sure that it is the right one. Method: real
// Mosquitto listeners with keys and certificates of the test, and OpenSSL's own server where
// Mosquitto has no such thing. Cannot show: brokers with hardware keys, revocation.

import GatewayCore
import Mosquitto
import Platform
import TestSupport
import Testing

@Suite("transports, against real listeners")
struct TransportTests {
  private func failure(_ options: ConnectionOptions) throws -> MosquittoError {
    let recorder = Recorder()
    var client = Client(options: options, handler: recorder, logger: silent)
    let error = try #require(throws: MosquittoError.self) {
      try client.connect(endpoint: 0)
      try client.drive { !recorder.acknowledgements.isEmpty }
    }
    #expect(recorder.acknowledgements.isEmpty)
    return error
  }

  // MARK: Unix socket

  @Test("a Unix socket is spoken to over both protocols")
  func unixSocket() throws {
    let broker = try TestBroker { "listener 0 \($0)/socket" }
    for version in [ProtocolVersion.v5, .v311] {
      var mine = options(broker.port, "unix")
      mine.endpoints = [BrokerEndpoint(unixSocket: "\(broker.directory.path)/socket")]
      mine.protocolVersion = version
      mine.cleanStart = true
      let recorder = Recorder()
      var client = Client(options: mine, handler: recorder, logger: silent)
      try client.connectFully(recorder)
      _ = try client.subscribeFully(recorder, ["t"])
      #expect(try client.publishFully(recorder, topic: "t", "hello") == .success)
      try client.drive { recorder.messages.map(\.payload) == ["hello"] }
      try client.disconnect()
    }
  }

  @Test("a socket that is not there, or not listened to, is named with what to check")
  func unixSocketMissing() throws {
    var mine = options(1, "unix")
    mine.endpoints = [BrokerEndpoint(unixSocket: "/nonexistent/socket")]
    let error = try failure(mine)
    #expect(error.code == .portClosed, "\(error)")
    #expect(error.description.contains("unix:///nonexistent/socket"), "\(error)")
    #expect(error.description.contains("the path is right"), "\(error)")
    var broker = try TestBroker { "listener 0 \($0)/socket" }
    mine.endpoints = [BrokerEndpoint(unixSocket: "\(broker.directory.path)/socket")]
    try broker.kill()
    #expect(try failure(mine).code == .portClosed)
  }

  // MARK: Pre-shared key

  private static let key = "0123456789abcdef0123456789abcdef"

  private static func keyed() throws -> TestBroker {
    try TestBroker { directory in
      try File.replace("\(directory)/psk", with: Array("gateway:\(key)\n".utf8))
      for (name, text) in [("right", key + "\n"), ("wrong", String(key.reversed())), ("no", "key")]
      {
        try File.replace("\(directory)/\(name).psk", with: Array(text.utf8))
      }
      return "psk_hint hint\npsk_file \(directory)/psk\nuse_identity_as_username true"
    }
  }

  private static func keyed(
    _ port: UInt16, _ directory: String, identity: String = "gateway", key: String
  ) -> ConnectionOptions {
    var mine = options(port, "c", usesTLS: true)
    var tls = TLSOptions()
    tls.presharedKey = TLSOptions.PresharedKey(
      identity: identity, keyFile: "\(directory)/\(key).psk")
    mine.tls = tls
    return mine
  }

  @Test("a pre-shared key opens the way, and its identity is the user name")
  func presharedKey() throws {
    let broker = try Self.keyed()
    let recorder = Recorder()
    var client = Client(
      options: Self.keyed(broker.port, broker.directory.path, key: "right"), handler: recorder,
      logger: silent)
    try client.connectFully(recorder)
    #expect(try client.publishFully(recorder, topic: "t") == .noMatchingSubscribers)
    #expect(broker.logCount("u'gateway'") == 1)
  }

  @Test(
    "another key, another identity and no key at all are refused",
    arguments: [("gateway", "wrong"), ("other", "right"), ("gateway", "no")])
  func wrongKey(identity: String, key: String) throws {
    let broker = try Self.keyed()
    let error = try failure(
      Self.keyed(broker.port, broker.directory.path, identity: identity, key: key))
    #expect([.tlsFailed, .invalidOptions].contains(error.code), "\(error)")
    #expect(!"\(error)".contains(Self.key))
  }

  @Test("with a pre-shared key a server that shows a certificate instead is not believed")
  func certificateInsteadOfKey() throws {
    let keyed = try Self.keyed()
    let certified = try TLSTests.broker()
    let error = try failure(Self.keyed(certified.port, keyed.directory.path, key: "right"))
    #expect(error.code == .tlsFailed, "\(error)")
  }

  // MARK: OpenSSL's server

  private struct Server: ~Copyable {
    var options: ConnectionOptions
    let process: ChildProcess
  }

  /// A TLS server that sends one CONNACK and logs what was agreed on.
  private static func server(
    in directory: borrowing TemporaryDirectory, _ arguments: String
  ) throws -> Server {
    let path = directory.path
    try TestCertificates.makeAuthority("ca", in: path)
    try TestCertificates.makeCertificate(
      "server", authority: "ca", alternativeNames: "IP:127.0.0.1", in: path)
    try File.replace("\(path)/stream", with: [0x20, 3, 0, 0, 0])
    let port = try Loopback.freePort()
    var mine = options(port, "gateway", usesTLS: true)
    mine.tls = TLSOptions(authorityFile: "\(path)/ca.pem")
    let process = try TLSTests.start(
      "tail -c +1 -f \(path)/stream | openssl s_server -accept 127.0.0.1:\(port) "
        + "-cert \(path)/server.pem -key \(path)/server.key \(arguments)", in: directory)
    return Server(options: mine, process: process)
  }

  private static func log(_ directory: borrowing TemporaryDirectory) -> String {
    let bytes = (try? File.readSmall("\(directory.path)/server.log", byteCountMax: 1 << 20)) ?? []
    return String(decoding: bytes, as: UTF8.self)
  }

  @Test("ALPN: the name is offered")
  func alpn() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-test-alpn")
    var server = try Self.server(in: directory, "-alpn other,mqtt")
    server.options.tls?.applicationProtocol = "mqtt"
    let recorder = Recorder()
    var client = Client(options: server.options, handler: recorder, logger: silent)
    try TLSTests.connect(&client)
    try client.drive(.hold) { recorder.acknowledgements.count == 1 }
    // The server's CONNACK may be here before its words about the handshake are in the file.
    try client.drive(.hold) { Self.log(directory).contains("ALPN protocols selected: mqtt") }
    client.abort()
    server.process.send(signal: 9)
  }

  @Test(
    "TLS 1.2 is the floor: 1.1 is refused, 1.2 and 1.3 are spoken",
    arguments: [("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)])
  func floor(version: String, isSpoken: Bool) throws {
    let directory = try TemporaryDirectory(prefix: "penstock-test-floor")
    // OpenSSL 3 itself speaks 1.1 only below its usual level of security.
    let server = try Self.server(in: directory, "\(version) -cipher DEFAULT@SECLEVEL=0")
    let recorder = Recorder()
    var client = Client(options: server.options, handler: recorder, logger: silent)
    do {
      try TLSTests.connect(&client)
      try client.drive(.hold) { recorder.acknowledgements.count == 1 }
      #expect(isSpoken)
    } catch let error as MosquittoError {
      #expect(!isSpoken, "\(error)")
      #expect(error.code == .tlsFailed, "\(error)")
    }
    server.process.send(signal: 9)
  }

  // MARK: Dates

  @Test(
    "a certificate whose dates are over is refused, and the error says so",
    .enabled(if: Environment.executable(named: "faketime") != nil, "faketime is not installed"))
  func expired() throws {
    let broker = try TLSTests.broker()
    let path = broker.directory.path
    try TestCertificates.makeCertificate(
      "server", authority: "ca", alternativeNames: "IP:127.0.0.1", madeDaysAgo: 10, in: path)
    // Mosquitto reads its certificate again on SIGHUP.
    broker.send(signal: 1)
    try broker.waitForLog { $0.contains("Reloading config") }
    let error = try failure(TLSTests.secure(broker, "c"))
    #expect(error.code == .tlsFailed, "\(error)")
    #expect(error.detail.contains("certificate has expired"), "\(error)")
  }

  @Test("certificate, key and password are read at each connect")
  func rotation() throws {
    let broker = try TLSTests.broker(
      alternativeNames: "IP:127.0.0.1", "require_certificate true\nuse_identity_as_username true")
    let path = broker.directory.path
    var mine = TLSTests.secure(broker, "c")
    mine.tls?.certificateFile = "\(path)/own.pem"
    mine.tls?.keyFile = "\(path)/own.key"
    let recorder = Recorder()
    var client = Client(options: mine, handler: recorder, logger: silent)
    for name in ["first", "second"] {
      try TestCertificates.makeCertificate(
        name, authority: "ca", alternativeNames: "DNS:own", file: "own", in: path)
      try client.connectFully(recorder)
      #expect(broker.logCount("u'\(name)'") == 1, "\(broker.log)")
    }
  }

  @Test("a connection tells when what verified its server ends")
  func observed() throws {
    let broker = try TLSTests.broker()
    let file = try CertificateFile.read("\(broker.directory.path)/server.pem")
    let authority = try CertificateFile.read("\(broker.directory.path)/ca.pem")
    let earliest = try #require((file + authority).min { $0.notAfter < $1.notAfter })
    #expect(file.map(\.subject) == ["CN=server"])
    let now = Clock.wall().nanoseconds
    let days = Double(earliest.notAfter.nanoseconds - now) / 86_400e9
    #expect((1.9...2.0).contains(days), "made for two days: \(days)")
    let seen = Seen()
    let recorder = Recorder()
    var client = MosquittoClient(
      options: TLSTests.secure(broker, "c"), handler: recorder, logger: silent
    ) { seen.note($0) }
    try client.connectFully(recorder)
    #expect(seen.all == [earliest])
  }
}
