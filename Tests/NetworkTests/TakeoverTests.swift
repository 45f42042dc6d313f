// Goal: two clients with one id do not fight for it: the one that is put out says so and stays away
// for a while. Method: the real process and a scripted broker that ends each connection as one does
// whose client id was taken. Cannot show: which of the two is the right one.

import GatewayCore
import TestSupport
import Testing

@Suite("the same client id twice", .serialized)
struct TakeoverTests {
  /// Session taken over (MQTT 5.0, 2.4).
  private static let takenOver: UInt8 = 0x8e

  @Test("the field broker gives our place to another: an alarm, and no return within 30 seconds")
  func field() throws {
    let stage = try GatewayStage()
    stage.field.withRole { $0.farewell = Self.takenOver }
    try stage.gateway.start()
    try stage.gateway.wait(for: "the alarm") {
      try stage.gateway.healthPage().contains("0x8E")
    }
    #expect(try stage.gateway.status() == "degraded")
    let patience = Deadline(in: .seconds(28))
    try stage.gateway.wait(for: "patience", within: .seconds(60)) { patience.isOver }
    #expect(stage.field.withRole { $0.connectCount } == 1)
    stage.field.withRole { $0.farewell = nil }
    try stage.gateway.wait(for: "the return", within: .seconds(120)) {
      stage.field.withRole { $0.isSubscribed }
    }
    let times = stage.field.withRole { $0.connectTimes }
    Campaign.tell(
      "taken over at the field broker", "back after \(times[1].since(times[0]))")
    stage.send(100)
    try stage.drain()
    #expect(try stage.gateway.stop() == 0)
  }

  @Test("the centre gives our place to another: an alarm, and no return within 30 seconds")
  func central() throws {
    let stage = try GatewayStage()
    stage.central.withRole { $0.farewell = Self.takenOver }
    try stage.startSubscribed()
    stage.send(100)
    try stage.gateway.wait(for: "the alarm") {
      try stage.gateway.healthPage().contains("0x8E")
    }
    #expect(stage.gateway.logCount("another client has taken our place") == 1)
    let patience = Deadline(in: .seconds(28))
    try stage.gateway.wait(for: "patience", within: .seconds(60)) { patience.isOver }
    #expect(stage.central.withRole { $0.connectTimes.count } == 1)
    stage.central.withRole { $0.farewell = nil }
    try stage.gateway.wait(for: "the return", within: .seconds(120)) {
      stage.central.withRole { $0.connectTimes.count } > 1
    }
    try stage.drain()
    let times = stage.central.withRole { $0.connectTimes }
    Campaign.tell("taken over at the centre", "back after \(times[1].since(times[0]))")
    #expect(try stage.gateway.stop() == 0)
  }
}
