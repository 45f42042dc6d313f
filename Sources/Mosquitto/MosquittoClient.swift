// One MQTT connection over libmosquitto, driven by the thread that owns it.
//
// ## The deferred PUBACK
// libmosquitto acknowledges before it tells us: for a QoS 1 PUBLISH it queues the PUBACK and then
// calls back. In the external-loop mode the queue leaves only in `mosquitto_loop_write`, and that
// call writes all of it. Hence the invariant this type keeps:
//
//     Nothing is written while a received QoS 1 message is not known to be durable.
//
// Every received QoS 1 message is counted as held. `releaseAcknowledgements(committed:)` is the one
// way to set the count back, and the caller states by it that all of them are durable; `flush()`
// and all that writes trap while the count is not 0, in release builds too. Keepalive pings wait
// behind the held PUBACKs as well: hold them for less than ¾ of the keepalive.
//
// ## The owner's loop
//     poll(socket, readable; writable too if wantsWrite and heldAcknowledgements == 0)
//     while readUntilDry(limit:) says "maybe more" and there is room { }
//     make durable  →  releaseAcknowledgements(committed: heldAcknowledgements)
//     if wantsWrite and heldAcknowledgements == 0 → flush()
//     misc() once a second
//
// Whatever throws has ended the connection, except where its error code says otherwise; `socket` is
// nil then, and the PUBACKs still queued are gone with it, so that the broker sends those messages
// again. `connect` starts over with a fresh handle.
//
// ## The process
// SIGPIPE must be ignored (main() does it): OpenSSL writes with write(2). Name resolution blocks
// for as long as resolv.conf says (by default 5 s for each server and attempt).

package import GatewayCore
package import Logging
import Platform

/// Hears of the certificate that ends first of those a server was verified by. On the thread of the
/// connection, inside a read; must not block.
package typealias ServerVerified = @Sendable (Certificate) -> Void

