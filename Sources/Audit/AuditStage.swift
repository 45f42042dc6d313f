import GatewayCore
import Mosquitto
import Platform
import PumpTelemetry

/// What the audited path is made of and how it is loaded.
package struct StageOptions: Sendable, Hashable {
  /// The `penstock` binary to run as the agent.
  package var executable: String
  package var pumps = 25
  /// Publishes per second, all pumps together.
  package var rate = 1500
  /// Share of messages that are sent again on purpose.
  package var repeatShare = 0.05
  package var seed: UInt64 = 1
  /// Leaves the directories of brokers and agent behind.
  package var isKept = false
  /// For the agent beyond PATH.
  package var environment: [String: String] = [:]
  package var commitMaxDelay = "20ms"
  package var journalSize = "64MiB"
  package var maxInFlight = 16
  package var batchMaxRecords = 500
  /// See `SimulationOptions.noteByteCount`.
  package var noteByteCount = 0

  package init(executable: String) { self.executable = executable }
}

/// The whole path with real processes, and an audit that does not believe the gateway:
///
///     pumps ──▶ field broker ──▶ agent (child process) ──▶ central broker ──▶ observer
///       └───────── sent, acknowledged ──▶ ledger ◀── delivered ────────────────┘
///
/// Owns everything it starts: when it goes, all processes are gone and, unless kept, all
/// directories. The demo and the crash tests are scripts over it. One owner; any thread.
package struct AuditStage: ~Copyable {
  package var field: BrokerProcess
  package var central: BrokerProcess
  package var agent: AgentProcess
  package let observer: CentralObserver
  package let ledger: AuditLedger
  package let agentOptions: AgentOptions
  private let options: StageOptions
  private let pumps: Simulation

  /// Starts both brokers; everything else waits for `start`.
  package init(options: StageOptions) throws {
    let ledger = AuditLedger()
    var field = try BrokerProcess(name: "field", options: .field)
    var central = try BrokerProcess(name: "central", options: .central)
    if options.isKept {
      field.keepDirectory()
      central.keepDirectory()
    }
    try field.start()
    try central.start()

    var agentOptions = AgentOptions(
      fieldPort: field.port, centralPort: central.port,
      observabilityPort: try Loopback.freePort())
    agentOptions.commitMaxDelay = options.commitMaxDelay
    agentOptions.journalSize = options.journalSize
    agentOptions.maxInFlight = options.maxInFlight
    agentOptions.batchMaxRecords = options.batchMaxRecords
    var agent = try AgentProcess(
      executable: options.executable, options: agentOptions, environment: options.environment)
    if options.isKept { agent.keepDirectory() }
    let observer = try CentralObserver(
      endpoint: central.endpoint, clientID: "audit", filters: [agentOptions.upstreamTopic],
      record: EnvelopeRecorder.record(into: ledger))
    let pumps = try Simulation(
      options: Self.simulation(options, endpoint: field.endpoint), observer: ledger)
    self.options = options
    self.observer = observer
    self.pumps = pumps
    self.ledger = ledger
    self.agentOptions = agentOptions
    self.agent = agent
    self.field = field
    self.central = central
  }

  private static func simulation(
    _ options: StageOptions, endpoint: BrokerEndpoint
  ) -> SimulationOptions {
    let connection = ConnectionOptions(endpoints: [endpoint], clientID: "pumps")
    var simulation = SimulationOptions(connection: connection)
    simulation.pumpCount = options.pumps
    simulation.seed = options.seed
    simulation.run = .random()
    simulation.rate = Double(options.rate)
    simulation.repeatShare = options.repeatShare
    simulation.noteByteCount = options.noteByteCount
    return simulation
  }

  /// Observer, agent, pumps. The order matters: what is published before somebody has subscribed
  /// belongs to nobody.
  package mutating func start() throws {
    observer.start()
    guard observer.wait(timeout: .seconds(10), until: { $0.isSubscribed }) else {
      throw StageError("the observer could not subscribe: \(observer.current.lastError ?? "")")
    }
    try agent.start()
    for filter in agentOptions.filters {
      let line = "\(agentOptions.inboundClientID) 1 \(filter)"
      guard try field.waitForLog(line, timeout: .seconds(15)) else {
        try agent.checkRunning()
        throw StageError("the agent did not subscribe to \(filter); see \(agent.logPath)")
      }
    }
    pumps.start()
  }

  /// No new messages from now on. The pumps go on until each has its PUBACK.
  package func stopSending() { pumps.stop() }

  /// Throws when somebody ended who must not.
  package mutating func check() throws {
    try agent.checkRunning()
    if let error = pumps.error { throw StageError("the pumps stopped: \(error)") }
  }

  /// Whether all pumps are done and everything acknowledged has been delivered.
  package var isDrained: Bool { pumps.isFinished && ledger.counts.outstanding == 0 }

  /// Waits for `isDrained`; false after `limit`: then the report says what is missing. `interval`
  /// paces `turn`, which may show progress or throw to leave.
  package mutating func drain(
    limit: Duration, interval: Duration = .milliseconds(20), turn: () throws -> Void = {}
  ) throws -> Bool {
    let end = Clock.monotonic().nanoseconds + limit.nanoseconds
    while !isDrained {
      if Clock.monotonic().nanoseconds > end { return false }
      try agent.pause(interval)
      try check()
      try turn()
    }
    return true
  }

  /// A clean end: the agent must leave with exit code 0. What it still delivers while it stops
  /// counts in the report.
  package mutating func finish() throws -> AuditReport {
    pumps.stop()
    try agent.stop()
    let seen = ledger.counts.envelopes
    // What the broker has not handed on yet; it answers within milliseconds or not at all.
    _ = observer.wait(timeout: .milliseconds(300)) { $0.messages > seen + 1_000_000 }
    observer.stop()
    if observer.current.sessionsLost > 0 {
      throw StageError("the central broker forgot the observer: this audit proves nothing")
    }
    try central.terminate()
    try field.terminate()
    return ledger.report()
  }
}

extension BrokerOptions {
  /// As `edge-config/mosquitto-field.conf`, as far as it matters here: room for the time in which
  /// the agent is dead. SUBSCRIBE is logged, because the pumps must not start before the agent
  /// listens.
  static var field: BrokerOptions {
    var options = BrokerOptions()
    options.maxQueuedMessages = 200_000
    options.logTypes = ["subscribe"]
    return options
  }

  /// As `edge-config/mosquitto-central.conf`: sessions survive a clean stop.
  static var central: BrokerOptions {
    var options = BrokerOptions()
    options.persistence = true
    options.maxQueuedMessages = 200_000
    return options
  }
}

/// The audited path could not be set up, or stopped working.
package struct StageError: Error, Sendable, Hashable, CustomStringConvertible {
  package let description: String
  init(_ description: String) { self.description = description }
}
