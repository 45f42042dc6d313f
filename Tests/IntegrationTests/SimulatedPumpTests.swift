// Goal: a command from the centre stops a simulated pump behind a gateway, and its confirmation and
// its readings come back up; a command sent twice is one command to the pump. Method: the real
// gateway between two real brokers, pumps on the field's side. Cannot show: who sends commands.

import Audit
import Envelope
import GatewayCore
import Mosquitto
import Platform
import PumpTelemetry
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("simulated pumps behind a gateway")
  struct SimulatedPumpTests {
    private func command(_ id: String, _ command: String, at time: WallTime)
      -> TestProducer.Message
    {
      let text =
        #"{"commandId":"\#(id)","assetId":"ND02","command":"\#(command)","issuedAt":"\#(time)"}"#
      return TestProducer.Message(
        "gateways/gw-it/commands/pumps/ND02/commands", Array(text.utf8))
    }

    @Test("a command goes down to the pump, its confirmation and its new readings come up")
    func commanded() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.filters = ["pumps/+/metrics", "pumps/+/asset", "pumps/+/confirmations"]
      file.moreRoutes = [
        "- name: commands", "  from: central", "  subscribe: [gateways/gw-it/commands/#]",
        "  message_id: {json: /commandId}", "  expire_after: 60s", "  journal: {size: 16MiB}",
        "  to:", "    - name: field", "      broker: field", "      format: raw",
        "      topic_map: {remove_prefix: gateways/gw-it/commands/}",
      ]
      let agent = try TestAgent(file)
      let centre = try Deliveries(central.endpoint, filter: "penstock/v1/gw-it/telemetry")
      try agent.startConnected()
      let connection = ConnectionOptions(endpoints: [field.endpoint], clientID: "pumps")
      var options = SimulationOptions(connection: connection)
      options.pumpCount = 3
      options.rate = 30
      options.obeysCommands = true
      let simulation = try Simulation(options: options)
      simulation.start()
      try agent.wait(for: "the pumps to listen") { simulation.counts.listening == 1 }

      let producer = try TestProducer(central.endpoint)
      let stop = command("c-1", "stop", at: Clock.wall())
      try producer.publish([stop, stop])
      func up(_ topic: String) -> [String] {
        centre.contents.events.filter { $0.topic == "pumps/ND02/\(topic)" }
          .map { String(decoding: $0.payload, as: UTF8.self) }
      }
      try agent.wait(for: "the confirmation at the centre") { !up("confirmations").isEmpty }
      #expect(
        up("confirmations")[0].contains(#""commandId":"c-1","command":"stop","result":"done""#))
      try agent.wait(for: "a reading of the pump standing still") {
        up("metrics").last?.contains(#""rotation":0.0"#) == true
      }
      try producer.publish([command("c-2", "start", at: Clock.wall())])
      try agent.wait(for: "a reading of the pump running") {
        up("confirmations").count == 2 && up("metrics").last?.contains(#""rotation":0.0"#) == false
      }
      // The second copy of the stop ended in the gateway.
      #expect(simulation.counts.commands == 2 && simulation.counts.commandsRepeated == 0)
      simulation.stop()
      try agent.wait(for: "the pumps to end") { simulation.isFinished }
      #expect(simulation.counts.confirmations == 2 && simulation.counts.failed == 0)
      #expect(try agent.stop() == 0)
    }
  }
}
