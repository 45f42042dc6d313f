import GatewayCore
import Platform

/// Why a test could not be set up or went on too long.
package struct TestFailure: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// A moment after which a test gives up waiting.
package struct Deadline: Sendable {
  private let end: MonotonicTime

  package init(in duration: Duration) { end = Clock.monotonic() + duration }

  package var left: Duration { max(end.since(Clock.monotonic()), .zero) }
  package var isOver: Bool { left == .zero }
}
