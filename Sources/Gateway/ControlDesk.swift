package import Control
package import GatewayConfiguration
import GatewayCore
import Glibc
package import Logging
package import Observability
import Platform
import RingJournal
import Synchronization
import Upstream

/// Answers what an operator asks of the running agent. Reads what the stages share and steers them
/// by their controls; no thread of the data path waits for it. On the control thread, apart from
/// what starts and stops routes.
package final class ControlDesk: ControlHandler {
  private let options: Mutex<GatewayOptions>
  private let version: String
  private let board: StatusBoard
  private let readings: StageReadings
  private let problems: RecentProblems
  private let configurationPath: String?
  private let logger: Logger
  private let routes = Mutex<[RouteHandle]>([])
  private let toldToStop = Atomic(false)
  private let certificates = Mutex(CertificateReview())

  package init(
    options: GatewayOptions, version: String, board: StatusBoard, registry: MetricsRegistry,
    problems: RecentProblems, configurationPath: String?, logger: Logger
  ) {
    self.configurationPath = configurationPath
    self.options = Mutex(options)
    self.version = version
    self.board = board
    readings = StageReadings(registry: registry)
    self.problems = problems
    self.logger = logger
  }

  /// Another configuration is in force.
  package func adopt(_ options: GatewayOptions) {
    self.options.withLock { $0 = options }
    certificates.withLock { $0 = CertificateReview() }
  }

  /// From now on this is the route of its name.
  package func add(_ route: RouteHandle) {
    routes.withLock { routes in
      if let index = routes.firstIndex(where: { $0.route.name == route.route.name }) {
        routes[index] = route
      } else {
        routes.append(route)
      }
    }
  }

  package func remove(route name: String) {
    routes.withLock { $0.removeAll { $0.route.name == name } }
  }

  package func handle(of route: String) -> RouteHandle? {
    routes.withLock { $0.first { $0.route.name == route } }
  }

  /// Whether a route delivers to the broker, be it of the configuration or on its way out.
  func delivers(to broker: String) -> Bool {
    options.withLock { $0.routes.contains { $0.sinkBrokers.contains(broker) } }
      || routes.withLock { $0.contains { $0.route.sinkBrokers.contains(broker) } }
  }

  /// Routes that are drained and have no session at their broker any more.
  var endedRoutes: Set<String> {
    Set(routes.withLock { $0 }.filter(\.hasEndedSession).map(\.route.name))
  }

  /// In the order of the configuration; those that left it and still deliver behind them.
  private var ordered: [RouteHandle] {
    let known = options.withLock { $0.routes.map(\.name) }
    let routes = routes.withLock { $0 }
    let listed = known.compactMap { name in routes.first { $0.route.name == name } }
    return listed + routes.filter { !known.contains($0.route.name) }
  }

  /// A command has asked the process to end.
  package var wasToldToStop: Bool { toldToStop.load(ordering: .acquiring) }

  package func observe() {
    for route in routes.withLock({ $0 }) { route.observe(readings) }
    let options = options.withLock { $0 }
    certificates.withLock { $0.look(options, now: Clock.monotonic()) }
  }

  package func answer(_ request: ControlRequest) throws(ControlRefusal) -> JSONValue {
    switch request {
    case .status: return status().json
    case .drain(let names, let endsSession): return try drain(names, endsSession: endsSession)
    case .stop:
      logger.notice("told to stop by an operator")
      toldToStop.store(true, ordering: .releasing)
      // The way that systemd takes, too: one shutdown, however it begins.
      _ = kill(getpid(), SIGTERM)
      return JSONValue.object { $0.put("stopping", true) }
    }
  }

  private func drain(
    _ names: [String], endsSession: Bool
  ) throws(ControlRefusal) -> JSONValue {
    let routes = ordered
    for name in names where !routes.contains(where: { $0.route.name == name }) {
      let known = routes.map(\.route.name).joined(separator: ", ")
      throw ControlRefusal("there is no route \(name); there are: \(known)")
    }
    let wanted = routes.filter { names.isEmpty || names.contains($0.route.name) }
    for route in wanted { try route.drain(endsSession: endsSession) }
    logger.notice(
      "drained by an operator: nothing more is received, what is journalled is delivered",
      metadata: [
        "routes": "\(wanted.map(\.route.name).joined(separator: " "))",
        "ends_session": "\(endsSession)",
      ])
    return JSONValue.object { $0.put("draining", wanted.map { .string($0.route.name) }) }
  }

  // MARK: - Status

  package func status() -> GatewayStatus {
    let health = board.health()
    var status = GatewayStatus(
      source: .agent, version: version, gatewayID: options.withLock { $0.gatewayID },
      time: Clock.wall())
    status.uptime = health.uptime
    status.processID = UInt64(getpid())
    // As the agent's own directory sees it.
    status.configurationPath = configurationPath.map {
      $0.hasPrefix("/") ? $0 : "/proc/\(getpid())/cwd/\($0)"
    }
    status.health = health.status.rawValue
    for handle in ordered {
      status.routes.append(routeStatus(handle, health: health, now: status.time))
    }
    status.certificates = certificates.withLock { $0.current }.map {
      CertificateStatus(path: $0.path, notAfter: $0.notAfter, warning: $0.text)
    }
    status.problems = problems.newest.map {
      ProblemStatus(time: $0.time, level: $0.level, message: $0.message, detail: $0.detail)
    }
    return status
  }

  private func routeStatus(
    _ handle: RouteHandle, health: HealthReport, now: WallTime
  ) -> RouteStatus {
    let name = handle.route.name
    var status = RouteStatus(name: name, phase: handle.phase)
    status.ingest = health.reading(of: StageName(route: name, part: .ingest))
    status.receivedCount = readings.count("penstock_ingest_messages_total", route: name)
    status.duplicateCount = readings.count("penstock_ingest_duplicates_total", route: name)
    guard let journal = handle.journal, let reading = handle.reading(readings) else {
      return status
    }
    status.syncs = reading.syncs
    status.pubackDelays = reading.pubackDelays
    let rates = handle.rates(to: reading)
    status.journal = journalStatus(journal, rates)
    for (index, sink) in handle.route.sinks.enumerated() {
      status.sinks.append(
        sinkStatus(
          sink, index, journal, rates, route: name,
          stage: health.reading(
            of: StageName(route: name, part: .upstream(sink: sink.name))), now: now))
    }
    return status
  }

  private func journalStatus(_ journal: JournalState, _ rates: RateWindow.Rates?) -> JournalStatus {
    let statistics = journal.statistics()
    var status = JournalStatus(
      id: "\(statistics.identity.id)", epoch: "\(journal.epoch)", capacity: statistics.capacity,
      used: statistics.used, committed: statistics.committed, oldestKept: statistics.oldestKept)
    status.lost = Dictionary(
      uniqueKeysWithValues: statistics.lostRecords.map { ($0.key.text, $0.value) })
    status.recordsPerSecond = rates?.committed
    status.timeToFull = rates?.timeToFull(
      ByteCount(statistics.capacity.rawValue - statistics.used.rawValue),
      bytesPerRecord: journal.meanRecordByteCount)
    status.syncTime = rates?.syncTime
    status.pubackDelay = rates?.pubackDelay
    return status
  }

  private func sinkStatus(
    _ sink: SinkOptions, _ index: Int, _ journal: JournalState, _ rates: RateWindow.Rates?,
    route: String, stage: StageReading?, now: WallTime
  ) -> SinkStatus {
    let acknowledged = journal.acknowledged(index)
    let backlog = journal.backlog(of: index)
    var status = SinkStatus(
      name: sink.name, isRequired: sink.required, acknowledged: acknowledged,
      outstanding: backlog.recordCount)
    status.stage = stage
    status.backlog = backlog.byteCount
    status.oldestAge = backlog.oldest.map { .nanoseconds(max(0, now.nanoseconds - $0.nanoseconds)) }
    status.recordsPerSecond = rates?.acknowledged[index]
    status.timeToDrain = rates?.timeToDrain(backlog.recordCount, sink: index)
    status.isFallingBehind = rates.map {
      backlog.recordCount > 0 && $0.acknowledged[index] < $0.committed
    }
    status.inFlightCount = readings.count(
      "penstock_upstream_in_flight_batches", route: route, sink: sink.name)
    status.reconnectCount = readings.count(
      "penstock_upstream_reconnects_total", route: route, sink: sink.name)
    status.deadLetterCount = readings.count(
      "penstock_upstream_dead_letters_total", route: route, sink: sink.name)
    status.gaps = readings.gaps(route: route, sink: sink.name)
    return status
  }
}

extension HealthReport {
  fileprivate func reading(of name: StageName) -> StageReading? {
    stages.first { $0.name == name }.map {
      StageReading(
        state: $0.state.kind.rawValue, detail: $0.state.detail, since: $0.since,
        inState: $0.inState, isStalled: $0.isStalled)
    }
  }
}
