import CLinux
import GatewayCore
import Glibc
import Synchronization

/// The first SIGINT or SIGTERM as a call, for commands that want to end in order. From a second
/// later on the signals have their default effect again: whoever presses Ctrl-C twice means it, but
/// timeout(1) and some shells signal a process and its group at once. (`run` has ServiceLifecycle.)
package enum TerminationSignal {
  /// Set once, before the handlers are installed; the handlers only read it.
  private static let raised = Mutex<WakeUp?>(nil)
  private static let signals = [SIGINT, SIGTERM]
  /// What tells another process to end in order.
  package static let number = SIGTERM
  private static let pollDescriptor = Atomic<Int32>(-1)

  /// Runs `body` once, on a thread of its own, after the first SIGINT or SIGTERM from now on. At
  /// most one call in the life of a process.
  package static func onFirst(_ body: @escaping @Sendable () -> Void) throws(SystemError) {
    let wakeUp = try WakeUp()
    let isFirstCall = raised.withLock { present in
      defer { present = wakeUp }
      return present == nil
    }
    precondition(isFirstCall, "one command, one reaction to a signal")
    pollDescriptor.store(wakeUp.pollDescriptor, ordering: .releasing)
    Thread.start(name: "signals") {
      while !Poll.wait(socket: nil, wakeUp: wakeUp, timeout: .seconds(3600)).wokenUp {}
      body()
      let end = Clock.monotonic() + .seconds(1)
      while Clock.monotonic() < end {
        wakeUp.clear()
        _ = Poll.wait(socket: nil, wakeUp: wakeUp, timeout: end.since(Clock.monotonic()))
      }
      for number in signals { _ = signal(number, SIG_DFL) }
    }
    for number in signals {
      var action = sigaction()
      action.sa_flags = SA_RESTART
      // Signal-safe: one atomic load and one write(2), no allocation, no reference counting.
      unsafe action.__sigaction_handler.sa_handler = { _ in
        var one: UInt64 = 1
        _ = unsafe write(TerminationSignal.pollDescriptor.load(ordering: .acquiring), &one, 8)
      }
      if unsafe sigaction(number, &action, nil) != 0 { throw SystemError("sigaction") }
    }
  }
}
