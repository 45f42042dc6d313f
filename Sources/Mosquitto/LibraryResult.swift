import CMosquitto
import Glibc

/// What a call of the library returned, and errno directly after it.
struct LibraryResult {
  let code: Int32
  let systemCode: Int32

  static let success = LibraryResult(MOSQ_ERR_SUCCESS)
  static let connectionLost = LibraryResult(MOSQ_ERR_CONN_LOST)

  init(code: Int32, systemCode: Int32) {
    self.code = code
    self.systemCode = systemCode
  }

  init(_ code: mosq_err_t) { self.init(code: code.rawValue, systemCode: 0) }

  var isSuccess: Bool { code == MOSQ_ERR_SUCCESS.rawValue }

  /// The call succeeded and stopped because the socket had no more, or no room.
  var isWouldBlock: Bool { systemCode == EAGAIN || systemCode == EWOULDBLOCK }

  /// errno says what happened.
  var isSystemFailure: Bool { code == MOSQ_ERR_ERRNO.rawValue }

  /// The library refused a packet of ours before queueing anything.
  var isRefusedPacket: Bool {
    let refusals = [
      MOSQ_ERR_INVAL, MOSQ_ERR_PAYLOAD_SIZE, MOSQ_ERR_NOT_SUPPORTED, MOSQ_ERR_MALFORMED_UTF8,
      MOSQ_ERR_DUPLICATE_PROPERTY, MOSQ_ERR_QOS_NOT_SUPPORTED, MOSQ_ERR_OVERSIZE_PACKET,
      MOSQ_ERR_RETAIN_NOT_SUPPORTED, MOSQ_ERR_TOPIC_ALIAS_INVALID,
    ]
    return refusals.contains { $0.rawValue == code }
  }

  var errorCode: MosquittoError.Code {
    switch mosq_err_t(rawValue: code) {
    case MOSQ_ERR_NOMEM: .outOfMemory
    case MOSQ_ERR_PROTOCOL, MOSQ_ERR_MALFORMED_PACKET: .protocolViolation
    case MOSQ_ERR_NO_CONN: .notConnected
    case MOSQ_ERR_TLS, MOSQ_ERR_TLS_HANDSHAKE, MOSQ_ERR_OCSP: .tlsFailed
    case MOSQ_ERR_PAYLOAD_SIZE, MOSQ_ERR_OVERSIZE_PACKET: .packetTooLarge
    case MOSQ_ERR_EAI, MOSQ_ERR_LOOKUP: .nameNotResolved
    case MOSQ_ERR_KEEPALIVE: .keepAliveExpired
    case MOSQ_ERR_TIMEOUT: .timedOut
    case MOSQ_ERR_QOS_NOT_SUPPORTED, MOSQ_ERR_RETAIN_NOT_SUPPORTED, MOSQ_ERR_NOT_SUPPORTED:
      .unsupportedByBroker
    default: isRefusedPacket ? .invalidArgument : .connectionLost
    }
  }

  /// The library's text for the code; the system's where the library points to errno.
  var text: String {
    if isSystemFailure {
      guard let text = unsafe strerror(systemCode) else { return "error \(systemCode)" }
      return unsafe String(cString: text)
    }
    if code == MOSQ_ERR_EAI.rawValue {
      // The library leaves getaddrinfo's result in errno (lib/net_mosq.c, net__try_connect).
      guard let text = unsafe gai_strerror(systemCode) else { return "name not resolved" }
      return unsafe String(cString: text)
    }
    if isSuccess { return "the connection was closed" }
    guard let text = unsafe mosquitto_strerror(code) else { return "error \(code)" }
    // The library ends its texts with a full stop; ours are put together from parts.
    let sentence = unsafe String(cString: text)
    return sentence.hasSuffix(".") ? String(sentence.dropLast()) : sentence
  }
}
