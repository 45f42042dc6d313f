package import GatewayCore
import Synchronization

/// What the connections of one broker with several endpoints know of the first of them: who stands
/// at a later one, and when the first was last seen to accept. They go back by this, each when it
/// has nothing in flight. Any thread; short locks.
package final class Failback: Sendable {
  private struct Contents {
    var awayCount = 0
    var acceptedAt: MonotonicTime?
  }

  private let contents = Mutex(Contents())

  package init() {}

  /// Whether a connection stands at another endpoint than the first.
  package var isAway: Bool { contents.withLock { $0.awayCount > 0 } }

  /// A connection to endpoint `index` is in use.
  package func entered(endpoint index: Int) {
    guard index > 0 else { return }
    contents.withLock { $0.awayCount += 1 }
  }

  /// It is not any more. Once for each `entered`.
  package func left(endpoint index: Int) {
    guard index > 0 else { return }
    contents.withLock { $0.awayCount -= 1 }
  }

  /// The first endpoint accepted a connection just now.
  package func firstAccepts(at now: MonotonicTime) {
    contents.withLock { $0.acceptedAt = now }
  }

  /// Whether a connection in use at endpoint `index` since `start` goes back. What the first
  /// endpoint did before that does not count: it was tried again since, and did not accept.
  package func shouldReturn(from index: Int, since start: MonotonicTime) -> Bool {
    index > 0 && contents.withLock { $0.acceptedAt.map { $0 > start } ?? false }
  }
}
