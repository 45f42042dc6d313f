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
/// SIGINT, or until a journal fails.
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

  /// Where the health page judges stages by when no watchdog period is set.
  private static let stallLimit: Duration = .seconds(60)

  /// - Parameters:
  ///   - registry: what `MetricsSystem` was bootstrapped with.
  ///   - isDeliverOnly: open the journals to be read, receive nothing, write nothing.
  ///   - failures: cleared when something is committed.
  ///   - configurationPath: the file that the options came from, for commands.
  ///   - problems: what the log handler notes warnings and errors in.
  package init(
    options: GatewayOptions, version: String, logger: Logger, registry: MetricsRegistry,
    isDeliverOnly: Bool = false, failures: DiskFailures? = nil,
    problems: RecentProblems = RecentProblems(), configurationPath: String? = nil
  ) {
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
    try checkDataDirectory()
    try checkDescriptors()
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
    let links = makeLinks()
    let used = options.usedBrokers
    let companions = BrokerCompanions(
      brokers: used,
      certificates: CertificateWatch(brokers: used, status: board, logger: logger))
    services += companions.services(
      of: options,
      message: PresenceMessage(
        gateway: options.gatewayID, version: version, started: Clock.wall()), logger: logger)
    for route in options.routes {
      let handle = RouteHandle(route: route, isDeliverOnly: isDeliverOnly)
      desk.add(handle)
      services.append(
        Pipeline(
          gateway: options, route: route, links: links, companions: companions, status: board,
          logger: logger, commits: commits, handle: handle, isDeliverOnly: isDeliverOnly,
          sabotage: sabotage))
    }
    if let failures, !isDeliverOnly {
      services.append(FailureReset(commits: commits, failures: failures))
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

  /// One for each broker that something is delivered to. Reads the accounts of data budgets.
  private func makeLinks() -> [String: BrokerLink] {
    var priorities: [String: [Int]] = [:]
    for route in options.routes {
      for (sink, broker) in zip(route.sinks, route.sinkBrokers) {
        priorities[broker, default: []].append(sink.priority)
      }
    }
    var links: [String: BrokerLink] = [:]
    for broker in options.brokers {
      guard let priorities = priorities[broker.name] else { continue }
      links[broker.name] = BrokerLink(
        broker: broker.name, options: broker.link, priorities: priorities,
        directory: isDeliverOnly ? nil : options.dataDirectory + "/links", logger: logger)
    }
    return links
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

  /// Too few are better told now than by an event loop that traps, or at the first dead letter.
  private func checkDescriptors() throws {
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
