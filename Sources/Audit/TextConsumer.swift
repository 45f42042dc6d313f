package import GatewayCore
import Logging
package import Mosquitto
package import Platform
import Synchronization

/// Subscribes and hands over messages, one by one, until told to stop. A message is acknowledged
/// after it was handed over. A broker that goes away is waited for; with a session that is not
/// kept, what is published meanwhile is missed, and `notice` says so.
package final class TextConsumer: Sendable {
  package struct Options: Sendable {
    /// `cleanStart` and `sessionExpiry` decide whether the session outlives the command.
    package var connection: ConnectionOptions
    package var filters: [String]
    /// Over QoS 2 a message is acknowledged by PUBREC before it is handed over, and completed
    /// after: one that was not, comes again to a session that is kept.
    package var quality = QualityOfService.atLeastOnce
    /// Messages to hand over; nil: no limit.
    package var count: UInt64?

    package init(connection: ConnectionOptions, filters: [String]) {
      self.connection = connection
      self.filters = filters
    }
  }

  /// `number` counts from 1 what this consumer was handed. `properties` as in `MosquittoHandler`.
  package typealias Message =
    (
      _ number: UInt64, _ header: MessageHeader, _ topic: Span<UInt8>, _ payload: Span<UInt8>,
      _ properties: Span<UInt8>
    ) -> Void

  private static let groupMax = 100
  private static let retryPause = Duration.milliseconds(500)
  /// The end waits until nothing came for so long, and never longer than that.
  private static let lingerQuiet = Duration.milliseconds(50)
  private static let lingerMax = Duration.seconds(2)

  private let options: Options
  private let isStopping = Atomic<Bool>(false)
  private let wakeUp: WakeUp
  /// Never signalled: the end waits for the socket alone.
  private let lingering: WakeUp

  package init(options: Options) throws(SystemError) {
    self.options = options
    wakeUp = try WakeUp()
    lingering = try WakeUp()
  }

  /// Ends `run` soon. Any thread.
  package func stop() {
    isStopping.store(true, ordering: .releasing)
    wakeUp.signal()
  }

  /// Receives until stopped or `count` is reached. Blocks; calls back on the calling thread.
  ///
  /// - Throws: when the first connection or a subscription fails. Later losses are notices.
  package func run(message: @escaping Message, notice: (String) -> Void) throws(MosquittoError) {
    let handler = Handler(left: options.count ?? .max, message: message)
    var client = MosquittoClient(
      options: options.connection, handler: handler, logger: Logger(label: "penstock.subscribe"))
    var endpoint = 0
    while !isStopping.load(ordering: .acquiring) && handler.left > 0 {
      do throws(MosquittoError) {
        if client.socket == nil { try client.connect(endpoint: endpoint) }
        try turn(&client, handler)
      } catch {
        guard handler.wasSubscribed else { throw error }
        notice("\(error) Trying again.")
        endpoint = (endpoint + 1) % options.connection.endpoints.count
        _ = Poll.wait(socket: nil, wakeUp: wakeUp, timeout: Self.retryPause)
      }
      if let reason = handler.refusal {
        throw MosquittoError(
          .brokerRefused, reason: reason, endpoint: options.connection.endpoints[endpoint],
          detail: "the broker refuses the subscription: \(reason)")
      }
      if handler.takeSessionLost() {
        notice("The broker did not keep the session: messages may have been missed.")
      }
    }
    // Whoever stops does not mind a broker that is gone.
    try? end(&client)
  }

  /// Closes so that the last PUBACKs arrive. Closing a socket with unread input makes TCP reset the
  /// connection, and then the broker may never see them; so what is on its way is read first, and
  /// not acknowledged: a session that is kept brings it again.
  private func end(_ client: inout MosquittoClient<Handler>) throws(MosquittoError) {
    let deadline = Clock.monotonic() + Self.lingerMax
    while client.socket != nil && Clock.monotonic() < deadline {
      let ready = Poll.wait(
        socket: client.socket, wakeUp: lingering, timeout: Self.lingerQuiet)
      if !ready.socketReadable { break }
      while try client.readUntilDry(limit: Self.groupMax) {}
    }
    if client.heldAcknowledgements == 0 { try client.disconnect() }
  }

  private func turn(
    _ client: inout MosquittoClient<Handler>, _ handler: Handler
  ) throws(MosquittoError) {
    let ready = Poll.wait(
      socket: client.socket, forWriting: client.wantsWrite, wakeUp: wakeUp, timeout: .seconds(1))
    var isMore = ready.socketReadable
    while isMore && handler.left > 0 {
      isMore = try client.readUntilDry(limit: Int(min(UInt64(Self.groupMax), handler.left)))
      // A newer library may read past the limit: what was not handed over is not acknowledged.
      if handler.surplus > 0 { return }
      try client.releaseAcknowledgements(committed: client.heldAcknowledgements)
    }
    if handler.takeNeedsSubscription() {
      _ = try client.subscribeKeepingNothing(options.filters, quality: options.quality)
    }
    if client.wantsWrite { try client.flush() }
    try client.misc()
  }

  private final class Handler: MosquittoHandler {
    /// Messages still to hand over.
    private(set) var left: UInt64
    /// Messages that came after the last one.
    private(set) var surplus = 0
    private(set) var wasSubscribed = false
    /// The worst answer of a SUBACK.
    private(set) var refusal: ReasonCode?
    private var needsSubscription = false
    private var isSessionLost = false
    private let message: Message
    private var number: UInt64 = 0

    init(left: UInt64, message: @escaping Message) {
      self.left = left
      self.message = message
    }

    func takeNeedsSubscription() -> Bool {
      defer { needsSubscription = false }
      return needsSubscription
    }

    func takeSessionLost() -> Bool {
      defer { isSessionLost = false }
      return isSessionLost
    }

    func connected(_ acknowledgement: ConnectAcknowledgement) {
      guard !acknowledgement.reason.isFailure else { return }
      // Subscribing again to what the session has changes nothing.
      needsSubscription = true
      isSessionLost = wasSubscribed && !acknowledgement.sessionPresent
    }

    func disconnected(_ reason: ReasonCode?) {}

    func received(
      _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
    ) {
      guard left > 0 else {
        surplus += 1
        return
      }
      left -= 1
      number += 1
      message(number, header, topic, payload, properties)
    }

    func subscribed(mid: Int32, granted: [ReasonCode]) {
      refusal = granted.first(where: \.isFailure)
      if refusal == nil { wasSubscribed = true }
    }

    func unsubscribed(mid: Int32) {}
    func published(mid: Int32, reason: ReasonCode) {}
  }
}
