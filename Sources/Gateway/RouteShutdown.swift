import GatewayCore
import Ingest
import Platform
import Synchronization
import Upstream

/// Until when the sinks of a route deliver once it takes no more. Any thread.
///
/// | who ends it         | required sinks        | best-effort sinks                            |
/// |---------------------|-----------------------|----------------------------------------------|
/// | SIGTERM             | `Pipeline.drainLimit` | the same                                     |
/// | an operator's drain | until all is accepted | the same limit, from when no required one is |
/// |                     |                       | left: what they miss is nobody's loss        |
///
/// SIGTERM in the middle of a drain sets its limit for all.
final class RouteShutdown: Sendable {
  private struct State {
    /// The last record is committed: only from then on is there an end to deliver to.
    var isQuiesced = false
    var isStopping = false
    var requiredLeft: Set<Int>
  }

  let sinks: [SinkControl]
  private let limit: Duration
  private let state: Mutex<State>

  init(sinks: [SinkControl], isRequired: [Bool], limit: Duration) {
    self.sinks = sinks
    self.limit = limit
    state = Mutex(State(requiredLeft: Set(isRequired.indices.filter { isRequired[$0] })))
  }

  /// The ingest thread has committed the last record.
  func quiesced() { change { $0.isQuiesced = true } }

  /// The process ends.
  func stopping() {
    let isFirst = state.withLock { state in
      defer { state.isStopping = true }
      return !state.isStopping
    }
    if isFirst { change { _ in } }
  }

  /// A sink has delivered everything, or has given up.
  func ended(sink: Int) {
    let wasLast = state.withLock { state in
      state.requiredLeft.remove(sink) != nil && state.requiredLeft.isEmpty
    }
    if wasLast { change { _ in } }
  }

  private func change(_ body: (inout State) -> Void) {
    let now = state.withLock { state in
      body(&state)
      return state
    }
    guard now.isQuiesced else { return }
    let isLimited = now.isStopping || now.requiredLeft.isEmpty
    let until = isLimited ? Clock.monotonic() + limit : .distantFuture
    for sink in sinks {
      // A limit that is set does not begin anew.
      if case .drain(let earlier) = sink.phase, earlier < .distantFuture { continue }
      sink.advance(to: .drain(until: until))
    }
  }
}

extension MonotonicTime {
  /// After everything.
  static let distantFuture = MonotonicTime(nanoseconds: .max)
}
