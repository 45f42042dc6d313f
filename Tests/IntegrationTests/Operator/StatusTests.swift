// Goal: `penstock status` answers "did everything arrive?" truly, from the running agent and from
// the files of a dead one. Method: the real binary, real brokers, what a script sees. Cannot show:
// that the sentences are understood.

import Audit
import Control
import GatewayCore
import Glibc
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("penstock status")
  struct StatusTests {
    @Test("all is well: 0, and the first line says that everything has arrived")
    func allArrived() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      let ids = (0..<50).map { "m-\($0)" }
      try TestProducer(stage.field.endpoint).publish(ids.map { .reading($0) })
      try agent.wait(for: "all deliveries") { stage.deliveries.events.count >= 50 }
      try agent.wait(for: "all to be accepted") {
        try agent.statusObject()["arrived"]?.string == "all"
      }
      let status = try agent.command("status")
      #expect(status.code == 0, "\(status.output)\(status.error)")
      #expect(status.output.hasPrefix("Everything has arrived: 50 records accepted.\n"))
      // Not a terminal: no escape sequence.
      #expect(!status.output.contains("\u{1b}"))
      let json = try agent.statusObject()
      #expect(json["health"]?.string == "ok")
      let route = try #require(json["routes"]?.elements.first)
      #expect(route["phase"]?.string == "running")
      #expect(route["received"]?.uint64 == 50)
      #expect(route["journal"]?["committed"]?.uint64 == 50)
      #expect(route["ingest"]?["state"]?.string == "connected")
      let sink = try #require(route["sinks"]?.elements.first)
      #expect(sink["acknowledged"]?.uint64 == 50 && sink["outstanding"]?.uint64 == 0)
      #expect(try FileStatus(path: agent.dataDirectory + "/control-socket").permissions == 0o600)
      #expect(try agent.stop() == 0)
      #expect((try? FileStatus(path: agent.dataDirectory + "/control-socket")) == nil)
    }

    @Test("the centre is away: 1, how many are missing, how old, and why")
    func centreAway() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      try stage.central.terminate()
      try TestProducer(stage.field.endpoint).publish((0..<20).map { .reading("m-\($0)") })
      try agent.wait(for: "the backlog to be told") {
        let json = try agent.statusObject("--grace", "0s")
        return json["outstanding"]?.uint64 == 20
          && json["routes"]?.elements.first?["sinks"]?.elements.first?["stage"]?["state"]?.string
            == "reconnecting"
      }
      let status = try agent.command("status", "--grace", "0s")
      #expect(status.code == 1)
      let first = status.output.split(separator: "\n").first ?? ""
      #expect(first.hasPrefix("20 records have not arrived"))
      #expect(first.contains("telemetry to central is"))
      let json = try agent.statusObject("--grace", "0s")
      #expect(json["arrived"]?.string == "outstanding")
      let sink = try #require(json["routes"]?.elements.first?["sinks"]?.elements.first)
      #expect((sink["backlog_bytes"]?.uint64 ?? 0) > 0)
      #expect((sink["oldest_age_seconds"]?.double ?? -1) >= 0)
      #expect(json["problems"]?.elements.contains { $0["level"]?.string == "warning" } == true)
      // Young enough to be on the way, but the gateway is degraded.
      #expect(try agent.command("status", "--grace", "1h").code == 1)
      #expect(try agent.stop() == 0)
    }

    @Test(
      "a dead agent: 69, the files say what is missing; a socket it left behind deceives nobody")
    func deadAgent() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      try stage.central.terminate()
      try TestProducer(stage.field.endpoint).publish((0..<7).map { .reading("m-\($0)") })
      try agent.wait(for: "all to be journalled") {
        try agent.metric("penstock_ingest_journalled_total") == 7
      }
      try agent.kill()
      #expect(try FileStatus(path: agent.dataDirectory + "/control-socket").isSocket)
      let status = try agent.command("status")
      #expect(status.code == 69)
      #expect(status.output.hasPrefix("The agent does not run; this is from its files.\n"))
      #expect(status.output.contains("7 records have not arrived"))
      #expect(status.error.contains("no agent runs"))
      let json = try agent.statusObject()
      #expect(json["source"]?.string == "journals" && json["outstanding"]?.uint64 == 7)
      #expect(json["routes"]?.elements.first?["journal"]?["clean_stop"]?.bool == false)
      // Without files to read there is nothing to print.
      let blind = try Command("status", "--socket", agent.dataDirectory + "/control-socket")
      #expect(blind.code == 69 && blind.output.isEmpty)
      // The name that was left does not keep the next one from its socket.
      try stage.central.start()
      try agent.start()
      try agent.wait(for: "everything to arrive") {
        let json = try agent.statusObject()
        return json["source"]?.string == "agent" && json["arrived"]?.string == "all"
      }
      #expect(try agent.stop() == 0)
    }

    @Test("a first start without a journal yet is told as such")
    func noJournal() throws {
      let agent = try TestAgent(GatewayFile(fieldPort: 1, centralPort: 2))
      try agent.writeConfiguration()
      let status = try agent.command("status")
      #expect(status.code == 69)
      #expect(status.output.contains("It cannot be said"))
      #expect(status.output.contains("telemetry.journal does not exist"))
    }

    @Test("two routes are told apart, each with its own numbers")
    func twoRoutes() throws {
      let stage = try OperatorStage { $0.addRoute("alarms", filter: "alarms/#") }
      let agent = stage.agent
      let producer = try TestProducer(stage.field.endpoint)
      try producer.publish((0..<5).map { .reading("m-\($0)") })
      try producer.publish([.init("alarms/p1", Array(#"{"messageId":"a"}"#.utf8))])
      try agent.wait(for: "both routes") {
        let routes = try agent.statusObject()["routes"]?.elements ?? []
        return routes.map { $0["journal"]?["committed"]?.uint64 } == [5, 1]
      }
      let names = try agent.statusObject()["routes"]?.elements.map { $0["name"]?.string }
      #expect(names == ["telemetry", "alarms"])
      #expect(try agent.stop() == 0)
    }

    @Test(
      "another user is refused in words",
      .enabled(if: geteuid() == 0 && Environment.executable(named: "setpriv") != nil, "needs root"))
    func anotherUser() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      // Everything on the way can be entered, so that it is the socket that refuses.
      for path in [agent.path, agent.dataDirectory] { #expect(unsafe chmod(path, 0o755) == 0) }
      let socket = agent.dataDirectory + "/control-socket"
      let binary = agent.path + "/penstock"
      #expect(unsafe link(Command.penstock, binary) == 0)
      let refused = try Command(
        tool: "setpriv",
        [
          "--reuid", "65534", "--regid", "65534", "--clear-groups", binary, "status", "--socket",
          socket,
        ])
      #expect(refused.code == 69, "\(refused.error)")
      #expect(refused.error.contains("may not be used by this user"))
      #expect(try agent.stop() == 0)
    }

    @Test("the environment that only the unit has is not needed to find the agent")
    func unitEnvironment() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.centralLines = ["username: gw", "password: \"${env:CENTRAL_PASSWORD}\""]
      let agent = try TestAgent(file)
      try agent.start(environment: ["CENTRAL_PASSWORD": "secret"])
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      let status = try agent.command("status")
      #expect(status.code == 0, "\(status.error)")
      #expect(try agent.stop() == 0)
    }
  }
}
