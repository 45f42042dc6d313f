/// MQTT protocol levels that a connection can speak.
package enum ProtocolVersion: Sendable, Hashable {
  /// MQTT 5.0: the default. Reason codes, session expiry and receive maximum exist only here.
  case v5
  /// MQTT 3.1.1: weaker. A refused PUBLISH is acknowledged as a success.
  case v311
}

/// Where a broker listens.
package struct BrokerEndpoint: Sendable, Hashable, CustomStringConvertible {
  /// A name, an address, or the path of a Unix socket.
  package var host: String
  /// 0 only for a Unix socket, as libmosquitto has it.
  package var port: UInt16
  package var usesTLS: Bool

  package init(host: String, port: UInt16, usesTLS: Bool = false) {
    self.host = host
    self.port = port
    self.usesTLS = usesTLS
  }

  /// A socket in the file system of this machine.
  package init(unixSocket path: String) { self.init(host: path, port: 0) }

  /// Terminated, it must fit `sockaddr_un`.
  package static let socketPathByteCountMax = 107

  package var isUnixSocket: Bool { port == 0 }

  package var description: String {
    isUnixSocket ? "unix://\(host)" : "\(usesTLS ? "mqtts" : "mqtt")://\(host):\(port)"
  }
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

/// TLS of one connection: 1.2 or newer. The server's certificate chain and name are always
/// verified, or both sides show that they know a pre-shared key.
package struct TLSOptions: Sendable, Hashable {
  /// PEM file of the certificate authorities to trust; nil means the system's store.
  package var authorityFile: String?
  /// PEM files of the client's own certificate and key, for mutual TLS. Both or neither.
  package var certificateFile: String?
  package var keyFile: String?
  /// The name to offer in ALPN (RFC 7301), for brokers that share a port by it; nil offers none.
  package var applicationProtocol: String?
  /// Instead of all certificates.
  package var presharedKey: PresharedKey?

  /// A key that both sides have. Verifies the broker as well: no certificate is accepted.
  package struct PresharedKey: Sendable, Hashable {
    /// Tells the broker which key.
    package var identity: String
    /// A file with the key in hexadecimal.
    package var keyFile: String

    package init(identity: String, keyFile: String) {
      self.identity = identity
      self.keyFile = keyFile
    }
  }

  /// ALPN counts bytes in 8 bits.
  package static let applicationProtocolByteCountMax = 255
  /// PSK_MAX_IDENTITY_LEN of OpenSSL 1.1, which brokers may be built with.
  package static let identityByteCountMax = 127

  package init(
    authorityFile: String? = nil, certificateFile: String? = nil, keyFile: String? = nil
  ) {
    self.authorityFile = authorityFile
    self.certificateFile = certificateFile
    self.keyFile = keyFile
  }

  /// Everything that is read at a connect.
  package var files: [String] {
    [authorityFile, certificateFile, keyFile, presharedKey?.keyFile].compactMap(\.self)
  }
}

/// What the broker publishes, at QoS 1, when a connection ends without a DISCONNECT.
package struct Will: Sendable, Hashable {
  package var topic: String
  package var payload: [UInt8]
  package var retain: Bool

  package init(topic: String, payload: [UInt8], retain: Bool) {
    self.topic = topic
    self.payload = payload
    self.retain = retain
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
  package var will: Will?
  /// While connected to another endpoint than the first: how often the first is asked whether it
  /// accepts connections again, upon which they go back. Nil stays until the connection is lost.
  package var failbackInterval: Duration? = .seconds(300)
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
