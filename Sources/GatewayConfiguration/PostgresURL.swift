// postgres://[user@][host[:port][,…]][/database][?option=value[&…]]: libpq reads it; here it is
// understood as far as secrets and plaintext are concerned.

/// Where a PostgreSQL database is, without a secret in it.
package struct PostgresURL: Sendable, Hashable {
  /// As libpq takes it.
  package let text: String
  /// Every host is this machine: traffic never leaves it.
  package let isLocal: Bool
  /// What the URL itself says of TLS; nil: nothing.
  package let tlsMode: String?

  /// Whether the text is meant to be one.
  package static func recognises(_ text: String) -> Bool {
    text.hasPrefix("postgres://") || text.hasPrefix("postgresql://")
  }

  private static let byteCountMax = 2_000
  /// libpq's words for "whether the server is who it says it is is not looked at".
  private static let uncheckedModes: Set<String> = ["disable", "allow", "prefer", "require"]

  /// Whether a server elsewhere may be somebody else.
  package var isUnchecked: Bool { !isLocal && tlsMode.map(Self.uncheckedModes.contains) == true }

  /// - Throws: what is wrong; never repeats what may be a password.
  package init(_ text: String) throws(Rejection) {
    guard Self.recognises(text), let start = text.firstRange(of: "://")?.upperBound else {
      throw Rejection("does not begin with postgres://")
    }
    guard text.utf8.count <= Self.byteCountMax,
      !text.unicodeScalars.contains(where: { CharacterClass.isControl($0) || $0 == " " })
    else { throw Rejection("is too long or has spaces or control characters", hidesText: true) }
    let parts = text[start...].split(
      separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    var authority = parts[0].prefix { $0 != "/" }
    if let at = authority.lastIndex(of: "@") {
      guard !authority[..<at].contains(":") else {
        throw Rejection(
          "carries a password; move it to database_password_file, or to the file that PGPASSFILE "
            + "names", hidesText: true)
      }
      authority = authority[at...].dropFirst()
    }
    var hosts = try authority.split(separator: ",").map(Self.host)
    var mode: String?
    for option in (parts.count > 1 ? parts[1] : "").split(separator: "&") {
      let pair = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard pair.count == 2, let value = Self.decoded(pair[1]) else {
        throw Rejection("has an option that is not name=value", hidesText: true)
      }
      switch pair[0] {
      case "password", "sslpassword":
        throw Rejection(
          "carries a password; move it to database_password_file, or to the file that passfile= "
            + "names", hidesText: true)
      case "host", "hostaddr": hosts += value.split(separator: ",").map(String.init)
      case "sslmode": mode = value
      default: break
      }
    }
    self.text = text
    // Without a host libpq takes the socket of this machine, or what PGHOST says.
    isLocal = !hosts.isEmpty && hosts.allSatisfy { $0.hasPrefix("/") || HostPort.isLoopback($0) }
    tlsMode = mode
  }

  private static func host(_ text: Substring) throws(Rejection) -> String {
    guard let plain = decoded(text) else { throw Rejection("has a broken % in its host") }
    if plain.hasPrefix("/") { return plain }
    let (host, port) = try HostPort.split(plain[...])
    guard HostPort.isHost(host), port.map({ HostPort.port($0) != nil }) ?? true else {
      throw Rejection("has no valid host and port")
    }
    return host
  }

  /// Percent-encoding taken off; nil when it is broken.
  private static func decoded(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = text.utf8
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard rest.count >= 2,
        let code = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
      else { return nil }
      bytes.append(code)
      rest = rest.dropFirst(2)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension ScalarKind where Value == String {
  /// A file of SQLite, or a database of PostgreSQL.
  static var database: ScalarKind {
    let file = path("a file for the database")
    return ScalarKind(
      accepted: "\(file.accepted), or postgres://user@host:port/database"
    ) { (text) throws(Rejection) in
      guard PostgresURL.recognises(text) else { return try file.read(text) }
      return try PostgresURL(text).text
    }
  }
}

/// How messages of the hub's outbox are found.
package enum HubOutboxReader: String, Sendable, Hashable, CaseIterable {
  /// By reading the table.
  case relay
  /// By reading the transaction log of PostgreSQL.
  case logReader = "log-reader"
}
