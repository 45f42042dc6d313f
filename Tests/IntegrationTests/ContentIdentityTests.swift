// Goal: with `content: true` the same message within some seconds is a duplicate, whether or not
// the agent was restarted in between. Method: the real binary, stopped and started; the age counts
// from the receipt. Cannot show: a wall clock that is set while the agent is down.

import Audit
import GatewayCore
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("content as identity, over a restart")
  struct ContentIdentityTests {
    private static let message = TestProducer.Message(
      "pumps/p1/metrics", Array(#"{"value":1}"#.utf8))

    /// Sends the message, starts the agent again `stopped` after its receipt, and sends it again
    /// `later` after it, each at the earliest; what the second run made of it.
    private func sendTwice(
      within: String, stopped: Duration, later: Duration, latest: Duration
    ) throws -> (journalled: Double, duplicates: Double) {
      var options = BrokerOptions()
      options.persistence = true
      var field = try BrokerProcess(name: "field", options: options)
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.routeLines = ["message_id: {content: true, within: \(within)}"]
      // Somebody who takes what is sent: a stop waits for that.
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      defer { withExtendedLifetime(deliveries) {} }
      let agent = try TestAgent(file)
      try agent.startConnected()
      let before = Clock.monotonic()
      try TestProducer(field.endpoint).publish([Self.message])
      try agent.wait(for: "the first to be journalled") {
        try agent.metric("penstock_ingest_journalled_total") == 1
      }
      let received = Clock.monotonic()
      #expect(try agent.stop() == 0)
      try wait(for: "the restart") { Clock.monotonic() >= received + stopped }
      try agent.startConnected()
      try wait(for: "the second") { Clock.monotonic() >= received + later }
      try TestProducer(field.endpoint).publish([Self.message])
      try agent.wait(for: "the second to be counted") {
        try agent.metric("penstock_ingest_messages_total") == 1
      }
      try #require(Clock.monotonic().since(before) < latest, "this machine is too slow to tell")
      let result = (
        try agent.metric("penstock_ingest_journalled_total") ?? 0,
        try agent.metric("penstock_ingest_duplicates_total") ?? 0
      )
      #expect(try agent.stop() == 0)
      return result
    }

    @Test("the same within the time is a duplicate")
    func within() throws {
      let second = try sendTwice(
        within: "10s", stopped: .zero, later: .zero, latest: .seconds(10))
      #expect(second.journalled == 0)
      #expect(second.duplicates == 1)
    }

    @Test("the same after the time is a new message: its age counts from its receipt")
    func after() throws {
      let second = try sendTwice(
        within: "2s", stopped: .seconds(1), later: .milliseconds(2100), latest: .seconds(60))
      #expect(second.journalled == 1)
      #expect(second.duplicates == 0)
    }
  }
}
