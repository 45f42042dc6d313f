import Control
import CoreMetrics
package import GatewayConfiguration
import GatewayCore
import Ingest
package import Logging
import Mosquitto
package import Observability
import Platform
import ServiceLifecycle
import UnixSignals
import Upstream

/// The whole agent: one pipeline per route, and what looks after them. Runs until SIGTERM or
/// SIGINT, or until a journal fails. SIGHUP reads the configuration anew.
package struct GatewayService: Sendable {
  private let options: GatewayOptions
  private let version: String
  private let logger: Logger
  private let registry: MetricsRegistry
  private let isDeliverOnly: Bool
  private let failures: DiskFailures?
  private let problems: RecentProblems
  private let configurationPath: String?
  private let commits = CommitWatch()
  private let sabotage: Sabotage
  private let reload: ReloadSource?

  /// Where the health page judges stages by when no watchdog period is set.
  private static let stallLimit: Duration = .seconds(60)

  /// - Parameters:
  ///   - registry: what `MetricsSystem` was bootstrapped with.
  ///   - isDeliverOnly: open the journals to be read, receive nothing, write nothing.
  ///   - failures: cleared when something is committed.
  ///   - configurationPath: the file that the options came from, for commands.
  ///   - problems: what the log handler notes warnings and errors in.
  ///   - reload: what SIGHUP does; nil ignores it.
  package init(
    options: GatewayOptions, version: String, logger: Logger, registry: MetricsRegistry,
    isDeliverOnly: Bool = false, failures: DiskFailures? = nil,
    problems: RecentProblems = RecentProblems(), configurationPath: String? = nil,
    reload: ReloadSource? = nil
  ) {
    self.reload = reload
    self.configurationPath = configurationPath
    self.problems = problems
    self.isDeliverOnly = isDeliverOnly
    self.failures = failures
    self.options = options
    self.version = version
    self.logger = logger
    self.registry = registry
    #if PENSTOCK_SABOTAGE
      sabotage = Environment.value(of: Sabotage.variable).flatMap(Sabotage.init) ?? .none
    #else
      sabotage = .none
    #endif
  }

  /// Whether this run has made anything durable.
  package var hasCommitted: Bool { commits.hasCommitted }

  /// - Throws: `GatewayError` when it may not start; `JournalError` when a journal cannot be opened
  ///   or failed, nothing is acknowledged after a failure; `GatewayStop` at the end that a command
  ///   asked for.
  package func run() async throws {
    // First of all: without it a SIGHUP ends the process.
    let hangups = await UnixSignalsSequence(trapping: .sighup)
    try checkDataDirectory()
    try checkDescriptors(options)
    try checkLeftSessions()
    if sabotage != .none {
      logger.critical(
        "A PROMISE IS BROKEN ON PURPOSE: this process is a negative control of the tests",
        metadata: ["sabotage": "\(sabotage.rawValue)"])
    }
    let notifier = SystemdNotifier()
    let board = StatusBoard(
      version: version, stallLimit: notifier.watchdogPeriod ?? Self.stallLimit)
    var services: [any Service] = [
      WatchdogFeeder(board: board, notifier: notifier, logger: logger)
    ]
    if let listen = options.observability.listen {
      services.append(
        ObservabilityServer(
          address: listen, pages: ObservabilityPages(registry: registry, board: board),
          logger: logger))
    }
    let desk = ControlDesk(
      options: options, version: version, board: board, registry: registry, problems: problems,
      configurationPath: configurationPath, logger: logger)
    services.append(
      try ControlServer(
        path: ControlSocket.path(dataDirectory: options.dataDirectory), handler: desk,
        logger: logger))
    let certificates = CertificateWatch(
      brokers: options.usedBrokers, status: board, logger: logger)
    let composition = Composition(
      message: PresenceMessage(
        gateway: options.gatewayID, version: version, started: Clock.wall()),
      board: board, registry: registry, desk: desk,
      companions: BrokerCompanions(
        certificates: certificates, links: isDeliverOnly ? nil : options.dataDirectory + "/links",
        logger: logger),
      commits: commits, isDeliverOnly: isDeliverOnly, sabotage: sabotage, logger: logger,
      helpers: Fleet(logger: logger), routes: Fleet(logger: logger))
    composition.companions.adopt(options)
    for broker in options.helpedBrokers.values { composition.startHelpers(of: broker) }
    for route in options.routes { composition.start(route, of: options) }
    services += [certificates, composition.helpers]
    if let failures, !isDeliverOnly {
      services.append(FailureReset(commits: commits, failures: failures))
    }
    services.append(composition.routes)
    if let reload {
      services.append(
        Reloader(
          hangups: hangups, source: reload, initial: options, composition: composition,
          logger: logger
        ) { (options) throws(GatewayError) in try check(reloaded: options) })
    }
    logger.notice(
      "penstock starts",
      metadata: [
        "gateway": "\(options.gatewayID)", "version": "\(version)",
        "routes": "\(options.routes.map(\.name).joined(separator: " "))",
      ])
    let group = ServiceGroup(
      configuration: ServiceGroupConfiguration(
        services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
    try await group.run()
    logger.notice("penstock stopped")
    if desk.wasToldToStop { throw GatewayStop() }
  }

  /// An SD card that is not mounted must not be mistaken for a first start.
  private func checkDataDirectory() throws {
    let path = options.dataDirectory
    guard let status = try? FileStatus(path: path), status.isDirectory else {
      throw GatewayError(
        "the data directory \(path) does not exist: create it, owned by the user that runs penstock"
      )
    }
    guard options.dataDirectoryIsMount else { return }
    let parent = try FileStatus(path: path + "/..")
    if status.device == parent.device {
      throw GatewayError(
        "the data directory \(path) is not a mount point although data_directory_is_mount is true: "
          + "mount the card, or set it to false")
    }
  }
}

extension GatewayService {
  /// Of the runtime, the pages, the control socket and systemd's; an ingest half (journal, wake-up,
  /// connection); a sink (journal, wake-up, connection), and its second reader where it reads out
  /// of turn; a status topic, and a probe (wake-ups, connection). Measured: 28 are enough for a
  /// route with one sink and no status topic.
  private static let descriptorCounts = (
    base: 20, route: 4, sink: 4, besideReader: 1, status: 5, probe: 4
  )

  /// Files that an agent of this configuration may have open.
  package static func descriptorCount(for options: GatewayOptions) -> Int {
    let counts = descriptorCounts
    let sinks = options.routes.flatMap(\.sinks)
    let destinations = Set(options.routes.flatMap(\.sinkBrokers))
    let used = options.usedBrokers
    return counts.base + counts.route * options.routes.count + counts.sink * sinks.count
      + counts.besideReader * sinks.count(where: \.readsOutOfTurn)
      + counts.status
      * used.count { $0.statusTopic != nil && destinations.contains($0.name) }
      + counts.probe * used.count { $0.connection.endpoints.count > 1 }
  }

  /// Renaming a route by a restart is no better than by a reload.
  private func checkLeftSessions() throws(GatewayError) {
    for session in LeftSessions(options).sessions {
      let name = session.route
      if let successor = session.successor, reload?.abandonsSessions != true {
        throw GatewayError(
          "route \(name) is gone and \(successor) reads the same messages: renaming a route leaves "
            + "its session at the broker behind, with what waits in it. Give it its name back and "
            + "`penstock drain --end-session --route \(name)` first, or run with --abandon-session")
      }
      logger.warning(
        "a route that is gone has left its session at its broker, which fills it until it expires",
        metadata: [
          "route": "\(name)",
          "advice": """
          put the route back and `penstock drain --end-session --route \(name)`, or remove \
          \(name)\(SubscriptionMemory.suffix) from the data directory to forget it
          """,
        ])
    }
  }

  private func check(reloaded options: GatewayOptions) throws(GatewayError) {
    guard !isDeliverOnly else {
      throw GatewayError("deliver-only: the journals cannot be written, so nothing is taken over")
    }
    try checkDescriptors(options)
  }

  /// Too few are better told now than by an event loop that traps, or at the first dead letter.
  private func checkDescriptors(_ options: GatewayOptions) throws(GatewayError) {
    let needed = Self.descriptorCount(for: options)
    guard let limit = descriptorCountMax, limit < needed else { return }
    throw GatewayError(
      "this process may have \(limit) files open, the configuration needs \(needed): raise "
        + "LimitNOFILE in the unit, or ulimit -n")
  }
}

/// The agent has ended in order because a command told it to: what started it must not start it
/// again.
package struct GatewayStop: Error, Sendable {}

extension GatewayOptions {
  /// The brokers that a route reads from or delivers to.
  var usedBrokers: [BrokerOptions] {
    let names = Set(routes.flatMap { [$0.source] + $0.sinkBrokers })
    return brokers.filter { names.contains($0.name) }
  }
}

/// Why the agent may not start; a sentence that says what to do.
package struct GatewayError: Error, Sendable, CustomStringConvertible {
  package let description: String

  init(_ description: String) { self.description = description }
}
