// Goal: a peer that cannot be heard any more is noticed within 1.5 × keepalive, and used again
// within seconds of the repair; loss and slowness cost time, not data and not memory. Method: the
// real process in a network namespace of its own, whose one link is taken down, emptied, thinned
// or slowed. Cannot show: radio links (delay that varies, reordering).

import Audit
import GatewayCore
import Platform
import TestSupport
import Testing

@Suite("links that die", .serialized)
struct DeadLinkTests {
  private static let keepAlive = 10
  private static let detectionMax = Duration.seconds(15)
  private static let returnMax = Duration.seconds(5)

  enum Fault: String, Sendable, CaseIterable {
    case linkDown = "the cable is pulled"
    case blackHole = "packets vanish"

    var obstacle: String? {
      self == .linkDown ? NetworkNamespace.obstacle : NetworkNamespace.filterObstacle
    }
  }

  private func makeStage(_ namespace: NetworkNamespace, _ lines: [String]) throws -> GatewayStage {
    var options = GatewayStage.Options()
    options.address = namespace.hostAddress
    options.wrapper = namespace.wrapper
    options.brokerLines = lines
    options.sinkLines = ["compression: none"]
    return try GatewayStage(options)
  }

  private func waitUntilSilenceIsNoticed(
    _ stage: GatewayStage, since start: MonotonicTime
  ) throws -> Duration {
    try stage.gateway.wait(for: "both dead peers to be noticed", within: .seconds(60)) {
      stage.gateway.logCount("silent for more than") >= 2
    }
    return Clock.monotonic().since(start)
  }

  @Test(
    "a dead peer is noticed on both sides, and both are back soon after the repair",
    .enabled(
      if: NetworkNamespace.obstacle == nil, .init(rawValue: NetworkNamespace.obstacle ?? "")),
    arguments: Fault.allCases)
  func deadPeer(fault: Fault) throws {
    if let obstacle = fault.obstacle {
      Console.line("skipped, \(fault.rawValue): \(obstacle)")
      return
    }
    let namespace = try NetworkNamespace()
    let stage = try makeStage(namespace, ["keep_alive: \(Self.keepAlive)s"])
    try stage.startSubscribed()
    stage.send(200)
    try stage.drain()
    let before = stage.central.withRole { $0.connectTimes.count }
    let start = Clock.monotonic()
    switch fault {
    case .linkDown: try namespace.setLink(isUp: false)
    case .blackHole: try namespace.swallow()
    }
    // What the dead link still holds is not known to be lost.
    stage.field.withRole { $0.limit = $0.sentCount + 50 }
    let detection = try waitUntilSilenceIsNoticed(stage, since: start)
    switch fault {
    case .linkDown: try namespace.setLink(isUp: true)
    case .blackHole: try namespace.heal()
    }
    let healed = Clock.monotonic()
    try stage.gateway.wait(for: "both connections", within: .seconds(90)) {
      stage.field.withRole { $0.isSubscribed && $0.connectCount > 1 }
        && stage.central.withRole { $0.connectTimes.count > before }
    }
    let comeback = Clock.monotonic().since(healed)
    Campaign.tell(
      "dead link, \(fault.rawValue)",
      "keepalive \(Self.keepAlive) s, noticed after \(detection), back \(comeback) after the repair"
    )
    #expect(detection <= Self.detectionMax)
    #expect(comeback <= Self.returnMax)
    try stage.drain()
    let report = try stage.report()
    #expect(report.isClean(allowedRedelivery: .max), "\(report.table(allowedRedelivery: .max))")
    #expect(try stage.gateway.stop() == 0)
  }

