package import GatewayCore
import Synchronization

/// Why and since when the connections of one broker are to be made anew, each when it has nothing
/// in flight: because the first of its endpoints accepts again, or because its credentials were
/// replaced. Knows who stands at a later endpoint. Any thread; short locks.
package final class Recall: Sendable {
  private struct Contents {
    var awayCount = 0
    var firstAcceptedAt: MonotonicTime?
    var renewedAt: MonotonicTime?
  }

  package enum Reason: Sendable, Hashable {
    /// Back to the first endpoint.
    case firstAccepts
    /// With the files as they are now.
    case renewed

    /// For logs.
    package var text: String {
      switch self {
      case .firstAccepts: "the first endpoint accepts again, going back"
      case .renewed: "certificates or password were replaced, connecting anew"
      }
    }
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
    contents.withLock { $0.firstAcceptedAt = now }
  }

  /// Files of the broker's section were replaced.
  package func renew(at now: MonotonicTime) {
    contents.withLock { $0.renewedAt = now }
  }

  /// Why a connection in use at endpoint `index` since `start` shall end; nil: it shall not. What
  /// happened before its start does not count: it read the files then, and the first endpoint was
  /// tried again and did not accept.
  package func reason(at index: Int, since start: MonotonicTime) -> Reason? {
    contents.withLock { contents in
      if let time = contents.renewedAt, time > start { return .renewed }
      if index > 0, let time = contents.firstAcceptedAt, time > start { return .firstAccepts }
      return nil
    }
  }
}
