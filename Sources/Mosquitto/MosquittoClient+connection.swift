// How a connection comes to be and how it ends.

import GatewayCore
import Glibc
import Logging
import Platform

extension MosquittoClient {
  /// A handle whose TCP connection stands. A name may have addresses of both families and the
  /// library tries only the first that does not fail at once, so a name gets a second try with
  /// IPv4.
  func openTransport(
    to endpoint: BrokerEndpoint, until deadline: MonotonicTime
  ) throws(MosquittoError) -> LibraryHandle {
    guard !endpoint.isUnixSocket, !SocketWait.isAddress(endpoint.host) else {
      return try open(endpoint, bindAddress: nil, until: deadline)
    }
    let half = Clock.monotonic() + .nanoseconds(options.connectTimeout.nanoseconds / 2)
    let first: MosquittoError
    do throws(MosquittoError) {
      return try open(endpoint, bindAddress: nil, until: half)
    } catch {
      guard [.portClosed, .unreachable, .timedOut].contains(error.code) else { throw error }
      first = error
    }
    do throws(MosquittoError) {
      return try open(endpoint, bindAddress: "0.0.0.0", until: deadline)
    } catch {
      // Without an IPv4 address the second try says nothing about the broker.
      throw error.code == .unreachable ? first : error
    }
  }

  private func open(
    _ endpoint: BrokerEndpoint, bindAddress: String?, until deadline: MonotonicTime
  ) throws(MosquittoError) -> LibraryHandle {
    let handle = try makeHandle(for: endpoint)
    let started = handle.startConnection(endpoint, options: options, bindAddress: bindAddress)
    // Success or MOSQ_ERR_CONN_PENDING, which is negative.
    guard started.code <= 0, let socket = handle.socket else {
      throw started.isSystemFailure
        ? transportFailure(started.systemCode) : failure(started, of: handle)
    }
    let code = SocketWait.connected(
      socket, until: deadline, lastCode: started.systemCode)
    guard code == 0 else { throw transportFailure(code) }
    return handle
  }

  private func makeHandle(for endpoint: BrokerEndpoint) throws(MosquittoError) -> LibraryHandle {
    let handle = LibraryHandle(
      clientID: options.clientID, cleanStart: options.cleanStart,
      isUnixSocket: endpoint.isUnixSocket, context: context)
    guard let handle else {
      throw MosquittoError(
        .invalidOptions, endpoint: endpoint,
        detail: "libmosquitto refuses the client id “\(options.clientID)”")
    }
    try check(handle.setOptions(options, for: endpoint), "options", endpoint)
    if let username = options.username {
      let password = try readPassword(endpoint)
      try check(
        handle.setCredentials(username: username, password: password), "user name", endpoint)
    } else if options.password != nil {
      throw MosquittoError(
        .invalidOptions, endpoint: endpoint, detail: "a password without a user name")
    }
    if endpoint.usesTLS {
      let tls = options.tls ?? TLSOptions()
      for path in tls.files { try checkReadable(path, endpoint) }
      let made: TLSContext
      do throws(TLSContext.Failure) {
        made = try TLSContext(tls, host: endpoint.host)
      } catch {
        throw MosquittoError(.invalidOptions, endpoint: endpoint, detail: error.reason)
      }
      try check(handle.setTLS(made), "TLS options", endpoint)
    }
    if let will = options.will { try check(handle.setWill(will), "will", endpoint) }
    return handle
  }

  private func check(
    _ result: LibraryResult, _ what: String, _ endpoint: BrokerEndpoint
  ) throws(MosquittoError) {
    guard !result.isSuccess else { return }
    throw MosquittoError(
      .invalidOptions, number: result.code, endpoint: endpoint,
      detail: "libmosquitto refuses the \(what): \(result.text)")
  }

  private func checkReadable(
    _ path: String, _ endpoint: BrokerEndpoint
  ) throws(MosquittoError) {
    do {
      _ = try File.open(path, flags: O_RDONLY)
    } catch {
      throw MosquittoError(
        .unreadableFile, systemCode: error.code, endpoint: endpoint, detail: "\(error)")
    }
  }