  @Test(
    "half-open: peers that have forgotten us are noticed by the next ping",
    .enabled(
      if: NetworkNamespace.obstacle == nil, .init(rawValue: NetworkNamespace.obstacle ?? "")))
  func halfOpen() throws {
    let namespace = try NetworkNamespace()
    let stage = try makeStage(namespace, ["keep_alive: \(Self.keepAlive)s"])
    try stage.startSubscribed()
    stage.send(200)
    try stage.drain()
    try namespace.setLink(isUp: false)
    let start = Clock.monotonic()
    stage.field.cutAll(isAbortive: true)
    stage.central.cutAll(isAbortive: true)
    try stage.gateway.wait(for: "the peers to forget") {
      stage.field.linkCount + stage.central.linkCount == 0
    }
    // The resets are lost with the link; the next ping is answered by another one.
    try namespace.setLink(isUp: true)
    try stage.gateway.wait(for: "both losses to be noticed", within: .seconds(60)) {
      stage.gateway.logCount("lost or unavailable") >= 2
    }
    let detection = Clock.monotonic().since(start)
    try stage.gateway.wait(for: "the field broker", within: .seconds(60)) {
      stage.field.withRole { $0.isSubscribed }
    }
    let comeback = Clock.monotonic().since(start)
    // To the gateway this is a centre that was restarted, and it returns when its turn comes.
    try stage.gateway.wait(for: "the centre", within: .seconds(90)) {
      stage.central.withRole { $0.connectTimes.count > 1 }
    }
    Campaign.tell(
      "half-open",
      "keepalive \(Self.keepAlive) s, noticed after \(detection), field broker back after "
        + "\(comeback), centre after \(Clock.monotonic().since(start))")
    #expect(detection <= Self.detectionMax)
    #expect(comeback <= Self.detectionMax + Self.returnMax)
    stage.send(200)
    try stage.drain()
    // What came to the centre before the link died, and whose PUBACK died with it.
    #expect(try stage.report().isClean(allowedRedelivery: 200))
    #expect(try stage.gateway.stop() == 0)
  }

  enum Trouble: String, Sendable, CaseIterable {
    case loss = "20 % of the packets are lost"
    case slow = "64 kbit/s"

    var obstacle: String? {
      self == .loss ? NetworkNamespace.filterObstacle : NetworkNamespace.shapeObstacle
    }
  }

  @Test(
    "loss and slowness cost time, neither data nor memory",
    .enabled(
      if: NetworkNamespace.obstacle == nil, .init(rawValue: NetworkNamespace.obstacle ?? "")),
    arguments: Trouble.allCases)
  func badLink(trouble: Trouble) throws {
    if let obstacle = trouble.obstacle {
      Console.line("skipped, \(trouble.rawValue): \(obstacle)")
      return
    }
    let namespace = try NetworkNamespace()
    let stage = try makeStage(namespace, [])
    try stage.startSubscribed()
    // The buffers grow to the load before the link gets bad.
    stage.send(2000)
    try stage.drain()
    let before = try stage.gateway.memory("VmRSS")
    switch trouble {
    case .loss: try namespace.lose(percent: 20)
    case .slow: try namespace.slowDown(to: "64kbit")
    }
    // Many short turns instead of a few large segments.
    stage.field.withRole { $0.windowMax = 10 }
    let count = Campaign.number("PENSTOCK_BAD_LINK_MESSAGES", 200)
    let start = Clock.monotonic()
    stage.send(count)
    try stage.drain(within: .seconds(60 + Int64(count)))
    let elapsed = Clock.monotonic().since(start)
    let after = try stage.gateway.memory("VmRSS")
    let report = try stage.report()
    Campaign.tell(
      "bad link, \(trouble.rawValue)",
      runs: "\(count) messages in \(elapsed), resident \(before) → \(after) KiB", report.counts)
    #expect(report.isClean(allowedRedelivery: .max), "\(report.table(allowedRedelivery: .max))")
    #expect(after - before < 8 << 10)
    try namespace.heal()
    #expect(try stage.gateway.stop() == 0)
  }

  @Test("a centre that reads slowly holds up nothing but itself")
  func slowReader() throws {
    var options = GatewayStage.Options()
    options.sinkLines = ["compression: none"]
    let stage = try GatewayStage(options)
    stage.central.withRole { $0.readRate = 20_000 }
    try stage.startSubscribed()
    let count = Campaign.number("PENSTOCK_SLOW_READER_MESSAGES", 600)
    stage.send(count)
    let start = Clock.monotonic()
    try stage.gateway.wait(for: "the PUBACKs") { stage.acknowledgedCount == count }
    let acknowledged = Clock.monotonic().since(start)
    let before = try stage.gateway.memory("VmRSS")
    try stage.drain(within: .seconds(60 + Int64(count)))
    let delivered = Clock.monotonic().since(start)
    let after = try stage.gateway.memory("VmRSS")
    Campaign.tell(
      "slow reader, 20 kB/s",
      "\(count) messages acknowledged after \(acknowledged), delivered after \(delivered), "
        + "resident \(before) → \(after) KiB")
    #expect(acknowledged < .seconds(5))
    #expect(delivered > acknowledged)
    #expect(after - before < 8 << 10)
    let report = try stage.report()
    #expect(report.isClean(allowedRedelivery: 0), "\(report.table(allowedRedelivery: 0))")
    #expect(stage.central.withRole { $0.connectTimes.count } == 1)
    #expect(try stage.gateway.stop() == 0)
  }
}
