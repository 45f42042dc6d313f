import GatewayCore
package import Platform

/// The demonstration: real brokers, a real crash, a real outage, and an audit at the end.
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
    var stage = try AuditStage(options: options.stage)
    output.line("field broker    \(stage.field.endpoint)  \(stage.field.directoryPath)")
    output.line("central broker  \(stage.central.endpoint)  \(stage.central.directoryPath)")
    output.line("agent           \(stage.agent.directoryPath)")
    try stage.start()
    let ledger = stage.ledger
    for phase in DemoPhase.allCases {
      output.heading(phase.title, phase.explanation)
      try enter(phase, &stage)
      if phase == .drain {
        _ = try stage.drain(limit: options.drainLimit, interval: output.interval) {
          try show(ledger)
        }
        // What would be a duplicate comes a little later than what it duplicates.
        try watch(&stage, for: options.settlingTime)
      } else {
        try watch(&stage, for: .milliseconds(options.seconds * phase.share * 10))
      }
      output.endProgress()
    }
    let bound = stage.agentOptions.redeliveryBound(
      interruptions: DemoPhase.interruptionCount)
    return DemoResult(report: try stage.finish(), allowedRedelivery: bound)
  }

  private func enter(_ phase: DemoPhase, _ stage: inout AuditStage) throws {
    switch phase {
    case .normal: break
    case .centralAway: try stage.central.terminate()
    case .agentDead: try stage.agent.kill()
    case .agentBack: try stage.agent.start()
    case .centralBack: try stage.central.start()
    case .drain: stage.stopSending()
    }
  }

  /// Shows progress until the time is over.
  private func watch(_ stage: inout AuditStage, for duration: Duration) throws {
    let end = Clock.monotonic().nanoseconds + duration.nanoseconds
    while true {
      let left = end - Clock.monotonic().nanoseconds
      if left <= 0 { return }
      _ = Poll.wait(
        socket: nil, wakeUp: interruption, timeout: min(.nanoseconds(left), output.interval))
      try stage.check()
      try show(stage.ledger)
    }
  }

  private func show(_ ledger: AuditLedger) throws {
    if Poll.wait(socket: nil, wakeUp: interruption, timeout: .zero).wokenUp {
      throw DemoInterrupted()
    }
    output.progress(ledger.counts)
  }
}

package struct DemoOptions: Sendable, Hashable {
  package var stage: StageOptions
  /// How long the pumps send.
  package var seconds = 40
  package var drainLimit = Duration.seconds(45)
  package var settlingTime = Duration.seconds(1)

  package init(executable: String) { stage = StageOptions(executable: executable) }
}

/// Ctrl-C.
package struct DemoInterrupted: Error {}

package struct DemoResult: Sendable, Hashable {
  package let report: AuditReport
  package let allowedRedelivery: UInt64

  package var isClean: Bool {
    report.isClean(allowedRedelivery: allowedRedelivery)
      && report.counts.acknowledged == report.counts.sent && report.counts.sent > 0
  }
}
