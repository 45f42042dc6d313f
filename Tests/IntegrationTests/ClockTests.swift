// Goal: a wall clock that is wrong by years, or jumps, changes timestamps and nothing else. Method:
// libfaketime fakes the wall clock of the real process and leaves the monotonic one alone. Cannot
// show: a kernel that steps the clock under sleeping timers.

import Audit
import Envelope
import GatewayCore
import Platform
import TestSupport
import Testing

/// The library of faketime(1), and what preloads it.
private enum FakeTime {
  static let library: String? = [
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib/arm-linux-gnueabihf",
    "/usr/lib",
  ].map { "\($0)/faketime/libfaketimeMT.so.1" }.first { (try? FileStatus(path: $0)) != nil }

  /// The library changes the environment of a process in which it is loaded for the first time,
  /// and a Swift program then finds no arguments; so it is loaded into env(1), which becomes the
  /// program.
  static let wrapper = ["/usr/bin/env"]

  /// `path`: a file with the offset, such as `+10y`; read anew at each look at the clock.
  static func environment(offsetFile path: String) -> [String: String] {
    [
      "LD_PRELOAD": library ?? "", "FAKETIME_TIMESTAMP_FILE": path, "FAKETIME_NO_CACHE": "1",
      "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    ]
  }
}

extension IntegrationSuite {
  @Suite(
    "a wrong wall clock",
    .enabled(if: FakeTime.library != nil, "faketime is not installed: apt-get install faketime"))
  struct ClockTests {
    private static let yearSeconds = 365.25 * 86_400

    @Test(
      "wrong by ten years at the start, twenty more in the middle: only timestamps change",
      arguments: [("+10y", "-10y"), ("-10y", "+10y")])
    func jump(first: String, second: String) throws {
      var options = BrokerOptions()
      options.persistence = true
      var field = try BrokerProcess(name: "field", options: options)
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      let offset = agent.path + "/offset"
      func setClock(_ text: String) throws {
        try File.replace(offset, with: Array("\(text)\n".utf8))
      }
      func publish(_ ids: [String]) throws {
        try TestProducer(field.endpoint).publish(ids.map { .reading($0) })
      }
      let ids = (0..<60).map { "m-\($0)" }

      try setClock(first)
      try agent.start(
        environment: FakeTime.environment(offsetFile: offset), wrapper: FakeTime.wrapper)
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      try publish(Array(ids[..<20]))
      try agent.wait(for: "the first deliveries") { deliveries.distinctEvents.count >= 20 }
      // A backlog of one time, delivered in another.
      try central.terminate()
      try publish(Array(ids[20..<30]))
      try agent.wait(for: "the backlog") {
        try agent.metric("penstock_ingest_journalled_total") == 30
      }
      try setClock(second)
      try publish(Array(ids[30..<40]))
      try agent.wait(for: "more backlog") {
        try agent.metric("penstock_ingest_journalled_total") == 40
      }
      try central.start()
      // The timers of a reconnect run by the monotonic clock.
      try agent.wait(for: "the backlog to be delivered") { deliveries.distinctEvents.count >= 40 }
      let age = try #require(try agent.metric("penstock_journal_oldest_undelivered_seconds"))
      #expect(age >= 0)
      // A restart with the clock set back, too.
      #expect(try agent.stop() == 0)
      try agent.start(
        environment: FakeTime.environment(offsetFile: offset), wrapper: FakeTime.wrapper)
      try publish(Array(ids[40..<50]))
      try agent.wait(for: "deliveries after the restart") { deliveries.distinctEvents.count >= 50 }
      try setClock(first)
      let start = Clock.monotonic()
      try publish(Array(ids[50...]))
      try agent.wait(for: "the last deliveries") { deliveries.distinctEvents.count >= 60 }
      #expect(Clock.monotonic().since(start) < .seconds(10), "a timer is stuck")
      #expect(deliveries.faults(expecting: ids) == [])
      #expect(deliveries.contents.gaps.isEmpty)
      // Order of sequences is the order of arrival, whatever the clock said.
      let events = deliveries.distinctEvents
      #expect(events.map(\.id) == ids)
      func years(_ event: Event) -> Double {
        Double(event.time.nanoseconds - Clock.wall().nanoseconds) / 1e9 / Self.yearSeconds
      }
      func isNear(_ event: Event, _ text: String) -> Bool {
        abs(years(event) - (text == "+10y" ? 10 : -10)) < 0.1
      }
      #expect(events[..<30].allSatisfy { isNear($0, first) }, "\(years(events[0]))")
      #expect(events[30..<50].allSatisfy { isNear($0, second) }, "\(years(events[30]))")
      #expect(events[50...].allSatisfy { isNear($0, first) }, "\(years(events[50]))")
      #expect(try agent.stop() == 0)
      #expect(!agent.log.contains("cannot be read any more"))
    }
  }
}
