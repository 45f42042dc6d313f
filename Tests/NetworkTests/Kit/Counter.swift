import Synchronization

/// Counts on the peer's thread, read by the test.
final class Counter: Sendable {
  private let count = Atomic<Int>(0)
  var value: Int { count.load(ordering: .relaxed) }

  /// - Returns: the count before.
  @discardableResult
  func increment() -> Int { count.add(1, ordering: .relaxed).oldValue }
}

/// Opened once by the test.
final class Gate: Sendable {
  private let state = Atomic<Bool>(true)
  var isClosed: Bool { state.load(ordering: .acquiring) }
  func open() { state.store(false, ordering: .releasing) }
}
