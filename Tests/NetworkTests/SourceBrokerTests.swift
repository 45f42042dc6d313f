// Goal: a field broker that dies and comes back with an old database costs nothing that the gateway
// has acknowledged, and its replay is recognised. Method: Mosquitto as it is shipped, which saves
// every half hour; a save on demand makes the old database. Cannot show: what the broker itself
// loses (it acknowledges before it saves).

import Audit
import GatewayCore
import Mosquitto
import Platform
import TestSupport
import Testing

@Suite(
  "the field broker dies", .serialized,
  .enabled(if: BrokerProcess.isAvailable, "mosquitto is not installed: apt-get install mosquitto"))
struct SourceBrokerTests {
  private static let count = 500

  @Test("SIGKILL and an old database: all that is replayed is a duplicate", arguments: 1...3)
  func killed(round: Int) throws {
    var brokerOptions = BrokerOptions()
    brokerOptions.persistence = true
    var field = try BrokerProcess(name: "field", options: brokerOptions)
    try field.start()
    let inbox = Received()
    let central = try MQTTPeer(CentralRole { inbox.take($0) })
    let (fieldPort, centralPort) = (field.port, central.port)
    let gateway = try GatewayUnderTest { dataDirectory in
      """
      gateway: {id: gw-1, data_directory: "\(dataDirectory)"}
      brokers:
        field: {url: "mqtt://127.0.0.1:\(fieldPort)"}
        central: {url: "mqtt://127.0.0.1:\(centralPort)"}
      routes:
        - name: telemetry
          from: field
          subscribe: ["pumps/+/metrics"]
          message_id: {json: /messageId}
          journal: {size: 16MiB}
          to: [{name: central, broker: central, batch: {max_delay: 50ms}}]

      """
    }
    // The session exists, and fills while nobody is there.
    try gateway.start()
    try gateway.wait(for: "the connection") { try gateway.status() == "ok" }
    #expect(try gateway.stop() == 0)
    try publish(to: field.port, from: 0)
    // The database holds them all, un-acknowledged.
    field.send(signal: 10)
    #expect(try field.waitForLog("Saving in-memory database", timeout: .seconds(10)))
    try gateway.start()
    try gateway.wait(for: "all of them") { inbox.ids.count == Self.count }
    try gateway.wait(for: "their PUBACKs") {
      try gateway.metric("penstock_ingest_journalled_total") == Double(Self.count)
    }
    // Now the broker knows that they are acknowledged; its database does not.
    try field.kill()
    try field.start()
    try gateway.wait(for: "the replay") {
      try gateway.metric("penstock_ingest_duplicates_total") == Double(Self.count)
    }
    try publish(to: field.port, from: Self.count)
    try gateway.wait(for: "what came after") { inbox.ids.count == 2 * Self.count }
    let duplicates = Int(try gateway.metric("penstock_ingest_duplicates_total"))
    Campaign.tell(
      "field broker killed, old database, round \(round)",
      "\(Self.count) acknowledged, \(duplicates) replayed and recognised, "
        + "\(inbox.eventCount - inbox.ids.count) delivered twice")
    #expect(inbox.eventCount == 2 * Self.count)
    #expect(try gateway.metric("penstock_ingest_journalled_total") == Double(2 * Self.count))
    #expect(try gateway.metric("penstock_ingest_session_lost_total") == 0)
    #expect(try gateway.stop() == 0)
  }

  private func publish(to port: UInt16, from first: Int) throws {
    let messages = (first..<first + Self.count).map(Load.message)
    var publisher = try Publisher(port: port)
    try publisher.publish(messages)
  }
}
