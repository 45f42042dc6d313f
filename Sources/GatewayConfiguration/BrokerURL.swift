// mqtt://host[:port], mqtts://host[:port] and unix:///path. Nothing else: no user, no query.

import Mosquitto

extension ScalarKind where Value == BrokerEndpoint {
  /// Ports default to 1883 and 8883 (IANA: mqtt, secure-mqtt).
  static var brokerURL: ScalarKind {
    ScalarKind(
      accepted: "mqtt://host:port, mqtts://host:port or unix:///path"
    ) { (text) throws(Rejection) in
      if text.hasPrefix("unix:") { return try unixSocket(text.dropFirst("unix:".count)) }
      if text.utf8.contains(UInt8(ascii: "@")) {
        throw Rejection(
          "carries credentials; move them to username and password_file", hidesText: true)
      }
      let usesTLS: Bool
      let rest: Substring
      if text.hasPrefix("mqtts://") {
        usesTLS = true
        rest = text.dropFirst("mqtts://".count)
      } else if text.hasPrefix("mqtt://") {
        usesTLS = false
        rest = text.dropFirst("mqtt://".count)
      } else if text.hasPrefix("tcp://") || text.hasPrefix("ssl://") || text.hasPrefix("ws") {
        throw Rejection("has a scheme that is not spoken here")
      } else {
        throw Rejection("does not begin with mqtt://, mqtts:// or unix://")
      }
      guard !rest.contains(where: { "/?# ".contains($0) }) else {
        throw Rejection("has something behind host and port")
      }
      let (host, portText) = try HostPort.split(rest)
      var port: UInt16 = usesTLS ? 8883 : 1883
      if let portText {
        guard let number = HostPort.port(portText), number > 0 else {
          throw Rejection("has a port that is not a number from 1 to 65535")
        }
        port = number
      }
      guard HostPort.isHost(host) else { throw Rejection("has no valid host") }
      return BrokerEndpoint(host: host, port: port, usesTLS: usesTLS)
    }
  }
}

extension ScalarKind where Value == BrokerEndpoint {
  private static func unixSocket(_ text: Substring) throws(Rejection) -> BrokerEndpoint {
    let path = text.hasPrefix("///") ? text.dropFirst(2) : text
    guard path.hasPrefix("/"), path.utf8.count > 1, !path.hasPrefix("//"),
      !path.utf8.contains(0)
    else { throw Rejection("has no absolute path, as in unix:///run/mosquitto/mosquitto.sock") }
    guard path.utf8.count <= BrokerEndpoint.socketPathByteCountMax else {
      throw Rejection(
        "has a path of \(path.utf8.count) bytes; a socket's has at most "
          + "\(BrokerEndpoint.socketPathByteCountMax)")
    }
    return BrokerEndpoint(unixSocket: String(path))
  }
}

extension BrokerEndpoint {
  /// Traffic to it never leaves this machine.
  var isLoopback: Bool { isUnixSocket || HostPort.isLoopback(host) }

  /// As `mqtt[s]://host:port`, an IPv6 address in brackets, or as `unix:///path`.
  var url: String {
    if isUnixSocket { return description }
    let shownHost = host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host
    return "\(usesTLS ? "mqtts" : "mqtt")://\(shownHost):\(port)"
  }

  /// Whether both mean one broker, as far as text can tell.
  func isSameBroker(as other: BrokerEndpoint) -> Bool {
    guard port == other.port else { return false }
    if isUnixSocket { return host == other.host }
    return host.lowercased() == other.host.lowercased() || (isLoopback && other.isLoopback)
  }
}

/// Hosts and ports in text.
enum HostPort {
  /// `host`, `host:port`, `[v6]`, `[v6]:port`.
  static func split(_ text: Substring) throws(Rejection) -> (host: String, port: Substring?) {
    if text.hasPrefix("[") {
      guard let end = text.firstIndex(of: "]") else { throw Rejection("has a [ without its ]") }
      let host = String(text[..<end].dropFirst())
      guard isIPv6(host) else { throw Rejection("has no IPv6 address in its brackets") }
      let rest = text[end...].dropFirst()
      if rest.isEmpty { return (host, nil) }
      guard rest.hasPrefix(":") else { throw Rejection("has something behind its ]") }
      return (host, rest.dropFirst())
    }
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count <= 2, let host = parts.first else {
      throw Rejection("needs brackets around its IPv6 address")
    }
    return (String(host), parts.count == 2 ? parts[1] : nil)
  }

  static func port(_ text: Substring) -> UInt16? {
    guard !text.isEmpty, text.utf8.allSatisfy(Quantity.isDigit) else { return nil }
    return UInt16(text)
  }

  static func isHost(_ text: String) -> Bool {
    if isIPv6(text) { return true }
    let isWord =
      (1...253).contains(text.utf8.count)
      && text.utf8.allSatisfy {
        Identifier.isWordByte($0) || "-._".utf8.contains($0)
      }
    return isWord && !text.hasPrefix(".") && !text.hasPrefix("-")
  }

  static func isIPv4(_ text: String) -> Bool {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4
      && parts.allSatisfy {
        (1...3).contains($0.utf8.count) && $0.utf8.allSatisfy(Quantity.isDigit)
          && UInt8($0) != nil && ($0.utf8.count == 1 || !$0.hasPrefix("0"))
      }
  }

  /// RFC 4291, section 2.2, without a zone and without an embedded IPv4 address.
  static func isIPv6(_ text: String) -> Bool {
    let halves = text.split(separator: "::", omittingEmptySubsequences: false)
    guard text.utf8.contains(UInt8(ascii: ":")), halves.count <= 2 else { return false }
    var groupCount = 0
    for half in halves where !half.isEmpty {
      for group in half.split(separator: ":", omittingEmptySubsequences: false) {
        guard (1...4).contains(group.utf8.count), group.allSatisfy({ $0.isASCII && $0.isHexDigit })
        else { return false }
        groupCount += 1
      }
    }
    return halves.count == 2 ? groupCount <= 7 : groupCount == 8
  }

  static func isLoopback(_ host: String) -> Bool {
    let name = host.lowercased()
    if name == "localhost" || name.hasSuffix(".localhost") || name == "::1" { return true }
    return isIPv4(name) && name.hasPrefix("127.")
  }
}
