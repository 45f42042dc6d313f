import GatewayCore
package import RingJournal
import ServiceLifecycle
import Synchronization

/// Whether this run has made anything durable: then the disk can be written. Any thread.
package final class CommitWatch: Sendable {
  private struct Contents {
    var journals: [(state: JournalState, committed: Sequence)] = []
    /// Of journals that were opened again since.
    var hasCommitted = false

    var isProven: Bool { hasCommitted || journals.contains { $0.state.committed > $0.committed } }
  }

  private let contents = Mutex(Contents())

  package init() {}

  /// A journal was opened to be written.
  package func watch(_ journal: JournalState) {
    contents.withLock { contents in
      contents.hasCommitted = contents.isProven
      contents.journals.removeAll { $0.state.identity.id == journal.identity.id }
      contents.journals.append((journal, journal.committed))
    }
  }

  package var hasCommitted: Bool { contents.withLock { $0.isProven } }
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
