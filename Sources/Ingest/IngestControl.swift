package import Platform
package import Synchronization

/// How the rest of the process tells a route's ingest thread what to do. Any thread.
package final class IngestControl: Sendable {
  /// Only ever moves forward.
  package enum Phase: Int, Sendable, Comparable {
    case run
    /// Take no more from the broker; commit, release, leave. The journal stays open, so that
    /// deliveries can still move their cursors.
    case quiesce
    /// Close the journal and return.
    case close

    package static func < (left: Phase, right: Phase) -> Bool { left.rawValue < right.rawValue }
  }

  private let state = Atomic<Int>(Phase.run.rawValue)
  private let wakeUp: WakeUp

  /// - Parameter wakeUp: what the ingest thread waits on.
  package init(wakeUp: WakeUp) { self.wakeUp = wakeUp }

  package var phase: Phase { Phase(rawValue: state.load(ordering: .acquiring)) ?? .close }

  package func advance(to phase: Phase) {
    _ = state.max(phase.rawValue, ordering: .acquiringAndReleasing)
    wakeUp.signal()
  }
}
