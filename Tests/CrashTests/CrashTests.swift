// Goal: whatever SIGKILL interrupts, nothing that was acknowledged is lost, nothing comes under two
// sequences, the order of each source holds, and what comes again is bounded. Method: real brokers,
// the real binary, simulated pumps under load; the agent is killed at seeded random moments,
// recovery included; an independent subscriber's audit decides. Each promise has a negative
// control: a build that breaks it on purpose must be found out.
// Cannot show: power cuts. SIGKILL leaves the page cache alone, so a missing fdatasync stays
// hidden here; the journal's tests on a simulated disk look for that.

import Audit
import GatewayCore
import Platform
import PumpTelemetry
import Testing

/// The binary under test stands beside the test bundle.
private var agentExecutable: String {
  guard let own = Environment.ownExecutable else { return "penstock" }
  return File.directoryName(of: own) + "/penstock"
}

/// 25, or what PENSTOCK_CRASH_KILLS says, for a long run.
private var killCount: Int {
  max(25, Environment.value(of: "PENSTOCK_CRASH_KILLS").flatMap { Int($0) } ?? 0)
}

@Suite(
  "the agent under SIGKILL", .serialized,
  .enabled(if: BrokerProcess.isAvailable, "mosquitto is not installed"))
struct CrashTests {
  /// Starts the path, kills the agent `kills` times at seeded moments, drains, and returns the
  /// verdict.
  private func run(
    kills: Int, seed: UInt64, sabotage: String? = nil, rate: Int = 2000, settle: Duration
  ) throws -> (report: AuditReport, bound: UInt64) {
    var options = StageOptions(executable: agentExecutable)
    options.rate = rate
    options.seed = seed
    options.repeatShare = 0.1
    options.journalSize = "32MiB"
    options.maxInFlight = 4
    options.batchMaxRecords = 50
    if let sabotage { options.environment["PENSTOCK_TEST_SABOTAGE"] = sabotage }
    var stage = try AuditStage(options: options)
    try stage.start()
    var generator = SplitMix64(seed: seed)
    for kill in 0..<kills {
      // Every second life is allowed to deliver something of its own first; the others are cut
      // wherever they are, recovery included.
      if !kill.isMultiple(of: 2) { try waitForDelivery(&stage) }
      let moment = Int64.random(in: 5...400, using: &generator)
      try stage.agent.pause(.milliseconds(moment))
      try stage.check()
      try stage.agent.kill()
      try stage.agent.start()
    }
    // Under load without a kill: what a crash left behind must come to light now.
    try stage.agent.pause(settle)
    try stage.check()
    stage.stopSending()
    _ = try stage.drain(limit: sabotage == nil ? .seconds(60) : .seconds(5))
    let bound = stage.agentOptions.redeliveryBound(interruptions: kills)
    let report = try stage.finish()
    // In the log of every run: a verdict is worth what was really exercised.
    Console.line(
      "crash run: \(kills) kills, seed \(seed), sabotage \(sabotage ?? "none"): "
        + report.json(allowedRedelivery: bound))
    return (report, bound)
  }

  /// Until the centre has a record of the present life of the journal: a new epoch.
  private func waitForDelivery(_ stage: inout AuditStage) throws {
    let before = stage.ledger.counts.epochs
    let deadline = Clock.monotonic() + .seconds(20)
    while stage.ledger.counts.epochs == before {
      try #require(Clock.monotonic() < deadline, "the agent delivers nothing after a restart")
      try stage.agent.pause(.milliseconds(5))
      try stage.check()
    }
  }

  @Test("25 kills or more at random moments lose and duplicate nothing", arguments: [1, 2])
  func kills(seed: Int) throws {
    let (report, bound) = try run(kills: killCount, seed: UInt64(seed), settle: .seconds(1))
    #expect(report.isClean(allowedRedelivery: bound), "\(report.table(allowedRedelivery: bound))")
    #expect(report.counts.acknowledged == report.counts.sent)
    // The load was there, and the kills did cut into lives that had delivered.
    #expect(report.counts.delivered > 5000)
    #expect(report.counts.epochs >= UInt64(killCount / 2))
    #expect(report.counts.sends > report.counts.sent)
  }

  @Test("control: an agent that acknowledges before it commits is found to lose messages")
  func acknowledgeBeforeCommit() throws {
    let (report, _) = try run(
      kills: 5, seed: 3, sabotage: "ack-before-commit", settle: .milliseconds(500))
    #expect(report.counts.lost > 0, "\(report.table(allowedRedelivery: 0))")
    #expect(!report.isClean(allowedRedelivery: .max))
  }

  @Test("control: an agent without deduplication is found to duplicate messages")
  func noDeduplication() throws {
    let (report, _) = try run(kills: 0, seed: 4, sabotage: "no-dedup", settle: .seconds(1))
    #expect(report.counts.duplicated > 0, "\(report.table(allowedRedelivery: 0))")
    #expect(report.counts.lost == 0)
  }
}
