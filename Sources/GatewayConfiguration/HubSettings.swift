// The hub's file, read by the same strict reader as the gateway's: every error with its place, all
// of them at once.

package import GatewayCore
import Mosquitto
package import Observability
import Platform

/// What `hub.yaml` says. Plain values: this module knows nothing of the hub itself.
package struct HubSettings: Sendable, Hashable {
  package var hubID: String
  /// Path of the SQLite file, or the URL of a PostgreSQL database.
  package var database = "/var/lib/penstock-hub/hub.sqlite"
  package var databasePasswordFile: String?
  package var broker: BrokerOptions
  package var filters = ["penstock/v1/+/+"]
  package var sharedGroup: String?
  package var envelopeByteCountMax: ByteCount = .mebibytes(64)
  package var groupBatchesMax = 200
  package var groupByteCountMax: ByteCount = .mebibytes(16)
  package var topicPrefix = "pumps"
  package var contiguityWait: Duration = .seconds(30)
  package var staleAfter: Duration = .seconds(60)
  package var publishesMetrics = false
  package var identityCount = 500_000
  package var snapshotEvery: Int? = 1_000_000
  /// Nil: for good.
  package var readingsKept: Duration?
  /// Nil: nothing is kept of older readings.
  package var downsampleInterval: Duration? = .seconds(3_600)
  package var outboxRowsMax = 1_000_000
  package var outboxInFlightMax = 500
  package var outboxReader = HubOutboxReader.relay
  package var observability = ObservabilityOptions()
  package var logging = LoggingOptions()

  package struct Loaded: Sendable, Hashable {
    package let settings: HubSettings
    /// Sorted by position.
    package let warnings: [Diagnostic]
  }

  package static let hubIDByteCountMax = 32

  /// Reads a file of at most 1 MiB. Throws every error in it; a file that cannot be read is one.
  /// - Parameter more: reads the sections of whoever knows more of the hub than this module.
  package static func load(
    path: String, surroundings: Surroundings = .process,
    more: (inout SectionReader) -> Void = { _ in }
  ) throws(ConfigurationError) -> Loaded {
    let bytes = try ConfigurationFile.read(path)
    return try parse(bytes.span, file: path, surroundings: surroundings, more: more)
  }

  /// Reads text. `file` is the name in diagnostics.
  package static func parse(
    _ bytes: Span<UInt8>, file: String, surroundings: Surroundings = .process,
    more: (inout SectionReader) -> Void = { _ in }
  ) throws(ConfigurationError) -> Loaded {
    let findings = Findings(file: file)
    guard var root = YAMLDocument.read(bytes, into: findings) else {
      throw ConfigurationError(findings.errors)
    }
    Substitution(gatewayID: nil, surroundings: surroundings, findings: findings).resolve(&root)
    var settings = HubSettings()
    SectionReader.read(root, path: "", findings: findings) { top in
      settings.read(&top, surroundings)
      more(&top)
    }
    guard findings.errors.isEmpty else { throw ConfigurationError(findings.errors) }
    return Loaded(settings: settings, warnings: findings.sortedWarnings())
  }

  /// Every key there is, list positions written as `[]`; for the test that holds the sample file
  /// and this reader together.
  package static func schemaKeys() -> Set<String> {
    let findings = Findings(file: "")
    let empty = YAMLNode(mark: .start, content: .mapping([]))
    var settings = HubSettings()
    SectionReader.read(empty, path: "", findings: findings) { settings.read(&$0, .process) }
    return findings.schemaKeys
  }

  private init() {
    hubID = ""
    broker = BrokerOptions(
      name: "central",
      connection: ConnectionOptions(
        endpoints: [BrokerOptions.placeholder], clientID: "penstock-hub"))
    // Beside a gateway on the same machine.
    observability.listen = ListenAddress(host: "127.0.0.1", port: 9465)
  }

  /// ## Configuration keys
  /// `hub`, `broker` (required), `consume`, `assets`, `events`, `outbox`, `observability`,
  /// `logging`.
  private mutating func read(_ top: inout SectionReader, _ surroundings: Surroundings) {
    top.requiredSection("hub", accepted: "a section with id: the hub's name") { hub in
      let id = hub.required("id", .identifier(byteCountMax: Self.hubIDByteCountMax))
      self.hubID = id ?? ""
      readDatabase(&hub, surroundings)
    }
    let name = hubID
    top.requiredSection("broker", accepted: "a section with the url of the central broker") {
      section in
      for key in ["link", "status_topic", "failback"] where section.isPresent(key) {
        section.findings.error(
          at: section.keyPath(key), "has no effect in a hub's file; remove it")
      }
      let broker = BrokerOptions(
        name: "central", gatewayID: "hub-\(name)", section: &section,
        surroundings: surroundings)
      self.broker = broker
    }
    top.section("consume") { readConsume(&$0) }
    top.section("assets") { assets in
      assets.read(
        "topic_prefix", .identifier(byteCountMax: Limits.identifierByteCountMax),
        into: &topicPrefix)
      assets.read(
        "contiguity_wait", .duration(.zero ... .seconds(300)), into: &contiguityWait)
      assets.read(
        "stale_after", .duration(.seconds(1) ... .seconds(30 * 86_400)), into: &staleAfter)
    }
    top.section("events") { events in
      events.read("publish_metrics", .boolean, into: &publishesMetrics)
      events.read("remembered_ids", .integer(1_000...10_000_000), into: &identityCount)
      events.read(
        "snapshot_every", .integer(1_000...1_000_000_000), none: "none", into: &snapshotEvery)
    }
    top.section("retention") { section in
      section.read(
        "readings", .duration(.seconds(3_600) ... .seconds(3_650 * 86_400)), none: "none",
        into: &readingsKept)
      section.read(
        "downsample", .duration(.seconds(60) ... .seconds(86_400)), none: "none",
        into: &downsampleInterval)
    }
    top.section("outbox") { outbox in
      outbox.read("max_rows", .integer(1_000...100_000_000), into: &outboxRowsMax)
      outbox.read("max_in_flight", .integer(1...10_000), into: &outboxInFlightMax)
      outbox.read("reader", .choice, into: &outboxReader)
      if outboxReader == .logReader, !PostgresURL.recognises(database) {
        outbox.findings.error(
          at: outbox.keyPath("reader"),
          "only PostgreSQL has a log that can be read, and hub.database is a file; "
            + "accepted: relay, or a hub.database that begins with postgres://")
      }
    }
    top.section("observability") { observability.read(&$0) }
    top.section("logging") { section in
      section.read("level", .choice, into: &logging.level)
      section.read("format", .choice, into: &logging.format)
    }
  }

  private mutating func readDatabase(
    _ hub: inout SectionReader, _ surroundings: Surroundings
  ) {
    hub.read("database", .database, into: &database)
    databasePasswordFile = hub.value(
      "database_password_file", .path("a file with the password of the database"))
    let url = try? PostgresURL(database)
    if let file = databasePasswordFile {
      let place = hub.keyPath("database_password_file")
      if let problem = surroundings.problemOfSecretFile(file) {
        hub.findings.error(at: place, problem)
      }
      if url == nil {
        hub.findings.error(
          at: place, "has no effect: hub.database is a file; remove it, or name a PostgreSQL")
      }
    }
    if let url, url.isUnchecked {
      hub.findings.warning(
        at: hub.keyPath("database"),
        "sslmode=\(url.tlsMode ?? "") does not look at who the server is: anybody on the way can "
          + "read and change everything; verify-full, the default here, does")
    }
  }

  private mutating func readConsume(_ section: inout SectionReader) {
    let filter = ScalarKind.text("a topic filter", byteCounts: 1...1_000)
    if let filters = section.list("subscribe", of: filter, count: 1...64) {
      self.filters = filters
    }
    section.read(
      "shared_group", .identifier(byteCountMax: Limits.identifierByteCountMax), none: "none",
      into: &sharedGroup)
    section.read(
      "max_envelope", .byteCount(.kibibytes(64) ... .mebibytes(256)), into: &envelopeByteCountMax)
    section.read("batches_per_commit", .integer(1...10_000), into: &groupBatchesMax)
    section.read(
      "bytes_per_commit", .byteCount(.kibibytes(64) ... .mebibytes(256)),
      into: &groupByteCountMax)
    if sharedGroup != nil, broker.connection.protocolVersion == .v311 {
      section.findings.warning(
        at: section.keyPath("shared_group"),
        "shared subscriptions are of MQTT 5; a broker may know them with 3.1.1, too, or not")
    }
  }
}
