package import Platform
import Synchronization

/// How the rest of the process tells a status connection to say good-bye. Any thread.
package final class PresenceControl: Sendable {
  private let stopped = Atomic(false)
  private let wakeUp: WakeUp
  private let never: WakeUp

  package init() throws(SystemError) {
    wakeUp = try WakeUp()
    never = try WakeUp()
  }

  package var isStopped: Bool { stopped.load(ordering: .acquiring) }

  /// Final.
  package func stop() {
    stopped.store(true, ordering: .releasing)
    wakeUp.signal()
  }

  /// The signal is never cleared: who is stopped does not wait, except without `isWoken`.
  @discardableResult
  func wait(
    _ timeout: Duration, socket: Int32? = nil, forWriting: Bool = false, isWoken: Bool = true
  ) -> Poll.Readiness {
    Poll.wait(
      socket: socket, forWriting: forWriting, wakeUp: isWoken ? wakeUp : never, timeout: timeout)
  }
}
