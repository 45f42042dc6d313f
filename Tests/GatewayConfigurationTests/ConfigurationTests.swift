// Goal: what a file cannot show: this machine's files and variables, warnings, secrets, limits, and
// input that is no configuration at all. Method: texts made here; garbage from a fixed seed. Cannot
// show: faults of libyaml that need more than these inputs.

import Batching
import GatewayCore
import Glibc
import Ingest
import Mosquitto
import Platform
import RingJournal
import Testing
import Upstream

@testable import GatewayConfiguration

@Suite struct ConfigurationTests {
  @Test("a file that is not there is one error, and says so")
  func missingFile() throws {
    let error = try #require(throws: ConfigurationError.self) {
      try Configuration.load(path: "/missing/penstock.yaml", surroundings: sampleSurroundings)
    }
    #expect(
      error.description
        == "/missing/penstock.yaml: cannot be read: No such file or directory; "
        + "accepted: a YAML file of at most 1MiB")
  }

  @Test("more than 1 MiB is refused before it is parsed")
  func tooLarge() throws {
    let text = configuration() + String(repeating: "#", count: 1 << 20)
    #expect(errors(in: text).contains("accepted: at most 1048576"))
    let directory = try TemporaryDirectory(prefix: "penstock-configuration")
    try File.replace("\(directory.path)/big.yaml", with: Array(text.utf8))
    #expect(throws: ConfigurationError.self) {
      try Configuration.load(path: "\(directory.path)/big.yaml")
    }
  }

  @Test("every error of a file is reported, in the order of the file")
  func allErrors() {
    let text = configuration(
      gateway: "site: a b", broker: "keep_alive: 60", route: "max_recrod: 1MiB\nmissing_id: x",
      sink: "max_in_flight: 0")
    let lines = errors(in: text).split(separator: "\n")
    #expect(lines.count == 5)
    for (line, key) in zip(
      lines,
      [
        "gateway.site", "brokers.field.keep_alive", "routes[0].max_recrod", "routes[0].missing_id",
        "routes[0].to[0].max_in_flight",
      ])
    {
      #expect(line.contains(": \(key): "), "\(line)")
    }
  }

  @Test("client ids, sessions and packet limits follow direction")
  func connections() throws {
    let options = try parse(
      configuration(broker: "receive_maximum: 20\nsession_expiry: 1d", route: "max_record: 4KiB")
    ).options
    let route = try #require(options.routes.first)
    #expect(route.ingest.connection.clientID == "penstock-gw-1-telemetry-in")
    #expect(!route.ingest.connection.cleanStart)
    #expect(route.ingest.connection.sessionExpiry == .seconds(86_400))
    #expect(route.ingest.connection.receiveMaximum == 20)
    #expect(route.ingest.connection.maximumPacketByteCount == 65_536)
    let outbound = try #require(route.sinks.first).connection
    #expect(outbound.clientID == "penstock-gw-1-telemetry-central-out")
    #expect(outbound.cleanStart)
    #expect(outbound.sessionExpiry == .zero)
    #expect(outbound.maximumPacketByteCount == nil)
  }

  @Test("only what all gateways share is returned to one after the other")
  func reconnectSpread() throws {
    func spreads(central: String) throws -> [Duration] {
      let text = """
        gateway: {id: gw-1}
        brokers:
          field: {url: "mqtts://10.0.0.1"}
          central: {url: "\(central)"}
        routes:
          - {name: up, from: field, subscribe: ["a/#"], to: [{name: c, broker: central}]}
          - name: down
            from: central
            subscribe: ["gateways/gw-1/#"]
            expire_after: 60s
            to: [{name: f, broker: field, format: raw}]
        """
      let routes = try parse(text).options.routes
      return routes.flatMap { route in
        [route.ingest.connection.reconnectSpread] + route.sinks.map(\.connection.reconnectSpread)
      }
    }
    #expect(
      try spreads(central: "mqtts://central.example") == [.zero, .seconds(50), .seconds(50), .zero])
    #expect(try spreads(central: "mqtt://127.0.0.1:1884") == [.zero, .zero, .zero, .zero])
  }

  @Test("what is legal and odd is a warning")
  func warnings() throws {
    let text = """
      gateway: {id: gw-1}
      brokers:
        field: {url: "mqtt://127.0.0.1", receive_maximum: 2000, tls: {ca_file: /etc/ca.pem}}
        central: {url: "mqtts://central.example.com"}
        spare: {url: "mqtt://localhost:1999"}
      routes:
        - {name: a, from: field, subscribe: [x/+, +/y], to: [{name: c, broker: central}]}
        - {name: b, from: field, subscribe: [x/#, x/z], to: [{name: c, broker: central}]}
        - {name: d, from: field, subscribe: [out/q], to: [{name: c, broker: central}]}
        - name: e
          from: field
          subscribe: [q]
          to: [{name: c, broker: field, format: raw, topic_map: {add_prefix: out/}}]
      """
    let warnings = try parse(text).warnings.map(\.keyPath)
    #expect(
      warnings == [
        "brokers.field.receive_maximum", "brokers.field.tls", "brokers.spare",
        "routes[0].subscribe[1]", "routes[1].subscribe", "routes[3].to[0]",
      ])
  }

  @Test("a password from the environment is used and never shown")
  func passwordFromEnvironment() throws {
    let options = try parse(
      configuration(broker: "username: penstock\npassword: ${env:FIELD_PASSWORD}")
    ).options
    #expect(options.routes.first?.ingest.connection.password == .value(secret))
    #expect(options.effectiveText.contains("password: \"${env:FIELD_PASSWORD}\""))
    for text in ["\(options)", String(reflecting: options), options.effectiveText] {
      #expect(!text.contains(secret))
    }
  }

  @Test("a password file must exist and belong to its owner alone")
  func passwordFile() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-configuration")
    let path = "\(directory.path)/password"
    let text = configuration(broker: "username: penstock\npassword_file: \(path)")
    func found() -> String {
      do throws(ConfigurationError) {
        _ = try parse(text, surroundings: .process)
        return ""
      } catch { return error.description }
    }
    #expect(found().contains("cannot be read: No such file or directory"))
    try File.replace(path, with: [])
    #expect(found().contains("is empty"))
    try File.replace(path, with: Array("\(secret)\n".utf8))
    #expect(found() == "")
    for mode in [0o640, 0o604, 0o660, 0o644] as [mode_t] {
      #expect(unsafe chmod(path, mode) == 0)
      #expect(found().contains("chmod 600"), "mode \(String(mode, radix: 8))")
    }
    #expect(unsafe chmod(path, 0o400) == 0)
    #expect(found() == "")
  }

  /// Telemetry up, commands down.
  private func commands(
    _ expiry: String, broker: String = "", sink: String = "format: raw"
  ) -> String {
    configuration(broker: broker) + """

        - name: commands
          from: central
          subscribe: [gateways/gw-1/#]
      \(expiry)
          to: [{name: field, broker: field, \(sink)}]
      """
  }

  @Test("a route that carries commands needs an expiry, and keeps what expires")
  func commandRoutes() throws {
    let options = try parse(commands("    expire_after: 60s")).options
    #expect(options.routes.map(\.isCommandRoute) == [false, true])
    #expect(options.routes[1].journal.expireAfter == .seconds(60))
    #expect(options.routes.map(\.journal.keepsExpired) == [false, true])
    #expect(options.routes.map { $0.sinks[0].batch.keepsExpired } == [false, true])
    for expiry in ["", "    expire_after: none"] {
      let error = try #require(throws: ConfigurationError.self) { try parse(commands(expiry)) }
      #expect(error.diagnostics.map(\.keyPath) == ["routes[1].expire_after"])
    }
  }

  @Test("a command that cannot say how long it holds, or that nobody can read, is a warning")
  func commandWarnings() throws {
    let old = try parse(
      commands(
        "    expire_after: 60s", broker: "protocol: 3.1.1",
        sink: "format: raw, max_packet: 64KiB"))
    let ofRoutes = old.warnings.map(\.keyPath).filter { $0.hasPrefix("routes") }
    #expect(ofRoutes == ["routes[1].to[0].broker"])
    // Then the other one reads from a broker that batches come to, too.
    let wrapped = errors(in: commands("    expire_after: 60s", sink: "topic: down"))
    #expect(wrapped.contains("routes[0].expire_after"))
  }

  @Test("two raw routes in opposite directions without any expiry are a warning")
  func oppositeRoutes() throws {
    let text = try Repository.text("\(Repository.fixtures)/valid/two-raw-routes.yaml")
    #expect(try parse(text).warnings.map(\.keyPath) == ["routes[1].expire_after"])
    let bounded = text.replacing("from: site", with: "from: site\n    expire_after: 60s")
    #expect(try parse(bounded).warnings.isEmpty)
  }

  @Test("what a diagnostic quotes cannot steer a terminal")
  func controlCharacters() {
    let found = errors(in: configuration(gateway: "\"a\\e[31mb\\nc\": 1\nsite: \"\\e[2J\\u202E\""))
    #expect(!found.isEmpty)
    #expect(!found.unicodeScalars.contains { $0.value == 0x1B || $0.value == 0x202E })
    #expect(found.split(separator: "\n").count == 2)
  }
}

