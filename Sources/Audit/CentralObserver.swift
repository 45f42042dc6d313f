import GatewayCore
import Logging
package import Mosquitto
package import Platform
import Synchronization

/// An independent subscriber on the central broker: what it receives is what "delivered" means.
///
/// It is an at-least-once consumer of its own, with nothing of the gateway's code but the MQTT
/// client and the envelope decoder: own client id, QoS 1, a session that outlives its connection,
/// so that nothing is missed while the central broker is away; a PUBACK leaves only after the
/// message was recorded. Runs on its own thread from `start` to `stop`.
///
/// Limit: the central broker drops what exceeds its `max_queued_messages` for an absent observer;
/// give it room. A broker that lost the session (`sessionsLost`) makes the audit worthless.
package final class CentralObserver: Sendable {
  /// What the observer's thread says about itself.
  package struct Status: Sendable, Hashable {
    package var isSubscribed = false
    package var messages: UInt64 = 0
    package var connections: UInt64 = 0
    /// Reconnects at which the broker did not know us any more.
    package var sessionsLost: UInt64 = 0
    package var lastError: String?
    package var isFinished = false
  }

  /// Gets every message, on the observer's thread. The spans are lent for the call.
  package typealias Record =
    @Sendable (_ topic: Span<UInt8>, _ payload: Span<UInt8>) -> Void

  /// As `Record`, with everything that came with the message.
  package typealias RecordMessage =
    @Sendable (
      _ header: MessageHeader, _ topic: Span<UInt8>, _ payload: Span<UInt8>,
      _ properties: Span<UInt8>
    ) -> Void

  private let options: ConnectionOptions
  private let filters: [String]
  private let record: RecordMessage
  private let isStopping = Atomic<Bool>(false)
  private let stopSignal: WakeUp
  private let changed: WakeUp
  private let status = Mutex(Status())

  package convenience init(
    endpoint: BrokerEndpoint, clientID: String, filters: [String],
    protocolVersion: ProtocolVersion = .v5, record: @escaping Record
  ) throws(SystemError) {
    try self.init(
      endpoint: endpoint, clientID: clientID, filters: filters, protocolVersion: protocolVersion,
      recordMessage: { _, topic, payload, _ in record(topic, payload) })
  }

  package init(
    endpoint: BrokerEndpoint, clientID: String, filters: [String],
    protocolVersion: ProtocolVersion = .v5, recordMessage: @escaping RecordMessage
  ) throws(SystemError) {
    var options = ConnectionOptions(endpoints: [endpoint], clientID: clientID)
    options.protocolVersion = protocolVersion
    options.connectTimeout = .seconds(2)
    options.keepAlive = .seconds(20)
    options.sessionExpiry = .seconds(86_400)
    self.options = options
    self.filters = filters
    record = recordMessage
    stopSignal = try WakeUp()
    changed = try WakeUp()
  }

  package func start() {
    Thread.start(name: "observer") { self.run() }
  }

  /// Asks the thread to end and waits for it. The session stays at the broker.
  package func stop(timeout: Duration = .seconds(10)) {
    isStopping.store(true, ordering: .releasing)
    stopSignal.signal()
    _ = wait(timeout: timeout) { $0.isFinished }
  }

  package var current: Status { status.withLock { $0 } }

  /// Waits until the observer's status satisfies `condition`; false after `timeout`. One waiting
  /// thread at a time.
  package func wait(timeout: Duration, until condition: (Status) -> Bool) -> Bool {
    let deadline = Clock.monotonic().nanoseconds + timeout.nanoseconds
    while true {
      changed.clear()
      if condition(current) { return true }
      let left = deadline - Clock.monotonic().nanoseconds
      if left <= 0 { return false }
      _ = Poll.wait(socket: nil, wakeUp: changed, timeout: .nanoseconds(left))
    }
  }

  fileprivate func update(_ change: (inout sending Status) -> Void) {
    status.withLock { change(&$0) }
    changed.signal()
  }
}

// The observer's thread.
extension CentralObserver {
  /// Messages recorded before their PUBACKs leave together.
  private static let groupMax = 200
  /// The pause between two attempts to connect.
  private static let retryPause = Duration.milliseconds(100)

  private func run() {
    let handler = ObserverHandler(observer: self, record: record)
    var client = MosquittoClient(
      options: options, handler: handler, logger: Logger(label: "penstock.observer"))
    while !isStopping.load(ordering: .acquiring) {
      do throws(MosquittoError) {
        if client.socket == nil { try client.connect(endpoint: 0) }
        try serve(&client, handler)
      } catch {
        update {
          $0.isSubscribed = false
          $0.lastError = error.description
        }
        _ = Poll.wait(socket: nil, wakeUp: stopSignal, timeout: Self.retryPause)
      }
    }
    // No error matters here: what was not acknowledged comes again to whoever asks next.
    try? client.disconnect()
    update { $0.isFinished = true }
  }

  /// One turn of the loop: wait, read, record, acknowledge.
  private func serve(
    _ client: inout MosquittoClient<ObserverHandler>, _ handler: ObserverHandler
  ) throws(MosquittoError) {
    let ready = Poll.wait(
      socket: client.socket, forWriting: client.wantsWrite, wakeUp: stopSignal,
      timeout: .milliseconds(500))
    var isMore = ready.socketReadable
    while isMore {
      isMore = try client.readUntilDry(limit: Self.groupMax)
      // Recorded by the handler, inside the read.
      try client.releaseAcknowledgements(committed: client.heldAcknowledgements)
    }
    if handler.takeNeedsSubscription() {
      _ = try client.subscribe(filters)
    }
    if client.wantsWrite { try client.flush() }
    try client.misc()
  }
}

/// Lives on the observer's thread.
private final class ObserverHandler: MosquittoHandler {
  private unowned let observer: CentralObserver
  private let record: CentralObserver.RecordMessage
  private var needsSubscription = false
  private var hadSession = false

  init(observer: CentralObserver, record: @escaping CentralObserver.RecordMessage) {
    self.observer = observer
    self.record = record
  }

  func takeNeedsSubscription() -> Bool {
    defer { needsSubscription = false }
    return needsSubscription
  }

  func connected(_ acknowledgement: ConnectAcknowledgement) {
    guard !acknowledgement.reason.isFailure else { return }
    needsSubscription = !acknowledgement.sessionPresent
    let isLost = hadSession && !acknowledgement.sessionPresent
    observer.update {
      $0.connections += 1
      if isLost { $0.sessionsLost += 1 }
      if acknowledgement.sessionPresent { $0.isSubscribed = true }
    }
    if acknowledgement.sessionPresent { hadSession = true }
  }

  func disconnected(_ reason: ReasonCode?) {
    observer.update { $0.isSubscribed = false }
  }

  func received(
    _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
  ) {
    record(header, topic, payload, properties)
    observer.update { $0.messages += 1 }
  }

  func subscribed(mid: Int32, granted: [ReasonCode]) {
    let isGranted = granted.allSatisfy { $0 == .grantedQoS1 }
    if isGranted { hadSession = true }
    observer.update {
      $0.isSubscribed = isGranted
      if !isGranted { $0.lastError = "the broker does not grant QoS 1: \(granted)" }
    }
  }

  func unsubscribed(mid: Int32) {}
  func published(mid: Int32, reason: ReasonCode) {}
}
