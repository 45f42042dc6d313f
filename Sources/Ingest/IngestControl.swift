package import GatewayCore
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

  /// What a route that takes no more ends for. Only ever moves forward.
  package enum Occasion: Int, Sendable {
    /// The process ends.
    case shutdown
    /// It is opened again with other options.
    case restart
    /// An operator drains it.
    case drain
    /// It has left the configuration.
    case removal
  }

  private let state = Atomic<Int>(Phase.run.rawValue)
  private let reason = Atomic<Int>(Occasion.shutdown.rawValue)
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

  package var occasion: Occasion {
    Occasion(rawValue: reason.load(ordering: .acquiring)) ?? .shutdown
  }

  /// Everything is to be delivered, however long it takes: it is not the process that ends.
  package var isDraining: Bool { occasion == .drain || occasion == .removal }

  /// What the ingest stage says of itself once it takes no more.
  package var farewell: StageState {
    switch occasion {
    case .shutdown: StageState(.draining)
    case .restart: StageState(.quiesced, "stops to open again with its new options")
    case .drain: StageState(.quiesced, "drained by an operator: nothing more is received")
    case .removal: StageState(.quiesced, "left the configuration: nothing more is received")
    }
  }

  /// What the end that comes is for; before `advance`.
  package func expect(_ occasion: Occasion) {
    _ = reason.max(occasion.rawValue, ordering: .acquiringAndReleasing)
  }

  /// Receive no more and deliver everything.
  package func drain(_ occasion: Occasion = .drain, endsSession: Bool) {
    expect(occasion)
    advance(to: endsSession ? .endSession : .quiesce)
  }

  package func advance(to phase: Phase) {
    _ = state.max(phase.rawValue, ordering: .acquiringAndReleasing)
    wakeUp.signal()
  }
}
