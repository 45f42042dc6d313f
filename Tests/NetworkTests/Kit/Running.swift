import Glibc
import Platform
import Synchronization
import TestSupport

/// Counts threads that have not ended yet.
final class Running: Sendable {
  private let count = Atomic<Int>(0)

  func enter() { count.add(1, ordering: .relaxed) }
  func leave() { count.subtract(1, ordering: .releasing) }

  /// Told to stop, they end within a turn of their loops.
  func waitForAll() {
    while count.load(ordering: .acquiring) > 0 { _ = poll(nil, 0, 1) }
  }
}

/// The repository, found from this file.
let repositoryRoot: String = {
  "/" + #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
}()
