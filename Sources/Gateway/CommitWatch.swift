import GatewayCore
package import RingJournal
import ServiceLifecycle
import Synchronization

/// Whether this run has made anything durable: then the disk can be written. Any thread.
package final class CommitWatch: Sendable {
  private let journals = Mutex<[(state: JournalState, committed: Sequence)]>([])

  package init() {}

  /// A journal was opened to be written.
  package func watch(_ journal: JournalState) {
    journals.withLock { $0.append((journal, journal.committed)) }
  }

  package var hasCommitted: Bool {
    journals.withLock { $0.contains { $0.state.committed > $0.committed } }
  }
}

/// Clears the count of disk failures as soon as something has been committed, because a run that is
/// killed later cannot do so.
struct FailureReset: Service {
  let commits: CommitWatch
  let failures: DiskFailures

  private static let interval: Duration = .seconds(1)

  func run() async throws {
    try? await cancelWhenGracefulShutdown {
      while !commits.hasCommitted { try await Task.sleep(for: Self.interval) }
      failures.clear()
      try await gracefulShutdown()
    }
  }
}
