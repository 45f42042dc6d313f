package import Platform
import Synchronization

/// How the rest of the process tells a route's ingest thread what to do. Any thread.
package final class IngestControl: Sendable {
  /// Only ever moves forward.
  package enum Phase: Int, Sendable, Comparable {
    case run
    /// Unsubscribe, take what the session at the broker still holds, and end the session; then as
    /// `quiesce`. Goes on until that is done, however long the broker is away.
    case endSession
    /// Take no more from the broker; commit, release, leave. The journal stays open, so that
    /// deliveries can still move their cursors.
    case quiesce
    /// Close the journal and return.
    case close

    package static func < (left: Phase, right: Phase) -> Bool { left.rawValue < right.rawValue }
  }

  private let state = Atomic<Int>(Phase.run.rawValue)
  private let draining = Atomic(false)
  private let wakeUp: WakeUp
  private let onQuiesced: @Sendable () -> Void

  /// - Parameters:
  ///   - wakeUp: what the ingest thread waits on.
  ///   - onQuiesced: called once, on the ingest thread, when the last record has been committed.
  package init(wakeUp: WakeUp, onQuiesced: @escaping @Sendable () -> Void = {}) {
    self.wakeUp = wakeUp
    self.onQuiesced = onQuiesced
  }

  package func didQuiesce() { onQuiesced() }

  package var phase: Phase { Phase(rawValue: state.load(ordering: .acquiring)) ?? .close }

  /// An operator drains the route: it is not the process that ends.
  package var isDraining: Bool { draining.load(ordering: .acquiring) }

  package func drain(endsSession: Bool) {
    draining.store(true, ordering: .releasing)
    advance(to: endsSession ? .endSession : .quiesce)
  }

  package func advance(to phase: Phase) {
    _ = state.max(phase.rawValue, ordering: .acquiringAndReleasing)
    wakeUp.signal()
  }
}
