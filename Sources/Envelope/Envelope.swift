// The envelope: what a batch looks like on the wire.
//
// ## Format, version 1
// One JSON object, UTF-8, possibly compressed as a whole into one zstd frame (RFC 8878). A zstd
// frame begins with 28 B5 2F FD, which no JSON text does, so the reader needs no other sign.
//
//     {"penstock":1,                     version; a reader refuses what it does not know
//      "gateway":"gw-houston-01",        identifies the gateway
//      "site":"houston",                 only when it is not the gateway's id
//      "route":"telemetry",
//      "journal":"<uuid>",               the ring file that numbered the records
//      "previous":{"journal":"<uuid>",   the ring file that this one replaced, and the last
//                  "last":88213},        sequence it gave out; only when that is known
//      "replay":true,                    only when records are sent once more because an operator,
//                                        or the consumer itself, asked for it: they may be old, and
//                                        may have come before
//      "backlog":true,                   only with live-first delivery: newer records of this
//                                        journal were sent before, and these must not replace them
//      "epoch":"9f3c…",                  16 hexadecimal digits: the file's current life
//      "first":990,"last":1540,          the sequences this envelope accounts for, both included
//      "events":[…],                     ascending by sequence; may be empty
//      "gaps":[{"first":990,"last":1040,"count":51,"reason":"ring-full"},
//              {"first":1043,"last":1060,"count":18,"reason":"quota",
//               "topic":"pumps/1/metrics"}],     topic: only when all are of one known source
//      "elided":[{"first":1042,"last":1042,"count":1}]}
//
// Every sequence in first...last is in exactly one of events, gaps (lost, with the reason) and
// elided (not for this sink). Unknown members are to be ignored.
//
// ## Event: CloudEvents 1.0, JSON format
//
//     specversion      "1.0"
//     id               the message id, or <journal>-<epoch>-<sequence> for a record without one
//     source           penstock://<site>/<topic>; every byte of the topic that is not unreserved in
//                      RFC 3986 or a slash is percent-encoded, so that it is exact for any topic
//     type             "penstock.record", or "penstock.dead-letter" with a "reason"
//     time             receive time, RFC 3339, UTC, milliseconds; the same event sent again may
//                      bring a better one, see clocksync
//     sequence         decimal, as a string
//     topic            the topic; bytes that are not UTF-8 are U+FFFD here
//     reason           missing-id | conflict | too-large | refused | expired; dead letters only
//     retain           "true"; absent means not retained
//     qos              "0" or "2"; absent means 1
//     clocksync        absent when the clock was synchronised at receive time; "corrected" when it
//                      was not, and time has been worked out since, from a later synchronised
//                      moment of the same boot; "false" when it was not and time is as it was read
//     payloadformat    MQTT 5 Payload Format Indicator, "0" or "1"
//     messageexpiry    MQTT 5 Message Expiry Interval as received, in seconds
//     responsetopic    MQTT 5 Response Topic
//     correlationdata  MQTT 5 Correlation Data in base64
//     up…              MQTT 5 user properties: see EventAttributes.swift
//     propertiescut    how many user properties were left out, or "malformed"
//     datacontenttype  MQTT 5 Content Type if there is one; else application/json for JSON that is
//                      in data_base64, application/octet-stream for other bytes, nothing with data
//     data             the payload, byte for byte, if it is safe JSON and the content type, if
//                      there is one, is a JSON type
//     data_base64      the payload otherwise. An empty payload has neither.

package import GatewayCore

/// Whose records an envelope accounts for, and which.
package struct EnvelopeHeader: Sendable, Hashable {
  package var gateway: String
  /// What two redundant gateways share; the gateway's id when nothing else was said.
  package var site: String
  package var route: String
  package var journal: JournalID
  /// Where a numbering that began again at 1 comes from.
  package var previous: PreviousJournal?
  /// Sent once more on request: what it holds may be old, and may have come before.
  package var isReplay: Bool
  /// Newer records of the journal were sent before these.
  package var isBacklog: Bool
  package var epoch: Epoch
  package var first: Sequence
  package var last: Sequence

  package init(
    gateway: String, site: String, route: String, journal: JournalID,
    previous: PreviousJournal? = nil, isReplay: Bool = false, isBacklog: Bool = false,
    epoch: Epoch, first: Sequence, last: Sequence
  ) {
    self.previous = previous
    self.isReplay = isReplay
    self.isBacklog = isBacklog
    self.gateway = gateway
    self.site = site
    self.route = route
    self.journal = journal
    self.epoch = epoch
    self.first = first
    self.last = last
  }
}

