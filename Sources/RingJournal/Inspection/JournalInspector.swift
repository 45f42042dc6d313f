import GatewayCore

/// A journal's numbers without a lock and without writing a byte; see `JournalObserver`.
package enum JournalInspector {
  package static func statistics(
    path: String, environment: JournalEnvironment = .posix
  ) throws(JournalError) -> JournalStatistics {
    try JournalObserver(path: path, environment: environment).statistics
  }
}
