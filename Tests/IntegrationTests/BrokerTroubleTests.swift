// Goal: a broker that is away or refuses never ends `run`, is named with reason and advice in log
// and health page, and is used again when it is back; a one-shot command exits with 69. Method:
// closed ports, wrong passwords, a scripted peer that refuses. Cannot show: networks that swallow
// packets (see the connection's own tests).

import Audit
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("brokers that are away or refuse")
  struct BrokerTroubleTests {
    /// A broker that knows `penstock` with this password, and nobody else.
    static func guarded(password: String) throws -> BrokerProcess {
      let directory = try TemporaryDirectory(prefix: "penstock-passwords")
      let path = directory.path + "/passwords"
      let made = try Command(tool: "mosquitto_passwd", ["-c", "-b", path, "penstock", password])
      try #require(made.code == 0, "\(made.error)")
      var options = BrokerOptions()
      options.passwordFile = text(of: path)
      return try BrokerProcess(name: "field", options: options)
    }

    /// What a person must find: in the log and on the health page.
    private func expectReport(_ agent: TestAgent, _ words: String...) throws {
      let health = try agent.health()
      #expect(health.code == 200)
      #expect(try agent.status() == "degraded")
      for word in words {
        #expect(health.body.contains(word), "\(word) is not in \(health.body)")
        #expect(agent.log.contains(word), "\(word) is not in \(agent.log)")
      }
    }

    @Test("closed ports: both brokers are named, and used when they are there")
    func closed() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      let agent = try TestAgent(GatewayFile(fieldPort: field.port, centralPort: central.port))
      try agent.start()
      try agent.wait(for: "both sides to try again") {
        try agent.health().body.lineCount("\"upstream\"", "\"reconnecting\"") == 1
          && agent.health().body.components(of: "\"reconnecting\"") == 2
      }
      try expectReport(
        agent, "mqtt://127.0.0.1:\(field.port): cannot connect", "Connection refused",
        "mqtt://127.0.0.1:\(central.port): cannot connect", "Check that the broker runs")
      try field.start()
      try central.start()
      try agent.wait(for: "both brokers to be used", within: .seconds(60)) {
        try agent.status() == "ok"
      }
      #expect(try agent.stop() == 0)
    }

    @Test("a wrong password is named without being shown; the right one is used without a restart")
    func wrongPassword() throws {
      var field = try Self.guarded(password: "right-secret")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let directory = try TemporaryDirectory(prefix: "penstock-secret")
      let path = directory.path + "/password"
      try File.replace(path, with: Array("wrong-secret\n".utf8))
      file.fieldLines = ["username: penstock", "password_file: \(path)"]
      let agent = try TestAgent(file)
      try agent.start()
      try agent.wait(for: "the refusal") { try agent.health().body.contains("0x87") }
      try expectReport(
        agent, "mqtt://127.0.0.1:\(field.port): the broker refuses the connection",
        "not authorized (0x87)", "Check the user name, the password")
      try File.replace(path, with: Array("right-secret\n".utf8))
      try agent.wait(for: "the right password to be used", within: .seconds(60)) {
        try agent.status() == "ok"
      }
      #expect(try agent.stop() == 0)
      #expect(!agent.log.contains("-secret"))
    }

    @Test("a refused subscription names broker, filter and reason")
    func refusedSubscription() throws {
      // CONNACK, then SUBACK of mid 1: not authorized (MQTT 5.0, 3.2 and 3.9).
      let peer = try ScriptedPeer(
        answer: [0x20, 0x03, 0x00, 0x00, 0x00, 0x90, 0x04, 0x00, 0x01, 0x00, 0x87])
      var central = try BrokerProcess(name: "central")
      try central.start()
      let agent = try TestAgent(GatewayFile(fieldPort: peer.port, centralPort: central.port))
      try agent.start()
      try agent.wait(for: "the refusal") { agent.log.contains("0x87") }
      #expect(
        agent.log.lineCount(
          "mqtt://127.0.0.1:\(peer.port): subscription to pumps/+/metrics refused",
          "not authorized (0x87)", "Check") == 1, "\(agent.log)")
      #expect(try agent.health().code == 200)
      #expect(try agent.stop() == 0)
    }

    @Test("a subscription granted at QoS 0 is no subscription")
    func grantedAtQoS0() throws {
      var options = BrokerOptions()
      options.lines = ["max_qos 0"]
      var field = try BrokerProcess(name: "field", options: options)
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let agent = try TestAgent(GatewayFile(fieldPort: field.port, centralPort: central.port))
      try agent.start()
      try agent.wait(for: "the complaint") {
        try agent.health().body.contains("granted at QoS 0")
      }
      try expectReport(agent, "mqtt://127.0.0.1:\(field.port): subscription to pumps/+/metrics")
      try field.terminate()
      var better = try BrokerProcess(name: "field", port: field.port)
      try better.start()
      try agent.wait(for: "the better broker to be used", within: .seconds(60)) {
        try agent.status() == "ok"
      }
      #expect(try agent.stop() == 0)
    }

    @Test(
      "a one-shot command without a broker exits with 69 and says where and why",
      arguments: [
        ["publish", "a/b", "text"], ["subscribe", "a/#"], ["simulate", "--count", "5"],
      ])
    func oneShot(arguments: [String]) throws {
      let port = try Loopback.freePort()
      let url = "mqtt://127.0.0.1:\(port)"
      let command = try Command(
        executable: Command.penstock, arguments: arguments + ["--broker", url], environment: [:],
        within: .seconds(30))
      #expect(command.code == 69)
      #expect(command.error.contains("\(url): cannot connect"), "\(command.error)")
      #expect(command.error.contains("Check that the broker runs"))
    }

    @Test(
      "a one-shot command with a wrong password exits with 69 and does not show it",
      arguments: [
        ["publish", "a/b", "text"], ["subscribe", "a/#"], ["simulate", "--count", "5"],
      ])
    func oneShotWrongPassword(arguments: [String]) throws {
      var broker = try Self.guarded(password: "right-secret")
      try broker.start()
      let directory = try TemporaryDirectory(prefix: "penstock-secret")
      let path = directory.path + "/password"
      try File.replace(path, with: Array("wrong-secret\n".utf8))
      let url = "mqtt://127.0.0.1:\(broker.port)"
      let command = try Command(
        executable: Command.penstock,
        arguments: arguments + [
          "--broker", url, "--username", "penstock", "--password-file", path,
        ], environment: [:], within: .seconds(30))
      #expect(command.code == 69)
      #expect(command.error.contains("\(url): the broker refuses"), "\(command.error)")
      #expect(command.error.contains("not authorized (0x87)"))
      #expect(command.error.contains("Check the user name"))
      #expect(!(command.error + command.output).contains("wrong-secret"))
    }
  }
}

extension String {
  /// How often `part` stands in it.
  func components(of part: String) -> Int {
    var count = 0
    var rest = self[...]
    while let found = rest.firstRange(of: part) {
      count += 1
      rest = rest[found.upperBound...]
    }
    return count
  }
}
