/// Why a connection could not be made, used or kept. `description` names the broker, the cause and
/// what to check; it never holds a secret.
package struct MosquittoError: Error, Sendable, Hashable, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    /// The options contradict themselves or the library refuses them. Will not heal by itself.
    case invalidOptions
    /// A password, certificate or key file cannot be read.
    case unreadableFile
    case nameNotResolved
    /// Nothing listens there: TCP refused.
    case portClosed
    /// No route, network down, or TCP failed in another way.
    case unreachable
    /// TCP, TLS or CONNACK did not come within `connectTimeout`.
    case timedOut
    case tlsFailed
    /// CONNACK with a failure: see `reason`.
    case brokerRefused
    /// The broker sent DISCONNECT: see `reason`.
    case disconnectedByBroker
    case connectionLost
    case keepAliveExpired
    /// The broker, or something that is no broker, sent what MQTT does not allow.
    case protocolViolation
    /// Larger than the broker takes. The connection is unharmed.
    case packetTooLarge
    /// A topic, filter or property that MQTT does not allow. The connection is unharmed.
    case invalidArgument
    /// A QoS or a retain flag that this broker does not take. The connection is unharmed.
    case unsupportedByBroker
    case notConnected
    case outOfMemory
  }

  package let code: Code
  /// The result of libmosquitto (`MOSQ_ERR_…`); 0 when the library was not asked.
  package let number: Int32
  /// errno, where the cause was a system call; else 0.
  package let systemCode: Int32
  /// The broker's reason, for `brokerRefused` and `disconnectedByBroker`.
  package let reason: ReasonCode?
  package let endpoint: BrokerEndpoint?
  /// What happened, from the library, the system or OpenSSL.
  package let detail: String

  /// Whether the other side has ended a connection, in order or not, so that it has perhaps ended
  /// all of them.
  package var isEndByPeer: Bool { code == .connectionLost || code == .disconnectedByBroker }

  package init(
    _ code: Code, number: Int32 = 0, systemCode: Int32 = 0, reason: ReasonCode? = nil,
    endpoint: BrokerEndpoint?, detail: String
  ) {
    self.code = code
    self.number = number
    self.systemCode = systemCode
    self.reason = reason
    self.endpoint = endpoint
    self.detail = detail
  }

  /// The same error, naming `endpoint` if it named none: for what an owner of a connection found
  /// wrong with the broker's answers, so that every message says which broker is meant.
  package func naming(_ endpoint: BrokerEndpoint) -> MosquittoError {
    guard self.endpoint == nil else { return self }
    return MosquittoError(
      code, number: number, systemCode: systemCode, reason: reason, endpoint: endpoint,
      detail: detail)
  }

  package var description: String {
    let place = endpoint.map { "\($0): " } ?? ""
    return "\(place)\(detail). \(advice)"
  }

  /// What a person should look at next, one sentence.
  package var advice: String {
    switch code {
    case .invalidOptions: "Check the connection's options in the configuration."
    case .unreadableFile: "Check that the file exists and that this user may read it."
    case .nameNotResolved: "Check the host name and the machine's DNS."
    case .portClosed:
      endpoint?.isUnixSocket == true
        ? "Check that the broker runs and that the path is right."
        : "Check that the broker runs and that the port is right."
    case .unreachable: "Check the address, the network and the firewall."
    case .timedOut:
      "Check the firewall, and that this port speaks \(endpoint?.usesTLS == true ? "TLS" : "MQTT")."
    case .tlsFailed:
      "Check that the CA file signed the broker's certificate, that its names include the host, "
        + "its dates, that the port speaks TLS, and the broker's log."
    case .brokerRefused: reasonAdvice
    case .disconnectedByBroker: reasonAdvice
    case .connectionLost: "Check the broker's log for this client id."
    case .keepAliveExpired: "Check the network; the broker stopped answering."
    case .protocolViolation: "Check that this port is an MQTT broker's, and its version."
    case .packetTooLarge: "Check the broker's maximum packet size against the batch size."
    case .unsupportedByBroker: "Allow QoS 1 and retained messages at the broker."
    case .invalidArgument: "Check the topic or filter: UTF-8, no NUL, wildcards only in filters."
    case .notConnected: "Connect first."
    case .outOfMemory: "Check the memory limit of the service."
    }
  }

  private var reasonAdvice: String {
    switch reason {
    case .badUserNameOrPassword?, .notAuthorized?:
      "Check the user name, the password and the broker's access rules."
    case .clientIdentifierNotValid?: "Check the client id."
    case .unsupportedProtocolVersion?: "Check the protocol: the broker does not speak this version."
    case .sessionTakenOver?: "Check for a second client with the same client id."
    case .serverUnavailable?, .serverBusy?, .serverShuttingDown?: "Check the broker's health."
    case .packetTooLarge?, .receiveMaximumExceeded?, .quotaExceeded?:
      "Check the broker's limits against ours."
    default: "Check the broker's log for this client id."
    }
  }
}
