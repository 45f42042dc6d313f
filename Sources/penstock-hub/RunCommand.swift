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
    let (settings, warnings) = try load(config)
    LogOptions(level: settings.logging.level.level, format: settings.logging.format).bootstrap()
    let registry = MetricsRegistry(version: HubVersion.text)
    MetricsSystem.bootstrap(registry)
    let logger = Logger(label: "penstock-hub")
    for warning in warnings {
      logger.warning("configuration", metadata: ["finding": "\(warning)"])
    }
    try await HubService(
      options: HubOptions(settings), listen: settings.observability.listen,
      version: HubVersion.text, registry: registry, logger: logger
    ).run()
  }
}

struct CheckConfigCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check-config",
    abstract: "Check a configuration file.",
    discussion: """
      Warnings and errors go to standard error as file:line:column: key: what is wrong; accepted: \
      what would be right. Exits with 78 when there is an error.
      """)

  @Argument(help: "The configuration file.") var file: String

  func run() throws {
    for warning in try load(file).warnings { Console.error("\(warning)") }
  }
}

/// Loads a configuration or ends the command with every error in it.
func load(_ path: String) throws -> (settings: HubSettings, warnings: [Diagnostic]) {
  do throws(ConfigurationError) {
    let loaded = try HubSettings.load(path: path)
    return (loaded.settings, loaded.warnings)
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