/// SplitMix64: the same garbage every time.
private struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }
}

@Suite struct GarbageTests {
  private func read(_ bytes: [UInt8]) -> Bool {
    do throws(ConfigurationError) {
      let loaded = try Configuration.parse(
        bytes.span, file: "garbage", surroundings: sampleSurroundings)
      // What is accepted must print and read back.
      let again = try parse(loaded.options.effectiveText)
      return again.options == loaded.options
    } catch {
      return !error.diagnostics.isEmpty
        && error.diagnostics.allSatisfy { $0.line >= 1 && $0.column >= 1 }
    }
  }

  @Test("random bytes are refused or read, never a crash", arguments: UInt64(1)...8)
  func randomBytes(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<250 {
      let count = Int.random(in: 0...400, using: &random)
      #expect(read((0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }))
    }
  }

  @Test("random YAML punctuation is refused or read, never a crash", arguments: UInt64(1)...8)
  func randomPunctuation(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let pieces = [
      "[", "]", "{", "}", ":", ": ", ",", "- ", "\n", "  ", "? ", "*a", "&a ", "!!str ", "|\n", ">",
      "\"", "'", "#", "%", "---\n", "...\n", "gateway", "routes", "${", "$${", "}", "a", "1", "\t",
      "<<: ", "\u{FEFF}", "\u{85}", "\r\n",
    ]
    for _ in 0..<250 {
      let count = Int.random(in: 0...80, using: &random)
      let text = (0..<count).map { _ in pieces.randomElement(using: &random) ?? "" }.joined()
      #expect(read(Array(text.utf8)))
    }
  }

  @Test(
    "a whole configuration with bytes changed, cut or doubled is never a crash",
    arguments: UInt64(1)...8)
  func mutations(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let whole = Array(try Repository.text("\(Repository.fixtures)/valid/every-key.yaml").utf8)
    for _ in 0..<150 {
      var bytes = whole
      for _ in 0..<Int.random(in: 1...6, using: &random) where !bytes.isEmpty {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes.remove(at: place)
        case 2: bytes.insert(bytes[place], at: place)
        default: bytes.removeLast(Int.random(in: 0...min(40, bytes.count), using: &random))
        }
      }
      #expect(read(bytes))
    }
  }

  @Test("depth, breadth and length are bounded")
  func bombs() {
    let openings = [
      String(repeating: "[", count: 500_000), String(repeating: "{a: ", count: 200_000),
      String(repeating: "- ", count: 400_000), String(repeating: "? ", count: 400_000),
      "a: [" + String(repeating: "b,", count: 400_000) + "]",
      "\"" + String(repeating: "x", count: 900_000) + "\": 1",
    ]
    for text in openings { #expect(read(Array(text.utf8))) }
  }
}
