package import GatewayCore
package import Platform
import Synchronization

/// How the rest of the process tells a sink's thread what to do. Any thread.
package final class SinkControl: Sendable {
  package enum Phase: Sendable, Hashable {
    case run
    /// Deliver what is committed, until there is nothing left or this time has come.
    case drain(until: MonotonicTime)
    case stop
  }

  private let state = Mutex<Phase>(.run)
  private let wakeUp: WakeUp

  /// - Parameter wakeUp: what the sink's thread waits on.
  package init(wakeUp: WakeUp) { self.wakeUp = wakeUp }

  package var phase: Phase { state.withLock { $0 } }

  /// `stop` is final.
  package func advance(to phase: Phase) {
    state.withLock { if $0 != .stop { $0 = phase } }
    wakeUp.signal()
  }
}
