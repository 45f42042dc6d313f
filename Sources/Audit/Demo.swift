import GatewayCore
package import Platform
import PumpTelemetry

/// The demonstration: real brokers, real crashes, a real outage, a pump that fails, and an audit at
/// the end.
package struct Demo: ~Copyable {
  private let options: DemoOptions
  private let interruption: WakeUp
  private let output: DemoOutput

  /// - Parameter interruption: signalled when the demo should clean up and go.
  package init(options: DemoOptions, interruption: WakeUp, output: DemoOutput) {
    self.options = options
    self.interruption = interruption
    self.output = output
  }

  /// Runs all phases. Throws when something could not be started or ended as it must not; a broken
  /// promise is not thrown, it is in the result. Whatever happens, no process of it stays behind.
  package func run() throws -> DemoResult {
    var options = options.stage
    let pump = self.options.failingPump
    let start = self.options.seconds * DemoPhase.failureShare * 10
    options.failure = try PatternAssignment(
      "\(pump):temperature=rise:start=\(start)ms:ramp=1s:depth=40%")
    var stage = try AuditStage(options: options)
    output.line("field broker    \(stage.field.endpoint)  \(stage.field.directoryPath)")
    output.line("central broker  \(stage.central.endpoint)  \(stage.central.directoryPath)")
    output.line("agent           \(stage.agent.directoryPath)")
    output.line("hub             \(stage.hub?.process.directoryPath ?? "none")")
    try stage.start()
    var view = DemoView(output: output, interruption: interruption)
    for phase in DemoPhase.allCases {
      output.heading(phase.title, phase.explanation)
      try enter(phase, &stage)
      switch phase {
      case .drain:
        let log = stage.hub?.log
        let ledger = stage.ledger
        _ = try stage.drain(limit: self.options.drainLimit, interval: output.interval) {
          try view.show(ledger, log)
        }
        // What would be a duplicate comes a little later than what it duplicates.
        try watch(&stage, &view, for: self.options.settlingTime)
      case .hubBack:
        try watch(&stage, &view, for: duration(of: phase))
        try watch(&stage, &view, for: self.options.caseLimit) { log in
          log.maintenance(of: pump).last.map { ["done", "cancelled"].contains($0) } ?? false
        }
      default: try watch(&stage, &view, for: duration(of: phase))
      }
      output.endProgress()
    }
    let bound = stage.agentOptions.redeliveryBound(
      interruptions: DemoPhase.interruptionCount)
    let journal = stage.journalPath
    let database = stage.hub?.databasePath
    return DemoResult(
      report: try stage.finish(), allowedRedelivery: bound, journalPath: journal,
      databasePath: database)
  }

  private func duration(of phase: DemoPhase) -> Duration {
    .milliseconds(options.seconds * phase.share * 10)
  }

  private func enter(_ phase: DemoPhase, _ stage: inout AuditStage) throws {
    switch phase {
    case .normal: break
    case .centralAway: try stage.central.terminate()
    case .agentDead: try stage.agent.kill()
    case .agentBack: try stage.agent.start()
    case .centralBack: try stage.central.start()
    case .hubDead: try stage.hub?.process.kill()
    case .hubBack: try stage.hub?.process.start()
    case .drain: stage.stopSending()
    }
  }

  /// Shows progress until the time is over, or what the hub published says that it is enough.
  private func watch(
    _ stage: inout AuditStage, _ view: inout DemoView, for duration: Duration,
    until isEnough: (HubEventLog) -> Bool = { _ in false }
  ) throws {
    let end = Clock.monotonic().nanoseconds + duration.nanoseconds
    while true {
      if let log = stage.hub?.log, isEnough(log) { return }
      let left = end - Clock.monotonic().nanoseconds
      if left <= 0 { return }
      _ = Poll.wait(
        socket: nil, wakeUp: interruption, timeout: min(.nanoseconds(left), output.interval))
      try stage.check()
      try view.show(stage.ledger, stage.hub?.log)
    }
  }
}

/// What has been shown so far.
private struct DemoView {
  let output: DemoOutput
  let interruption: WakeUp
  private var shownCount = 0

  init(output: DemoOutput, interruption: WakeUp) {
    self.output = output
    self.interruption = interruption
  }

  mutating func show(_ ledger: AuditLedger, _ log: HubEventLog?) throws {
    if Poll.wait(socket: nil, wakeUp: interruption, timeout: .zero).wokenUp {
      throw DemoInterrupted()
    }
    for entry in (log?.entries ?? []).dropFirst(shownCount) {
      shownCount += 1
      // One for each pump at the start would be all that there is to see.
      if entry.kind == "asset.created" { continue }
      let message = entry.kind == "alert.raised" ? "  \(entry.message)" : ""
      output.line("  ▹ \(entry.kind)  \(entry.asset)\(message)")
    }
    output.progress(ledger.counts)
  }
}

package struct DemoOptions: Sendable, Hashable {
  package var stage: StageOptions
  /// How long the pumps send.
  package var seconds = 40
  package var drainLimit = Duration.seconds(45)
  /// What the maintenance of the failing pump may take beyond the hub's phase.
  package var caseLimit = Duration.seconds(30)
  package var settlingTime = Duration.seconds(1)

  package init(executable: String, hubExecutable: String) {
    stage = StageOptions(executable: executable)
    stage.hub = HubStageOptions(executable: hubExecutable)
  }

  /// Whose motor grows hot.
  var failingPump: String { stage.pumps < 3 ? "ND01" : "ND03" }
}

/// Ctrl-C.
package struct DemoInterrupted: Error {}

package struct DemoResult: Sendable, Hashable {
  package let report: AuditReport
  package let allowedRedelivery: UInt64
  /// Of the gateway and of the hub; there only when directories are kept.
  package let journalPath: String
  package let databasePath: String?

  package var isClean: Bool {
    report.isClean(allowedRedelivery: allowedRedelivery)
      && report.counts.acknowledged == report.counts.sent && report.counts.sent > 0
  }
}
