import Synchronization

/// One `DeliveryAudit` shared by the producers' threads and the observer's. Every call takes one
/// lock for the time of one dictionary operation.
package final class AuditLedger: Sendable {
  private let audit: Mutex<DeliveryAudit>

  package init(messageCountMax: Int = DeliveryAudit.messageCountMaxDefault) {
    audit = Mutex(DeliveryAudit(messageCountMax: messageCountMax))
  }

  /// Runs `body` alone with the audit. Do not block in it.
  package func withAudit<Result>(_ body: (inout sending DeliveryAudit) -> sending Result)
    -> sending Result
  {
    audit.withLock(body)
  }

  package func sent(topic: String, id: String, payload: Span<UInt8>) {
    audit.withLock { $0.sent(topic: topic, id: id, payload: payload) }
  }

  package func acknowledged(topic: String, id: String) {
    audit.withLock { $0.acknowledged(topic: topic, id: id) }
  }

  /// The live counters. O(1).
  package var counts: AuditCounts { audit.withLock { $0.counts } }

  /// The verdict on everything so far. O(messages).
  package func report() -> AuditReport { audit.withLock { $0.report() } }
}
