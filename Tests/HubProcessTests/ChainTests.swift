// Goal: from a pump's reading to a stopped pump and a closed order, and every event applied once,
// whatever dies on the way and whenever. Method: pumps, gateway, hub and brokers as processes,
// SIGKILL at random; the verdict is the event store's, the journal's and the pumps' own. Cannot
// show: power cuts, a field broker that forgets what it acknowledged to the pumps.

import Audit
import GatewayCore
import Platform
import PumpTelemetry
import TestSupport
import Testing

@Suite("the whole chain", .serialized) struct ChainTests {
  private static let kills = Environment.value(of: "PENSTOCK_HUB_KILLS").flatMap(Int.init) ?? 10
  private static let pump = "ND03"

  private static var gateway: String {
    guard let own = Environment.ownExecutable else { return "penstock" }
    return File.directoryName(of: own) + "/penstock"
  }

  private enum Victim: CaseIterable { case gateway, hub, central }

  /// A motor grows hot one second after the start; meanwhile everybody dies now and then.
  private func run(_ victims: [Victim], seed: UInt64) throws -> (AuditReport, bound: UInt64) {
    var options = StageOptions(executable: Self.gateway)
    options.pumps = 5
    options.rate = 300
    options.seed = seed
    options.hub = HubStageOptions(executable: HubUnderTest.executable)
    options.failure = try PatternAssignment(
      "\(Self.pump):temperature=rise:start=1s:ramp=500ms:depth=40%")
    options.centralMayForget = victims.contains(.central)
    var stage = try AuditStage(options: options)
    try stage.start()
    var generator = SplitMix64(seed: seed, stream: 0)
    for _ in 0..<Self.kills {
      try stage.agent.pause(.milliseconds(Int.random(in: 20...900, using: &generator)))
      try stage.check()
      let victim = try #require(victims.randomElement(using: &generator))
      let pause = Duration.milliseconds(Int.random(in: 0...300, using: &generator))
      switch victim {
      case .gateway:
        try stage.agent.kill()
        try stage.hub?.process.pause(pause)
        try stage.agent.start()
      case .hub:
        try stage.hub?.process.kill()
        try stage.agent.pause(pause)
        try stage.hub?.process.start()
      case .central:
        try stage.central.kill()
        try stage.agent.pause(pause)
        try stage.central.start()
      }
    }
    let deadline = Deadline(in: .seconds(60))
    while try stage.hub?.casePhase(of: Self.pump) != "done" {
      try #require(!deadline.isOver, "the case is not carried through")
      try stage.agent.pause(.milliseconds(200))
      try stage.check()
    }
    stage.stopSending()
    _ = try stage.drain(limit: .seconds(60), interval: .milliseconds(200))
    let bound = stage.agentOptions.redeliveryBound(interruptions: Self.kills)
    return (try stage.finish(), bound)
  }

  @Test("gateway and hub die at random: applied once each, the case is carried through")
  func gatewayAndHub() throws {
    let seed = UInt64.random(in: 0 ... .max)
    let (report, bound) = try run([.gateway, .hub], seed: seed)
    Console.line("chain, \(Self.kills) kills: \(report.json(allowedRedelivery: bound))")
    #expect(
      report.isClean(allowedRedelivery: bound),
      "seed \(seed)\n\(report.table(allowedRedelivery: bound))")
    #expect(report.counts.applied == report.counts.sent && report.counts.applied > 500)
  }

  @Test("the central broker is killed, too: what it forgets is sent again")
  func everybody() throws {
    let seed = UInt64.random(in: 0 ... .max)
    let (report, _) = try run(Victim.allCases, seed: seed)
    Console.line("chain, \(Self.kills) kills: \(report.json(allowedRedelivery: .max))")
    // What the broker forgot the observer and the follower never heard.
    let forgotten = [
      "lost", "out of order (by sequence)", "out of order (by arrival)", "unaccounted sequences",
      "case published otherwise",
    ]
    let faults = report.faults.filter { $0.count > 0 && !forgotten.contains($0.name) }
    #expect(faults.isEmpty, "seed \(seed)\n\(report.table(allowedRedelivery: .max))")
    #expect(report.counts.applied == report.counts.sent && report.counts.applied > 500)
  }

  @Test("control: with accept: broker a broker that dies takes what it had accepted with it")
  func acceptedByBroker() throws {
    var options = StageOptions(executable: Self.gateway)
    options.pumps = 5
    options.rate = 300
    options.hub = HubStageOptions(executable: HubUnderTest.executable)
    options.hub?.accept = "broker"
    options.centralMayForget = true
    var stage = try AuditStage(options: options)
    try stage.start()
    try stage.hub?.process.kill()
    let before = stage.ledger.counts.delivered
    let deadline = Deadline(in: .seconds(30))
    while stage.ledger.counts.delivered < before + 300 {
      try #require(!deadline.isOver, "nothing is delivered")
      try stage.agent.pause(.milliseconds(50))
    }
    try stage.central.kill()
    try stage.central.start()
    try stage.hub?.process.start()
    stage.stopSending()
    _ = try stage.drain(limit: .seconds(5), interval: .milliseconds(200))
    let report = try stage.finish()
    Console.line("chain, accept: broker: \(report.json(allowedRedelivery: .max))")
    #expect(report.counts.notApplied >= 300)
  }
}
