import GatewayCore

/// A journal's numbers without a lock and without writing a byte; see `JournalObserver`.
package enum JournalInspector {
  package static func statistics(
    path: String, environment: JournalEnvironment = .posix
  ) throws(JournalError) -> JournalStatistics {
    let observer = try JournalObserver(path: path, environment: environment)
    // The numbers of a short copy would be those of what is left.
    try observer.view.blocks.identity.checkSize(
      of: observer.file, path: path, spacing: environment.spacing)
    return observer.statistics
  }
}
