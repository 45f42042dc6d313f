// Goal: a certificate that is dead stops one connection and nothing else: storing goes on, people
// are told, and a new file is all it takes. Method: certificates whose dates are over, made with
// faketime. Cannot show: revocation, clocks that are wrong.

import Audit
import GatewayCore
import Mosquitto
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("certificates")
  struct CertificateTests {
    private static let ids = (0..<200).map { "m-\($0)" }

    /// A central broker that wants a certificate of its clients, beside a plain listener for the
    /// test's own, and the agent's lines for it.
    private struct Central: ~Copyable {
      var broker: BrokerProcess
      let tlsPort: UInt16
      let lines: [String]
    }

    private static func central(in directory: String) throws -> Central {
      try TestCertificates.makeAuthority("ca", in: directory)
      try TestCertificates.makeCertificate(
        "central", authority: "ca", alternativeNames: "IP:127.0.0.1", days: 60, in: directory)
      let port = try Loopback.freePort()
      var options = Audit.BrokerOptions()
      options.lines = [
        "listener \(port) 127.0.0.1", "cafile \(directory)/ca.pem",
        "certfile \(directory)/central.pem",
        "keyfile \(directory)/central.key", "require_certificate true",
        "use_identity_as_username true",
      ]
      let lines = [
        "tls: {ca_file: \(directory)/ca.pem, cert_file: \(directory)/own.pem, "
          + "key_file: \(directory)/own.key}"
      ]
      return Central(
        broker: try BrokerProcess(name: "central", options: options), tlsPort: port, lines: lines)
    }

    private static func makeOwn(_ name: String, days: Int, daysAgo: Int = 0, in directory: String)
      throws
    {
      try TestCertificates.makeCertificate(
        name, authority: "ca", alternativeNames: "DNS:own", days: days, madeDaysAgo: daysAgo,
        file: "own", in: directory)
    }

    @Test(
      "with a dead client certificate storing goes on; a new file is used without a restart",
      .enabled(if: Environment.executable(named: "faketime") != nil, "faketime is not installed"))
    func dead() throws {
      let directory = try TemporaryDirectory(prefix: "penstock-certificates")
      let path = directory.path
      var central = try Self.central(in: path)
      try Self.makeOwn("old", days: 2, daysAgo: 10, in: path)
      var field = try BrokerProcess(name: "field")
      try field.start()
      try central.broker.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.broker.port)
      file.central = "mqtts://127.0.0.1:\(central.tlsPort)"
      file.centralLines = central.lines
      let deliveries = try Deliveries(central.broker.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.start()
      try agent.wait(for: "the agent to receive") {
        agent.log.contains("receiving from the field broker")
      }
      try TestProducer(field.endpoint).publish(Self.ids.map { .reading($0) })
      try agent.wait(for: "all to be stored") {
        try agent.metric("penstock_ingest_journalled_total") == 200
      }
      // Over TLS 1.3 the refusal comes when our side takes the handshake for done, and without a
      // reason.
      try agent.wait(for: "the refusal") {
        agent.log.lineCount("trying again", "mqtts://127.0.0.1:\(central.tlsPort): ") > 0
      }
      #expect(deliveries.events.isEmpty)
      #expect(agent.log.lineCount("a certificate has ended", "CN=old", "central") == 1)
      let health = try agent.health()
      #expect(health.code == 200)
      #expect(health.body.contains("broker central: our certificate ended"), "\(health.body)")
      let end = try #require(try CertificateFile.read("\(path)/own.pem").first).notAfter
      let told = try agent.metric(
        "penstock_broker_certificate_expiry_timestamp_seconds", "which=\"client\"")
      #expect(told == Double(end.nanoseconds) / 1e9)

      try Self.makeOwn("new", days: 60, in: path)
      try agent.wait(for: "all deliveries", within: .seconds(90)) {
        deliveries.faults(expecting: Self.ids).isEmpty
      }
      #expect(
        central.broker.log.lineCount("as penstock-gw-it-telemetry-central-out", "u'new'") == 1)
      try agent.wait(for: "the server's certificate to be told of") {
        try agent.metric(
          "penstock_broker_certificate_expiry_timestamp_seconds", "which=\"server\"") != nil
      }
      #expect(try agent.stop() == 0)
    }

    @Test("an authority that ends soon is told of at the start")
    func soon() throws {
      let directory = try TemporaryDirectory(prefix: "penstock-certificates")
      let path = directory.path
      var central = try Self.central(in: path)
      try Self.makeOwn("own", days: 60, in: path)
      var field = try BrokerProcess(name: "field")
      try field.start()
      try central.broker.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.broker.port)
      file.central = "mqtts://127.0.0.1:\(central.tlsPort)"
      file.centralLines = central.lines
      let agent = try TestAgent(file)
      try agent.startConnected()
      // The test's authority is made for two days; so is what it verifies.
      #expect(agent.log.lineCount("a certificate ends soon", "authority") == 1, "\(agent.log)")
      #expect(agent.log.lineCount("a certificate ends soon", "server") == 1, "\(agent.log)")
      #expect(!agent.log.contains("certificate.which=client"))
      #expect(try agent.health().body.contains("an authority in the CA file ends"))
      #expect(try agent.stop() == 0)
    }
  }
}
