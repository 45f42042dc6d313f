// Goal: systemd hears READY=1 at the right moment and SIGTERM loses nothing. Method: the real
// binary, a datagram socket in systemd's place. Cannot show: systemd's own reaction.

import Audit
import GatewayCore
import Glibc
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("run, from start to stop")
  struct LifecycleTests {
    @Test("READY=1 comes after recovery and although both brokers are down; the watchdog is fed")
    func ready() throws {
      let agent = try TestAgent(
        GatewayFile(fieldPort: try Loopback.freePort(), centralPort: try Loopback.freePort()))
      let path = agent.path + "/notify"
      let systemd = try FakeSystemd(path: path)
      try agent.start(environment: ["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"])
      var heard: [String] = []
      var logAtReady = ""
      try agent.wait(for: "READY=1, a status and three watchdog pings") {
        let wasReady = heard.contains { $0.contains("READY=1") }
        heard += systemd.take()
        if !wasReady, heard.contains(where: { $0.contains("READY=1") }) { logAtReady = agent.log }
        let isReconnecting = heard.contains {
          $0.hasPrefix("STATUS=degraded") && $0.contains("telemetry/ingest reconnecting")
            && $0.contains("telemetry/upstream/central reconnecting")
        }
        return !logAtReady.isEmpty && isReconnecting
          && heard.count { $0.contains("WATCHDOG=1") } >= 3
      }
      #expect(logAtReady.contains("journal open"))
      #expect(try agent.status() == "degraded")
      #expect(try agent.stop() == 0)
      #expect((heard + systemd.take()).contains { $0.contains("STOPPING=1") })
    }

    @Test("SIGTERM delivers what was committed, closes the journal clean and exits with 0")
    func drain() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      // Nothing leaves in time by itself: what arrives, the shutdown has sent.
      file.sinkLines = ["batch: {max_delay: 1h, max_records: 100000}"]
      let agent = try TestAgent(file)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      try agent.startConnected()
      let ids = (0..<500).map { "m-\($0)" }
      try TestProducer(field.endpoint).publish(ids.map { .reading($0) })
      try agent.wait(for: "all to be journalled") {
        try agent.metric("penstock_ingest_journalled_total") == 500
      }
      #expect(deliveries.events.isEmpty)
      let start = Clock.monotonic()
      #expect(try agent.stop() == 0)
      #expect(Clock.monotonic().since(start) < .seconds(8))
      try wait(for: "all deliveries") { deliveries.events.count >= 500 }
      #expect(deliveries.faults(expecting: ids) == [])
      #expect(deliveries.events.count == 500)

      try agent.startConnected()
      #expect(agent.log.lineCount("journal open", "journal.clean_stop=true") == 1)
      #expect(try agent.stop() == 0)
    }

    @Test("SIGTERM with the centre away gives up in time, exits with 0 and keeps everything")
    func drainWithoutCentre() throws {
      var field = try BrokerProcess(name: "field")
      var options = BrokerOptions()
      options.persistence = true
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try central.terminate()
      let ids = (0..<100).map { "m-\($0)" }
      try TestProducer(field.endpoint).publish(ids.map { .reading($0) })
      try agent.wait(for: "all to be journalled") {
        try agent.metric("penstock_ingest_journalled_total") == 100
      }
      let start = Clock.monotonic()
      #expect(try agent.stop() == 0)
      #expect(Clock.monotonic().since(start) < .seconds(9))
      try central.start()
      try agent.start()
      try agent.wait(for: "all deliveries") { deliveries.events.count >= 100 }
      #expect(deliveries.faults(expecting: ids) == [])
      #expect(try agent.stop() == 0)
    }

    @Test("the watchdog is fed while nothing changes")
    func idleWatchdog() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let agent = try TestAgent(GatewayFile(fieldPort: field.port, centralPort: central.port))
      let path = agent.path + "/notify"
      let systemd = try FakeSystemd(path: path)
      try agent.start(environment: ["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2500000"])
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      _ = systemd.take()
      var heard: [String] = []
      try agent.wait(for: "two pings") {
        heard += systemd.take()
        return heard.count { $0.contains("WATCHDOG=1") } >= 2
      }
      #expect(!heard.contains { $0.contains("STATUS=degraded") })
      #expect(try agent.stop() == 0)
    }

    @Test("SIGTERM while both brokers are silent ends in time with 0, and nothing is lost")
    func silentBrokers() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      central.send(signal: SIGSTOP)
      let ids = (0..<100).map { "m-\($0)" }
      try TestProducer(field.endpoint).publish(ids.map { .reading($0) })
      try agent.wait(for: "all to be journalled") {
        try agent.metric("penstock_ingest_journalled_total") == 100
      }
      field.send(signal: SIGSTOP)
      let start = Clock.monotonic()
      #expect(try agent.stop() == 0)
      #expect(Clock.monotonic().since(start) < .seconds(9))
      field.send(signal: SIGCONT)
      central.send(signal: SIGCONT)
      try agent.startConnected()
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: ids).isEmpty }
      #expect(try agent.stop() == 0)
    }

    @Test("SIGTERM while a connect hangs ends before systemd loses patience")
    func hangingConnect() throws {
      // The queue of a listener that never accepts is filled first, so that the agent's SYN gets
      // no answer.
      let field = try ScriptedPeer(answer: nil)
      let central = try ScriptedPeer(answer: nil)
      let fieldPlug = try #require(try TCPPlug(port: field.port))
      let centralPlug = try #require(try TCPPlug(port: central.port))
      let agent = try TestAgent(GatewayFile(fieldPort: field.port, centralPort: central.port))
      try agent.start()
      try agent.wait(for: "both connects") {
        try agent.health().body.components(of: "\"connecting\"") == 2
      }
      let start = Clock.monotonic()
      #expect(try agent.stop(within: .seconds(40)) == 0)
      let seconds = Clock.monotonic().since(start).seconds
      #expect(seconds < 15, "\(seconds) s; TimeoutStopSec is 30 s")
      withExtendedLifetime((fieldPlug, centralPlug)) {}
    }
  }
}

/// Takes the one place in a listener's queue.
private final class TCPPlug {
  private let descriptor: FileDescriptor

  init?(port: UInt16) throws {
    guard let descriptor = try LoopbackHTTP.connection(port: port) else { return nil }
    self.descriptor = descriptor
  }
}
