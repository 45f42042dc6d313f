import GatewayConfiguration
import GatewayCore
import Ingest
import Logging
import Mosquitto
import Observability
import Platform
package import RingJournal
import ServiceLifecycle
import Synchronization
import Upstream

/// Makes and starts the services of routes and brokers, at the start and at each reload.
struct Composition: Sendable {
  let message: PresenceMessage
  let board: StatusBoard
  let registry: MetricsRegistry
  let companions: BrokerCompanions
  let commits: CommitWatch
  let isDeliverOnly: Bool
  let sabotage: Sabotage
  let logger: Logger
  /// Outlives `routes`: the last word of a status topic comes when all is delivered.
  let helpers: Fleet
  let routes: Fleet

  // MARK: Routes

  /// - Parameter isNew: came with a reload; when its journal cannot be opened for a reason that a
  ///   person must look at, the other routes go on.
  func start(_ route: RouteOptions, of options: GatewayOptions, isNew: Bool = false) {
    board.note(Self.noteSubject(route.name), nil)
    routes.start(route.name, pipeline(route, options)) { error in
      guard isNew, let error = error as? JournalError, error.needsPerson else { return false }
      logger.error(
        "the new route cannot start, the others go on",
        metadata: ["route": "\(route.name)", "error": "\(error)"])
      board.forget(route: route.name)
      board.note(Self.noteSubject(route.name), "route \(route.name) cannot start: \(error)")
      return true
    }
  }

  /// A route that left the configuration: unsubscribes, takes what still waits in its session,
  /// delivers all, and ends. Its files stay.
  func retire(_ route: RouteOptions, of options: GatewayOptions) {
    var last = route
    last.ingest.subscriptions = []
    routes.start(
      route.name,
      RetiringRoute(
        pipeline: pipeline(last, options, isRetiring: true), name: route.name, board: board,
        registry: registry, logger: logger))
  }

  private func pipeline(
    _ route: RouteOptions, _ options: GatewayOptions, isRetiring: Bool = false
  ) -> Pipeline {
    Pipeline(
      gateway: options, route: route, companions: companions, status: board, logger: logger,
      commits: commits, isDeliverOnly: isDeliverOnly, isRetiring: isRetiring, sabotage: sabotage)
  }

  private static func noteSubject(_ route: String) -> String { "route \(route)" }

  /// A route whose session is left behind on purpose.
  func forget(route name: String) {
    board.forget(route: name)
    registry.forget(label: "route", value: name)
    logger.warning("a route is abandoned with its session", metadata: ["route": "\(name)"])
  }

  // MARK: Brokers

  func startHelpers(of broker: HelpedBroker) {
    let options = broker.options
    let recall = companions.recall(of: options.name)
    if let topic = options.statusTopic, broker.isDestination {
      helpers.start(
        "status \(options.name)",
        PresenceService(
          broker: options, topic: topic, message: message, recall: recall, logger: logger))
    }
    if options.connection.endpoints.count > 1, let interval = options.connection.failbackInterval {
      helpers.start(
        "failback \(options.name)",
        FailbackService(broker: options, interval: interval, recall: recall, logger: logger))
    }
  }

  func stopHelpers(of name: String) async {
    await helpers.stop("status \(name)")
    await helpers.stop("failback \(name)")
  }
}

/// A route on its way out.
private struct RetiringRoute: Service {
  let pipeline: Pipeline
  let name: String
  let board: StatusBoard
  let registry: MetricsRegistry
  let logger: Logger

  func run() async throws {
    let wasStopped = Flag()
    try await withGracefulShutdownHandler {
      try await pipeline.run()
    } onGracefulShutdown: {
      wasStopped.raise()
    }
    board.forget(route: name)
    registry.forget(label: "route", value: name)
    if wasStopped.isRaised { return }
    logger.notice(
      "the removed route is drained and unsubscribed, its files stay",
      metadata: ["route": "\(name)"])
  }
}

private final class Flag: Sendable {
  private let state = Atomic(false)
  var isRaised: Bool { state.load(ordering: .acquiring) }
  func raise() { state.store(true, ordering: .releasing) }
}

extension JournalError {
  /// A person must decide or make room; a restart by itself would not help.
  package var needsPerson: Bool {
    switch code {
    case .badOptions, .unsafeFilesystem, .notEnoughSpace, .directoryNotEmpty, .journalMissing,
      .alreadyThere, .sinksUnknown, .wrongGateway, .wrongRoute, .foreign, .zeros, .truncated,
      .newerVersion:
      true
    default: false
    }
  }
}