/// The facts of one record that its event tells, beside its bytes.
package struct EventFields: Sendable, Hashable {
  package var sequence: Sequence
  /// `.data` or `.deadLetter`; a tombstone becomes a gap, not an event.
  package var kind: RecordKind
  package var reason: DeadLetterReason?
  package var flags: RecordFlags
  package var received: WallTime
  /// `received` has been worked out; without the flag `clockSynchronised` only.
  package var isReceivedCorrected: Bool

  package init(
    sequence: Sequence, kind: RecordKind = .data, reason: DeadLetterReason? = nil,
    flags: RecordFlags, received: WallTime, isReceivedCorrected: Bool = false
  ) {
    self.isReceivedCorrected = isReceivedCorrected
    self.sequence = sequence
    self.kind = kind
    self.reason = reason
    self.flags = flags
    self.received = received
  }
}

/// A decoded envelope.
package struct Envelope: Sendable, Hashable {
  package var header: EnvelopeHeader
  /// As they stood.
  package var events: [Event]
  package var gaps: [Gap]
  package var elided: [SequenceRange]
  /// How it travelled.
  package var compression: Compression

  /// Checks nothing: see `verifyAccounting`.
  package init(
    header: EnvelopeHeader, events: [Event], gaps: [Gap], elided: [SequenceRange],
    compression: Compression
  ) {
    self.header = header
    self.events = events
    self.gaps = gaps
    self.elided = elided
    self.compression = compression
  }

  /// Checks that events, gaps and elided ranges cover `first...last` exactly: no hole, no overlap,
  /// nothing outside. Throws `.unaccounted`.
  package func verifyAccounting() throws(EnvelopeError) {
    var ranges = events.map { SequenceRange($0.sequence, $0.sequence) }
    ranges += gaps.map(\.range)
    ranges += elided
    ranges.sort { $0.first < $1.first }
    var next = header.first
    for range in ranges {
      guard range.first == next, range.last <= header.last else {
        throw EnvelopeError(.unaccounted, sequence: min(range.first, next))
      }
      next = range.last.next
    }
    guard next == header.last.next else { throw EnvelopeError(.unaccounted, sequence: next) }
  }
}

/// One record as the consumer sees it.
package struct Event: Sendable, Hashable {
  package static let recordType = "penstock.record"
  package static let deadLetterType = "penstock.dead-letter"

  /// `(source, id)` identifies the event for good, whichever gateway carried it.
  package var id: String
  package var source: String
  package var type: String
  /// When the gateway received it.
  package var time: WallTime
  /// How far `time` can be trusted.
  package var clockSync: ClockSync
  package var sequence: Sequence
  package var topic: String
  /// Of a dead letter: `DeadLetterReason.text`, or a reason that this version does not know.
  package var reason: String?
  package var isRetained: Bool
  package var qualityOfService: QualityOfService
  package var contentType: String?
  package var data: EventData
  /// All other attributes, in the order they stood.
  package var attributes: [EventAttribute]

  package init(
    id: String, source: String, type: String, time: WallTime, clockSync: ClockSync,
    sequence: Sequence, topic: String, reason: String?, isRetained: Bool,
    qualityOfService: QualityOfService, contentType: String?, data: EventData,
    attributes: [EventAttribute]
  ) {
    self.id = id
    self.source = source
    self.type = type
    self.time = time
    self.clockSync = clockSync
    self.sequence = sequence
    self.topic = topic
    self.reason = reason
    self.isRetained = isRetained
    self.qualityOfService = qualityOfService
    self.contentType = contentType
    self.data = data
    self.attributes = attributes
  }

  package var isDeadLetter: Bool { type == Event.deadLetterType }

  /// The payload as the pump sent it.
  package var payload: [UInt8] {
    switch data {
    case .none: []
    case .json(let bytes), .bytes(let bytes): bytes
    }
  }
}

/// Whether an event's `time` is from a clock that was right.
package enum ClockSync: String, Sendable, Hashable {
  /// The clock was synchronised at receipt; the attribute is absent.
  case synchronised = "true"
  /// It was not, but `time` has been worked out since.
  case corrected
  /// It was not: `time` is as it was read.
  case unsynchronised = "false"
}

/// A payload and the form in which it travelled.
package enum EventData: Sendable, Hashable {
  /// Empty.
  case none
  /// The text of the `data` member, byte for byte.
  case json([UInt8])
  /// What `data_base64` stood for.
  case bytes([UInt8])
}

/// An extension attribute of a CloudEvent.
package struct EventAttribute: Sendable, Hashable {
  package let name: String
  /// A string's value; a number or boolean as it was written.
  package let value: String

  package init(name: String, value: String) {
    self.name = name
    self.value = value
  }
}
