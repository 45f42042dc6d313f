// Goal: what a centre asks for again comes again, marked, from the running agent's ring and with
// its credentials, and nothing else changes. Method: the real binary, an observer that knows
// replays. Cannot show: what a consumer makes of a replay.

import Audit
import Control
import Envelope
import GatewayCore
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("penstock resend")
  struct ResendTests {
    @Test("the range comes again as a replay; cursor and stream go on; the rest stays away")
    func range() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      let producer = try TestProducer(stage.field.endpoint)
      try producer.publish((1...20).map { .reading("m-\($0)") })
      try agent.wait(for: "all deliveries") { stage.deliveries.events.count == 20 }
      let resend = try agent.command(
        "resend", "--route", "telemetry", "--sink", "central", "--from", "5", "--to", "9", "--json")
      #expect(resend.code == 0, "\(resend.error)")
      #expect(resend.output.contains(#""accepted_records":5"#))
      try wait(for: "the replay") { stage.deliveries.events.count == 25 }
      let replays = stage.deliveries.contents.envelopes.filter(\.header.isReplay)
      let again = replays.flatMap(\.events).map(\.sequence.rawValue)
      #expect(again == [5, 6, 7, 8, 9])
      #expect(stage.deliveries.faults(expecting: (1...20).map { "m-\($0)" }) == [])
      try producer.publish([.reading("m-21")])
      try wait(for: "the next one") { stage.deliveries.events.count == 26 }
      let acknowledged = try agent.routeObject()?["sinks"]?.elements.first?["acknowledged"]
      #expect(acknowledged?.uint64 == 21)
      #expect(try agent.stop() == 0)
    }

    @Test("credentials that only the agent's environment has are used")
    func environment() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.centralLines = ["username: gw", "password: \"${env:CENTRAL_PASSWORD}\""]
      let agent = try TestAgent(file)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      try agent.start(environment: ["CENTRAL_PASSWORD": "secret"])
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      try TestProducer(field.endpoint).publish([.reading("m-1")])
      try agent.wait(for: "the delivery") { deliveries.events.count == 1 }
      let resend = try agent.command(
        "resend", "--route", "telemetry", "--sink", "central", "--from", "1")
      #expect(resend.code == 0, "\(resend.error)")
      try wait(for: "the replay") { deliveries.events.count == 2 }
      #expect(try agent.stop() == 0)
    }

    @Test("what is not there is refused in words, and a dead agent is 69")
    func refusals() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      func resend(_ route: String, _ sink: String, _ from: String) throws -> Command {
        try agent.command("resend", "--route", route, "--sink", sink, "--from", from)
      }
      #expect(try resend("nope", "central", "1").code == 78)
      #expect(try resend("telemetry", "nope", "1").code == 78)
      let beyond = try resend("telemetry", "central", "1")
      #expect(beyond.code == 78 && beyond.error.contains("there is no record 1"))
      #expect(try agent.stop() == 0)
      #expect(try resend("telemetry", "central", "1").code == 69)
    }
  }
}
