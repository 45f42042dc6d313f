import GatewayCore
import Mosquitto
import Platform
import TestSupport
import Testing

@Suite("TLS, against a real listener")
struct TLSTests {
  static func broker(alternativeNames: String = "IP:127.0.0.1,DNS:localhost", _ more: String = "")
    throws -> TestBroker
  {
    try TestBroker { directory in
      try TestCertificates.makeAuthority("ca", in: directory)
      try TestCertificates.makeAuthority("other-ca", in: directory)
      try TestCertificates.makeCertificate(
        "server", authority: "ca", alternativeNames: alternativeNames, in: directory)
      try TestCertificates.makeCertificate(
        "client", authority: "ca", alternativeNames: "DNS:client", in: directory)
      return """
        cafile \(directory)/ca.pem
        certfile \(directory)/server.pem
        keyfile \(directory)/server.key
        max_queued_messages 0
        max_queued_bytes 0
        max_inflight_messages 0
        \(more)
        """
    }
  }

  static func secure(
    _ broker: borrowing TestBroker, _ clientID: String, authority: String? = "ca",
    host: String = "127.0.0.1"
  ) -> ConnectionOptions {
    var mine = options(broker.port, clientID, usesTLS: true, host: host)
    let file = authority.map { "\(broker.directory.path)/\($0).pem" }
    mine.tls = TLSOptions(authorityFile: file)
    mine.receiveMaximum = 2000
    return mine
  }

