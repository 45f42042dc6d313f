package import GatewayCore
import JSONScanning

/// Writes envelopes, one after another, for one route of one gateway. Kept for the life of a sink:
/// its buffers keep their capacity, so that once they have grown no event allocates.
///
///     encoder.begin(journal: …, epoch: …, first: …)
///     encoder.appendEvent(…)          // each record, gap and elided range in sequence order,
///     encoder.appendGap(…)            // beginning at `first`, without a hole
///     encoder.finish(last: …, compression: .zstd, into: &message)
///
/// A hole or a step back in the sequences is a bug of the caller and traps: an envelope that does
/// not account for every sequence must never leave. Not Sendable: one owner at a time.
package struct EnvelopeEncoder: ~Copyable {
  /// `{"penstock":1,"gateway":…,"route":…`
  private let opening: [UInt8]
  /// `penstock://<site>/`
  private let sourcePrefix: [UInt8]
  /// `,"journal":"<journal>","epoch":"<epoch>","first":<first>,"last":`, behind the marks
  private var identity: [UInt8] = []
  /// `<journal>-<epoch>-`
  private var idPrefix: [UInt8] = []
  private var events: [UInt8] = []
  private var gaps = RangeList()
  private var elided = RangeList()
  private var plain: [UInt8] = []
  private var attributes = EventAttributes()
  private var scanner = JSONScanner(pointers: [])
  private var compressor: ZstdCompressor?
  private let compressionLevel: Int

  /// Envelopes that begin from now on say that they are sent once more.
  package var isReplay: Bool
  /// Envelopes that begin from now on say that newer records were sent before.
  package var isBacklog = false

  private var first = Sequence.none
  /// The sequence that must come next; `.none` before `begin`.
  private var next = Sequence.none
  /// Events appended since `begin`.
  package private(set) var eventCount = 0

  /// Limits: gateway, site and route as the configuration allows them, 1–64 of [A-Za-z0-9_-].
  /// `compressionLevel`: of zstd, in `Compression.levels`.
  package init(
    gateway: String, site: String, route: String, previous: PreviousJournal? = nil,
    isReplay: Bool = false, compressionLevel: Int = Compression.levelDefault
  ) {
    self.isReplay = isReplay
    self.compressionLevel = compressionLevel
    var opening: [UInt8] = []
    opening.append(ascii: "{\"penstock\":1,\"gateway\":")
    JSONString.append(gateway, to: &opening)
    if site != gateway {
      opening.append(ascii: ",\"site\":")
      JSONString.append(site, to: &opening)
    }
    opening.append(ascii: ",\"route\":")
    JSONString.append(route, to: &opening)
    if let previous {
      opening.append(ascii: ",\"previous\":{\"journal\":\"")
      opening.append(previous.id)
      opening.append(ascii: "\",\"last\":")
      opening.append(decimal: previous.lastSequence.rawValue)
      opening.append(UInt8(ascii: "}"))
    }
    self.opening = opening
    var prefix: [UInt8] = []
    prefix.append(ascii: "penstock://")
    prefix.append(percentEncoding: Array(site.utf8).span)
    prefix.append(UInt8(ascii: "/"))
    sourcePrefix = prefix
    compressor = nil
  }

  /// Starts an envelope and forgets what the one before held.
  package mutating func begin(journal: JournalID, epoch: Epoch, first: Sequence) {
    precondition(first > .none, "the first sequence of a journal is 1")
    events.removeAll(keepingCapacity: true)
    gaps.removeAll()
    elided.removeAll()
    eventCount = 0
    self.first = first
    next = first
    idPrefix.removeAll(keepingCapacity: true)
    idPrefix.append(journal)
    idPrefix.append(UInt8(ascii: "-"))
    idPrefix.append(hexadecimal: epoch.rawValue)
    idPrefix.append(UInt8(ascii: "-"))
    identity.removeAll(keepingCapacity: true)
    if isReplay { identity.append(ascii: ",\"replay\":true") }
    if isBacklog { identity.append(ascii: ",\"backlog\":true") }
    identity.append(ascii: ",\"journal\":\"")
    identity.append(journal)
    identity.append(ascii: "\",\"epoch\":\"")
    identity.append(hexadecimal: epoch.rawValue)
    identity.append(ascii: "\",\"first\":")
    identity.append(decimal: first.rawValue)
    identity.append(ascii: ",\"last\":")
  }

  /// Bytes that `finish` would write without compression, now. Exact.
  package var byteCount: Int {
    opening.count + identity.count + EnvelopeEncoder.digitCount(next.previous.rawValue)
      + EnvelopeEncoder.frameByteCount + events.count + gaps.text.count + elided.text.count
  }

  /// `,"events":[` + `],"gaps":[` + `],"elided":[` + `]}`
  private static let frameByteCount = 11 + 10 + 12 + 2

  /// Adds a record.
  ///
  /// - Parameters:
  ///   - id: the message id in UTF-8; empty for a record without one.
  ///   - properties: MQTT 5 properties in wire encoding (see MQTTProperties.swift).
  package mutating func appendEvent(
    _ fields: EventFields, topic: Span<UInt8>, id: Span<UInt8>, properties: Span<UInt8>,
    payload: Span<UInt8>
  ) {
    precondition(fields.kind != .tombstone, "a tombstone becomes a gap, not an event")
    advance(over: fields.sequence, fields.sequence)
    if eventCount > 0 { events.append(UInt8(ascii: ",")) }
    eventCount += 1
    events.append(ascii: "{\"specversion\":\"1.0\",\"id\":\"")
    if id.isEmpty {
      events.append(contentsOf: idPrefix)
      events.append(decimal: fields.sequence.rawValue)
    } else {
      JSONString.appendEscaped(id, to: &events)
    }
    events.append(ascii: "\",\"source\":\"")
    events.append(contentsOf: sourcePrefix)
    events.append(percentEncoding: topic)
    events.append(ascii: "\",\"type\":\"")
    if fields.kind == .deadLetter {
      events.append(ascii: "penstock.dead-letter")
    } else {
      events.append(ascii: "penstock.record")
    }
    events.append(ascii: "\",\"time\":\"")
    fields.received.appendRFC3339(to: &events)
    events.append(ascii: "\",\"sequence\":\"")
    events.append(decimal: fields.sequence.rawValue)
    events.append(ascii: "\",\"topic\":")
    JSONString.append(topic, to: &events)
    appendFlags(fields)
    attributes.append(properties, to: &events)
    appendData(fields.flags, properties, payload)
    events.append(UInt8(ascii: "}"))
  }

  /// Appends the events since `begin` as they stand in the envelope, commas between them: for
  /// tools that print events without an envelope round them.
  package func appendEvents(to text: inout [UInt8]) { text.append(contentsOf: events) }

  /// Adds a run of sequences that is lost.
  package mutating func appendGap(_ gap: Gap) {
    advance(over: gap.range.first, gap.range.last)
    gaps.append(gap.range, gap.reason, topic: gap.topic)
  }

  /// Adds a run of sequences that is not meant for this sink.
  package mutating func appendElided(_ range: SequenceRange) {
    advance(over: range.first, range.last)
    elided.append(range, nil)
  }

  /// Replaces the content of `message` by the envelope. Does not compress when that would not make
  /// it smaller, or when there is no memory for it.
  ///
  /// - Returns: how `message` is encoded.
  @discardableResult
  package mutating func finish(
    last: Sequence, compression: Compression, into message: inout [UInt8]
  ) -> Compression {
    precondition(last.next == next && last >= first, "an envelope ends with what was appended last")
    guard compression == .zstd else {
      assemble(into: &message)
      return .none
    }
    var text: [UInt8] = []
    swap(&text, &plain)
    defer { swap(&text, &plain) }
    assemble(into: &text)
    // Not made until needed: a context takes about a megabyte.
    if compressor == nil { compressor = ZstdCompressor(level: compressionLevel) }
    if compressor?.compress(text, into: &message) == true { return .zstd }
    message.removeAll(keepingCapacity: true)
    message.append(contentsOf: text)
    return .none
  }

  private func assemble(into text: inout [UInt8]) {
    text.removeAll(keepingCapacity: true)
    text.reserveCapacity(byteCount)
    text.append(contentsOf: opening)
    text.append(contentsOf: identity)
    text.append(decimal: next.previous.rawValue)
    text.append(ascii: ",\"events\":[")
    text.append(contentsOf: events)
    text.append(ascii: "],\"gaps\":[")
    text.append(contentsOf: gaps.text)
    text.append(ascii: "],\"elided\":[")
    text.append(contentsOf: elided.text)
    text.append(ascii: "]}")
  }

  private mutating func advance(over first: Sequence, _ last: Sequence) {
    precondition(
      first == next && next > .none,
      "an envelope accounts for its sequences in order, without a hole")
    next = last.next
  }

  private mutating func appendFlags(_ fields: EventFields) {
    if fields.kind == .deadLetter, let reason = fields.reason {
      events.append(ascii: ",\"reason\":\"")
      events.append(utf8: reason.text)
      events.append(UInt8(ascii: "\""))
    }
    if fields.flags.contains(.retained) { events.append(ascii: ",\"retain\":\"true\"") }
    switch fields.flags.qualityOfService {
    case .atMostOnce: events.append(ascii: ",\"qos\":\"0\"")
    case .atLeastOnce: break
    case .exactlyOnce: events.append(ascii: ",\"qos\":\"2\"")
    }
    guard !fields.flags.contains(.clockSynchronised) else { return }
    if fields.isReceivedCorrected {
      events.append(ascii: ",\"clocksync\":\"corrected\"")
    } else {
      events.append(ascii: ",\"clocksync\":\"false\"")
    }
  }

  private mutating func appendData(
    _ flags: RecordFlags, _ properties: Span<UInt8>, _ payload: Span<UInt8>
  ) {
    var isDeclaredOther = false
    if let place = attributes.contentType {
      let contentType = properties.extracting(place)
      isDeclaredOther = !EventAttributes.declaresJSON(contentType)
      events.append(ascii: ",\"datacontenttype\":")
      JSONString.append(contentType, to: &events)
    }
    guard !payload.isEmpty else { return }
    if flags.contains(.json), !isDeclaredOther {
      events.append(ascii: ",\"data\":")
      events.append(payload)
      return
    }
    if attributes.contentType == nil {
      if case .invalid = scanner.scan(payload) {
        events.append(ascii: ",\"datacontenttype\":\"application/octet-stream\"")
      } else {
        events.append(ascii: ",\"datacontenttype\":\"application/json\"")
      }
    }
    events.append(ascii: ",\"data_base64\":\"")
    Base64.append(payload, to: &events)
    events.append(UInt8(ascii: "\""))
  }

  private static func digitCount(_ value: UInt64) -> Int {
    var count = 1
    var rest = value
    while rest >= 10 {
      rest /= 10
      count += 1
    }
    return count
  }
}
