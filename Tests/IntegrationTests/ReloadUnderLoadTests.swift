// Goal: whatever a reload is at when the agent dies, nothing that was acknowledged is lost; and
// passwords are read anew by a reload and at each connect. Method: SIGKILL at each step that the
// log tells of while messages flow, and the same with an agent that acknowledges before it commits,
// which has to be caught; a broker whose passwords change. Cannot show: a power cut (PowerTests).

import Audit
import Envelope
import Glibc
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("reload under load")
  struct ReloadUnderLoadTests {
    #if PENSTOCK_SABOTAGE
      @Test(
        "a SIGKILL at any step of a reload loses nothing; acknowledging before the commit does",
        arguments: [nil, "ack-before-commit"])
      func killed(sabotage: String?) throws {
        let stage = try OperatorStage()
        let agent = stage.agent
        #expect(try agent.stop() == 0)
        // A commit that is put off is what the control loses.
        let environment = sabotage.map { ["PENSTOCK_TEST_SABOTAGE": $0] } ?? [:]
        let producer = try TestProducer(stage.field.endpoint)
        var expected: [String] = []
        func publish(_ name: String, _ count: Int) throws {
          let ids = (0..<count).map { "\(name)-\($0)" }
          expected += ids
          try producer.publish(ids.map { .reading($0) })
        }
        let steps = [
          "left the field broker, session kept", "journal open", "receiving from the field broker",
          "the new configuration is in force",
        ]
        for (number, step) in steps.enumerated() {
          try agent.start(environment: environment)
          try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
          let count = agent.log.lineCount(step)
          try publish("\(number)-before", 100)
          agent.file.fieldLines = ["keep_alive: \(30 + number)s"]
          try agent.writeConfiguration()
          agent.send(signal: SIGHUP)
          try publish("\(number)-during", 100)
          try agent.wait(for: step) { agent.log.lineCount(step) > count }
          try publish("\(number)-after", 100)
          try agent.kill()
        }
        // The last one keeps its promises; what was lost before stays lost.
        try agent.startConnected()
        try publish("end", 1)
        try agent.wait(for: "the end") { stage.deliveries.events.contains { $0.id == "end-0" } }
        let lost = stage.deliveries.faults(expecting: expected)
        if sabotage == nil {
          #expect(lost == [])
        } else {
          #expect(lost.contains { $0.hasPrefix("lost: ") }, "the control was not caught")
        }
        #expect(try agent.stop() == 0)
      }
    #endif

    @Test("a replaced password is used by a reload at once, and by the next connect")
    func password() throws {
      var options = BrokerOptions()
      options.passwordFile = try Self.passwords("first")
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      let directory = try TemporaryDirectory(prefix: "penstock-password")
      let path = directory.path + "/password"
      func write(_ password: String) throws {
        try File.replace(path, with: Array("\(password)\n".utf8))
      }
      try write("first")
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.centralLines = [
        "username: gateway", "password_file: \(path)", "insecure_plaintext: true",
      ]
      file.sinkLines = ["batch: {max_delay: 50ms}", "accept_no_subscriber: true"]
      let agent = try TestAgent(file)
      try agent.startConnected()
      let sink = "penstock-gw-it-telemetry-central-out"
      #expect(central.connections(of: sink) == 1)

      // The broker knows both for a moment; the agent is to use the new one.
      try write("second")
      try agent.reload("reload.renewed=central")
      try agent.wait(for: "another try") {
        central.log.contains("not authorised") || central.connections(of: sink) == 2
      }
      // The broker gets the new passwords, and throws out whom it does not know any more.
      try File.replace(
        central.directoryPath + "/passwords", with: Array(try Self.passwords("second").utf8))
      central.send(signal: SIGHUP)
      try agent.wait(for: "the new password to be used") { try agent.status() == "ok" }

      try File.replace(
        central.directoryPath + "/passwords", with: Array(try Self.passwords("third").utf8))
      central.send(signal: SIGHUP)
      try agent.wait(for: "the refusal") { try agent.status() == "degraded" }
      try write("third")
      try agent.wait(for: "a connect with the file as it is now") { try agent.status() == "ok" }
      #expect(agent.log.lineCount("reload.") == 1)
      #expect(field.connections(of: file.inboundClientID) == 1)
      #expect(try agent.stop() == 0)
    }

    /// The broker's file for the user `gateway`.
    private static func passwords(_ password: String) throws -> String {
      let directory = try TemporaryDirectory(prefix: "penstock-passwords")
      let path = directory.path + "/passwords"
      let made = try Command(tool: "mosquitto_passwd", ["-c", "-b", path, "gateway", password])
      guard made.code == 0 else { throw TestFailure("mosquitto_passwd: \(made.error)") }
      return text(of: path)
    }
  }
}
