// One `struct mosquitto`, used in the external-loop mode only. Nothing above this file calls C.
//
// Never called here: `mosquitto_loop`, `_loop_forever` and `_loop_start` (they write in the call
// that reads), `_reconnect` and `_reinitialise` (a new connection gets a new handle).

import CMosquitto
import CMosquittoGuard
import GatewayCore
import Glibc
import Platform

/// Owns one handle for one connection. Used on one thread.
@safe
final class LibraryHandle {
  private let raw: OpaquePointer
  // The C handle points to it; see LibraryCallbacks.swift.
  private let context: CallbackContext
  // The C handle holds its context, whose callbacks find their way by this object.
  private var tls: TLSContext?
  private let isUnixSocket: Bool
  // Room for strings that C wants terminated.
  private var topicText: [UInt8] = []
  private var propertyText: [UInt8] = []

  /// Once per process; never undone, because other handles may live.
  private static let isReady: Bool = mosquitto_lib_init() == MOSQ_ERR_SUCCESS.rawValue

  /// nil when the library refuses the client id or has no memory. An empty id asks the broker for
  /// one, which needs `cleanStart`.
  init?(clientID: String, cleanStart: Bool, isUnixSocket: Bool, context: CallbackContext) {
    guard LibraryHandle.isReady else { return nil }
    let pointer = unsafe mosquitto_new(
      clientID.isEmpty ? nil : clientID, cleanStart, Unmanaged.passUnretained(context).toOpaque())
    guard let pointer = unsafe pointer else { return nil }
    unsafe raw = pointer
    self.context = context
    self.isUnixSocket = isUnixSocket
    // External threading: packets are only queued; nothing but `mosquitto_loop_write` sends them
    // (libmosquitto, lib/packet_mosq.c, packet__queue). The deferred PUBACK rests on this line.
    unsafe mosquitto_threaded_set(raw, true)
    unsafe setCallbacks(of: raw)
  }

  deinit { unsafe mosquitto_destroy(raw) }

  /// The socket, while there is a connection.
  var socket: Int32? {
    let descriptor = unsafe mosquitto_socket(raw)
    return descriptor < 0 ? nil : descriptor
  }

  var wantsWrite: Bool { unsafe mosquitto_want_write(raw) }

  private func perform(_ body: (OpaquePointer) -> Int32) -> LibraryResult {
    errno = 0
    let code = unsafe body(raw)
    let systemCode = errno
    return LibraryResult(code: code, systemCode: systemCode)
  }

  // MARK: Options

  func setOptions(_ options: ConnectionOptions, for endpoint: BrokerEndpoint) -> LibraryResult {
    let version = options.protocolVersion == .v5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311
    let values: [(mosq_opt_t, Int32)] = [
      (MOSQ_OPT_PROTOCOL_VERSION, version),
      (MOSQ_OPT_RECEIVE_MAXIMUM, Int32(max(options.receiveMaximum, 1))),
      // The library's own send window (20) would hold publishes back silently. MQTT 5 replaces this
      // by the broker's receive maximum; the caller keeps its window below that.
      (MOSQ_OPT_SEND_MAXIMUM, 65_535),
      (MOSQ_OPT_TCP_NODELAY, endpoint.isUnixSocket ? 0 : 1),
    ]
    for (option, value) in values {
      let result = unsafe perform { unsafe mosquitto_int_option($0, option, value) }
      if !result.isSuccess { return result }
    }
    return .success
  }

  func setCredentials(username: String, password: String?) -> LibraryResult {
    unsafe perform { unsafe mosquitto_username_pw_set($0, username, password) }
  }

  func setWill(_ will: Will) -> LibraryResult {
    unsafe will.payload.withUnsafeBufferPointer { payload in
      unsafe perform {
        unsafe mosquitto_will_set(
          $0, will.topic, Int32(payload.count), payload.baseAddress, 1, will.retain)
      }
    }
  }

  /// The library verifies by this context and makes none of its own.
  func setTLS(_ tls: TLSContext) -> LibraryResult {
    self.tls = tls
    return unsafe perform {
      let code = unsafe mosquitto_int_option($0, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0)
      guard code == 0 else { return code }
      return unsafe mosquitto_void_option(
        $0, MOSQ_OPT_SSL_CTX, UnsafeMutableRawPointer(tls.raw))
    }
  }

  /// Why the server's certificate was refused; nil when it was not.
  var verificationFailure: String? { tls?.refusal.flatMap(OpenSSL.text(ofRefusal:)) }

  /// Of the certificates that the server was verified by, the one that ends first.
  var serverCertificate: Certificate? {
    guard tls != nil, let session = unsafe mosquitto_ssl_get(raw) else { return nil }
    return unsafe OpenSSL.verifiedCertificate(of: OpaquePointer(session))
  }

  // MARK: Connecting

  /// The library takes none below it but 0.
  static let keepAliveMin = Duration.seconds(5)

  /// Starts TCP to `endpoint` without waiting for it, or connects to a Unix socket. Resolves the
  /// name, which blocks. `bindAddress` chooses the address family.
  func startConnection(
    _ endpoint: BrokerEndpoint, options: ConnectionOptions, bindAddress: String?
  ) -> LibraryResult {
    // The library sends PINGREQ by whole seconds.
    let seconds = options.keepAlive.components.seconds
    let keepAlive =
      seconds == 0 ? 0 : Int32(min(max(seconds, Self.keepAliveMin.components.seconds), 65_535))
    if options.protocolVersion == .v5 {
      // Only the blocking connect takes properties. It stores them, then looks at the host: without
      // one it stops there (MOSQ_ERR_INVAL), and the asynchronous connect uses what was stored
      // (lib/connect.c, mosquitto_connect_bind_v5 and mosquitto__reconnect).
      var list = unsafe LibraryProperties.makeConnect(options)
      let stored = unsafe perform {
        unsafe mosquitto_connect_bind_v5($0, nil, 0, keepAlive, nil, list)
      }
      unsafe mosquitto_property_free_all(&list)
      if stored.code != MOSQ_ERR_INVAL.rawValue { return stored }
    }
    return unsafe perform {
      unsafe mosquitto_connect_bind_async(
        $0, endpoint.host, Int32(endpoint.port), keepAlive, bindAddress)
    }
  }

