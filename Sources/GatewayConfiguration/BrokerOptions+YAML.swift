import Mosquitto

extension BrokerOptions {
  static let keepAliveRange = Duration.seconds(5)...Duration.seconds(65_535)
  /// MQTT 5 counts seconds in 32 bits; the largest value means "never" and is not offered.
  static let sessionExpiryRange = Duration.seconds(1)...Duration.seconds(4_294_967_294)
  static let clientIDByteCountMax = 200
  /// Shorter would be a load of its own at the first endpoint.
  static let failbackRange = Duration.seconds(1)...Duration.seconds(86_400)

  /// Stands for the endpoints until `url` was read; never leaves this module.
  static let placeholder = BrokerEndpoint(host: "placeholder.invalid", port: 1)

  /// One entry of `brokers`.
  ///
  /// ## Configuration keys
  /// `url` (required, one or a list), `client_id`, `protocol`, `keep_alive`, `receive_maximum`,
  /// `session_expiry`, `failback`, `status_topic`, `username`, `password_file` or `password`,
  /// `tls`, `insecure_plaintext`, `link`.
  init(
    name: String, gatewayID: String?, section: inout SectionReader, surroundings: Surroundings
  ) {
    let clientID = "penstock-\(gatewayID ?? "")"
    self.init(
      name: name,
      connection: ConnectionOptions(endpoints: [Self.placeholder], clientID: clientID))
    if !section.isPresent("url") {
      section.reportMissing("url", accepted: ScalarKind<BrokerEndpoint>.brokerURL.accepted)
    }
    if let endpoints = section.list(
      "url", of: .brokerURL, count: 1...Self.endpointsMax, orOne: true)
    {
      connection.endpoints = endpoints
    }
    section.read("client_id", .clientID, into: &connection.clientID)
    section.read("protocol", .protocolVersion, into: &connection.protocolVersion)
    section.read("keep_alive", .wholeSeconds(Self.keepAliveRange), into: &connection.keepAlive)
    section.read(
      "failback", .duration(Self.failbackRange), none: "none", into: &connection.failbackInterval)
    section.read("insecure_plaintext", .boolean, into: &insecurePlaintext)
    section.section("link") { link.read(&$0) }
    statusTopic = "penstock/v1/\(gatewayID ?? "")/status"
    section.read("status_topic", .topicName, none: "none", into: &statusTopic)
    readSession(&section)
    readCredentials(&section, surroundings)
    readTLS(&section, surroundings)
    checkTransport(section)
  }

  private mutating func readSession(_ section: inout SectionReader) {
    if let maximum = section.value("receive_maximum", .integer(1...65_535)) {
      connection.receiveMaximum = UInt16(maximum)
    }
    section.read(
      "session_expiry", .wholeSeconds(Self.sessionExpiryRange), into: &connection.sessionExpiry)
    if connection.receiveMaximum > 1_000 {
      section.findings.warning(
        at: section.keyPath("receive_maximum"),
        "above 1000, the max_queued_messages of an untouched Mosquitto, that broker drops what "
          + "exceeds it; raise max_queued_messages there to ten times this value")
    }
    guard connection.protocolVersion == .v311 else { return }
    for (key, reason) in [
      ("receive_maximum", "the broker's max_inflight_messages decides"),
      ("session_expiry", "the broker's persistent_client_expiration decides"),
    ] where section.isPresent(key) {
      section.findings.error(
        at: section.keyPath(key), "exists in MQTT 5 only: with protocol 3.1.1 \(reason); remove it")
    }
  }

  private mutating func readCredentials(
    _ section: inout SectionReader, _ surroundings: Surroundings
  ) {
    connection.username = section.value(
      "username", .text("a user name", byteCounts: 1...1_024))
    let file = section.value("password_file", .path("a file with the password"))
    if let file {
      connection.password = .file(path: file)
      if let problem = surroundings.problemOfSecretFile(file) {
        section.findings.error(at: section.keyPath("password_file"), problem)
      }
    }
    readPassword(&section)
    if section.isPresent("password"), section.isPresent("password_file") {
      section.findings.error(
        at: section.keyPath("password"), "password and password_file exclude each other; keep one")
    }
    let hasPassword = section.isPresent("password") || section.isPresent("password_file")
    if hasPassword, !section.isPresent("username") {
      section.findings.error(
        at: section.keyPath("username"), "is required with a password; accepted: a user name")
    }
  }

  /// A literal is refused without repeating it.
  private mutating func readPassword(_ section: inout SectionReader) {
    if let source = section.source("password"), !source.isEmpty {
      guard let variable = Substitution.soleVariable(source) else {
        section.findings.error(
          at: section.keyPath("password"),
          "a password does not belong in this file; accepted: password_file: /path, "
            + "or password: ${env:NAME}")
        return
      }
      passwordVariable = variable
    }
    if let password = section.value("password", .secret) { connection.password = .value(password) }
  }

