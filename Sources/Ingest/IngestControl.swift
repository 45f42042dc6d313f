package import Platform
import Synchronization

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
  private let live = Atomic<Bool>(false)
  private let wakeUp: WakeUp
  private let onQuiesced: @Sendable () -> Void

  /// - Parameters:
  ///   - wakeUp: what the ingest thread waits on.
  ///   - onQuiesced: called once, on the ingest thread, when the last record has been committed.
  package init(wakeUp: WakeUp, onQuiesced: @escaping @Sendable () -> Void = {}) {
    self.wakeUp = wakeUp
    self.onQuiesced = onQuiesced
  }

  /// Whether a connection has its session and subscription now.
  package var isLive: Bool { live.load(ordering: .acquiring) }

  func setLive(_ isLive: Bool) { live.store(isLive, ordering: .releasing) }

  package func didQuiesce() { onQuiesced() }

  package var phase: Phase { Phase(rawValue: state.load(ordering: .acquiring)) ?? .close }

  package func advance(to phase: Phase) {
    _ = state.max(phase.rawValue, ordering: .acquiringAndReleasing)
    wakeUp.signal()
  }
}
