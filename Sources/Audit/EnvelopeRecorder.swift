package import Envelope
import GatewayCore

/// From the bytes that reach the centre to the words of the audit.
package enum EnvelopeRecorder {
  /// The audit counts for itself what an envelope accounts for.
  private static var limits: EnvelopeLimits {
    var limits = EnvelopeLimits()
    limits.requiresAccounting = false
    return limits
  }

  /// A recorder for `CentralObserver`. One lock per envelope.
  package static func record(into ledger: AuditLedger) -> CentralObserver.Record {
    { topic, payload in
      do throws(EnvelopeError) {
        let envelope = try EnvelopeDecoder.decode(payload, limits: limits)
        ledger.withAudit { record(envelope, into: &$0) }
      } catch {
        let reason = "\(String(decoding: topic)): \(error)"
        ledger.withAudit { $0.undecodable(reason) }
      }
    }
  }

  /// Enters a decoded envelope.
  package static func record(_ envelope: Envelope, into audit: inout DeliveryAudit) {
    audit.beginEnvelope(
      journal: envelope.header.journal, epoch: envelope.header.epoch,
      first: envelope.header.first, last: envelope.header.last)
    for event in envelope.events {
      if event.isDeadLetter {
        audit.deadLetter(sequence: event.sequence, topic: event.topic, id: event.id)
      } else {
        audit.event(
          sequence: event.sequence, topic: event.topic, id: event.id,
          payload: event.payload.span)
      }
    }
    for gap in envelope.gaps { audit.gap(gap) }
    for range in envelope.elided { audit.elided(range) }
    audit.endEnvelope()
  }
}
