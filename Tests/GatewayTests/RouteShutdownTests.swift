// Goal: who ends a route decides until when its sinks deliver. Method: the table of RouteShutdown,
// row by row, on real controls. Cannot show: what the threads do with it (IntegrationTests).

import GatewayCore
import Platform
import Testing
import Upstream

@testable import Gateway

@Suite("the end of a route") struct RouteShutdownTests {
  private let sinks: [SinkControl]
  private let limit: Duration = .seconds(5)

  init() throws { sinks = [SinkControl(wakeUp: try WakeUp()), SinkControl(wakeUp: try WakeUp())] }

  /// The first sink is required, the second is not.
  private func shutdown(isRequired: [Bool] = [true, false]) -> RouteShutdown {
    RouteShutdown(sinks: sinks, isRequired: isRequired, limit: limit)
  }

  private enum End: Equatable { case running, unlimited, limited, other }

  private func end(_ index: Int) -> End {
    switch sinks[index].phase {
    case .run: return .running
    case .drain(until: .distantFuture): return .unlimited
    case .drain(let until):
      let rest = until.since(Clock.monotonic())
      return rest > .zero && rest <= limit ? .limited : .other
    case .stop, .handOver: return .other
    }
  }

  @Test("nothing ends before the last record is committed")
  func notYet() {
    let shutdown = shutdown()
    shutdown.stopping()
    #expect(end(0) == .running && end(1) == .running)
    shutdown.quiesced()
    #expect(end(0) == .limited && end(1) == .limited)
  }

  @Test("a drain has no limit until no required sink is left")
  func drain() {
    let shutdown = shutdown()
    shutdown.quiesced()
    #expect(end(0) == .unlimited && end(1) == .unlimited)
    shutdown.ended(sink: 1)
    #expect(end(0) == .unlimited)
    shutdown.ended(sink: 0)
    #expect(end(1) == .limited)
  }

  @Test("SIGTERM in the middle of a drain limits all; a second one does not begin anew")
  func termination() throws {
    let shutdown = shutdown()
    shutdown.quiesced()
    shutdown.stopping()
    #expect(end(0) == .limited && end(1) == .limited)
    let before = sinks[0].phase
    shutdown.stopping()
    shutdown.ended(sink: 0)
    #expect(sinks[0].phase == before)
  }

  @Test("where no sink is required, none is waited for without a limit")
  func noneRequired() {
    let shutdown = shutdown(isRequired: [false, false])
    shutdown.quiesced()
    #expect(end(0) == .limited && end(1) == .limited)
  }

  @Test("a sink hands over while it runs, once for all that was asked, and not on its way out")
  func handOver() {
    let later = Clock.monotonic() + limit
    #expect(!sinks[0].takeOver())
    sinks[0].advance(to: .handOver(until: later))
    sinks[0].advance(to: .handOver(until: later + limit))
    #expect(sinks[0].phase == .handOver(until: later))
    #expect(sinks[0].takeOver())
    #expect(end(0) == .running)
    #expect(!sinks[0].takeOver())
    let shutdown = shutdown()
    sinks[0].advance(to: .handOver(until: later))
    shutdown.stopping()
    shutdown.quiesced()
    #expect(end(0) == .limited, "the end of the route wins")
    sinks[0].advance(to: .handOver(until: later))
    #expect(end(0) == .limited)
    #expect(!sinks[0].takeOver())
  }
}
