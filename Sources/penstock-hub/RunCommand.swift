import AlertRules
import ArgumentParser
import CoreMetrics
import GatewayConfiguration
import GatewayCore
import Hub
import Logging
import Observability
import Platform

struct RunCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Run the hub until SIGTERM or SIGINT.",
    discussion: """
      Batches are acknowledged only after the transaction that holds them is on disk; then the \
      gateway is told. A broker that is away never ends it. With a full disk the session at the \
      broker is kept and nothing is acknowledged until there is room again.
      """)

  @Option(name: [.short, .long], help: "The configuration file.") var config: String

  func run() async throws {
    let (settings, warnings, decisions) = try load(config)
    LogOptions(level: settings.logging.level.level, format: settings.logging.format).bootstrap()
    let registry = MetricsRegistry(version: Version.text)
    MetricsSystem.bootstrap(registry)
    let logger = Logger(label: "penstock-hub")
    for warning in warnings {
      logger.warning("configuration", metadata: ["finding": "\(warning)"])
    }
    try await HubService(
      options: HubOptions(settings), listen: settings.observability.listen,
      version: Version.text, registry: registry, logger: logger,
      makePolicies: { decisions.makePolicies(topicPrefix: settings.topicPrefix) }
    ).run()
  }
}

struct CheckConfigCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check-config",
    abstract: "Check a configuration file and print what is in force.",
    discussion: """
      Prints every value with its default filled in, alert rules by their names; secrets are \
      masked. Warnings and errors go to standard error as file:line:column: key: what is wrong; \
      accepted: what would be right. Exits with 78 when there is an error.

      With --test the alert rules are run over recorded events, one a line: a pump's reading or a \
      CloudEvent with it, as `penstock subscribe` prints them. Each alert that they would have \
      raised or cleared is a line: time, line of the file, raised or cleared, severity, rule, \
      asset, message.
      """)

  @Argument(help: "The configuration file.") var file: String

  @Flag(name: .shortAndLong, help: "Print nothing when the file is right.") var quiet = false

  @Option(help: ArgumentHelp("Run the alert rules over recorded events.", valueName: "events"))
  var test: String?

  /// Bytes of a file of recorded events.
  private static let eventsByteCountMax = 1 << 30

  func run() throws {
    let (settings, warnings, decisions) = try load(file)
    for warning in warnings { Console.error("\(warning)") }
    guard let test else {
      if !quiet { Console.text(settings.effectiveText + decisions.effectiveText) }
      return
    }
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try File.readSmall(test, byteCountMax: Self.eventsByteCountMax)
    } catch {
      throw ValidationError("\(test) cannot be read: \(error.reason)")
    }
    var rehearsal = AlertRehearsal(rules: decisions.rules)
    var number = 0
    var readingCount = 0
    for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      number += 1
      if line.isEmpty { continue }
      switch rehearsal.take(Array(line).span) {
      case .reading: readingCount += 1
      case .ignored(let reason): Console.error("\(test):\(number): ignored: \(reason)")
      }
    }
    let changes = rehearsal.changes()
    for (line, change) in changes {
      let place = line == 0 ? "end" : "line \(line)"
      Console.line(
        "\(change.time) \(place) \(change.kind.rawValue) \(change.severity.rawValue) "
          + "\(change.rule) \(change.asset): \(change.message)")
    }
    let raisedCount = changes.count { $0.change.kind == .raised }
    Console.line("\(readingCount) readings, \(raisedCount) alerts raised")
  }
}

/// Loads a configuration or ends the command with every error in it.
func load(
  _ path: String
) throws -> (settings: HubSettings, warnings: [Diagnostic], decisions: HubDecisions) {
  do throws(ConfigurationError) {
    let (loaded, decisions) = try HubDecisions.load(path: path)
    return (loaded.settings, loaded.warnings, decisions)
  } catch {
    for diagnostic in error.diagnostics { Console.error("\(diagnostic)") }
    let count = error.diagnostics.count
    throw GatewayCore.ExitCode.configuration.failure(
      "\(count) error\(count == 1 ? "" : "s") in \(path); nothing was started")
  }
}

extension LogLevel {
  var level: Logger.Level {
    switch self {
    case .trace: .trace
    case .debug: .debug
    case .info: .info
    case .notice: .notice
    case .warning: .warning
    case .error: .error
    case .critical: .critical
    }
  }
}
