// Goal: a Ctrl-C becomes a wake-up, so that a command can clean up. Method: a real SIGINT to this
// process, once. Cannot show: the second signal, which would end the test process.

import GatewayCore
import Glibc
import Testing

@testable import Platform

@Suite("an interruption")
struct InterruptionTests {
  @Test("SIGINT wakes the waiting thread and does not end the process")
  func wakes() throws {
    let wakeUp = try Interruption.install()
    let before = Poll.wait(socket: nil, wakeUp: wakeUp, timeout: .zero)
    #expect(!before.wokenUp)
    _ = Glibc.kill(getpid(), SIGINT)
    let after = Poll.wait(socket: nil, wakeUp: wakeUp, timeout: .seconds(5))
    // Delivery may interrupt the poll itself; the wake-up stays signalled.
    let isWoken = after.wokenUp || Poll.wait(socket: nil, wakeUp: wakeUp, timeout: .zero).wokenUp
    #expect(isWoken)
  }
}
