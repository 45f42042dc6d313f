/// Where metrics and health are served.
package struct ObservabilityOptions: Sendable, Hashable {
  /// Nil serves nothing. Loopback unless somebody asked for more.
  package var listen: ListenAddress? = ListenAddress(host: "127.0.0.1", port: 9464)

  package init() {}
}

/// A numeric address and port. Port 0 takes a free one and logs which.
package struct ListenAddress: Sendable, Hashable, CustomStringConvertible {
  package var host: String
  package var port: UInt16

  package init(host: String, port: UInt16) {
    self.host = host
    self.port = port
  }

  package var description: String {
    host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
  }
}

/// The shape of a log line.
package enum LogFormat: String, Sendable, Hashable, CaseIterable {
  case text
  case json
}
