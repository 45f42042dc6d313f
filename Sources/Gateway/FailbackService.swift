import CoreMetrics
import GatewayConfiguration
import GatewayCore
import Logging
import Mosquitto
import Platform
import ServiceLifecycle
import Synchronization

/// While connections of a broker stand at a later endpoint, asks the first at intervals whether it
/// accepts again, and lets them know. One thread, so that a first endpoint that swallows packets
/// costs no connection its turn.
struct FailbackService: Service {
  let broker: BrokerOptions
  let interval: Duration
  let recall: Recall
  let logger: Logger

  /// How often to look whether a connection is away.
  private static let turn: Duration = .seconds(1)
  /// Bounds what a probe under way adds to a shutdown.
  private static let probeTimeout: Duration = .seconds(3)

  func run() async throws {
    let stop = try Stop()
    try await withTaskCancellationHandler {
      try await withGracefulShutdownHandler {
        try await Thread.run(name: "fb:\(broker.name)") { watch(stop) }
      } onGracefulShutdown: {
        stop.order()
      }
    } onCancel: {
      stop.order()
    }
  }

  private func watch(_ stop: Stop) {
    var connection = broker.connection
    connection.clientID += ClientID.probe(broker: broker.name)
    connection.connectTimeout = min(connection.connectTimeout, Self.probeTimeout)
    let returns = Counter(
      label: "penstock_broker_failbacks_total", dimensions: [("broker", broker.name)])
    var due: MonotonicTime?
    while !stop.isOrdered {
      _ = Poll.wait(socket: nil, wakeUp: stop.wakeUp, timeout: min(Self.turn, interval))
      let now = Clock.monotonic()
      guard recall.isAway else {
        due = nil
        continue
      }
      guard let time = due else {
        due = now + interval
        continue
      }
      guard now >= time, !stop.isOrdered else { continue }
      do throws(MosquittoError) {
        try BrokerProbe.check(connection, endpoint: 0, wakeUp: stop.wakeUp, logger: logger)
        recall.firstAccepts(at: Clock.monotonic())
        returns.increment()
      } catch {
        logger.debug(
          "the first endpoint does not accept yet",
          metadata: ["broker": "\(broker.name)", "broker.error": "\(error)"])
      }
      due = Clock.monotonic() + interval
    }
  }
}

/// Tells one thread to end.
final class Stop: Sendable {
  let wakeUp: WakeUp
  private let ordered = Atomic(false)

  init() throws(SystemError) { wakeUp = try WakeUp() }

  var isOrdered: Bool { ordered.load(ordering: .acquiring) }

  /// Final. The signal is never cleared: whoever waits later is woken at once.
  func order() {
    ordered.store(true, ordering: .releasing)
    wakeUp.signal()
  }
}
