// Goal: a thin or metered link carries what it may, when it may, and what matters first; nothing is
// lost for it. Method: the real program and real brokers, with bounds that bite within seconds, and
// a time zone in which the connect window opens now. Cannot show: what a modem's own queue does.

import Audit
import Envelope
import GatewayCore
import Mosquitto
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("a thin or metered link")
  struct LinkTests {
    private static func central() throws -> BrokerProcess {
      var options = BrokerOptions()
      options.persistence = true
      return try BrokerProcess(name: "central", options: options)
    }

    @Test("a bound on everything: no more than it allows, nothing lost, the waiting is counted")
    func rateLimit() throws {
      var field = try BrokerProcess(name: "field")
      var central = try Self.central()
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.sinkLines = [
        "batch: {max_delay: 50ms, max_bytes: 16KiB}", "compression: none",
        "rate_limit: {rate: 100kB/s, burst: 20kB, applies_to: all}",
      ]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let ids = (0..<100).map { "m-\($0)" }
      let start = Clock.monotonic()
      try TestProducer(field.endpoint).publish(ids.map { .reading($0, byteCount: 4000) })
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: ids).isEmpty }
      let took = Clock.monotonic().since(start)
      // 100 × 4,000 bytes and more, less what leaves at once, at 100,000 a second.
      #expect(took > .milliseconds(3700), "\(took)")
      let held = try #require(
        try agent.metric("penstock_upstream_held_seconds_total", "reason=\"rate-limit\""))
      #expect(held > 2, "\(held) s")
      #expect(try agent.metric("penstock_upstream_resent_total") == 0)
      #expect(try agent.stop() == 0)
    }

    @Test("alarms wait for one packet of the metrics at most, while a backlog of these drains")
    func priority() throws {
      var field = try BrokerProcess(name: "field")
      var central = try Self.central()
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      // A packet of the metrics takes a second of the link.
      file.centralLines = ["link: {rate_limit: {rate: 40kB/s, burst: 8kB, applies_to: all}}"]
      let metrics = [
        "batch: {max_delay: 50ms, max_bytes: 40kB}", "compression: none", "priority: 1",
        "accept_no_subscriber: true",
      ]
      file.sinkLines = metrics
      for name in ["second", "third", "fourth"] {
        file.moreSinkLines += ["- name: \(name)", "  broker: central"]
        file.moreSinkLines += (metrics + ["topic: penstock/v1/gw-it/\(name)"]).map { "  " + $0 }
      }
      file.moreRouteLines = [
        "- name: alarms", "  from: field", "  subscribe: [\"alarms/#\"]",
        "  journal: {size: 16MiB}", "  to:", "    - name: central", "      broker: central",
        "      batch: {max_delay: 10ms}", "      priority: 9",
      ]
      let observed = try Deliveries(central.endpoint, filter: "penstock/v1/gw-it/alarms")
      let agent = try TestAgent(file)
      try agent.startConnected()
      let producer = try TestProducer(field.endpoint)
      let ids = (0..<400).map { "m-\($0)" }
      try producer.publish(ids.map { .reading($0, byteCount: 4000) })
      try agent.wait(for: "the link to be full") {
        try agent.metric("penstock_upstream_held_seconds_total", "reason=\"rate-limit\"") ?? 0 > 2
      }
      var longest = Duration.zero
      for number in 0..<6 {
        let id = "alarm-\(number)"
        let raised = Clock.monotonic()
        let text = "{\"messageId\":\"\(id)\",\"alarm\":true}"
        try producer.publish([TestProducer.Message("alarms/p1", Array(text.utf8))])
        try agent.wait(for: "the alarm") { observed.events.contains { $0.id == id } }
        longest = max(longest, Clock.monotonic().since(raised))
      }
      let accepted = try agent.metric("penstock_upstream_records_total", "route=\"telemetry\"")
      Console.line("alarms on a full link: longest \(longest.seconds) s")
      #expect(longest < .seconds(2), "\(longest)")
      // The backlog was there all the time, and it went on.
      let records = try #require(accepted)
      #expect(records > 0 && records < 1600, "\(records) records")
      #expect(try agent.stop() == 0)
    }

    /// Longest wait of three alarms, in seconds, on a link of 32,000 bytes a second that metrics
    /// have filled; and how many bytes a second went over the link meanwhile.
    private func alarmsOnASlowLink(priority: Int) throws -> (longest: Double, rate: Double) {
      var field = try BrokerProcess(name: "field")
      try field.start()
      let link = try ThinLink(rate: "256kbit", queue: "12s")
      var file = GatewayFile(fieldPort: field.port, centralPort: link.endpoint.port)
      file.central = "\(link.endpoint)"
      file.centralLines = ["insecure_plaintext: true"]
      file.sinkLines = ["compression: none", "priority: 1", "accept_no_subscriber: true"]
      file.moreRouteLines = [
        "- name: alarms", "  from: field", "  subscribe: [\"alarms/#\"]",
        "  journal: {size: 16MiB}", "  to:", "    - name: central", "      broker: central",
        "      batch: {max_delay: 10ms}", "      priority: \(priority)",
      ]
      let observed = try Deliveries(link.endpoint, filter: "penstock/v1/gw-it/alarms")
      let agent = try TestAgent(file)
      try agent.startConnected()
      let producer = try TestProducer(field.endpoint)
      try producer.publish((0..<500).map { .reading("m-\($0)", byteCount: 4000) })
      try agent.wait(for: "the link's queue to fill", within: .seconds(60)) {
        link.carriedByteCount > 320_000
      }
      let (begun, before) = (Clock.monotonic(), link.carriedByteCount)
      var longest = 0.0
      for number in 0..<3 {
        let id = "alarm-\(number)"
        let raised = Clock.monotonic()
        let text = "{\"messageId\":\"\(id)\",\"alarm\":true}"
        try producer.publish([TestProducer.Message("alarms/p1", Array(text.utf8))])
        try agent.wait(for: "the alarm", within: .seconds(60)) {
          observed.events.contains { $0.id == id }
        }
        longest = max(longest, Clock.monotonic().since(raised).seconds)
      }
      // Long enough to tell a busy link from one that is held back.
      try agent.wait(for: "more of the backlog") { Clock.monotonic().since(begun) > .seconds(5) }
      let rate =
        Double(link.carriedByteCount - before) / Clock.monotonic().since(begun).seconds
      #expect(try agent.metric("penstock_upstream_records_total", "route=\"telemetry\"") ?? 0 < 500)
      try agent.kill()
      return (longest, rate)
    }

    @Test(
      "on a link that is merely slow alarms go before a backlog; with one priority they do not",
      .enabled(if: ThinLink.isPossible, "needs root, ip, tc and mosquitto"))
    func slowLink() throws {
      let ordered = try alarmsOnASlowLink(priority: 9)
      let control = try alarmsOnASlowLink(priority: 1)
      Console.line(
        "alarms on a slow link: longest \(ordered.longest) s with a higher priority, "
          + "\(control.longest) s without; the link carried \(ordered.rate) and "
          + "\(control.rate) bytes a second")
      // What the kernel makes of one write, 64 KiB at most, and little more; without an order the
      // kernel's own limits hold here, and in front of a modem nothing.
      #expect(ordered.longest < 2.2)
      #expect(control.longest > 1.3 * ordered.longest)
      // The queue is short, and never empty.
      #expect(ordered.rate > 0.85 * control.rate)
    }

    @Test(
      "the account of a metered link is what its interface has carried",
      .enabled(if: ThinLink.isPossible, "needs root, ip, tc and mosquitto"))
    func account() throws {
      var field = try BrokerProcess(name: "field")
      try field.start()
      let link = try ThinLink(rate: nil)
      var file = GatewayFile(fieldPort: field.port, centralPort: link.endpoint.port)
      file.central = "\(link.endpoint)"
      file.centralLines = ["insecure_plaintext: true", "link: {data_budget: {bytes: 1GiB}}"]
      file.sinkLines = [
        "batch: {max_delay: 50ms, max_bytes: 10kB}", "compression: none",
        "accept_no_subscriber: true",
      ]
      let agent = try TestAgent(file)
      try agent.startConnected()
      try TestProducer(field.endpoint).publish(
        (0..<200).map { .reading("m-\($0)", byteCount: 4000) })
      try agent.wait(for: "everything to be delivered") {
        try agent.metric("penstock_upstream_records_total") == 200
      }
      let (counted, carried) = (
        try agent.metric("penstock_link_budget_spent_bytes") ?? 0, Double(link.carriedByteCount)
      )
      #expect(abs(counted / carried - 1) < 0.1, "\(counted) counted, \(carried) carried")
      #expect(try agent.stop() == 0)
    }

    /// A time zone in which it is `second` of the day now, as POSIX writes it.
    private static func zone(inWhichItIs second: Int) -> String {
      let now = Int(Clock.wall().nanoseconds / 1_000_000_000) % 86_400
      // West of Greenwich is positive.
      let west = now - second
      func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
      let (size, sign) = (abs(west), west < 0 ? "-" : "")
      return "XXX\(sign)\(two(size / 3600)):\(two(size / 60 % 60)):\(two(size % 60))"
    }

    private static let sixInTheMorning = 6 * 3600
    private static let tenAtNight = 22 * 3600

    @Test("outside the connect window: disconnected and healthy; it opens, it closes, nothing lost")
    func connectWindow() throws {
      var field = try BrokerProcess(name: "field")
      var central = try Self.central()
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.centralLines = ["link: {connect_window: [\"22:00-06:00\"], time_zone: local}"]
      file.moreRouteLines = [
        "- name: alarms", "  from: field", "  subscribe: [\"alarms/#\"]",
        "  journal: {size: 16MiB}", "  to:",
        "    - {name: central, broker: central, urgent: true}",
      ]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let alarms = try Deliveries(
        central.endpoint, filter: "penstock/v1/gw-it/alarms", clientID: "alarm-observer")
      let agent = try TestAgent(file)
      func isOutside() throws -> Bool {
        try agent.health().body.contains("\"outside-window\"") && agent.status() == "ok"
      }
      func publish(_ ids: [String]) throws {
        try TestProducer(field.endpoint).publish(ids.map { .reading($0) })
      }
      try agent.start(environment: ["TZ": Self.zone(inWhichItIs: Self.tenAtNight - 20)])
      try agent.wait(for: "the closed window") { try isOutside() }
      #expect(try agent.health().body.contains("outside connect_window; connects at 2"))
      #expect(try agent.health().body.contains(" 22:00 "))
      #expect(
        try agent.metric("penstock_upstream_closed", "reason=\"connect-window\"") == 1)
      try publish(["early"])
      try TestProducer(field.endpoint).publish([
        .init("alarms/p1", Array("{\"messageId\":\"alarm\"}".utf8))
      ])
      try agent.wait(for: "the urgent destination") { alarms.events.count == 1 }
      #expect(deliveries.events.isEmpty)
      #expect(!central.log.contains("telemetry-central-out"))
      try agent.wait(for: "the window to open") { deliveries.events.count == 1 }
      #expect(try agent.metric("penstock_upstream_closed") == 0)
      #expect(try agent.status() == "ok")
      #expect(try agent.stop() == 0)

      try agent.start(environment: ["TZ": Self.zone(inWhichItIs: Self.sixInTheMorning - 12)])
      try publish(["in time"])
      try agent.wait(for: "the delivery") { deliveries.events.count == 2 }
      try agent.wait(for: "the window to close") { try isOutside() }
      try agent.wait(for: "the DISCONNECT") {
        central.log.lineCount("telemetry-central-out", "disconnected") == 2
      }
      try publish(["late"])
      try agent.wait(for: "the commit") {
        try agent.metric("penstock_ingest_journalled_total", "telemetry") == 2
      }
      let start = Clock.monotonic()
      #expect(try agent.stop() == 0)
      #expect(Clock.monotonic().since(start) < .seconds(4), "nobody waits for a closed window")
      #expect(deliveries.events.count == 2)

      try agent.start(environment: ["TZ": Self.zone(inWhichItIs: 0)])
      try agent.wait(for: "the rest") {
        deliveries.faults(expecting: ["early", "in time", "late"]).isEmpty
      }
      #expect(try agent.stop() == 0)
    }

    @Test("a data budget: spent it pauses and says until when, over a SIGKILL; then it goes on")
    func dataBudget() throws {
      var field = try BrokerProcess(name: "field")
      var central = try Self.central()
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      // Not today and not tomorrow.
      let today = CivilTime(Clock.wall()).date.day
      let resetsOn = (9...11).contains(today) ? 20 : 10
      file.centralLines = ["link: {data_budget: {bytes: 1MiB, resets_on: \(resetsOn)}}"]
      file.sinkLines = ["batch: {max_delay: 50ms, max_bytes: 32KiB}", "compression: none"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      let path = agent.dataDirectory + "/links/central.budget"
      func account() throws -> Int {
        let line = text(of: path).split(separator: "\n").last ?? ""
        return try #require(line.split(separator: " ").last.flatMap { Int($0) })
      }
      func isSpent() throws -> Bool {
        try agent.health().body.contains("\"budget-spent\"")
      }
      try agent.startConnected()
      let ids = (0..<300).map { "m-\($0)" }
      try TestProducer(field.endpoint).publish(ids.map { .reading($0, byteCount: 5000) })
      try agent.wait(for: "the budget to be spent") { try isSpent() }
      #expect(try agent.status() == "degraded")
      #expect(
        try agent.health().body.contains("the data budget of 1MiB is spent; goes on at 2"))
      let first = Set(deliveries.events.map(\.id)).count
      // At least the payloads are counted, and less than two packets are left.
      #expect(first > 150 && first < 210, "\(first) delivered")
      let spent = try #require(try agent.metric("penstock_link_budget_spent_bytes"))
      let left = try #require(try agent.metric("penstock_link_budget_left_bytes"))
      #expect(spent >= Double(first * 5000) && left < 70_000, "\(spent) spent, \(left) left")
      #expect(try account() >= Int(spent))
      try agent.kill()
      try agent.start()
      try agent.wait(for: "the budget to be still spent") { try isSpent() }
      #expect(Set(deliveries.events.map(\.id)).count == first)
      #expect(try agent.metric("penstock_link_budget_spent_bytes") ?? 0 >= spent)
      #expect(try agent.stop() == 0)
      // A new month.
      let period = try #require(text(of: path).split(separator: " ").dropFirst(4).first)
      let start = try #require(Int(period))
      let old = CivilTime(day: start - 31)
      try File.replace(
        path,
        with: Array(
          "penstock data budget 1\nperiod \(old.day) \(old.dateText)\nbytes 1048576\n".utf8))
      try agent.start()
      try agent.wait(for: "the rest") { deliveries.faults(expecting: ids).isEmpty }
      #expect(try agent.stop() == 0)
      // What the SIGKILL cost is gone: a clean end leaves what was used.
      #expect(try account() < 700_000)
    }
  }
}
