import GatewayCore
import Mosquitto
import Platform
package import PumpTelemetry

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
  /// A hub behind the central broker; pumps then obey commands.
  package var hub: HubStageOptions?
  /// One of the pumps, and what it does beside normal operation.
  package var failure: PatternAssignment?
  /// The central broker is killed: what it held for the observer is gone, and only the hub's event
  /// store says what has arrived.
  package var centralMayForget = false

  package init(executable: String) { self.executable = executable }
}

extension StageOptions {
  fileprivate var plan: FleetPlan {
    get throws(FleetPlanError) {
      var plan = FleetPlan(count: pumps)
      if let failure { try plan.add([failure]) }
      return plan
    }
  }
}

/// The whole path with real processes, and an audit that does not believe the gateway:
///
///     pumps ──▶ field broker ──▶ agent (child process) ──▶ central broker ──▶ observer
///       └───────── sent, acknowledged ──▶ ledger ◀── delivered ────────────────┘
///
/// and, where wanted, a hub behind the central broker, whose event store is asked at the end, and
/// whose commands come down to the pumps.
///
/// Owns everything it starts: when it goes, all processes are gone and, unless kept, all
/// directories. The demo and the crash tests are scripts over it. One owner; any thread.
package struct AuditStage: ~Copyable {
  package var field: BrokerProcess
  package var central: BrokerProcess
  package var agent: DaemonProcess
  package var hub: HubStage?
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
    agentOptions.hasHub = options.hub != nil
    agentOptions.accept = options.hub?.accept ?? agentOptions.accept
    var agent = try DaemonProcess(
      name: "agent", executable: options.executable, environment: options.environment
    ) { agentOptions.configuration(dataDirectory: $0) }
    if options.isKept { agent.keepDirectory() }
    if let hubOptions = options.hub {
      hub = try HubStage(
        options: hubOptions, central: central, environment: options.environment,
        isKept: options.isKept)
    } else {
      hub = nil
    }
    let observer = try CentralObserver(
      endpoint: central.endpoint, clientID: "audit", filters: [agentOptions.upstreamTopic],
      record: EnvelopeRecorder.record(into: ledger))
    let pumps = try Simulation(
      options: try Self.simulation(options, endpoint: field.endpoint), observer: ledger)
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
  ) throws(FleetPlanError) -> SimulationOptions {
    let connection = ConnectionOptions(endpoints: [endpoint], clientID: "pumps")
    var simulation = SimulationOptions(connection: connection)
    simulation.plan = try options.plan
    simulation.obeysCommands = options.hub != nil
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
    try hub?.start(central: &central)
    try agent.start()
    let lines = agentOptions.subscriptionLines
    for (isField, line) in lines.field.map({ (true, $0) }) + lines.central.map({ (false, $0) }) {
      let limit = Duration.seconds(15)
      let isThere =
        isField
        ? try field.waitForLog(line, timeout: limit) : try central.waitForLog(line, timeout: limit)
      guard isThere else {
        try agent.checkRunning()
        throw StageError("the agent did not subscribe as \(line); see \(agent.logPath)")
      }
    }
    pumps.start()
  }

  /// No new messages from now on. The pumps go on until each has its PUBACK.
  package func stopSending() { pumps.stop() }

  /// Throws when somebody ended who must not.
  package mutating func check() throws {
    try agent.checkRunning()
    try hub?.process.checkRunning()
    if let error = pumps.error { throw StageError("the pumps stopped: \(error)") }
  }

  /// Whether all pumps are done and everything acknowledged has been delivered; the hub has then
  /// taken all that the journal holds.
  package var isDrained: Bool {
    get throws {
      guard pumps.isFinished else { return false }
      guard options.centralMayForget || ledger.counts.outstanding == 0 else { return false }
      guard hub != nil else { return true }
      let last = try ProgramOutput(
        of: agent.executable, ["journal", "verify", journalPath, "--json"], in: agent.directoryPath
      ).lines.first.flatMap { JSONMembers($0.span).number("last") }
      return try last != nil && hub?.offset() == last
    }
  }

  package var journalPath: String { agent.dataPath + "/telemetry.journal" }

  /// The commands that pumps obeyed, each once.
  package var commandsObeyed: UInt64 { pumps.counts.commands }

  /// Waits for `isDrained`; false after `limit`: then the report says what is missing. `interval`
  /// paces `turn`, which may show progress or throw to leave.
  package mutating func drain(
    limit: Duration, interval: Duration = .milliseconds(20), turn: () throws -> Void = {}
  ) throws -> Bool {
    let end = Clock.monotonic().nanoseconds + limit.nanoseconds
    while try !isDrained {
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
    if !options.centralMayForget && observer.current.sessionsLost > 0 {
      throw StageError("the central broker forgot the observer: this audit proves nothing")
    }
    try hub?.stop(mayBeForgotten: options.centralMayForget)
    try central.terminate()
    try field.terminate()
    let hubReport = try hub?.report(
      into: ledger, agent: agent.executable, journal: journalPath,
      failingPump: options.failure?.pump ?? "", stopsObeyed: commandsObeyed)
    var report = ledger.report()
    report.hub = hubReport ?? nil
    return report
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
    options.logTypes = ["subscribe"]
    options.maxQueuedMessages = 200_000
    return options
  }
}

/// The audited path could not be set up, or stopped working.
package struct StageError: Error, Sendable, Hashable, CustomStringConvertible {
  package let description: String
  init(_ description: String) { self.description = description }
}
