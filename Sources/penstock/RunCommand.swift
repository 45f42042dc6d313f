import ArgumentParser
import CoreMetrics
import Gateway
import GatewayConfiguration
import GatewayCore
import Logging
import Observability
import Platform
import RingJournal

struct RunCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Run the gateway until SIGTERM or SIGINT.",
    discussion: """
      On SIGTERM the gateway stops reading, commits, acknowledges, delivers what fits five seconds \
      and closes the journal. A broker that is away never ends it. Exit codes: 78 when the \
      configuration or a journal's identity is wrong, 74 when a disk fails.
      """)

  @Option(name: [.short, .long], help: "The configuration file.") var config: String

  func run() async throws {
    let configuration = try load(config)
    let options = configuration.options
    LogOptions(level: options.logging.level.level, format: options.logging.format).bootstrap()
    let registry = MetricsRegistry(version: Version.text)
    MetricsSystem.bootstrap(registry)
    let logger = Logger(label: "penstock")
    for warning in configuration.warnings {
      logger.warning("configuration", metadata: ["finding": "\(warning)"])
    }
    let gateway = GatewayService(
      options: options, version: Version.text, logger: logger, registry: registry)
    do {
      try await gateway.run()
    } catch let error as JournalError {
      logger.critical("stopping", metadata: ["error": "\(error)"])
      throw error.exitCode.failure("\(error)")
    } catch let error as GatewayError {
      throw GatewayCore.ExitCode.configuration.failure("\(error)")
    } catch {
      throw GatewayCore.ExitCode.bug.failure(
        "unexpected: \(error). This is a bug; please report it with the log.")
    }
  }
}

/// Loads a configuration or ends the command with every error in it.
func load(_ path: String) throws -> LoadedConfiguration {
  do throws(ConfigurationError) {
    return try Configuration.load(path: path)
  } catch {
    for diagnostic in error.diagnostics { Console.error("\(diagnostic)") }
    let count = error.diagnostics.count
    throw GatewayCore.ExitCode.configuration.failure(
      "\(count) error\(count == 1 ? "" : "s") in \(path); nothing was started")
  }
}

extension JournalError {
  /// 78 where a person must decide, 74 where a disk failed or a restart may help.
  var exitCode: GatewayCore.ExitCode {
    switch code {
    case .badOptions, .unsafeFilesystem, .notEnoughSpace, .directoryNotEmpty, .journalMissing,
      .alreadyThere, .sinksUnknown, .wrongGateway, .wrongRoute, .foreign, .zeros, .truncated,
      .newerVersion:
      .configuration
    case .recordTooLarge, .closed: .bug
    default: .disk
    }
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