  private func failure(_ options: ConnectionOptions) throws -> MosquittoError {
    let recorder = Recorder()
    var client = Client(options: options, handler: recorder, logger: silent)
    let error = try #require(throws: MosquittoError.self) {
      try client.connect(endpoint: 0)
      try client.drive { false }
    }
    #expect(recorder.acknowledgements.isEmpty)
    #expect(client.socket == nil)
    return error
  }

  @Test("a verified broker is accepted, by address and by name")
  func verified() throws {
    let broker = try Self.broker()
    for host in ["127.0.0.1", "localhost"] {
      let recorder = Recorder()
      var client = Client(
        options: Self.secure(broker, "c", host: host), handler: recorder, logger: silent)
      try client.connectFully(recorder)
      #expect(try client.publishFully(recorder, topic: "t") == .noMatchingSubscribers)
      try client.disconnect()
    }
  }

  @Test("a certificate of another authority is refused, also without a CA file")
  func wrongAuthority() throws {
    let broker = try Self.broker()
    for authority in ["other-ca", nil] {
      let error = try failure(Self.secure(broker, "c", authority: authority))
      #expect(error.code == .tlsFailed, "\(error)")
      #expect(error.description.contains("CA file"))
      #expect(error.detail.contains("certificate verify failed"), "\(error)")
    }
  }

  @Test("a certificate for another name is refused")
  func wrongName() throws {
    let broker = try Self.broker(alternativeNames: "DNS:other.example")
    #expect(try failure(Self.secure(broker, "c")).code == .tlsFailed)
    #expect(try failure(Self.secure(broker, "c", host: "localhost")).code == .tlsFailed)
  }

  @Test("a broker without TLS on the port is refused")
  func plainPort() throws {
    let secured = try Self.broker()
    let plain = try TestBroker()
    var mine = Self.secure(secured, "c")
    mine.endpoints = [BrokerEndpoint(host: "127.0.0.1", port: plain.port, usesTLS: true)]
    mine.connectTimeout = .seconds(2)
    let error = try failure(mine)
    #expect([.tlsFailed, .timedOut, .connectionLost].contains(error.code), "\(error)")
  }

  @Test("a missing or unusable certificate file is named")
  func files() throws {
    let broker = try Self.broker()
    var mine = Self.secure(broker, "c")
    mine.tls?.authorityFile = "/nonexistent/ca.pem"
    let missing = try failure(mine)
    #expect(missing.code == .unreadableFile)
    #expect(missing.description.contains("/nonexistent/ca.pem"))
    mine.tls?.authorityFile = "\(broker.directory.path)/conf"
    #expect([.tlsFailed, .invalidOptions].contains(try failure(mine).code))
  }

  @Test("a client certificate is shown when the broker wants one")
  func mutual() throws {
    let broker = try Self.broker(
      alternativeNames: "IP:127.0.0.1", "require_certificate true\nuse_identity_as_username true")
    var mine = Self.secure(broker, "c")
    let denied = try failure(mine)
    #expect([.tlsFailed, .connectionLost].contains(denied.code), "\(denied)")
    mine.tls?.certificateFile = "\(broker.directory.path)/client.pem"
    mine.tls?.keyFile = "\(broker.directory.path)/client.key"
    let recorder = Recorder()
    var client = Client(options: mine, handler: recorder, logger: silent)
    try client.connectFully(recorder)
    #expect(client.isAccepted == true)
  }

  // MARK: The stall

  static let count = 1500

  /// 1500 messages waiting for `gateway`: more than the library's internal socket pair has room
  /// for.
  static func brokerWithWaitingMessages() throws -> TestBroker {
    let broker = try broker()
    let recorder = Recorder()
    var client = Client(
      options: secure(broker, "gateway"), handler: recorder, logger: silent)
    try client.connectFully(recorder)
    _ = try client.subscribeFully(recorder, ["t"])
    try client.disconnect()
    let sender = Recorder()
    var publisher = Client(
      options: secure(broker, "publisher"), handler: sender, logger: silent)
    try publisher.connectFully(sender)
    for index in 0..<count {
      _ = try publisher.publish(topic: "t", payload: Array("\(index)".utf8).span)
    }
    try publisher.flush()
    try publisher.drive { sender.published.count == count }
    return broker
  }

  @Test("1500 messages are held over TLS, and all acknowledged after the commit")
  func heldUntilReleased() throws {
    let broker = try Self.brokerWithWaitingMessages()
    let recorder = Recorder()
    var client = Client(
      options: Self.secure(broker, "gateway"), handler: recorder, logger: silent)
    try client.connectFully(recorder)
    try client.drive(.hold) { recorder.messages.count == Self.count }
    #expect(recorder.messages.map(\.payload) == (0..<Self.count).map(String.init))
    #expect(broker.logCount("Received PUBACK from gateway") == 0)
    try client.releaseAcknowledgements(committed: Self.count)
    let log = broker.logPath
    try client.drive { acknowledgementCount(in: log) == Self.count }
  }

  /// A TLS server that puts many packets into each record, as a proxy in front of a broker does.
  /// (Mosquitto itself sends one record for each packet.) CONNACK and `count` PUBLISHes; then
  /// silence.
  static func denseServer(in directory: borrowing TemporaryDirectory) throws -> (
    port: UInt16, options: ConnectionOptions, command: String
  ) {
    let path = directory.path
    try TestCertificates.makeAuthority("ca", in: path)
    try TestCertificates.makeCertificate(
      "server", authority: "ca", alternativeNames: "IP:127.0.0.1", in: path)
    var stream: [UInt8] = [0x20, 3, 0, 0, 0]
    for index in 0..<count {
      let payload = Array("\(index)".utf8)
      let mid = UInt16(index + 1)
      stream += [0x32, UInt8(6 + payload.count), 0, 1, 0x74, UInt8(mid >> 8), UInt8(mid & 0xFF), 0]
      stream += payload
    }
    try File.replace("\(path)/stream", with: stream)
    let port = try Loopback.freePort()
    var mine = options(port, "gateway", usesTLS: true)
    mine.tls = TLSOptions(authorityFile: "\(path)/ca.pem")
    mine.receiveMaximum = 2000
    let command =
      "tail -c +1 -f \(path)/stream | openssl s_server -quiet -accept 127.0.0.1:\(port) "
      + "-cert \(path)/server.pem -key \(path)/server.key"
    return (port, mine, command)
  }

  static func start(_ command: String, in directory: borrowing TemporaryDirectory) throws
    -> ChildProcess
  {
    let log = ChildProcess.Output.file(path: "\(directory.path)/server.log")
    return try ChildProcess(
      executable: "/bin/sh", arguments: ["-c", command], standardOutput: log, standardError: log)
  }

  /// Connects as soon as the server listens. (A look at the port would be its one connection.)
  static func connect(_ client: inout Client) throws {
    let deadline = Deadline(in: .seconds(20))
    while true {
      do {
        return try client.connect(endpoint: 0)
      } catch {
        if error.code != .portClosed || deadline.isOver { throw error }
        _ = Poll.wait(socket: nil, wakeUp: try WakeUp(), timeout: .milliseconds(5))
      }
    }
  }

  @Test("1500 messages in dense records all arrive although the library's socket pair is full")
  func noStall() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-test-tls")
    let server = try Self.denseServer(in: directory)
    let process = try Self.start(server.command, in: directory)
    let recorder = Recorder()
    var client = Client(options: server.options, handler: recorder, logger: silent)
    try Self.connect(&client)
    try client.drive(.hold, within: .seconds(10)) { recorder.messages.count == Self.count }
    #expect(recorder.messages.map(\.payload) == (0..<Self.count).map(String.init))
    client.abort()
    process.send(signal: 9)
  }

  @Test("negative control: one read per readable socket leaves messages inside OpenSSL")
  func controlStalls() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-test-tls")
    let server = try Self.denseServer(in: directory)
    let process = try Self.start(server.command, in: directory)
    let recorder = Recorder()
    var client = Client(options: server.options, handler: recorder, logger: silent)
    try Self.connect(&client)
    let wakeUp = try WakeUp()
    while true {
      if client.heldAcknowledgements == 0 && client.wantsWrite { try client.flush() }
      guard Poll.wait(socket: client.socket, wakeUp: wakeUp, timeout: .seconds(1)).socketReadable
      else { break }
      try client.read()
    }
    #expect(recorder.messages.count < Self.count, "the stall is real")
    // Reading until dry brings the rest without a new byte from the server.
    while try client.readUntilDry(limit: 100) {}
    #expect(recorder.messages.count == Self.count)
    client.abort()
    process.send(signal: 9)
  }
}
