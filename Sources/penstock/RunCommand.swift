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
      configuration or a journal's identity is wrong, 74 when a disk fails; 79 under systemd when \
      `penstock drain --stop` ended it, which the unit takes as "leave it stopped".

      While it runs it answers `penstock status`, `drain` and `top` on control-socket in its data \
      directory, which its own user and root can use.

      On SIGHUP the gateway reads the configuration file anew and takes over what changed: routes, \
      destinations, brokers, limits, the level of the log. Connections whose certificates or \
      password were replaced are made anew. A file with an error, or with a change that takes a \
      restart or would leave messages behind, is refused as a whole, and the log says why.

      With --deliver-only the journals are opened to be read: what they hold is delivered, nothing \
      is received from the field and no byte is written, so that a disk that can only be read \
      still gives up its records. The gateway then stays up and its health is degraded. What was \
      delivered so is delivered again, with the same journal, epoch and sequence, once the journal \
      can be written.
      """)

  @Option(name: [.short, .long], help: "The configuration file.") var config: String

  @Flag(help: "Deliver what the journals hold; receive nothing, write nothing.")
  var deliverOnly = false

  @Flag(
    help: ArgumentHelp(
      "Let a route be renamed, which leaves its session behind.",
      discussion: """
        The broker keeps what waits in that session until it expires; nobody reads it any more.
        """))
  var abandonSession = false

  @Option(
    help: ArgumentHelp(
      "Run with --deliver-only once so many runs in a row have ended with 74.",
      discussion: """
        They are counted in the directory that systemd names in RUNTIME_DIRECTORY. A commit, or a \
        clean stop, begins a new row.
        """, valueName: "count"))
  var deliverOnlyAfter: Int?

  func validate() throws {
    if let deliverOnlyAfter, !(1...Self.failuresMax).contains(deliverOnlyAfter) {
      throw ValidationError("--deliver-only-after takes 1 to \(Self.failuresMax)")
    }
  }

  private static let failuresMax = 1000

  func run() async throws {
    let configuration = try load(config)
    let options = configuration.options
    let problems = RecentProblems()
    let threshold = LogOptions(
      level: options.logging.level.level, format: options.logging.format
    ).bootstrap(recent: problems)
    let registry = MetricsRegistry(version: Version.text)
    MetricsSystem.bootstrap(registry)
    let logger = Logger(label: "penstock")
    for warning in configuration.warnings {
      logger.warning("configuration", metadata: ["finding": "\(warning)"])
    }
    let failures = countedFailures(logger)
    let gateway = GatewayService(
      options: options, version: Version.text, logger: logger, registry: registry,
      isDeliverOnly: isDeliverOnly(failures, logger), failures: failures, problems: problems,
      configurationPath: config,
      reload: ReloadSource(threshold: threshold, abandonsSessions: abandonSession) {
        [config] () throws(ConfigurationError) -> LoadedConfiguration in
        try Configuration.load(path: config)
      })
    do {
      try await gateway.run()
      failures?.clear()
    } catch is GatewayStop {
      failures?.clear()
      // The unit does not restart on this code; whoever else started us sees a clean end.
      if Environment.value(of: "INVOCATION_ID") != nil {
        throw ArgumentParser.ExitCode(GatewayCore.ExitCode.toldToStop.rawValue)
      }
    } catch let error as JournalError {
      logger.critical("stopping", metadata: ["error": "\(error)"])
      if error.exitCode == .disk { count(in: failures, gateway, logger) }
      throw error.exitCode.failure("\(error)")
    } catch let error as GatewayError {
      throw GatewayCore.ExitCode.configuration.failure("\(error)")
    } catch {
      throw GatewayCore.ExitCode.bug.failure(
        "unexpected: \(error). This is a bug; please report it with the log.")
    }
  }
}

extension RunCommand {
  /// Nil when failures are not counted.
  private func countedFailures(_ logger: Logger) -> DiskFailures? {
    guard deliverOnlyAfter != nil else { return nil }
    let failures = DiskFailures(directory: Environment.value(of: "RUNTIME_DIRECTORY"))
    if failures == nil {
      logger.warning(
        "disk failures are not counted: set RuntimeDirectory= in the unit, or RUNTIME_DIRECTORY")
    }
    return failures
  }

  private func isDeliverOnly(_ failures: DiskFailures?, _ logger: Logger) -> Bool {
    if deliverOnly { return true }
    guard let failures, let deliverOnlyAfter, failures.count >= deliverOnlyAfter else {
      return false
    }
    logger.error(
      "the disk has failed again and again without a commit in between: delivering only",
      metadata: ["disk.failures": "\(failures.count)"])
    return true
  }

  private func count(in failures: DiskFailures?, _ gateway: GatewayService, _ logger: Logger) {
    do throws(SystemError) {
      try failures?.add(afterCommit: gateway.hasCommitted)
    } catch {
      logger.warning("cannot count this disk failure", metadata: ["error": "\(error)"])
    }
  }
}

/// Loads a configuration or ends the command with every error in it.
func load(
  _ path: String, surroundings: Surroundings = .process
) throws -> LoadedConfiguration {
  do throws(ConfigurationError) {
    return try Configuration.load(path: path, surroundings: surroundings)
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
    if needsPerson { return .configuration }
    return code == .recordTooLarge || code == .closed ? .bug : .disk
  }
}
