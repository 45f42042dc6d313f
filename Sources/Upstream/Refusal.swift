package import Mosquitto

/// What a PUBACK's reason code means for the batch it answers. The whole table:
///
///   code                          verdict
///   0x00 success                  accepted
///   0x10 no matching subscribers  accepted only with `accept_no_subscriber`, else retry, alarmed
///   0x80 unspecified error        retry
///   0x83 implementation specific  retry
///   0x91 packet id in use         retry
///   0x97 quota exceeded           retry
///   0x95 packet too large         split, down to one record, then dead letter
///   0x99 payload format invalid   split, down to one record, then dead letter
///   any other, 0x87 and 0x90 too  retry, alarmed: a person must look; never dropped
package enum PublishVerdict: Sendable, Hashable {
  case accepted
  case refused(Refusal)

  package init(_ reason: ReasonCode, acceptsNoSubscriber: Bool) {
    switch reason.rawValue {
    case 0x00: self = .accepted
    case 0x10: self = acceptsNoSubscriber ? .accepted : .refused(.retry(alarm: true))
    case 0x80, 0x83, 0x91, 0x97: self = .refused(.retry(alarm: false))
    case 0x95, 0x99: self = .refused(.split)
    default: self = .refused(.retry(alarm: true))
    }
  }
}

/// What to do about a batch that was not accepted.
package enum Refusal: Sendable, Hashable {
  /// Send it again after a pause. `alarm`: it will not go away by itself.
  case retry(alarm: Bool)
  /// Send it in smaller parts; a single record goes to the dead letters.
  case split
}
