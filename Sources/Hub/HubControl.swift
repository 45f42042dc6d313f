import GatewayCore
package import Platform
import Synchronization

/// What the threads of one hub share: the end, a wake-up for each, and the length of the outbox.
package final class HubControl: Sendable {
  private let stopping = Atomic<Bool>(false)
  private let rows = Atomic<Int>(0)
  package let consumerWakeUp: WakeUp
  package let relayWakeUp: WakeUp
  package let retentionWakeUp: WakeUp

  package init() throws(SystemError) {
    consumerWakeUp = try WakeUp()
    relayWakeUp = try WakeUp()
    retentionWakeUp = try WakeUp()
  }

  /// The threads end in order: what is committed is acknowledged, what has left is marked.
  package func stop() {
    stopping.store(true, ordering: .releasing)
    consumerWakeUp.signal()
    relayWakeUp.signal()
    retentionWakeUp.signal()
  }

  package var isStopping: Bool { stopping.load(ordering: .acquiring) }

  /// Rows that wait in the outbox, about.
  package var outboxRows: Int { rows.load(ordering: .relaxed) }

  func setOutboxRows(_ count: Int) { rows.store(count, ordering: .relaxed) }

  func addedToOutbox(_ count: Int) {
    guard count > 0 else { return }
    rows.add(count, ordering: .relaxed)
    relayWakeUp.signal()
  }

  func removedFromOutbox(_ count: Int) {
    rows.subtract(count, ordering: .relaxed)
    consumerWakeUp.signal()
  }
}
