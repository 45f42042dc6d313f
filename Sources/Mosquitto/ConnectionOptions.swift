/// MQTT protocol levels that a connection can speak.
package enum ProtocolVersion: Sendable, Hashable {
  /// MQTT 5.0: the default. Reason codes, session expiry and receive maximum exist only here.
  case v5
  /// MQTT 3.1.1: weaker. A refused PUBLISH is acknowledged as a success.
  case v311
}

/// Where a broker listens.
package struct BrokerEndpoint: Sendable, Hashable, CustomStringConvertible {
  package var host: String
  package var port: UInt16
  package var usesTLS: Bool

  package init(host: String, port: UInt16, usesTLS: Bool = false) {
    self.host = host
    self.port = port
    self.usesTLS = usesTLS
  }

  package var description: String { "\(usesTLS ? "mqtts" : "mqtt")://\(host):\(port)" }
}

/// A secret from a file or the environment. Prints as `•••`; never logged, never in argv.
package enum Secret: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible {
  /// Read anew at each connect; one trailing newline is cut.
  case file(path: String)
  case value(String)

  package var description: String {
    switch self {
    case .file(let path): "file \(path)"
    case .value: "•••"
    }
  }

  package var debugDescription: String { description }
}

/// TLS of one connection. The server's certificate chain and name are always verified.
package struct TLSOptions: Sendable, Hashable {
  /// PEM file of the certificate authorities to trust; nil means the system's store.
  package var authorityFile: String?
  /// PEM files of the client's own certificate and key, for mutual TLS. Both or neither.
  package var certificateFile: String?
  package var keyFile: String?

  package init(
    authorityFile: String? = nil, certificateFile: String? = nil, keyFile: String? = nil
  ) {
    self.authorityFile = authorityFile
    self.certificateFile = certificateFile
    self.keyFile = keyFile
  }
}

/// Everything one connection to one broker needs.
package struct ConnectionOptions: Sendable, Hashable {
  /// Tried in order, from the first again after the last. Never empty.
  package var endpoints: [BrokerEndpoint]
  package var clientID: String
  package var protocolVersion: ProtocolVersion = .v5
  /// False keeps the session (and its waiting messages) over a disconnect.
  package var cleanStart: Bool = false
  /// How long the broker keeps the session after a disconnect. MQTT 5 only; with `cleanStart` false
  /// and no expiry an MQTT 5 broker drops the session at once.
  package var sessionExpiry: Duration = .seconds(7 * 86_400)
  package var keepAlive: Duration = .seconds(60)
  /// Un-acknowledged QoS 1 messages the broker may have outstanding towards us. MQTT 5 only. Bounds
  /// a group commit. Below the `max_queued_messages` of the broker (Mosquitto: 1000).
  package var receiveMaximum: UInt16 = 900
  /// The largest packet we accept, announced in CONNECT. MQTT 5 only; nil announces none.
  package var maximumPacketByteCount: UInt32?
  package var username: String?
  package var password: Secret?
  package var tls: TLSOptions?
  /// Bounds name resolution, TCP connect and handshake together; below the watchdog period.
  package var connectTimeout: Duration = .seconds(10)
  /// How long the pauses may be after the broker has ended a connection that it had accepted. For
  /// a broker that many gateways share: when it is restarted, they come back one after the other.
  package var reconnectSpread: Duration = .zero

  package init(endpoints: [BrokerEndpoint], clientID: String) {
    precondition(!endpoints.isEmpty, "a connection needs an endpoint")
    self.endpoints = endpoints
    self.clientID = clientID
  }
}
