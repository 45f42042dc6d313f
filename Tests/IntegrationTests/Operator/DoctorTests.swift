// Goal: the doctor finds what is wrong with a machine and its brokers, says what to do, and leaves
// nothing behind. Method: the real binary on configurations and brokers with one fault each.
// Cannot show: faults of other brokers than Mosquitto.

import Audit
import Control
import GatewayCore
import Glibc
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("penstock doctor")
  struct DoctorTests {
    /// The findings of one check, as `level text`.
    private static func findings(_ command: Command, _ check: String) throws -> [String] {
      let bytes = Array(command.output.utf8)
      let json = JSONValue(bytes.span)
      guard let json else { throw TestFailure("no JSON: \(command.output)\(command.error)") }
      return (json["findings"]?.elements ?? []).filter { $0["check"]?.string == check }
        .map { "\($0["level"]?.string ?? "") \($0["text"]?.string ?? "")" }
    }

    private static func examine(_ agent: TestAgent, _ arguments: String...) throws -> Command {
      try agent.writeConfiguration()
      return try Command(
        executable: Command.penstock,
        arguments: ["doctor", "--json", "--config", agent.configurationPath] + arguments,
        environment: [:], within: .seconds(60))
    }

    @Test("a healthy stage has no error; the broker keeps nothing of the visit")
    func healthy() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      #expect(chmodPrivate(agent.dataDirectory))
      let doctor = try Self.examine(agent)
      #expect(doctor.code == 0, "\(doctor.output)\(doctor.error)")
      let reachable = try Self.findings(doctor, "broker.reachable")
      #expect(reachable.count == 2 && reachable.allSatisfy { $0.hasPrefix("ok ") })
      #expect(try Self.findings(doctor, "broker.subscribe") == ["ok is granted at QoS 1"])
      #expect(try Self.findings(doctor, "disk.sync").first?.contains("4 KiB written") == true)
      #expect(try Self.findings(doctor, "agent").first?.hasPrefix("ok runs, health ok") == true)
      #expect(try Self.findings(doctor, "data-directory.mode") == ["ok mode 0700"])
      // The agent was not thrown out, and nothing is left in its directory.
      #expect(agent.log.lineCount("trying again") == 0)
      #expect(try agent.status() == "ok")
      let people = try agent.command("doctor", "--quiet")
      #expect(people.output.contains("0 errors"))
      #expect(try agent.stop() == 0)
    }

    @Test("brokers that are away or refuse us are errors, each with its reason")
    func brokers() throws {
      var options = BrokerOptions()
      options.passwordFile = ""
      var central = try BrokerProcess(name: "central", options: options)
      try central.start()
      let agent = try TestAgent(
        GatewayFile(fieldPort: try Loopback.freePort(), centralPort: central.port))
      let doctor = try Self.examine(agent)
      #expect(doctor.code == 1)
      let reachable = try Self.findings(doctor, "broker.reachable")
      #expect(reachable.count == 2 && reachable.allSatisfy { $0.hasPrefix("error ") })
      #expect(reachable.contains { $0.contains("not authorized") })
      #expect(try Self.examine(agent, "--offline").code == 0)
    }

    @Test("limits that do not fit are told before they cost a message")
    func limits() throws {
      var options = BrokerOptions()
      options.lines = ["max_packet_size 20000"]
      options.maxInflightMessages = 5
      var central = try BrokerProcess(name: "central", options: options)
      var field = try BrokerProcess(name: "field")
      try central.start()
      try field.start()
      let agent = try TestAgent(GatewayFile(fieldPort: field.port, centralPort: central.port))
      let doctor = try Self.examine(agent)
      let sizes = try Self.findings(doctor, "broker.packet-size")
      #expect(
        sizes.contains { $0.hasPrefix("warning") && $0.contains("would become a dead letter") })
      #expect(sizes.contains { $0.hasPrefix("warning") && $0.contains("without a word") })
      let window = try Self.findings(doctor, "broker.receive-maximum")
      #expect(window.contains { $0.contains("max_in_flight is 16") })
    }

    @Test("a machine that is not ready: no directory, no mount, others' eyes, an ended certificate")
    func machine() throws {
      let file = GatewayFile(fieldPort: 1, centralPort: 2)
      let agent = try TestAgent(file)
      #expect(unsafe chmod(agent.dataDirectory, 0o777) == 0)
      let open = try Self.examine(agent, "--offline")
      #expect(open.code == 1)
      let mode = try Self.findings(open, "data-directory.mode")
      #expect(mode == ["error mode 0777: others can write there"])
      let nowhere = try TestAgent(file, dataDirectory: agent.path + "/nowhere")
      let absent = try Self.examine(nowhere, "--offline")
      #expect(absent.code == 1)
      #expect(try Self.findings(absent, "data-directory").first?.hasPrefix("error") == true)
    }

    @Test("a configuration with errors is 78, with every error")
    func configuration() throws {
      let agent = try TestAgent(GatewayFile(fieldPort: 1, centralPort: 2))
      try agent.writeConfiguration()
      let wrong = text(of: agent.configurationPath) + "extra: 1\n"
      try File.replace(agent.configurationPath, with: Array(wrong.utf8))
      let doctor = try agent.command("doctor")
      #expect(doctor.code == 78)
      #expect(doctor.error.contains("extra"))
    }

    private func chmodPrivate(_ path: String) -> Bool { unsafe chmod(path, 0o700) == 0 }
  }
}
