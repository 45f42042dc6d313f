import Glibc
package import Logging
import Platform
import Synchronization

/// How this process logs. Everything goes to standard error.
package struct LogOptions: Sendable, Hashable {
  package var level: Logger.Level = .info
  package var format: LogFormat = .text

  package init(level: Logger.Level = .info, format: LogFormat = .text) {
    self.level = level
    self.format = format
  }

  /// Makes every `Logger` of the process write by these options. Once, before the first `Logger`.
  /// - Parameter recent: hears of warnings and errors, too.
  /// - Returns: where the level can be changed later.
  @discardableResult
  package func bootstrap(recent: RecentProblems? = nil) -> LogThreshold {
    let output = LogOutput(descriptor: STDERR_FILENO)
    let style = LogStyle(format: format, surroundings: .current(descriptor: STDERR_FILENO))
    let threshold = LogThreshold(level)
    LoggingSystem.bootstrap(
      { label, provider in
        StandardErrorLogHandler(
          label: label, threshold: threshold, style: style, output: output,
          metadataProvider: provider, recent: recent)
      }, metadataProvider: nil)
    return threshold
  }
}

/// What a log line looks like, beside its content.
package struct LogStyle: Sendable, Hashable {
  package var format: LogFormat
  /// `<6>` before each line: journald takes the priority from it (sd-daemon(3)).
  package var priorityPrefix = false
  /// journald has its own time stamps.
  package var timestamp = true
  package var colour = false

  package init(format: LogFormat, surroundings: Surroundings = Surroundings()) {
    self.format = format
    priorityPrefix = surroundings.isJournal
    timestamp = format == .json || !surroundings.isJournal
    colour = format == .text && surroundings.isTerminal && !surroundings.refusesColour
  }

  /// Where standard error goes.
  package struct Surroundings: Sendable {
    package var isJournal = false
    package var isTerminal = false
    package var refusesColour = false

    package init() {}

    /// JOURNAL_STREAM is inherited by every child, so it counts only if it names the device and
    /// inode that `descriptor` really is (systemd.exec(5)). NO_COLOR: https://no-color.org.
    package static func current(
      descriptor: Int32, environment: (String) -> String? = { Environment.value(of: $0) }
    ) -> Surroundings {
      var surroundings = Surroundings()
      var status = stat()
      if let stream = environment("JOURNAL_STREAM"), unsafe fstat(descriptor, &status) == 0 {
        surroundings.isJournal = stream == "\(status.st_dev):\(status.st_ino)"
      }
      surroundings.isTerminal = isatty(descriptor) == 1
      surroundings.refusesColour =
        environment("NO_COLOR").map { !$0.isEmpty } ?? false || environment("TERM") == "dumb"
      return surroundings
    }
  }
}

/// The level of all loggers of the process that have none of their own. Any thread.
package final class LogThreshold: Sendable {
  private let index: Atomic<Int>

  package init(_ level: Logger.Level) { index = Atomic(Self.index(of: level)) }

  package var level: Logger.Level {
    get { Logger.Level.allCases[index.load(ordering: .relaxed)] }
    set { index.store(Self.index(of: newValue), ordering: .relaxed) }
  }

  private static func index(of level: Logger.Level) -> Int {
    Logger.Level.allCases.firstIndex(of: level) ?? 0
  }
}
