// Goal: after `penstock drain` a gateway can be taken away: the centre has everything, the field
// broker keeps what comes or nothing at all, and no way out in between loses a message. Method: the
// real binary between real brokers; the field broker's log and a fresh session tell what it keeps.
// Cannot show: systemd's reaction to the exit code.

import Audit
import Control
import Envelope
import GatewayCore
import Glibc
import Mosquitto
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("penstock drain")
  struct DrainTests {
    @Test("delivers at once, keeps the session, stays drained under the watchdog, and stops with 0")
    func drains() throws {
      // Nothing leaves in time by itself.
      let stage = try OperatorStage { $0.sinkLines = ["batch: {max_delay: 1h, max_records: 9999}"] }
      let agent = stage.agent
      let ids = (0..<300).map { "m-\($0)" }
      try TestProducer(stage.field.endpoint).publish(ids.map { .reading($0) })
      try agent.wait(for: "all to be journalled") {
        try agent.metric("penstock_ingest_journalled_total") == 300
      }
      let drain = try agent.command("drain")
      #expect(drain.code == 0, "\(drain.error)")
      #expect(drain.output.contains("telemetry to central: has everything"))
      try wait(for: "the observer") { stage.deliveries.events.count >= 300 }
      #expect(stage.deliveries.faults(expecting: ids) == [])
      let route = try #require(try agent.routeObject())
      #expect(route["phase"]?.string == "drained")
      #expect(try agent.status() == "degraded")
      // What comes now waits in the session.
      try TestProducer(stage.field.endpoint).publish([.reading("late")])
      #expect(try agent.metric("penstock_ingest_messages_total") == 300)
      // Asked again it is done at once.
      #expect(try agent.command("drain").code == 0)
      #expect(try agent.stop() == 0)
      try agent.startConnected()
      #expect(agent.log.lineCount("journal open", "journal.clean_stop=true") == 1)
      try agent.wait(for: "the late one") {
        try agent.metric("penstock_ingest_journalled_total") == 1
      }
      #expect(agent.log.lineCount("lost our session") == 0)
      #expect(try agent.stop() == 0)
      try wait(for: "its delivery") { stage.deliveries.events.count == 301 }
    }

    @Test("a drained agent is neither stopping nor stalled in systemd's eyes")
    func systemd() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      #expect(try agent.stop() == 0)
      let path = agent.path + "/notify"
      let systemd = try FakeSystemd(path: path)
      try agent.start(environment: ["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"])
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      #expect(try agent.command("drain").code == 0)
      _ = systemd.take()
      var heard: [String] = []
      // Longer than the limit of a stalled stage.
      try agent.wait(for: "pings of a drained agent") {
        heard += systemd.take()
        return heard.count { $0.contains("WATCHDOG=1") } >= 4
      }
      #expect(!heard.contains { $0.contains("STOPPING=1") })
      #expect(try !agent.health().body.contains("\"stalled\":true"))
      #expect(try agent.stop() == 0)
    }

    @Test(
      "--end-session takes what still comes, and the broker forgets us",
      arguments: ["5", "3.1.1"])
    func endSession(protocolVersion: String) throws {
      let stage = try OperatorStage { $0.fieldLines = ["protocol: \"\(protocolVersion)\""] }
      let agent = stage.agent
      // A backlog in the session: it came while the agent was down.
      #expect(try agent.stop() == 0)
      let ids = (0..<400).map { "m-\($0)" }
      try TestProducer(stage.field.endpoint).publish(ids.map { .reading($0) })
      try agent.start()
      try agent.wait(for: "the control socket") {
        try agent.statusObject()["source"]?.string == "agent"
      }
      let drain = try agent.command("drain", "--end-session")
      #expect(drain.code == 0, "\(drain.error)\n\(agent.log)")
      try wait(for: "the observer") { stage.deliveries.events.count >= 400 }
      #expect(stage.deliveries.faults(expecting: ids) == [])
      #expect(try agent.stop() == 0)
      // Nobody keeps anything for the old client id.
      try TestProducer(stage.field.endpoint).publish([.reading("nobody-s")])
      try agent.start()
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      #expect(agent.log.lineCount("lost our session") == 0)
      let producer = try TestProducer(stage.field.endpoint)
      try producer.publish([.reading("new")])
      try agent.wait(for: "the new one") {
        try agent.metric("penstock_ingest_messages_total") == 1
      }
      #expect(try agent.stop() == 0)
    }

    @Test("--end-session waits for a field broker that is away; SIGTERM then is clean")
    func fieldAway() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      try stage.field.terminate()
      let drain = try agent.command("drain", "--end-session", "--timeout", "2s")
      #expect(drain.code == 1)
      #expect(drain.output.contains("telemetry, receiving: "))
      #expect(try agent.stop() == 0)
      #expect(agent.log.lineCount("the session at the field broker was ended") <= 1)
    }

    @Test("the centre is away: progress, 1 after --timeout, and the rest when it is back")
    func centreAway() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      try stage.central.terminate()
      let ids = (0..<30).map { "m-\($0)" }
      try TestProducer(stage.field.endpoint).publish(ids.map { .reading($0) })
      try agent.wait(for: "all to be journalled") {
        try agent.metric("penstock_ingest_journalled_total") == 30
      }
      let drain = try agent.command("drain", "--timeout", "1s")
      #expect(drain.code == 1)
      #expect(drain.output.contains("telemetry to central: 30 records to go"))
      #expect(drain.error.contains("the time has passed"))
      #expect(try agent.routeObject()?["phase"]?.string == "draining")
      #expect(try agent.command("status").code == 1)
      try stage.central.start()
      #expect(try agent.command("drain", "--timeout", "30s").code == 0)
      try wait(for: "the observer") { stage.deliveries.faults(expecting: ids).isEmpty }
      #expect(try agent.stop() == 0)
    }

    @Test("SIGTERM while a drain waits for the centre ends in time with 0 and keeps everything")
    func termination() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      try stage.central.terminate()
      let ids = (0..<30).map { "m-\($0)" }
      try TestProducer(stage.field.endpoint).publish(ids.map { .reading($0) })
      try agent.wait(for: "all to be journalled") {
        try agent.metric("penstock_ingest_journalled_total") == 30
      }
      #expect(try agent.command("drain", "--timeout", "1s").code == 1)
      let start = Clock.monotonic()
      #expect(try agent.stop() == 0)
      #expect(Clock.monotonic().since(start) < .seconds(9))
      try stage.central.start()
      try agent.start()
      try agent.wait(for: "all deliveries") { stage.deliveries.faults(expecting: ids).isEmpty }
      #expect(agent.log.lineCount("journal.clean_stop=true") == 1)
      #expect(try agent.stop() == 0)
    }

    @Test("one route is drained, the other goes on; an unknown one is refused")
    func oneRoute() throws {
      let stage = try OperatorStage { $0.addRoute("alarms", filter: "alarms/#") }
      let agent = stage.agent
      let unknown = try agent.command("drain", "--route", "nope")
      #expect(unknown.code == 69 && unknown.error.contains("telemetry, alarms"))
      #expect(try agent.command("drain", "--route", "alarms").code == 0)
      #expect(try agent.routeObject("alarms")?["phase"]?.string == "drained")
      #expect(try agent.routeObject()?["phase"]?.string == "running")
      let producer = try TestProducer(stage.field.endpoint)
      try producer.publish([.reading("m-1"), .init("alarms/p1", Array("{}".utf8))])
      try agent.wait(for: "the one of the other route") {
        stage.deliveries.events.map(\.id).contains("m-1")
      }
      #expect(try agent.routeObject("alarms")?["journal"]?["committed"]?.uint64 == 0)
      #expect(try agent.stop() == 0)
    }

    @Test("--stop ends the agent, with a code that keeps systemd from starting it again")
    func stop() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      #expect(try agent.command("drain", "--stop").code == 0)
      #expect(try agent.waitForEnd() == 0)
      #expect(try agent.command("drain").code == 69)
      try agent.start(environment: ["INVOCATION_ID": "0123456789abcdef0123456789abcdef"])
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      #expect(try agent.command("drain", "--stop").code == 0)
      #expect(try agent.waitForEnd() == 79)
      let unit = text(of: repositoryRoot + "/systemd/penstock.service")
      #expect(unit.contains("\nRestartPreventExitStatus=64 79\n"))
      #expect(unit.contains("\nSuccessExitStatus=79\n"))
    }

    @Test("a best-effort destination that is away holds nothing up")
    func bestEffort() throws {
      let away = try Loopback.freePort()
      let stage = try OperatorStage { file in
        file.lastLines = [
          "      - {name: lab, broker: lab, required: false, batch: {max_delay: 50ms}}"
        ]
        file.brokerLines = ["  lab: {url: \"mqtt://127.0.0.1:\(away)\"}"]
      } connected: {
        try $0.statusObject()["routes"]?.elements.first?["phase"]?.string == "running"
          && $0.log.contains("receiving from the field broker")
      }
      let agent = stage.agent
      try TestProducer(stage.field.endpoint).publish((0..<5).map { .reading("m-\($0)") })
      try agent.wait(for: "all to be journalled") {
        try agent.metric("penstock_ingest_journalled_total") == 5
      }
      let drain = try agent.command("drain", "--timeout", "20s")
      #expect(drain.code == 0, "\(drain.output)\(drain.error)")
      #expect(drain.output.contains("telemetry to lab (best effort): 5 records to go"))
      try wait(for: "the observer") { stage.deliveries.events.count == 5 }
      #expect(try agent.stop() == 0)
    }
  }
}
