// Goal: a raw route brings the far end what a Mosquitto bridge would bring it, and says more.
// Method: the same messages through both at once, from one broker to another, under two prefixes,
// seen by one subscriber. Cannot show: bridges of other makers.

import Audit
import GatewayCore
import Mosquitto
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("raw routes, beside a bridge")
  struct RawRouteTests {
    private static func text(_ value: String) -> [UInt8] { Array(value.utf8) }

    /// One message of every kind that a bridge carries.
    private static var messages: [TestProducer.Message] {
      var messages: [TestProducer.Message] = []
      func add(
        _ topic: String, _ payload: [UInt8],
        _ change: (inout TestProducer.Message) -> Void = { _ in }
      ) {
        var message = TestProducer.Message(topic, payload)
        change(&message)
        messages.append(message)
      }
      add("pumps/p1/metrics", text(#"{"messageId":"m-1","flow":1}"#))
      add("pumps/p1/metrics", [0, 255, 1, 254])
      add("pumps/p1/metrics", [])
      add("pumps//é x/metrics", text("odd levels"))
      add("pumps/p1/state", text("on")) { $0.isRetained = true }
      add("pumps/p2/state", text("off")) { $0.isRetained = true }
      // Clears what is retained.
      add("pumps/p2/state", []) { $0.isRetained = true }
      add("pumps/p1/metrics", text("properties")) {
        MQTTPropertyWriter.append(.payloadFormatIndicator, number: 1, to: &$0.properties)
        MQTTPropertyWriter.append(.messageExpiryInterval, number: 500, to: &$0.properties)
        MQTTPropertyWriter.append(
          .contentType, value: text("text/plain").span, to: &$0.properties)
        MQTTPropertyWriter.append(
          .responseTopic, value: text("pumps/answers/1").span, to: &$0.properties)
        MQTTPropertyWriter.append(.correlationData, value: [0, 7].span, to: &$0.properties)
        for (name, value) in [("a", "1"), ("b", ""), ("a", "2")] {
          MQTTPropertyWriter.appendUserProperty(
            name: text(name).span, value: text(value).span, to: &$0.properties)
        }
      }
      add("pumps/p1/metrics", text("not acknowledged")) { $0.quality = .atMostOnce }
      add("pumps/p1/metrics", text("last"))
      return messages
    }

    /// What must be the same, whoever brought it.
    private struct Seen: Equatable, CustomStringConvertible {
      let topic: String
      let payload: [UInt8]
      let isRetained: Bool
      let properties: [String]

      init(_ message: RawMessage, prefix: String) {
        topic = String(message.topic.dropFirst(prefix.count))
        payload = message.payload
        isRetained = message.isRetained
        properties = message.foreignProperties
      }

      var description: String {
        "\(topic) \(String(decoding: payload, as: UTF8.self)) retain \(isRetained) \(properties)"
      }
    }

    @Test("side by side with a bridge: topic, payload, retain flag and properties are the same")
    func sideBySide() throws {
      var central = try BrokerProcess(name: "central")
      try central.start()
      var options = BrokerOptions()
      options.lines = [
        "connection beside", "address 127.0.0.1:\(central.port)", "bridge_protocol_version mqttv50",
        "cleansession false", "notifications false", "topic # out 1 pumps/ bridge/pumps/",
      ]
      var field = try BrokerProcess(name: "field", options: options)
      try field.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.filters = ["pumps/#"]
      file.routeLines = ["message_id: none"]
      file.sinkLines = ["format: raw", "topic_map: {rules: [{from: \"#\", to: \"raw/#\"}]}"]
      let bridged = try Deliveries(
        central.endpoint, filter: "bridge/#", isRaw: true, clientID: "beside-the-bridge")
      let raw = try Deliveries(
        central.endpoint, filter: "raw/#", isRaw: true, clientID: "beside-the-route")
      let agent = try TestAgent(file)
      try agent.startConnected()
      try agent.wait(for: "the bridge") {
        central.log.contains("as beside") || central.log.contains(".beside")
      }
      let messages = Self.messages
      try TestProducer(field.endpoint).publish(messages)
      try agent.wait(for: "both ways to bring all") {
        bridged.contents.raw.count >= messages.count && raw.contents.raw.count >= messages.count
      }
      let (one, other) = (bridged.contents.raw, raw.contents.raw)
      let byBridge = one.map { Seen($0, prefix: "bridge/") }
      let byRoute = other.map { Seen($0, prefix: "raw/") }
      #expect(byRoute == byBridge)
      #expect(other.map(\.payload) == messages.map(\.payload))
      let (bridgeIntervals, intervals) = (one.compactMap(\.interval), other.compactMap(\.interval))
      #expect(bridgeIntervals.count == 1 && intervals.count == 1)
      #expect(intervals.allSatisfy { 490 <= $0 && $0 <= 500 })
      // The difference there is: what came at QoS 0 leaves at QoS 1, since only that is answered.
      #expect(one.map(\.quality).contains(.atMostOnce))
      #expect(other.allSatisfy { $0.quality == .atLeastOnce })
      let later = try Deliveries(central.endpoint, filter: "#", isRaw: true, clientID: "later")
      try agent.wait(for: "what is retained") { later.contents.raw.count >= 2 }
      #expect(
        Set(later.contents.raw.map(\.topic)) == ["bridge/pumps/p1/state", "raw/pumps/p1/state"])
      #expect(try agent.stop() == 0)
    }

    @Test("retained messages are the broker's, whether or not somebody subscribes")
    func retainedForNobody() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.filters = ["pumps/#"]
      file.sinkLines = ["format: raw"]
      let agent = try TestAgent(file)
      try agent.startConnected()
      var message = TestProducer.Message("pumps/p1/state", Array("on".utf8))
      message.isRetained = true
      try TestProducer(field.endpoint).publish([message])
      try agent.wait(for: "the cursor") {
        try agent.metric("penstock_upstream_acknowledged_sequence") == 1
      }
      let later = try Deliveries(central.endpoint, filter: "#", isRaw: true)
      try agent.wait(for: "what is retained") { !later.contents.raw.isEmpty }
      #expect(later.contents.raw.first?.payload == message.payload)
      #expect(later.contents.raw.first?.user("penstock-via") == "gw-it/telemetry")
      #expect(try agent.stop() == 0)
    }

    @Test(
      "the wait in the journal is taken off the expiry, and what has expired is a gap, not late")
    func expiry() throws {
      var field = try BrokerProcess(name: "field")
      var options = BrokerOptions()
      options.persistence = true
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.sinkLines = ["format: raw"]
      let deliveries = try Deliveries(central.endpoint, filter: "pumps/#", isRaw: true)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try central.terminate()
      var messages: [TestProducer.Message] = []
      for (id, expiry) in [("short", 2), ("long", 300), ("none", 0)] as [(String, UInt32)] {
        var message = TestProducer.Message.reading(id)
        if expiry > 0 {
          MQTTPropertyWriter.append(
            .messageExpiryInterval, number: expiry, to: &message.properties)
        }
        messages.append(message)
      }
      try TestProducer(field.endpoint).publish(messages)
      try CommandRouteTests.pass(.milliseconds(3100))
      try central.start()
      try agent.wait(for: "what holds", within: .seconds(60)) {
        deliveries.contents.raw.count >= 2
      }
      let raw = deliveries.contents.raw
      #expect(raw.map { $0.user("penstock-id") } == ["long", "none"])
      #expect((200...297).contains(raw[0].interval ?? 0) && raw[1].interval == nil)
      // Nobody listens to the notice of the gap: it is counted, and holds up nothing.
      try agent.wait(for: "the gap") {
        try agent.metric("penstock_gap_records_total", "reason=\"expired\"") == 1
      }
      #expect(agent.log.contains("nobody subscribes to the notices"))
      #expect(try agent.stop() == 0)
    }

    @Test("a topic without a counterpart is a dead letter; the rest goes on")
    func unmapped() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.filters = ["pumps/#"]
      file.sinkLines = [
        "format: raw",
        "topic_map:", "  rules:", "    - {from: pumps/+/metrics, to: site/+/m}",
        "    - {from: \"pumps/x/#\", to: \"#\"}",
      ]
      let deliveries = try Deliveries(central.endpoint, filter: "#", isRaw: true)
      let agent = try TestAgent(file)
      try agent.startConnected()
      let message = { (topic: String) in TestProducer.Message(topic, Array(topic.utf8)) }
      try TestProducer(field.endpoint).publish([
        .reading("m-1"), message("pumps/p1/unknown"), message("pumps/x/$CONTROL/feature"),
        message("pumps/x/fine"), .reading("m-2"),
      ])
      try agent.wait(for: "what has a topic") { deliveries.contents.raw.count >= 3 }
      #expect(deliveries.contents.raw.map(\.topic) == ["site/p1/m", "fine", "site/p1/m"])
      let path = agent.dataDirectory + "/telemetry.dead"
      let letters = try Command("journal", "list", path).output
      #expect(letters.lineCount("refused", "pumps/p1/unknown") == 1, "\(letters)")
      #expect(letters.lineCount("refused", "pumps/x/$CONTROL/feature") == 1, "\(letters)")
      #expect(try agent.stop() == 0)
    }
  }

  @Suite("messages that go round")
  struct LoopTests {
    @Test("a gateway that reads its own output, which its configuration cannot show")
    func ownOutput() throws {
      var options = BrokerOptions()
      let other = try Loopback.freePort()
      options.lines = ["listener \(other) 127.0.0.1"]
      // One broker with two doors.
      var broker = try BrokerProcess(name: "field", options: options)
      try broker.start()
      var file = GatewayFile(fieldPort: broker.port, centralPort: other)
      file.routeLines = ["message_id: none"]
      file.sinkLines = ["format: raw"]
      let seen = try Deliveries(broker.endpoint, filter: "pumps/#", isRaw: true)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try TestProducer(broker.endpoint).publish([.reading("m-1"), .reading("m-2")])
      try agent.wait(for: "the copies to be dropped") {
        try agent.metric("penstock_ingest_dropped_total", "reason=\"loop\"") == 2
      }
      try TestProducer(broker.endpoint).publish([.reading("end")])
      try agent.wait(for: "the third copy") {
        try agent.metric("penstock_ingest_dropped_total", "reason=\"loop\"") == 3
      }
      try agent.wait(for: "all copies") { seen.contents.raw.count >= 6 }
      #expect(seen.contents.raw.count == 6)
      #expect(try agent.metric("penstock_ingest_journalled_total") == 3)
      try agent.wait(for: "the log to tell") {
        agent.log.contains("messages that this route has carried come back to it")
      }
      #expect(try agent.stop() == 0)
      // Acknowledged: nothing of it waits at the broker.
      try agent.startConnected()
      #expect(try agent.metric("penstock_ingest_messages_total") ?? 0 == 0)
      #expect(try agent.stop() == 0)
    }

    @Test("two gateways in a ring: once round, and no further")
    func ring() throws {
      var west = try BrokerProcess(name: "field")
      var east = try BrokerProcess(name: "central")
      try west.start()
      try east.start()
      var there = GatewayFile(fieldPort: west.port, centralPort: east.port)
      there.gatewayID = "gw-there"
      there.routeLines = ["message_id: none"]
      there.sinkLines = ["format: raw"]
      var back = GatewayFile(fieldPort: east.port, centralPort: west.port)
      back.gatewayID = "gw-back"
      back.routeLines = there.routeLines
      back.sinkLines = there.sinkLines
      let seenWest = try Deliveries(west.endpoint, filter: "pumps/#", isRaw: true)
      let seenEast = try Deliveries(east.endpoint, filter: "pumps/#", isRaw: true)
      let agents = [try TestAgent(there), try TestAgent(back)]
      for agent in agents { try agent.startConnected() }
      let count = 20
      try TestProducer(west.endpoint).publish((0..<count).map { .reading("m-\($0)") })
      try agents[0].wait(for: "the messages to come round") {
        try agents[0].metric("penstock_ingest_dropped_total", "reason=\"loop\"")
          == Double(count)
      }
      try agents[0].wait(for: "all to be seen") {
        seenWest.contents.raw.count >= 2 * count && seenEast.contents.raw.count >= count
      }
      #expect(seenWest.contents.raw.count == 2 * count)
      #expect(seenEast.contents.raw.count == count)
      let round = seenWest.contents.raw.filter { $0.user("penstock-via") != nil }
      #expect(round.count == count)
      #expect(try agents[1].metric("penstock_ingest_dropped_total", "reason=\"loop\"") == 0)
      for agent in agents { #expect(try agent.stop() == 0) }
    }
  }
}
