import GatewayCore
package import Logging
package import Observability
import Platform
import ServiceLifecycle
import UnixSignals

/// The whole hub: consumer, relay, retention, pages. Runs until SIGTERM or SIGINT; neither a broker
/// nor a full disk ends it.
package struct HubService: Sendable {
  private let options: HubOptions
  private let listen: ListenAddress?
  private let version: String
  private let registry: MetricsRegistry
  private let logger: Logger
  private let makePolicies: MakePolicies

  /// - Parameters:
  ///   - registry: what `MetricsSystem` was bootstrapped with.
  ///   - makePolicies: called once, on the consumer's thread.
  package init(
    options: HubOptions, listen: ListenAddress?, version: String, registry: MetricsRegistry,
    logger: Logger, makePolicies: @escaping MakePolicies = { [] }
  ) {
    self.options = options
    self.listen = listen
    self.version = version
    self.registry = registry
    self.logger = logger
    self.makePolicies = makePolicies
  }

  /// - Throws: `HubStoreError` when the database cannot be opened.
  package func run() async throws {
    #if PENSTOCK_SABOTAGE
      let sabotage =
        Environment.value(of: HubSabotage.variable).flatMap(HubSabotage.init(rawValue:)) ?? .none
    #else
      let sabotage = HubSabotage.none
    #endif
    if sabotage != .none {
      logger.critical(
        "A PROMISE IS BROKEN ON PURPOSE: this process is a negative control of the tests",
        metadata: ["sabotage": "\(sabotage.rawValue)"])
    }
    let store = try HubDatabase(options.database, passwordFile: options.databasePasswordFile)
      .open(.write)
    let control = try HubControl()
    let notifier = SystemdNotifier()
    let board = StatusBoard(
      version: version, stallLimit: notifier.watchdogPeriod ?? .seconds(60))
    let work = threads(store, control, board, sabotage)
    var services: [any Service] = [
      WatchdogFeeder(board: board, notifier: notifier, logger: logger)
    ]
    if let listen {
      services.append(
        ObservabilityServer(
          address: listen, pages: ObservabilityPages(registry: registry, board: board),
          logger: logger))
    }
    services.append(work)
    logger.notice(
      "penstock-hub starts",
      metadata: [
        "hub": "\(options.rules.hubID)", "version": "\(version)",
        "database": "\(options.database)",
      ])
    let group = ServiceGroup(
      configuration: ServiceGroupConfiguration(
        services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
    try await group.run()
    store.close()
    logger.notice("penstock-hub stopped")
  }

  /// For whichever store it is.
  private func threads(
    _ store: some HubStore, _ control: HubControl, _ board: StatusBoard, _ sabotage: HubSabotage
  ) -> any Service {
    HubThreads(
      options: options, store: store, control: control, status: board, logger: logger,
      sabotage: sabotage, makePolicies: makePolicies)
  }
}

/// The threads of a hub, for as long as all of them run.
struct HubThreads<Store: HubStore>: Service {
  let options: HubOptions
  let store: Store
  let control: HubControl
  let status: StatusBoard
  let logger: Logger
  let sabotage: HubSabotage
  let makePolicies: MakePolicies

  func run() async throws {
    let metrics = HubMetrics()
    status.report(ConsumerLoop<Store>.stage, StageState(.starting))
    status.report(RelayLoop<Store>.stage, StageState(.starting))
    try await withGracefulShutdownHandler {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
          try await Platform.Thread.run(name: "hub-consumer") {
            var loop = ConsumerLoop(
              options: options, store: store, control: control, status: status,
              metrics: metrics, logger: logger, sabotage: sabotage, makePolicies: makePolicies)
            loop.run()
          }
        }
        group.addTask {
          try await Platform.Thread.run(name: "hub-relay") {
            var loop = RelayLoop(
              options: options, store: store, control: control, status: status,
              metrics: metrics, logger: logger, sabotage: sabotage)
            loop.run()
          }
        }
        group.addTask {
          try await Platform.Thread.run(name: "hub-retention") {
            var loop = RetentionLoop(
              options: options.retention, store: store, control: control, metrics: metrics,
              logger: logger)
            loop.run()
          }
        }
        try await group.waitForAll()
      }
    } onGracefulShutdown: {
      control.stop()
    }
  }
}
