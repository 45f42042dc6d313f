// Goal: the files in edge-config/ are the documentation, so they must be true. Method: every one is
// parsed; every default documented there is uncommented and must change nothing; every example must
// be accepted; every key of the schema must be documented; the broker files start a real Mosquitto.
// Cannot show: that the prose beside a key is right.

import Deduplication
import GatewayCore
import Glibc
import Ingest
import Mosquitto
import Observability
import Platform
import RingJournal
import Testing
import Upstream

@testable import GatewayConfiguration

private let directory = "\(Repository.root)/edge-config"

/// penstock.yaml by its own conventions.
private struct Reference {
  let lines: [String]

  init() throws {
    lines = try Repository.text("\(directory)/penstock.yaml")
      .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  private static func split(_ line: String) -> (indentation: String, rest: Substring) {
    let rest = line.drop { $0 == " " }
    return (String(line.prefix(line.count - rest.count)), rest)
  }

  static func isExample(_ line: String) -> Bool { split(line).rest.hasPrefix("#e.g. ") }

  static func isDefault(_ line: String) -> Bool {
    let rest = split(line).rest
    return rest.hasPrefix("#") && !rest.hasPrefix("# ") && rest != "#" && !isExample(line)
  }

  static func uncommented(_ line: String) -> String {
    let (indentation, rest) = split(line)
    return indentation + (isExample(line) ? rest.dropFirst("#e.g. ".count) : rest.dropFirst())
  }

  /// With every default that stands there as a comment.
  var withDefaults: String {
    lines.map { Self.isDefault($0) ? Self.uncommented($0) : $0 }.joined(separator: "\n")
  }

  /// Runs of example lines; each run is one example.
  var examples: [Range<Int>] {
    var runs: [Range<Int>] = []
    for (index, line) in lines.enumerated() where Self.isExample(line) {
      if let last = runs.last, last.upperBound == index {
        runs[runs.count - 1] = last.lowerBound..<index + 1
      } else {
        runs.append(index..<index + 1)
      }
    }
    return runs
  }

  func with(example: Range<Int>) -> String {
    lines.enumerated()
      .map { example.contains($0.offset) ? Self.uncommented($0.element) : $0.element }
      .joined(separator: "\n")
  }
}

@Suite struct SampleFileTests {
  @Test(
    "every YAML file is accepted without a warning",
    arguments: Repository.names(in: directory, suffix: ".yaml").filter { $0 != "hub" })
  func accepted(name: String) throws {
    let loaded = try parse(try Repository.text("\(directory)/\(name).yaml"), file: "\(name).yaml")
    #expect(loaded.warnings == [])
  }

  @Test("both configurations are the same gateway: minimal is the reference without words")
  func minimalEqualsReference() throws {
    let minimal = try parse(try Repository.text("\(directory)/minimal.yaml")).options
    #expect(try parse(Reference().lines.joined(separator: "\n")).options == minimal)
  }

  @Test("uncommenting every documented default changes nothing")
  func documentedDefaultsAreTheDefaults() throws {
    let reference = try Reference()
    #expect(reference.lines.count(where: Reference.isDefault) > 40)
    let plain = try parse(reference.lines.joined(separator: "\n")).options
    #expect(try parse(reference.withDefaults, file: "penstock.yaml").options == plain)
    // Negative control: the comparison sees a default that is documented wrongly.
    for (right, wrong) in [("60s", "61s"), ("20ms", "21ms"), ("zstd", "none"), ("16MiB", "17MiB")] {
      let lines = reference.withDefaults.split(separator: "\n").map { line in
        line.hasSuffix(": \(right)") ? String(line.dropLast(right.count)) + wrong : String(line)
      }
      #expect(try parse(lines.joined(separator: "\n")).options != plain)
    }
  }

