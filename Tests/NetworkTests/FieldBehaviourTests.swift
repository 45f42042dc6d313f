// Goal: whatever a field broker grants, forgets or sends, the gateway takes it safely or says
// aloud that it does not. Method: the real process against a scripted broker. Cannot show: brokers
// that break MQTT in ways nobody thought of (see the malformed streams).

import Audit
import GatewayCore
import Mosquitto
import Platform
import TestSupport
import Testing

@Suite("what a field broker may do", .serialized)
struct FieldBehaviourTests {
  struct Grant: Sendable, CustomTestStringConvertible {
    let version: ProtocolVersion
    let codes: [UInt8]
    let word: String

    var testDescription: String { "MQTT \(version == .v5 ? "5" : "3.1.1"), SUBACK \(codes)" }
  }

  @Test(
    "a subscription that is not granted at QoS 1 is none: degraded, in words, and tried again",
    arguments: [
      Grant(version: .v5, codes: [0x87], word: "0x87"),
      Grant(version: .v5, codes: [0x80], word: "0x80"),
      Grant(version: .v311, codes: [0x80], word: "0x80"),
      Grant(version: .v5, codes: [0], word: "QoS 0"),
      Grant(version: .v311, codes: [0], word: "QoS 0"),
      Grant(version: .v5, codes: [2], word: "QoS 2"),
      Grant(version: .v5, codes: [1, 1], word: "2 codes"),
    ])
  func notGranted(_ row: Grant) throws {
    var options = GatewayStage.Options()
    options.version = row.version
    let stage = try GatewayStage(options)
    stage.field.withRole {
      $0.grantedCodes = row.codes
      // A broker that sends all the same: nothing may be taken at less than QoS 1.
      $0.limit = 10
    }
    try stage.gateway.start()
    try stage.gateway.wait(for: "the complaint, and another attempt") {
      try stage.gateway.healthPage().contains(row.word)
        && stage.field.withRole { $0.connectCount } >= 2
    }
    #expect(try stage.gateway.status() == "degraded")
    #expect(try stage.gateway.metric("penstock_ingest_connected") == 0)
    if row.codes.count == 1 {
      #expect(stage.gateway.log.contains("subscription to pumps/+/metrics"))
    }
    stage.field.withRole { $0.grantedCodes = nil }
    try stage.gateway.wait(for: "the better grant", within: .seconds(60)) {
      try stage.gateway.metric("penstock_ingest_connected") == 1
    }
    try stage.drain()
    #expect(try stage.report().isClean(allowedRedelivery: 0))
    #expect(try stage.gateway.stop() == 0)
  }

  @Test(
    "a session that the broker has lost is counted, told and subscribed anew",
    arguments: [ProtocolVersion.v5, .v311])
  func sessionLost(version: ProtocolVersion) throws {
    var options = GatewayStage.Options()
    options.version = version
    let stage = try GatewayStage(options)
    try stage.startSubscribed()
    stage.send(100)
    try stage.drain()
    // Back with the session: no SUBSCRIBE, no alarm.
    stage.field.cutAll()
    try stage.gateway.wait(for: "the session") {
      stage.field.withRole { $0.connectCount == 2 && $0.isSubscribed }
    }
    stage.send(100)
    try stage.drain()
    #expect(stage.field.withRole { $0.subscribeCount } == 1)
    #expect(try stage.gateway.metric("penstock_ingest_session_lost_total") == 0)
    // Back without.
    stage.field.withRole { $0.forgetSession() }
    stage.field.cutAll(isAbortive: true)
    try stage.gateway.wait(for: "the new subscription") {
      stage.field.withRole { $0.subscribeCount == 2 && $0.isSubscribed }
    }
    stage.send(100)
    try stage.drain()
    #expect(try stage.gateway.metric("penstock_ingest_session_lost_total") == 1)
    #expect(stage.gateway.logCount("the broker has lost our session") == 1)
    #expect(try stage.report().isClean(allowedRedelivery: 0))
    #expect(try stage.gateway.stop() == 0)
  }

  @Test(
    "QoS 0 and QoS 2 on a subscription of QoS 1 are stored, delivered, counted and told",
    arguments: [ProtocolVersion.v5, .v311])
  func otherQuality(version: ProtocolVersion) throws {
    var options = GatewayStage.Options()
    options.version = version
    options.message = { number in
      var message = Load.message(number)
      message.quality = UInt8(number % 3)
      return message
    }
    let stage = try GatewayStage(options)
    try stage.startSubscribed()
    stage.send(300)
    try stage.gateway.wait(for: "all events") { stage.events.count >= 300 }
    try stage.drain()
    #expect(try stage.gateway.metric("penstock_ingest_unprotected_total") == 200)
    try stage.gateway.wait(for: "the words") { stage.gateway.logCount("QoS 2") == 1 }
    // Two steps take longer than one: the order is that of the broker's PUBRELs.
    let counts = try stage.report().counts
    #expect((counts.delivered, counts.lost, counts.duplicated, counts.corrupt) == (300, 0, 0, 0))
    #expect(try stage.gateway.stop() == 0)
  }
}
