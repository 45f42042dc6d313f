// Goal: nothing of ours is told to a broker that cannot prove who it is, and the gateway goes on
// asking until the right one is there. Method: servers with wrong certificates and old protocols
// from the openssl command, peers that are silent or hang up in the handshake; both brokers of the
// real process are there at once. Then Mosquitto with the right certificate on the same port.
// Cannot show: attacks on TLS itself.

import Audit
import GatewayCore
import Platform
import TestSupport
import Testing

@Suite(
  "brokers that cannot prove who they are", .serialized,
  .enabled(if: Environment.executable(named: "openssl") != nil, "openssl is not installed"),
  .enabled(if: BrokerProcess.isAvailable, "mosquitto is not installed: apt-get install mosquitto"))
struct TLSPeerTests {
  enum Peer: String, Sendable, CaseIterable {
    case wrongName = "another name"
    case expired = "an expired certificate"
    case otherAuthority = "another authority"
    case selfSigned = "a certificate of its own"
    case oldProtocol = "TLS 1.1"
    case silent = "silence"
    case closing = "a hang-up in the handshake"
    case plain = "no TLS"
  }

  private static func makeCertificates(_ peer: Peer, in path: String) throws {
    try TestCertificates.makeAuthority("ca", in: path)
    try TestCertificates.makeAuthority("other", in: path)
    try TestCertificates.makeCertificate(
      "right", authority: "ca", alternativeNames: "IP:127.0.0.1", in: path)
    switch peer {
    case .wrongName:
      try TestCertificates.makeCertificate(
        "bad", authority: "ca", alternativeNames: "DNS:other.example,IP:127.0.0.2", in: path)
    case .expired:
      try TestCertificates.makeExpiredCertificate(
        "bad", authority: "ca", alternativeNames: "IP:127.0.0.1", in: path)
    case .otherAuthority:
      try TestCertificates.makeCertificate(
        "bad", authority: "other", alternativeNames: "IP:127.0.0.1", in: path)
    case .selfSigned: try TestCertificates.makeAuthority("bad", in: path)
    case .oldProtocol, .silent, .closing, .plain:
      try TestCertificates.makeCertificate(
        "bad", authority: "ca", alternativeNames: "IP:127.0.0.1", in: path)
    }
  }

  /// `openssl s_server`, which prints what it decrypts.
  private static func startServer(
    _ peer: Peer, port: UInt16, in path: String
  ) throws -> ChildProcess {
    let program = try #require(Environment.executable(named: "openssl"))
    let old = peer == .oldProtocol ? ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"] : []
    return try ChildProcess(
      executable: program,
      arguments: [
        "s_server", "-accept", "127.0.0.1:\(port)", "-cert", "\(path)/bad.pem", "-key",
        "\(path)/bad.key",
      ] + old, standardOutput: .file(path: "\(path)/server.log"),
      standardError: .file(path: "\(path)/server.log"))
  }

  private static func makeGateway(port: UInt16, in path: String) throws -> GatewayUnderTest {
    try GatewayUnderTest { dataDirectory in
      """
      gateway: {id: gw-1, data_directory: "\(dataDirectory)"}
      brokers:
        field: {url: "mqtts://127.0.0.1:\(port)", tls: {ca_file: "\(path)/ca.pem"}}
        central: {url: "mqtts://127.0.0.1:\(port)", tls: {ca_file: "\(path)/ca.pem"}}
      routes:
        - name: telemetry
          from: field
          subscribe: ["pumps/+/metrics"]
          journal: {size: 16MiB}
          to: [{name: central, broker: central}]

      """
    }
  }

  /// Two attempts of either half.
  private func waitForRefusals(_ gateway: GatewayUnderTest) throws {
    try gateway.wait(for: "two refusals on each side", within: .seconds(60)) {
      try gateway.metric("penstock_ingest_reconnects_total") >= 2
        && gateway.metric("penstock_upstream_reconnects_total") >= 2
    }
    #expect(try gateway.metric("penstock_ingest_connected") == 0)
    #expect(try gateway.metric("penstock_upstream_connected") == 0)
    #expect(try gateway.status() == "degraded")
  }

  @Test("each is refused before CONNECT, and the right one is used", arguments: Peer.allCases)
  func refused(_ peer: Peer) throws {
    let directory = try TemporaryDirectory(prefix: "penstock-tls")
    let path = directory.path
    try Self.makeCertificates(peer, in: path)
    let port: UInt16
    let gateway: GatewayUnderTest
    switch peer {
    case .silent, .closing:
      let rude = try RudePeer(peer == .silent ? .silent : .closing)
      port = rude.port
      gateway = try Self.makeGateway(port: port, in: path)
      try gateway.start()
      try waitForRefusals(gateway)
      // A ClientHello (handshake record, 22) and nothing that could be a CONNECT.
      #expect(rude.openings.allSatisfy { $0.isEmpty || $0.first == 22 })
      #expect(rude.openings.count >= 4)
    case .plain:
      let broker = try MQTTPeer(CentralRole { _ in })
      port = broker.port
      gateway = try Self.makeGateway(port: port, in: path)
      try gateway.start()
      try waitForRefusals(gateway)
      #expect(broker.withRole { $0.connectTimes.isEmpty })
    default:
      port = try Loopback.freePort()
      var server = try Self.startServer(peer, port: port, in: path)
      gateway = try Self.makeGateway(port: port, in: path)
      try gateway.wait(for: "the server to listen") { Loopback.answers(port: port) }
      try gateway.start()
      try waitForRefusals(gateway)
      try server.kill()
      let seen = try File.readSmall("\(path)/server.log", byteCountMax: 16 << 20)
      #expect(!String(decoding: seen, as: UTF8.self).contains("MQTT"))
    }
    var options = BrokerOptions()
    options.lines = [
      "listener \(port) 127.0.0.1", "certfile \(path)/right.pem", "keyfile \(path)/right.key",
    ]
    var right = try BrokerProcess(name: "right", options: options)
    try right.start()
    try gateway.wait(for: "the right broker to be used", within: .seconds(120)) {
      try gateway.status() == "ok"
    }
    Campaign.tell("TLS: \(peer.rawValue)", "refused before CONNECT, then the right one was used")
    #expect(try gateway.stop() == 0)
  }
}