  private mutating func readTLS(_ section: inout SectionReader, _ surroundings: Surroundings) {
    let usesTLS = connection.endpoints.contains(where: \.usesTLS)
    if usesTLS { connection.tls = TLSOptions() }
    var options = TLSOptions()
    let isPresent = section.section("tls") { tls in
      options.authorityFile = tls.value(
        "ca_file", .path("a PEM file of certificate authorities"))
      options.certificateFile = tls.value("cert_file", .path("a PEM file of the own certificate"))
      options.keyFile = tls.value("key_file", .path("a PEM file of the own key"))
      options.applicationProtocol = tls.value(
        "alpn",
        .text("a protocol name", byteCounts: 1...TLSOptions.applicationProtocolByteCountMax))
      options.presharedKey = Self.presharedKey(&tls, surroundings)
      Self.checkPairs(tls)
      for (key, path) in [
        ("ca_file", options.authorityFile), ("cert_file", options.certificateFile),
      ] {
        if let path, let problem = surroundings.problemOfFile(path) {
          tls.findings.error(at: tls.keyPath(key), problem)
        }
      }
      if let path = options.keyFile, let problem = surroundings.problemOfSecretFile(path) {
        tls.findings.error(at: tls.keyPath("key_file"), problem)
      }
    }
    guard isPresent else { return }
    connection.tls = options
    guard !usesTLS, connection.endpoints != [Self.placeholder] else { return }
    let message = "has no effect: no url begins with mqtts://; use mqtts:// or remove the section"
    if connection.endpoints.allSatisfy(\.isLoopback) {
      section.findings.warning(at: section.keyPath("tls"), message)
    } else {
      section.findings.error(at: section.keyPath("tls"), message)
    }
  }

  private static func presharedKey(
    _ tls: inout SectionReader, _ surroundings: Surroundings
  ) -> TLSOptions.PresharedKey? {
    let identity = tls.value(
      "psk_identity", .text("a name for the key", byteCounts: 1...TLSOptions.identityByteCountMax))
    let file = tls.value("psk_file", .path("a file with the key in hexadecimal"))
    if let file, let problem = surroundings.problemOfSecretFile(file) {
      tls.findings.error(at: tls.keyPath("psk_file"), problem)
    }
    guard let identity, let file else { return nil }
    return TLSOptions.PresharedKey(identity: identity, keyFile: file)
  }

  /// What goes together, and what does not.
  private static func checkPairs(_ tls: SectionReader) {
    for (one, other) in [("cert_file", "key_file"), ("psk_identity", "psk_file")] {
      for (key, missing) in [(one, other), (other, one)]
      where tls.isPresent(key) && !tls.isPresent(missing) {
        tls.findings.error(at: tls.keyPath(missing), "is required with \(key)")
      }
    }
    guard tls.isPresent("psk_file") else { return }
    for key in ["ca_file", "cert_file", "key_file"] where tls.isPresent(key) {
      tls.findings.error(
        at: tls.keyPath(key), "has no effect with a pre-shared key, which replaces certificates")
    }
  }

  private func checkTransport(_ section: SectionReader) {
    guard !insecurePlaintext, connection.endpoints != [Self.placeholder] else { return }
    for endpoint in connection.endpoints where !endpoint.usesTLS && !endpoint.isLoopback {
      section.findings.error(
        at: section.keyPath("url"),
        "mqtt:// to another machine can be read and changed on the way; "
          + "accepted: mqtts://, a loopback address, or insecure_plaintext: true beside it")
      return
    }
  }
}

extension ScalarKind where Value == String {
  /// Characters that Mosquitto's ACL patterns refuse in a client id are refused here.
  fileprivate static var clientID: ScalarKind {
    let base = text("a client id", byteCounts: 1...BrokerOptions.clientIDByteCountMax)
    return ScalarKind(accepted: base.accepted + ", no + # /") { (text) throws(Rejection) in
      guard !text.contains(where: { "+#/".contains($0) }) else {
        throw Rejection("has characters that are not accepted")
      }
      return try base.read(text)
    }
  }

  /// MQTT counts the bytes of a password in 16 bits.
  fileprivate static var secret: ScalarKind {
    ScalarKind(accepted: "${env:NAME} of 1 to 65535 bytes") { (text) throws(Rejection) in
      guard (1...65_535).contains(text.utf8.count) else {
        throw Rejection("is empty or too long")
      }
      return text
    }
  }
}

extension ScalarKind where Value == ProtocolVersion {
  fileprivate static var protocolVersion: ScalarKind {
    ScalarKind(accepted: "5 or 3.1.1") { (text) throws(Rejection) in
      switch text {
      case "5": return .v5
      case "3.1.1": return .v311
      default: throw Rejection("is not a protocol version")
      }
    }
  }
}