  // MARK: The external loop

  /// One `mosquitto_loop_read`: about one packet. May queue PUBACKs; never writes MQTT.
  func loopRead() -> LibraryResult {
    unsafe perform { unsafe penstock_mosquitto_loop_read($0, 1) }
  }

  /// Writes the whole queue or up to EAGAIN. There is no partial flush. `isCorked` gathers the
  /// packets into full segments: PUBACKs have 4 bytes each and one send(2) each.
  func loopWrite(isCorked: Bool) -> LibraryResult {
    let corked = isCorked && !isUnixSocket ? socket : nil
    if let corked { LibraryHandle.setCork(corked, 1) }
    let result = unsafe perform { unsafe mosquitto_loop_write($0, 1) }
    if isCorked { Failpoint.flushBeforeUncork.reach() }
    // Not when the library has closed it meanwhile: the number may already be another file's.
    if let corked, socket == corked { LibraryHandle.setCork(corked, 0) }
    return result
  }

  private static func setCork(_ descriptor: Int32, _ value: Int32) {
    var value = value
    _ = unsafe setsockopt(
      descriptor, Int32(IPPROTO_TCP), TCP_CORK, &value, socklen_t(MemoryLayout<Int32>.size))
  }

  func loopMisc() -> LibraryResult { unsafe perform { unsafe mosquitto_loop_misc($0) } }

  // MARK: Packets (queued only)

  func publish(
    topic: Span<UInt8>, payload: Span<UInt8>, quality: QualityOfService, retain: Bool,
    properties: Span<UInt8>, mid: inout Int32
  ) -> LibraryResult {
    for index in topic.indices where topic[index] == 0 {
      return LibraryResult(MOSQ_ERR_INVAL)
    }
    topicText.removeAll(keepingCapacity: true)
    topicText.append(topic)
    topicText.append(0)
    var list: OpaquePointer? = nil
    defer { unsafe mosquitto_property_free_all(&list) }
    let code = unsafe LibraryProperties.makePublish(properties, text: &propertyText, list: &list)
    guard code == 0 else { return LibraryResult(code: code, systemCode: 0) }
    errno = 0
    let result = unsafe topicText.withUnsafeBytes { topicBytes in
      unsafe payload.withUnsafeBufferPointer { payloadBytes in
        unsafe mosquitto_publish_v5(
          raw, &mid, topicBytes.baseAddress?.assumingMemoryBound(to: CChar.self),
          Int32(payloadBytes.count), payloadBytes.baseAddress, Int32(quality.rawValue), retain,
          list)
      }
    }
    return LibraryResult(code: result, systemCode: errno)
  }

  func subscribe(
    _ filters: [String], quality: QualityOfService, options: Int32, identifier: UInt32?,
    mid: inout Int32
  ) -> LibraryResult {
    var properties = unsafe LibraryProperties.makeSubscribe(identifier: identifier)
    defer { unsafe mosquitto_property_free_all(&properties) }
    return unsafe withTerminated(filters) { pointers in
      unsafe mosquitto_subscribe_multiple(
        raw, &mid, Int32(filters.count), pointers, Int32(quality.rawValue), options, properties)
    }
  }

  func unsubscribe(_ filters: [String], mid: inout Int32) -> LibraryResult {
    unsafe withTerminated(filters) { pointers in
      unsafe mosquitto_unsubscribe_multiple(raw, &mid, Int32(filters.count), pointers, nil)
    }
  }

  /// Lends an array of C strings. Refuses a filter with a NUL, and an empty one, for which a broker
  /// would end the connection.
  private func withTerminated(
    _ texts: [String],
    _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Int32
  ) -> LibraryResult {
    var bytes: [CChar] = []
    var starts: [Int] = []
    for text in texts {
      if text.isEmpty { return LibraryResult(MOSQ_ERR_INVAL) }
      starts.append(bytes.count)
      for byte in text.utf8 {
        if byte == 0 { return LibraryResult(MOSQ_ERR_INVAL) }
        bytes.append(CChar(bitPattern: byte))
      }
      bytes.append(0)
    }
    errno = 0
    let code = unsafe bytes.withUnsafeMutableBufferPointer { buffer in
      let pointers = unsafe starts.map { start in
        unsafe buffer.baseAddress.map { unsafe $0 + start }
      }
      return unsafe pointers.withUnsafeBufferPointer { list in
        unsafe list.baseAddress.map { unsafe body($0) } ?? MOSQ_ERR_INVAL.rawValue
      }
    }
    return LibraryResult(code: code, systemCode: errno)
  }

  /// Queues DISCONNECT with reason 0, which keeps the session as CONNECT asked, or ends it (MQTT 5
  /// only).
  func disconnect(endsSession: Bool) -> LibraryResult {
    var list = unsafe endsSession ? LibraryProperties.makeSessionEnd() : nil
    defer { unsafe mosquitto_property_free_all(&list) }
    return unsafe perform { unsafe mosquitto_disconnect_v5($0, 0, list) }
  }
}