  /// One trailing newline of a file is cut. A NUL would silently end the password for the library.
  private func readPassword(_ endpoint: BrokerEndpoint) throws(MosquittoError) -> String? {
    let text: String
    switch options.password {
    case nil: return nil
    case .value(let value): text = value
    case .file(let path):
      do throws(SystemError) {
        var bytes = try File.readSmall(path, byteCountMax: 65_535)
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        text = String(decoding: bytes, as: UTF8.self)
      } catch {
        throw MosquittoError(
          .unreadableFile, systemCode: error.code, endpoint: endpoint, detail: "\(error)")
      }
    }
    guard !text.utf8.contains(0) else {
      throw MosquittoError(
        .invalidOptions, endpoint: endpoint, detail: "the password contains a NUL byte")
    }
    return text
  }

  // MARK: How it ends

  /// Looks at what a call returned and at what became of the connection. Throws when it is gone
  /// without our asking, and for a refused packet, which leaves the connection as it is.
  mutating func settle(_ result: LibraryResult) throws(MosquittoError) {
    if result.isSuccess && handle?.socket != nil { return }
    if result.isRefusedPacket && handle?.socket != nil { throw failure(result) }
    guard !(result.isSuccess && isDisconnecting) else {
      close()
      return
    }
    try end(with: failure(result))
  }

  /// Ends the connection because of `error`, tells the handler, throws.
  mutating func end(with error: MosquittoError) throws(MosquittoError) {
    logger.debug(
      "Connection ended",
      metadata: ["mosquitto.client": "\(options.clientID)", "mosquitto.cause": "\(error.detail)"])
    close()
    throw error
  }

  private mutating func close() {
    // Whatever is queued goes with the handle.
    handle = nil
    acceptanceDeadline = nil
    context.disconnected(context.disconnectReason)
  }

  func notConnected() -> MosquittoError {
    MosquittoError(.notConnected, endpoint: endpoint, detail: "there is no connection")
  }

  private func transportFailure(_ code: Int32) -> MosquittoError {
    let kind: MosquittoError.Code =
      switch code {
      case ECONNREFUSED: .portClosed
      case ENOENT where endpoint?.isUnixSocket == true: .portClosed
      case ETIMEDOUT: .timedOut
      // With TLS the library writes as soon as TCP stands; what takes it badly is no TLS server.
      case ECONNRESET, EPIPE, ENOTCONN: endpoint?.usesTLS == true ? .tlsFailed : .unreachable
      default: .unreachable
      }
    return MosquittoError(
      kind, systemCode: code, endpoint: endpoint,
      detail: "cannot connect: \(SystemError("connect", code: code).reason)")
  }

  /// The library's result in our words, with what the broker or OpenSSL said.
  /// - Parameter early: a handle that failed before it was ours.
  private func failure(
    _ result: LibraryResult, of early: LibraryHandle? = nil
  ) -> MosquittoError {
    if let reason = context.refusal {
      return MosquittoError(
        .brokerRefused, number: result.code, reason: reason, endpoint: endpoint,
        detail: "the broker refuses the connection: \(reason)")
    }
    if let reason = context.disconnectReason {
      return MosquittoError(
        .disconnectedByBroker, number: result.code, reason: reason, endpoint: endpoint,
        detail: "the broker ended the connection: \(reason)")
    }
    var cause = context.complaint.isEmpty ? result.text : "\(result.text) (\(context.complaint))"
    if let reason = (early ?? handle)?.verificationFailure { cause += ": \(reason)" }
    // While TLS is being agreed on, the library reports a bad peer as a system error or a loss.
    let isHandshake = endpoint?.usesTLS == true && !context.isAccepted
    let isLoss = result.isSystemFailure || result.errorCode == .connectionLost
    return MosquittoError(
      isLoss && isHandshake ? .tlsFailed : result.errorCode, number: result.code,
      systemCode: result.systemCode, endpoint: endpoint,
      detail: cause)
  }
}
