// Goal: a disk or a process that stands still for a while costs time and nothing else, and is seen:
// in the histograms, and by a watchdog that gets no more pings. Method: strace makes fdatasync
// return seconds late in the real process; SIGSTOP and SIGCONT. Cannot show: what a disk does that
// never answers.

import Audit
import GatewayCore
import Glibc
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("standing still")
  struct StallTests {
    @Test(
      "syncs of two seconds: no loss, no lost connection, and the histograms show them",
      .enabled(if: Tracing.isPossible, "needs strace and the right to trace a child"))
    func slowDisk() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      // Two seconds are less than three quarters of it.
      file.fieldLines = ["keep_alive: 5s"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.start(
        wrapper: Tracing.wrapper(
          into: agent.path + "/trace", ["inject=fdatasync:delay_exit=2000000:when=5+10"]))
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      let producer = try TestProducer(field.endpoint)
      let seconds = LongRun.value("PENSTOCK_SLOW_DISK_SECONDS", standard: 8)
      let end = Clock.monotonic() + .seconds(seconds)
      var ids: [String] = []
      while Clock.monotonic() < end {
        ids.append("m-\(ids.count)")
        try producer.publish([.reading(ids[ids.count - 1])])
        // One commit each: the slow syncs come to messages that wait for them.
        try agent.wait(for: "the commit") {
          try agent.metric("penstock_ingest_journalled_total") == Double(ids.count)
        }
      }
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: ids).isEmpty }
      for name in ["penstock_journal_fsync_seconds", "penstock_ingest_puback_delay_seconds"] {
        let all = try #require(try agent.metric("\(name)_count"))
        let fast = try #require(try agent.metric("\(name)_bucket", "le=\"1\""))
        #expect(fast > 0 && fast < all, "\(name): \(fast) of \(all) within a second")
      }
      #expect(try agent.metric("penstock_ingest_reconnects_total") ?? 0 == 0)
      #expect(!agent.log.contains("field broker lost"), "\(agent.log)")
      #expect(agent.log.contains("the disk took long to sync"))
      Console.line("slow disk: \(seconds) s, \(ids.count) messages, lost 0")
      try agent.killTraced()
    }

    @Test(
      "a sync that takes longer than the watchdog period: no more pings until it is over",
      .enabled(if: Tracing.isPossible, "needs strace and the right to trace a child"))
    func stuckDisk() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      #expect(try agent.stop() == 0)
      let path = agent.path + "/notify"
      let systemd = try FakeSystemd(path: path)
      // The first one belongs to the opening.
      try agent.start(
        environment: ["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"],
        wrapper: Tracing.wrapper(
          into: agent.path + "/trace", ["inject=fdatasync:delay_exit=6000000:when=2"]))
      var heard: [String] = []
      func pings() -> Int {
        heard += systemd.take()
        return heard.count { $0.contains("WATCHDOG=1") }
      }
      try agent.wait(for: "a healthy agent") { try agent.status() == "ok" && pings() > 1 }
      try TestProducer(field.endpoint).publish([.reading("m-1")])
      try agent.wait(for: "the alarm") { agent.log.contains("the watchdog is not fed any more") }
      let before = pings()
      let start = Clock.monotonic()
      try agent.wait(for: "the end of the sync") {
        deliveries.events.count == 1 || pings() > before
      }
      #expect(Clock.monotonic().since(start) > .seconds(2), "fed in the middle of the stall")
      try agent.wait(for: "the next ping") { pings() > before }
      try agent.wait(for: "the delivery") { deliveries.faults(expecting: ["m-1"]).isEmpty }
      try agent.killTraced()
    }

    @Test("SIGSTOP for longer than the keepalive, then SIGCONT: connected again, nothing lost")
    func pause() throws {
      var options = BrokerOptions()
      options.persistence = true
      var field = try BrokerProcess(name: "field", options: options)
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.fieldLines = ["keep_alive: 5s"]
      file.centralLines = ["keep_alive: 5s"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let producer = try TestProducer(field.endpoint)
      let ids = (0..<300).map { "m-\($0)" }
      try producer.publish(ids[..<100].map { .reading($0) })
      agent.send(signal: SIGSTOP)
      let end = Clock.monotonic() + .seconds(LongRun.value("PENSTOCK_PAUSE_SECONDS", standard: 1))
      try producer.publish(ids[100..<200].map { .reading($0) })
      // One and a half times the keepalive, and the broker looks only now and then.
      try wait(for: "both brokers to give the agent up", within: .seconds(40)) {
        field.log.lineCount(file.inboundClientID, "exceeded timeout") > 0
          && central.log.lineCount("telemetry-central-out", "exceeded timeout") > 0
      }
      try wait(for: "the end of the pause", within: .seconds(600)) { Clock.monotonic() >= end }
      agent.send(signal: SIGCONT)
      try producer.publish(ids[200...].map { .reading($0) })
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: ids).isEmpty }
      try agent.wait(for: "both connections") { try agent.status() == "ok" }
      #expect(deliveries.contents.gaps.isEmpty)
      #expect(try agent.stop() == 0)
    }
  }
}
