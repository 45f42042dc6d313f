import GatewayCore

/// A journal's numbers without a lock and without writing a byte; see `JournalImage`.
package enum JournalInspector {
  package static func statistics(
    path: String, environment: JournalEnvironment = .posix
  ) throws(JournalError) -> JournalStatistics {
    try JournalImage(path: path, environment: environment).statistics
  }
}
