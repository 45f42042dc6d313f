package import GatewayCore
package import Platform
import Synchronization

/// How the rest of the process tells a sink's thread what to do. Any thread.
package final class SinkControl: Sendable {
  package enum Phase: Sendable, Hashable {
    case run
    /// Send no more and end when what is in flight is answered, or at this time: another thread of
    /// the same sink follows.
    case handOver(until: MonotonicTime)
    /// Deliver what is committed, until there is nothing left or this time has come.
    case drain(until: MonotonicTime)
    case stop
  }

  private let state = Mutex<Phase>(.run)
  private let wakeUp: WakeUp

  /// - Parameter wakeUp: what the sink's thread waits on.
  package init(wakeUp: WakeUp) { self.wakeUp = wakeUp }

  package var phase: Phase { state.withLock { $0 } }

  /// `stop` is final, and nothing is handed over by a sink that ends.
  package func advance(to phase: Phase) {
    state.withLock { state in
      if case .handOver = phase, state != .run { return }
      if state != .stop { state = phase }
    }
    wakeUp.signal()
  }

  /// The thread has ended. Whether it was to hand over; the next one then runs.
  package func takeOver() -> Bool {
    state.withLock { state in
      guard case .handOver = state else { return false }
      state = .run
      return true
    }
  }
}