  @Test("an untouched configuration holds the default option structs")
  func defaultsComeFromTheStructs() throws {
    let options = try parse(try Repository.text("\(directory)/minimal.yaml")).options
    #expect(options.observability == ObservabilityOptions())
    #expect(options.logging == LoggingOptions())
    #expect(options.site == options.gatewayID)
    let route = try #require(options.routes.first)
    var connection = ConnectionOptions(
      endpoints: [BrokerEndpoint(host: "127.0.0.1", port: 1883)],
      clientID: "penstock-gateway-01-telemetry-in")
    connection.maximumPacketByteCount = 4 << 20
    #expect(
      route.ingest
        == IngestOptions(
          connection: connection, subscriptions: ["pumps/+/metrics", "pumps/+/asset"],
          deduplication: DeduplicationOptions(selector: .json(pointers: ["/messageId"]))))
    #expect(
      route.journal
        == JournalOptions(
          gatewayID: "gateway-01", routeName: "telemetry", sinks: [JournalSink(name: "central")]))
    var outbound = ConnectionOptions(
      endpoints: [BrokerEndpoint(host: "central.example.com", port: 8883, usesTLS: true)],
      clientID: "penstock-gateway-01-telemetry-central-out")
    outbound.cleanStart = true
    outbound.sessionExpiry = .zero
    outbound.reconnectSpread = .seconds(40)
    outbound.tls = TLSOptions()
    #expect(
      route.sinks
        == [
          SinkOptions(
            name: "central", connection: outbound, topic: "penstock/v1/gateway-01/telemetry")
        ])
    #expect(route.journalPath == "/var/lib/penstock/telemetry.journal")
    #expect(route.deadLetterPath == "/var/lib/penstock/telemetry.dead")
  }

  @Test("every documented example is accepted by the version that has it")
  func examples() throws {
    let reference = try Reference()
    let examples = reference.examples
    #expect(examples.count >= 7)
    let plain = try parse(reference.lines.joined(separator: "\n")).options
    for example in examples {
      let text = reference.with(example: example)
      let options = try parse(text, file: "penstock.yaml").options
      #expect(options != plain, "the example in line \(example.lowerBound + 1) says nothing")
    }
  }

  @Test("every key of the schema is in the reference")
  func everyKeyIsDocumented() throws {
    let reference = try Reference()
    var documented: Set<String> = []
    for example in [0..<0] + reference.examples {
      var text = reference.with(example: example)
      // With the section around them, so that the keys of absent sections are read as well.
      if example.isEmpty { text = reference.withDefaults }
      let findings = Findings(file: "penstock.yaml")
      let tree = YAMLDocument.read(Array(text.utf8).span, into: findings)
      let root = try #require(tree)
      collectKeys(of: root, path: "", into: &documented)
    }
    let findings = Findings(file: "penstock.yaml")
    _ = ConfigurationDraft(
      Array(reference.withDefaults.utf8).span, findings: findings,
      surroundings: sampleSurroundings)
    let schema = Set(findings.schemaKeys.map(normalised))
    #expect(schema.count > 55)
    #expect(schema.subtracting(documented) == [])
  }

  private func collectKeys(of node: YAMLNode, path: String, into keys: inout Set<String>) {
    switch node.content {
    case .scalar: break
    case .sequence(let elements):
      for element in elements { collectKeys(of: element, path: path + "[]", into: &keys) }
    case .mapping(let entries):
      for entry in entries {
        let key = path.isEmpty ? entry.key : "\(path).\(entry.key)"
        keys.insert(normalised(key))
        collectKeys(of: entry.value, path: key, into: &keys)
      }
    }
  }

  /// The user's own broker names are one key.
  private func normalised(_ key: String) -> String {
    var parts = key.split(separator: ".")
    if parts.first == "brokers", parts.count > 1 { parts[1] = "*" }
    return parts.joined(separator: ".")
  }
}

@Suite struct BrokerFileTests {
  @Test(
    "the Mosquitto files start a real broker that listens",
    .enabled(
      if: Environment.executable(named: "mosquitto") != nil,
      "mosquitto is not installed: apt-get install mosquitto"),
    arguments: ["mosquitto-field", "mosquitto-central"])
  func starts(name: String) throws {
    let program = try #require(Environment.executable(named: "mosquitto"))
    let text = try Repository.text("\(directory)/\(name).conf")
    let temporary = try TemporaryDirectory(prefix: "penstock-\(name)")
    for attempt in 1...5 {
      let port = try Loopback.freePort()
      let log = "\(temporary.path)/log-\(attempt)"
      try File.replace(
        "\(temporary.path)/conf", with: Array(localised(text, port, temporary.path).utf8))
      var process = try ChildProcess(
        executable: program, arguments: ["-c", "\(temporary.path)/conf"],
        standardOutput: .file(path: log), standardError: .file(path: log))
      let deadline = Clock.monotonic() + .seconds(20)
      while try process.wait(atMost: .milliseconds(5)) == nil {
        if Loopback.answers(port: port) { break }
        #expect(Clock.monotonic() < deadline, "the broker does not listen")
      }
      if process.exitStatus == nil {
        #expect(try process.stop(atMost: .seconds(20)) == .exited(code: 0))
        let said = try Repository.text(log)
        let complaints = said.split(separator: "\n").filter {
          $0.contains("Error") || ($0.contains("Warning") && !$0.contains("run as root"))
        }
        #expect(complaints == [])
        return
      }
      // Somebody else took the port in between; anything else is a fault of the file.
      let said = try Repository.text(log)
      try #require(said.contains("in use"), "\(said)")
    }
    Issue.record("no free port in five attempts")
  }

  @Test(
    "no listener beyond loopback, no anonymous access without one, nothing twice",
    arguments: ["mosquitto-field", "mosquitto-central"])
  func safeByDefault(name: String) throws {
    let settings = try Repository.text("\(directory)/\(name).conf").split(separator: "\n")
      .filter { !$0.hasPrefix("#") }
    for setting in settings where setting.hasPrefix("listener") {
      #expect(setting.hasSuffix(" 127.0.0.1"))
    }
    let keys = settings.compactMap { $0.split(separator: " ").first }
    #expect(Set(keys).count == keys.count)
    #expect(settings.contains("autosave_on_changes false"))
    #expect(settings.contains("autosave_interval 30"))
  }

  /// Another port and directory, and no change of user: root may not be allowed to in a container.
  private func localised(_ text: String, _ port: UInt16, _ directory: String) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false)
      .map { line in
        if line.hasPrefix("listener ") { return "listener \(port) 127.0.0.1" }
        if line.hasPrefix("persistence_location ") { return "persistence_location \(directory)/" }
        return String(line)
      }
      .joined(separator: "\n") + (geteuid() == 0 ? "\nuser root\n" : "\n")
  }
}
