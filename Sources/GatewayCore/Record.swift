/// What kind of thing a sequence number stands for.
package enum RecordKind: UInt8, Sendable, CaseIterable {
  // 0 is never valid on disk, so that zeroed bytes cannot be a record.
  case data = 1
  /// Journalled, acknowledged and delivered, but as `penstock.dead-letter` with its reason.
  case deadLetter = 2
  /// A run of refused messages: says which, how many and why. Becomes a gap upstream.
  case tombstone = 3
}

/// Why a record could not be treated as data although it was received.
package enum DeadLetterReason: UInt8, Sendable, CaseIterable {
  case missingID = 1
  /// Same message id, other payload.
  case conflict = 2
  /// Larger than `max_record`; the record holds the first bytes only.
  case tooLarge = 3
  /// The centre refuses this one record for good.
  case refused = 4
  /// A command that was not delivered in time.
  case expired = 5

  package var text: String {
    switch self {
    case .missingID: "missing-id"
    case .conflict: "conflict"
    case .tooLarge: "too-large"
    case .refused: "refused"
    case .expired: "expired"
    }
  }
}

/// Why sequences are missing. A closed list: consumers may switch over it.
package enum GapReason: UInt8, Sendable, CaseIterable {
  case ringFull = 1
  case quota = 2
  case expired = 3
  case corrupt = 4
  case skipped = 5
  case deadLetterFull = 6

  /// Its place in a table of all reasons.
  package var place: Int { Int(rawValue) - 1 }

  package var text: String {
    switch self {
    case .ringFull: "ring-full"
    case .quota: "quota"
    case .expired: "expired"
    case .corrupt: "corrupt"
    case .skipped: "skipped"
    case .deadLetterFull: "dead-letter-full"
    }
  }

  package init?(text: some StringProtocol) {
    guard let reason = GapReason.allCases.first(where: { $0.text == text }) else { return nil }
    self = reason
  }
}

/// A run of sequences that will not be delivered. Takes no sequence of its own.
package struct Gap: Hashable, Sendable {
  package let range: SequenceRange
  package let reason: GapReason
  /// Whose messages they were, when all are of one source and that is known: of `quota`.
  package let topic: String?

  package init(_ range: SequenceRange, _ reason: GapReason, topic: String? = nil) {
    self.range = range
    self.reason = reason
    self.topic = topic
  }
}

/// Facts of one record that fit in 16 bits and are kept as they are on disk.
package struct RecordFlags: OptionSet, Hashable, Sendable {
  package let rawValue: UInt16
  @inlinable package init(rawValue: UInt16) { self.rawValue = rawValue }

  /// The payload is one valid JSON text that no decoder can choke on.
  package static let json = RecordFlags(rawValue: 1 << 0)
  /// The MQTT retain flag as received (retain-as-published).
  package static let retained = RecordFlags(rawValue: 1 << 1)
  /// The wall clock was synchronised when the record was received.
  package static let clockSynchronised = RecordFlags(rawValue: 1 << 2)
  /// A reading that is summed up: the next aggregate of its series has it.
  package static let aggregated = RecordFlags(rawValue: 1 << 5)
  /// Kept in the ring, and not delivered: an aggregate is delivered in its place.
  package static let elided = RecordFlags(rawValue: 1 << 6)
  /// An aggregate, which the gateway has made of the readings of one series before it. Its payload
  /// digest is that of the series.
  package static let aggregate = RecordFlags(rawValue: 1 << 7)

  /// As of every OptionSet, without the generic call that it costs another module.
  @inlinable package func contains(_ flags: RecordFlags) -> Bool {
    rawValue & flags.rawValue == flags.rawValue
  }

  /// `insert` or `remove`, without the generic calls that those cost another module.
  @inlinable package func setting(_ flags: RecordFlags, to isSet: Bool) -> RecordFlags {
    RecordFlags(rawValue: isSet ? rawValue | flags.rawValue : rawValue & ~flags.rawValue)
  }

  /// Bits 3 and 4: the QoS the message arrived with.
  package var qualityOfService: QualityOfService {
    get { QualityOfService(rawValue: UInt8(rawValue >> 3 & 3)) ?? .atMostOnce }
    set {
      self = RecordFlags(rawValue: rawValue & ~(3 << 3) | UInt16(newValue.rawValue) << 3)
    }
  }
}

/// MQTT quality of service (MQTT 5.0, section 4.3).
package enum QualityOfService: UInt8, Sendable, Comparable {
  case atMostOnce = 0
  case atLeastOnce = 1
  case exactlyOnce = 2

  package static func < (left: QualityOfService, right: QualityOfService) -> Bool {
    left.rawValue < right.rawValue
  }
}
