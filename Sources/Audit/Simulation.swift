// Simulated pumps on a real broker: QoS 1, a window in flight, nothing forgotten before its PUBACK.
//
// One thread per connection; pump k speaks over connection k mod count, so that each pump's
// messages keep their order. A connection that is lost is made again and what was not acknowledged
// is sent again first, as a real pump's client would: so a message may reach the broker twice
// without being repeated on purpose.
//
// Commands come over the same connections. The PUBACK of a command leaves when it was obeyed or
// refused and its confirmation waits to be sent, which it is before anything new. While a
// connection is away its pumps are deaf: sessions are not kept, so whoever sent a command then
// hears that nobody subscribes.

import GatewayCore
package import Mosquitto
package import Platform
package import PumpTelemetry
import Synchronization

/// What is simulated, and how it is sent.
package struct SimulationOptions: Sendable {
  /// The client id gets `-1`, `-2`, … for each connection. Sessions are not kept.
  package var connection: ConnectionOptions
  package var plan = FleetPlan(count: 10)
  /// Pumps ND01, ND02, … in normal operation; setting it replaces the plan.
  package var pumpCount: Int {
    get { plan.pumps.count }
    set { plan = FleetPlan(count: newValue) }
  }
  package var seed: UInt64 = 1
  /// nil: message ids without a run, the same in every run.
  package var run: RunID?
  /// Sends per second over all connections and all pumps without a rate of their own, deliberate
  /// repeats included; nil: as fast as it goes. What an outage delayed is caught up.
  package var rate: Double?
  /// Of the new messages, how many are followed by a repeated send: 0 ... 1.
  package var repeatShare = 0.0
  /// Every eighth event of a pump carries a note of this many bytes: a ring fills sooner, with
  /// commit groups of many sizes.
  package var noteByteCount = 0
  /// A new-asset event of each pump comes first.
  package var announces = true
  /// Pumps hear commands and confirm them.
  package var obeysCommands = false
  /// Older commands are refused.
  package var commandAgeMax = PumpFleet.commandAgeMaxDefault
  /// New messages in all; nil: no limit.
  package var count: UInt64?
  /// No new messages after this time; nil: no limit.
  package var duration: Duration?
  package var connectionCount = 1
  /// Un-acknowledged sends per connection; the broker's receive maximum bounds it as well.
  package var window = 100
  /// How long one connection may be away before the run fails. Zero at the start: a broker that
  /// cannot be reached then fails the run at once.
  package var patience: Duration = .seconds(60)
  /// How long the end waits for outstanding PUBACKs.
  package var drainLimit: Duration = .seconds(10)

  package static let connectionCountMax = 64
  package static let windowMax = 10_000
  /// Confirmations of one connection that wait to be sent; a command beyond them is not heard, and
  /// its sender has no confirmation to go by.
  package static let confirmationsMax = 1000

  package init(connection: ConnectionOptions) { self.connection = connection }
}

/// Hears of every message, on the simulation's threads: must be quick. `willSend` comes before the
/// message leaves, also for repeats; `acknowledged` when its PUBACK promised delivery.
package protocol SimulationObserver: Sendable {
  func willSend(topic: String, id: String, payload: Span<UInt8>)
  func acknowledged(topic: String, id: String)
}

extension AuditLedger: SimulationObserver {
  package func willSend(topic: String, id: String, payload: Span<UInt8>) {
    sent(topic: topic, id: id, payload: payload)
  }
}

/// How far a simulation is. Numbers of messages, each counted once, unless said otherwise.
package struct SimulationCounts: Sendable, Hashable {
  package var sent: UInt64 = 0
  /// PUBACK with success arrived.
  package var acknowledged: UInt64 = 0
  /// Deliberately repeated sends.
  package var repeated: UInt64 = 0
  /// Sends made again because a connection was lost before their PUBACK.
  package var resent: UInt64 = 0
  /// PUBACK 0x10: the broker has nobody to give the message to. Sends, not in `acknowledged`.
  package var unheard: UInt64 = 0
  /// PUBACK with a failure, or not allowed by the broker's limits. Sends.
  package var failed: UInt64 = 0
  /// Sends without an answer yet.
  package var outstanding: UInt64 = 0
  package var connectionsLost: UInt64 = 0
  /// Commands obeyed; commands that were answered before; commands refused.
  package var commands: UInt64 = 0
  package var commandsRepeated: UInt64 = 0
  package var commandsRefused: UInt64 = 0
  /// Commands that came while `confirmationsMax` waited, or to no pump of the connection's.
  package var commandsUnheard: UInt64 = 0
  /// Confirmations of which a PUBACK with success arrived. Not in `sent` and `acknowledged`.
  package var confirmations: UInt64 = 0
  /// Connections whose pumps hear commands now.
  package var listening: UInt64 = 0
  /// Why the broker lets pumps hear no commands.
  package var deafness: ReasonCode?
  /// The reason of the last failed send.
  package var lastRefusal: ReasonCode?

  package init() {}

  mutating func add(_ other: SimulationCounts) {
    sent += other.sent
    acknowledged += other.acknowledged
    repeated += other.repeated
    resent += other.resent
    unheard += other.unheard
    failed += other.failed
    outstanding += other.outstanding
    connectionsLost += other.connectionsLost
    commands += other.commands
    commandsRepeated += other.commandsRepeated
    commandsRefused += other.commandsRefused
    commandsUnheard += other.commandsUnheard
    confirmations += other.confirmations
    listening += other.listening
    deafness = other.deafness ?? deafness
    lastRefusal = other.lastRefusal ?? lastRefusal
  }
}

