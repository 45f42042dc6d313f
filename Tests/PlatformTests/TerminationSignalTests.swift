// Goal: a Ctrl-C becomes a call, so that a command can clean up. Method: a real SIGINT to this
// process, once. Cannot show: the second signal, which would end the test process.

import GatewayCore
import Glibc
import Testing

@testable import Platform

@Suite("a termination signal")
struct TerminationSignalTests {
  @Test("the first SIGINT is a call and does not end the process")
  func call() throws {
    let called = try WakeUp()
    try TerminationSignal.onFirst { called.signal() }
    let before = Poll.wait(socket: nil, wakeUp: called, timeout: .zero)
    #expect(!before.wokenUp)
    _ = Glibc.kill(getpid(), SIGINT)
    let deadline = Clock.monotonic() + .seconds(10)
    var isCalled = false
    // Delivery may interrupt the poll itself.
    while !isCalled && Clock.monotonic() < deadline {
      isCalled = Poll.wait(socket: nil, wakeUp: called, timeout: .seconds(1)).wokenUp
    }
    #expect(isCalled)
  }
}
