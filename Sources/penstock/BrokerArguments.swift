import ArgumentParser
import Mosquitto
import Platform

/// Which broker a one-shot command talks to, and as whom.
struct BrokerArguments: ParsableArguments {
  @Option(
    help: ArgumentHelp("The broker: mqtt://host:port or mqtts://host:port.", valueName: "url"),
    transform: BrokerArguments.endpoint)
  var broker = BrokerArguments.standard

  private static let standard = BrokerEndpoint(host: "127.0.0.1", port: 1883)

  @Option(help: "The user name.") var username: String?

  @Option(
    help: ArgumentHelp("The file that holds the password; one newline is cut.", valueName: "file"))
  var passwordFile: String?

  @Option(
    help: ArgumentHelp(
      "PEM file of the authorities to trust with mqtts; default: the system's.", valueName: "file"))
  var caFile: String?

  @Option(
    help: ArgumentHelp("PEM file of the client's certificate.", valueName: "file"))
  var certFile: String?

  @Option(help: ArgumentHelp("PEM file of the client's key.", valueName: "file"))
  var keyFile: String?

  @Option(
    name: .customLong("protocol"),
    help: ArgumentHelp("5, or 3.1.1 for brokers that speak nothing newer.", valueName: "version"),
    transform: BrokerArguments.version)
  var protocolVersion = ProtocolVersion.v5

  func validate() throws {
    if passwordFile != nil && username == nil {
      throw ValidationError("--password-file needs --username.")
    }
    if (certFile == nil) != (keyFile == nil) {
      throw ValidationError("--cert-file and --key-file go together.")
    }
    if !broker.usesTLS && (caFile != nil || certFile != nil) {
      throw ValidationError("--ca-file and --cert-file need a broker with mqtts://.")
    }
    if passwordFile != nil && !broker.usesTLS && !isLoopback {
      throw ValidationError(
        "a password would cross the network in clear: use mqtts://, or a broker on this machine.")
    }
    if let passwordFile, let status = try? FileStatus(path: passwordFile),
      status.permissions & 0o077 != 0
    {
      throw ValidationError(
        "--password-file \(passwordFile) can be read by others: chmod 600 \(passwordFile).")
    }
  }

  /// Whether the command line names another broker than the one of this machine, or credentials.
  var isGiven: Bool {
    broker != Self.standard || username != nil || caFile != nil || certFile != nil
  }

  private var isLoopback: Bool {
    broker.host == "localhost" || broker.host == "::1" || broker.host.hasPrefix("127.")
  }

  /// The options of a connection that keeps no session.
  func connection(clientID: String) -> ConnectionOptions {
    var options = ConnectionOptions(endpoints: [broker], clientID: clientID)
    options.protocolVersion = protocolVersion
    options.cleanStart = true
    options.sessionExpiry = .zero
    options.username = username
    options.password = passwordFile.map { .file(path: $0) }
    if broker.usesTLS {
      options.tls = TLSOptions(
        authorityFile: caFile, certificateFile: certFile, keyFile: keyFile)
    }
    return options
  }

  /// A client id that no other process of this machine uses now.
  static func uniqueClientID(_ command: String) -> String {
    var generator = SystemRandomNumberGenerator()
    return "penstock-\(command)-\(String(generator.next() as UInt32, radix: 36))"
  }

  /// mqtt://host[:port] or mqtts://host[:port]; an IPv6 address in brackets.
  static func endpoint(_ text: String) throws -> BrokerEndpoint {
    let refusal = ValidationError(
      "\(text) is not a broker: write mqtt://host:port or mqtts://host:port.")
    let usesTLS: Bool
    var rest: Substring
    if text.hasPrefix("mqtt://") {
      (usesTLS, rest) = (false, text.dropFirst(7))
    } else if text.hasPrefix("mqtts://") {
      (usesTLS, rest) = (true, text.dropFirst(8))
    } else {
      throw refusal
    }
    var port: UInt16 = usesTLS ? 8883 : 1883
    let hostEnd: Substring.Index
    if rest.hasPrefix("[") {
      guard let bracket = rest.firstIndex(of: "]") else { throw refusal }
      hostEnd = rest.index(after: bracket)
    } else {
      hostEnd = rest.firstIndex(of: ":") ?? rest.endIndex
    }
    if hostEnd < rest.endIndex {
      guard rest[hostEnd] == ":", let number = UInt16(rest[rest.index(after: hostEnd)...]),
        number > 0
      else { throw refusal }
      port = number
    }
    rest = rest[..<hostEnd]
    if rest.hasPrefix("[") { rest = rest.dropFirst().dropLast() }
    guard !rest.isEmpty, !rest.contains(where: { "/?#@ ".contains($0) }) else { throw refusal }
    return BrokerEndpoint(host: String(rest), port: port, usesTLS: usesTLS)
  }

  static func version(_ text: String) throws -> ProtocolVersion {
    switch text {
    case "5", "5.0": return .v5
    case "3.1.1": return .v311
    default: throw ValidationError("\(text) is not a protocol version: write 5 or 3.1.1.")
    }
  }

  /// A whole number with the unit ms, s, m or h.
  static func duration(_ text: String) throws -> Duration {
    let units: [(suffix: String, milliseconds: Int64)] = [
      ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000),
    ]
    for unit in units where text.hasSuffix(unit.suffix) {
      if let number = Int64(text.dropLast(unit.suffix.count)), (1...1_000_000_000).contains(number)
      {
        return .milliseconds(number * unit.milliseconds)
      }
    }
    throw ValidationError(
      "\(text) is not a duration: write a number with ms, s, m or h, as in 30s.")
  }
}
