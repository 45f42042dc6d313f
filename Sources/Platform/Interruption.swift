import Glibc
import Synchronization

/// Turns SIGINT and SIGTERM into a wake-up, for commands that have children and directories to
/// clean up. A process has one; the second signal ends it at once, so that a stuck clean-up can be
/// left. Not for `run`, whose signals the service group handles.
package enum Interruption {
  /// Installs the handlers. The returned wake-up stays signalled: do not clear it.
  package static func install() throws(SystemError) -> WakeUp {
    let wakeUp = try WakeUp()
    precondition(
      signalDescriptor.exchange(wakeUp.pollDescriptor, ordering: .sequentiallyConsistent) == -1,
      "interruptions are taken over once")
    for number in [SIGINT, SIGTERM] {
      signal(number) { number in
        // Only what signal-safety(7) allows.
        var one: UInt64 = 1
        _ = unsafe write(signalDescriptor.load(ordering: .relaxed), &one, 8)
        signal(number, SIG_DFL)
      }
    }
    return wakeUp
  }
}

/// The eventfd that the handlers write to.
private let signalDescriptor = Atomic<Int32>(-1)