/// A run of simulated pumps. Any thread may ask; started once.
package final class Simulation: Sendable {
  private struct State {
    var counts: [SimulationCounts]
    var running = 0
    var error: MosquittoError?
  }

  package let options: SimulationOptions
  private let observer: (any SimulationObserver)?
  private let state: Mutex<State>
  private let isStopping = Atomic<Bool>(false)
  private let stopSignals: [WakeUp]
  private let changed: WakeUp

  package init(
    options: SimulationOptions, observer: (any SimulationObserver)? = nil
  ) throws(SystemError) {
    var options = options
    precondition(
      (1...SimulationOptions.connectionCountMax).contains(options.connectionCount)
        && (1...SimulationOptions.windowMax).contains(options.window),
      "the command bounds connections and window")
    options.connectionCount = min(options.connectionCount, options.pumpCount)
    self.options = options
    self.observer = observer
    state = Mutex(
      State(counts: Array(repeating: SimulationCounts(), count: options.connectionCount)))
    var signals: [WakeUp] = []
    for _ in 0..<options.connectionCount { signals.append(try WakeUp()) }
    stopSignals = signals
    changed = try WakeUp()
  }

  /// Starts the threads. Once.
  package func start() {
    state.withLock {
      precondition($0.running == 0, "a simulation is started once")
      $0.running = options.connectionCount
    }
    let start = Clock.monotonic()
    for index in 0..<options.connectionCount {
      Thread.start(name: "pumps-\(index + 1)") {
        let sender = SimulationSender(
          simulation: self, index: index, options: self.options, observer: self.observer,
          start: start)
        let error = sender.run()
        self.state.withLock {
          $0.running -= 1
          $0.error = $0.error ?? error
        }
        if error != nil { self.stop() }
        self.changed.signal()
      }
    }
  }

  /// No new messages; what is outstanding gets `drainLimit` to be acknowledged. Does not wait.
  package func stop() {
    isStopping.store(true, ordering: .releasing)
    for signal in stopSignals { signal.signal() }
  }

  package var counts: SimulationCounts {
    state.withLock { state in
      var sum = SimulationCounts()
      for counts in state.counts { sum.add(counts) }
      return sum
    }
  }

  package var isFinished: Bool { state.withLock { $0.running == 0 } }

  /// Why the run ended early; nil while and when all is well.
  package var error: MosquittoError? { state.withLock { $0.error } }

  /// Waits until all threads have ended, or for `timeout`; whether they have. One waiting thread at
  /// a time.
  package func wait(timeout: Duration) -> Bool {
    wait(timeout: timeout) { _ in false } || isFinished
  }

  /// Waits until `condition` holds, at the latest until all threads have ended or for `timeout`;
  /// whether it holds. One waiting thread at a time.
  package func wait(timeout: Duration, until condition: (SimulationCounts) -> Bool) -> Bool {
    let deadline = Clock.monotonic() + timeout
    while true {
      changed.clear()
      let isFinished = isFinished
      if condition(counts) { return true }
      let left = deadline.since(Clock.monotonic())
      if isFinished || left <= .zero { return false }
      _ = Poll.wait(socket: nil, wakeUp: changed, timeout: left)
    }
  }

  // MARK: For the threads

  func stopSignal(of index: Int) -> WakeUp { stopSignals[index] }

  var isAskedToStop: Bool { isStopping.load(ordering: .acquiring) }

  func report(_ counts: SimulationCounts, of index: Int) {
    let isNew = state.withLock { state in
      defer { state.counts[index] = counts }
      return state.counts[index] != counts
    }
    if isNew { changed.signal() }
  }
}