/// One connection to a broker. One owner thread; not Sendable. Letting it go closes the connection
/// without sending anything: held PUBACKs never leave, the broker keeps the session.
package struct MosquittoClient<Handler: MosquittoHandler>: ~Copyable {
  /// Filters in one SUBSCRIBE or UNSUBSCRIBE.
  package static var filtersPerPacketMax: Int { 1000 }

  let options: ConnectionOptions
  let context: HandlerContext<Handler>
  let logger: Logger
  var handle: LibraryHandle?
  var endpoint: BrokerEndpoint?
  /// When TCP, TLS and CONNACK must be done.
  var acceptanceDeadline: MonotonicTime?
  var isDisconnecting = false
  private let onVerified: ServerVerified?
  private var isVerificationTold = false
  /// Packets queued since the last flush, about: whether corking pays.
  private var queuedPacketCount = 0
  /// The library's "want write" stays on after OpenSSL wanted to write while reading, although the
  /// queue is empty; only a later write clears it. Without this the owner would spin in poll.
  private var isWriteFlagStale = false

  /// The handler is retained as long as the client lives. `onVerified` hears once for each TLS
  /// connection that was accepted by which certificate the server was verified.
  package init(
    options: ConnectionOptions, handler: Handler, logger: Logger, onVerified: ServerVerified? = nil
  ) {
    precondition(!options.endpoints.isEmpty, "a connection needs an endpoint")
    self.options = options
    self.context = HandlerContext(handler)
    self.logger = logger
    self.onVerified = onVerified
  }

  /// For poll. nil when there is no connection; look after every call.
  package var socket: Int32? { handle?.socket }

  /// Whether `flush` has something to do as soon as the socket is writable.
  package var wantsWrite: Bool { !isWriteFlagStale && handle?.wantsWrite ?? false }

  /// Whether the broker accepted this connection (CONNACK) and it still stands.
  package var isAccepted: Bool { handle != nil && context.isAccepted }

  /// QoS 1 messages read whose PUBACK is queued and not released. Survives the loss of the
  /// connection, so that the group being collected is still accounted for; a new `connect` sets it
  /// to 0.
  package var heldAcknowledgements: Int { context.heldAcknowledgements }

  // MARK: Connecting

  /// Opens TCP to `options.endpoints[index]` and starts TLS and CONNECT, dropping any connection
  /// there was. Blocks up to `connectTimeout` and the name resolution. CONNACK arrives by `read()`;
  /// when it does not within `connectTimeout`, `misc()` throws. Secrets and certificates are read
  /// anew.
  package mutating func connect(endpoint index: Int) throws(MosquittoError) {
    precondition(options.endpoints.indices.contains(index), "an endpoint of the options")
    let endpoint = options.endpoints[index]
    handle = nil
    self.endpoint = endpoint
    isDisconnecting = false
    isVerificationTold = false
    queuedPacketCount = 1
    isWriteFlagStale = false
    let deadline = Clock.monotonic() + options.connectTimeout
    acceptanceDeadline = deadline
    context.startConnection(options.protocolVersion)
    let opened = try openTransport(to: endpoint, until: deadline)
    handle = opened
    // Start of the TLS handshake where the library leaves it to loop_read (2.0.11).
    if endpoint.usesTLS { _ = try readOnce() }
    // A peer that sends messages before it was asked must not trap us.
    if context.heldAcknowledgements == 0 { try flush() }
  }

  // MARK: Reading

  /// One read of the library: about one packet, none when the socket is dry. Handler methods run
  /// inside.
  package mutating func read() throws(MosquittoError) {
    _ = try readOnce()
  }

  /// Reads until the connection is dry or `limit` messages came, whichever is first. True: there
  /// may be more, and poll may not tell, so read again before polling. Also empties what OpenSSL
  /// has decrypted already, for which poll never fires. One read of the library takes all of a TLS
  /// record (16 KiB), so over TLS the limit may be exceeded by what one record holds.
  package mutating func readUntilDry(limit: Int) throws(MosquittoError) -> Bool {
    precondition(limit > 0, "a batch holds a message")
    let start = context.messageCount
    // Other packets than PUBLISH do not count as messages, so the calls have a limit as well.
    var callsLeft = 2 * limit + 64
    while callsLeft > 0 {
      if try !readOnce() { return false }
      if context.messageCount - start >= limit { return true }
      callsLeft -= 1
    }
    return true
  }

  /// Whether the read brought something. EAGAIN alone proves nothing: the library leaves it behind
  /// when its internal socket pair is full (one byte per queued packet, never drained in this
  /// mode), so "dry" is EAGAIN without any callback. A packet without callback (PINGRESP) leaves
  /// errno 0.
  private mutating func readOnce() throws(MosquittoError) -> Bool {
    guard let handle else { throw notConnected() }
    isWriteFlagStale = false
    let before = context.eventCount
    let result = handle.loopRead()
    try settle(result)
    if context.isAccepted, !isVerificationTold { tellVerification() }
    if context.eventCount != before { return true }
    guard context.isAccepted else {
      // In a TLS handshake the library takes a closed socket for one that is not ready.
      if let socket, SocketWait.isEnded(socket) { try settle(LibraryResult.connectionLost) }
      return false
    }
    return !result.isWouldBlock
  }

  private mutating func tellVerification() {
    isVerificationTold = true
    guard let onVerified, let certificate = handle?.serverCertificate else { return }
    onVerified(certificate)
  }

  // MARK: Writing

  /// States that all `count` held messages are durable, and sends their PUBACKs. `count` must be
  /// `heldAcknowledgements`: the library cannot send some of them. Without a connection it only
  /// sets the count back; the broker sends those messages again.
  package mutating func releaseAcknowledgements(committed count: Int) throws(MosquittoError) {
    let held = context.heldAcknowledgements
    precondition(count == held, "all held messages are committed before any PUBACK leaves")
    context.heldAcknowledgements = 0
    queuedPacketCount += count
    guard handle != nil else { return }
    try flush()
  }

  /// Writes what is queued, up to what the socket takes; the rest when it is writable
  /// (`wantsWrite`).
  package mutating func flush() throws(MosquittoError) {
    precondition(
      context.heldAcknowledgements == 0,
      "a flush would acknowledge received messages that are not committed")
    guard let handle else { throw notConnected() }
    let result = handle.loopWrite(isCorked: queuedPacketCount > 1)
    queuedPacketCount = 0
    try settle(result)
    isWriteFlagStale = !result.isWouldBlock && handle.wantsWrite
  }

  /// Keepalive, and the deadline for CONNACK. Once a second. Queues only.
  ///
  /// A peer that has been silent for 1.5 × keepalive, less the second between two calls, is dead:
  /// the library has asked it after one keepalive, and itself waits for another one.
  package mutating func misc() throws(MosquittoError) {
    guard let handle else { throw notConnected() }
    isWriteFlagStale = false
    if let silenceMax, let socket = handle.socket, context.isAccepted,
      SocketQueue.silence(of: socket) > silenceMax
    {
      try end(
        with: MosquittoError(
          .keepAliveExpired, endpoint: endpoint,
          detail: "the broker has been silent for more than \(silenceMax), pings included"))
    }
    if let deadline = acceptanceDeadline {
      if context.isAccepted {
        acceptanceDeadline = nil
      } else if Clock.monotonic() > deadline {
        try end(
          with: MosquittoError(
            .timedOut, endpoint: endpoint,
            detail: "the broker did not accept within \(options.connectTimeout)"))
      }
    }
    try settle(handle.loopMisc())
  }

  /// Nil without a keepalive. A broker may demand another one than ours, but the library may not
  /// heed it: the longer one counts.
  private var silenceMax: Duration? {
    guard options.keepAlive > .zero else { return nil }
    let keepAlive = max(
      options.keepAlive, LibraryHandle.keepAliveMin, context.serverKeepAlive ?? .zero)
    return .nanoseconds(keepAlive.nanoseconds * 3 / 2) - .seconds(1)
  }

  // MARK: Packets (queued; `flush` sends them)

  /// Queues SUBSCRIBE and returns its mid. Over MQTT 5 with retain-as-published and retain-handling
  /// 1 (retained messages only for a new subscription). Only while nothing is held. QoS 2 is
  /// refused: the library keeps its payloads in memory between PUBREC and PUBREL, where a crash
  /// loses them.
  /// - Parameter identifier: comes back with each message for these filters. MQTT 5 only, and only
  ///   where the broker has them (`ConnectAcknowledgement.hasSubscriptionIdentifiers`).
  package mutating func subscribe(
    _ filters: [String], quality: QualityOfService = .atLeastOnce, identifier: UInt32? = nil
  ) throws(MosquittoError) -> Int32 {
    precondition(quality != .exactlyOnce, "QoS 2 is never subscribed by who must not lose")
    return try subscribeKeepingNothing(filters, quality: quality, identifier: identifier)
  }

  /// As `subscribe`, also at QoS 2, for an owner that keeps nothing over a crash. PUBREC leaves
  /// with the next flush; the message comes, and is held, with its PUBREL.
  package mutating func subscribeKeepingNothing(
    _ filters: [String], quality: QualityOfService, identifier: UInt32? = nil
  ) throws(MosquittoError) -> Int32 {
    let retainAsPublished: Int32 = 0x08
    let sendRetainedIfNew: Int32 = 0x10
    let isV5 = options.protocolVersion == .v5
    return try queue(filters) { handle, mid in
      handle.subscribe(
        filters, quality: quality, options: isV5 ? retainAsPublished | sendRetainedIfNew : 0,
        identifier: isV5 ? identifier : nil, mid: &mid)
    }
  }

  /// Queues UNSUBSCRIBE and returns its mid. Only while nothing is held.
  package mutating func unsubscribe(_ filters: [String]) throws(MosquittoError) -> Int32 {
    try queue(filters) { handle, mid in handle.unsubscribe(filters, mid: &mid) }
  }

  private mutating func queue(
    _ filters: [String], _ body: (LibraryHandle, inout Int32) -> LibraryResult
  ) throws(MosquittoError) -> Int32 {
    precondition(
      1...Self.filtersPerPacketMax ~= filters.count, "a SUBSCRIBE names 1 to 1000 filters")
    precondition(
      context.heldAcknowledgements == 0, "subscriptions change while nothing is uncommitted")
    guard let handle else { throw notConnected() }
    var mid: Int32 = 0
    let result = body(handle, &mid)
    queuedPacketCount += 1
    isWriteFlagStale = false
    try settle(result)
    return mid
  }

  /// Queues a PUBLISH and returns its mid, by which `published` reports the PUBACK. The bytes are
  /// copied. At most the broker's receive maximum may be un-acknowledged (over MQTT 3.1.1: the
  /// owner's own window): beyond it the library holds publishes back in its own queue.
  /// `properties` are wire encoding; not sent over MQTT 3.1.1, which has none.
  package mutating func publish(
    topic: Span<UInt8>, payload: Span<UInt8>, quality: QualityOfService = .atLeastOnce,
    retain: Bool = false, properties: Span<UInt8>
  ) throws(MosquittoError) -> Int32 {
    guard let handle else { throw notConnected() }
    var mid: Int32 = 0
    let isV5 = options.protocolVersion == .v5
    let result = handle.publish(
      topic: topic, payload: payload, quality: quality, retain: retain,
      properties: isV5 ? properties : properties.extracting(first: 0), mid: &mid)
    queuedPacketCount += 1
    isWriteFlagStale = false
    try settle(result)
    return mid
  }

  package mutating func publish(
    topic: Span<UInt8>, payload: Span<UInt8>, quality: QualityOfService = .atLeastOnce,
    retain: Bool = false, properties: PublishProperties = .none
  ) throws(MosquittoError) -> Int32 {
    try publish(
      topic: topic, payload: payload, quality: quality, retain: retain,
      properties: properties.bytes.span)
  }

  package mutating func publish(
    topic: String, payload: Span<UInt8>, quality: QualityOfService = .atLeastOnce,
    retain: Bool = false, properties: PublishProperties = .none
  ) throws(MosquittoError) -> Int32 {
    let bytes = Array(topic.utf8)
    return try publish(
      topic: bytes.span, payload: payload, quality: quality, retain: retain,
      properties: properties.bytes.span)
  }

  // MARK: Ending

  /// Sends DISCONNECT (reason 0: the broker keeps the session as CONNECT asked). Only while nothing
  /// is held. Usually the connection is gone when it returns; else `flush` once writable.
  package mutating func disconnect() throws(MosquittoError) { try disconnect(endsSession: false) }

  /// As `disconnect`, with a session expiry of 0: the broker forgets the session and what waits in
  /// it. Over MQTT 3.1.1 a session ends only by another connection with `cleanStart`: there this is
  /// `disconnect`.
  package mutating func disconnectEndingSession() throws(MosquittoError) {
    try disconnect(endsSession: options.protocolVersion == .v5)
  }

  private mutating func disconnect(endsSession: Bool) throws(MosquittoError) {
    precondition(context.heldAcknowledgements == 0, "a DISCONNECT would send held PUBACKs first")
    guard let handle else { return }
    isDisconnecting = true
    let result = handle.disconnect(endsSession: endsSession)
    isWriteFlagStale = false
    try settle(result)
    try flush()
  }

  /// Drops the connection now. Nothing queued leaves: the way out when a commit failed.
  package consuming func abort() {}
}
