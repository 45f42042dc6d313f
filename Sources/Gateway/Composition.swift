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
  let desk: ControlDesk
  let companions: BrokerCompanions
  let commits: CommitWatch
  let isDeliverOnly: Bool
  let sabotage: Sabotage
  let logger: Logger
  /// Outlives `routes`: the last word of a status topic comes when all is delivered.
  let helpers: Fleet
  let routes: Fleet

  /// How long a destination that gets other options waits for answers; what has none is sent again.
  private static let handOverLimit: Duration = .seconds(10)

  // MARK: Routes

  /// - Parameters:
  ///   - isNew: came with a reload; when its journal cannot be opened for a reason that a person
  ///     must look at, the other routes go on.
  ///   - drain: begins as soon as the journal is open.
  func start(
    _ route: RouteOptions, of options: GatewayOptions, isNew: Bool = false,
    drain: RouteHandle.Drain? = nil
  ) {
    board.note(Self.noteSubject(route.name), nil)
    let handle = RouteHandle(route: route, isDeliverOnly: isDeliverOnly, drain: drain)
    desk.add(handle)
    let pipeline = Pipeline(
      gateway: options, route: route, companions: companions, status: board, logger: logger,
      commits: commits, handle: handle, isDeliverOnly: isDeliverOnly, sabotage: sabotage)
    let service = RouteService(pipeline: pipeline, handle: handle) {
      forget(route: route.name)
      await leave(route.sinkBrokers)
    }
    routes.start(route.name, service) { error in
      guard isNew, let error = error as? JournalError, error.needsPerson else { return false }
      logger.error(
        "the new route cannot start, the others go on",
        metadata: ["route": "\(route.name)", "error": "\(error)"])
      forget(route: route.name)
      board.note(Self.noteSubject(route.name), "route \(route.name) cannot start: \(error)")
      return true
    }
  }

  /// Whether the route runs, or stays drained.
  func runs(route name: String) -> Bool { routes.contains(name) }

  /// Stops the route in order, to be opened again.
  /// - Returns: a drain that an operator asked for and that is to go on.
  func stopToRestart(route name: String) async -> RouteHandle.Drain? {
    let handle = desk.handle(of: name)
    handle?.willRestart()
    await routes.stop(name)
    board.forget(route: name)
    return handle?.drain
  }

  /// A route that goes on while some of its destinations get other options.
  /// - Returns: false when it has to be opened again for that, as it is on its way out.
  func redirect(_ old: RouteOptions, to new: RouteOptions) -> Bool {
    guard let handle = desk.handle(of: new.name), handle.drain == nil,
      let sinks = old.changedSinks(in: new)
    else { return false }
    handle.change(new, sinks: sinks, limit: Self.handOverLimit)
    return true
  }

  /// A route that left the configuration: takes what still waits in its session and ends that,
  /// delivers all, and ends. Its files stay. Returns at once, apart from a route that has left its
  /// broker.
  /// - Parameter endsSession: false leaves the session behind, with what waits in it.
  func retire(_ route: RouteOptions, of options: GatewayOptions, endsSession: Bool) async {
    board.note(Self.noteSubject(route.name), nil)
    guard let handle = desk.handle(of: route.name), runs(route: route.name) else { return }
    if handle.remove(endsSession: endsSession) {
      // It has nothing left that it could end by itself.
      if handle.isDrained { await routes.stop(route.name) }
      return
    }
    await routes.stop(route.name)
    start(
      route, of: options, isNew: true,
      drain: RouteHandle.Drain(occasion: .removal, endsSession: endsSession))
  }

  private func forget(route name: String) {
    board.forget(route: name)
    desk.remove(route: name)
    registry.forget([("route", name)])
  }

  /// A destination that left a route.
  func forget(sink: String, of route: String) {
    registry.forget([("route", route), ("sink", sink)])
  }

  private static func noteSubject(_ route: String) -> String { "route \(route)" }

  // MARK: Brokers

  func startHelpers(of broker: HelpedBroker) {
    let options = broker.options
    let recall = companions.recall(of: options.name)
    if let topic = options.statusTopic, broker.isDestination {
      helpers.start(
        Self.statusName(of: options.name),
        PresenceService(
          broker: options, topic: topic, message: message, recall: recall, logger: logger))
    }
    if options.connection.endpoints.count > 1, let interval = options.connection.failbackInterval {
      helpers.start(
        "failback \(options.name)",
        FailbackService(broker: options, interval: interval, recall: recall, logger: logger))
    }
  }

  /// - Parameter keepsStatus: a route on its way out still delivers to the broker, whose status
  ///   topic says "stopped" when that has ended.
  func stopHelpers(of name: String, keepsStatus: Bool = false) async {
    if !keepsStatus { await helpers.stop(Self.statusName(of: name)) }
    await helpers.stop("failback \(name)")
  }

  /// A removed route delivers nothing more to these brokers: those that no other one delivers to
  /// hear that we have stopped.
  private func leave(_ brokers: [String]) async {
    for broker in Set(brokers) where !desk.delivers(to: broker) {
      await helpers.stop(Self.statusName(of: broker))
    }
  }

  private static func statusName(of broker: String) -> String { "status \(broker)" }
}

/// A route. One that has left the configuration leaves nothing behind here when it ends.
private struct RouteService: Service {
  let pipeline: Pipeline
  let handle: RouteHandle
  let leave: @Sendable () async -> Void

  func run() async throws {
    try await pipeline.run()
    if handle.isRemoved { await leave() }
  }
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
