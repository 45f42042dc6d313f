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
  /// `","source":"penstock://<site>/`
  private let source: [UInt8]
  /// `,"journal":"<journal>","epoch":"<epoch>","first":<first>,"last":`, behind the marks
  private var identity: [UInt8] = []
  /// `<journal>-<epoch>-`
  private var idPrefix: [UInt8] = []
  /// Room for the largest head, then the events, commas between them: the head is known at the
  /// end, and nothing is copied to put it in front.
  private var text: [UInt8] = []
  private var gaps = RangeList()
  private var elided = RangeList()
  private var head: [UInt8] = []
  private var compressed: [UInt8] = []
  private var spelling = Spelling()
  private var times = RFC3339Writer()
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
    var source: [UInt8] = []
    source.append(ascii: "\",\"source\":\"penstock://")
    source.append(percentEncoding: Array(site.utf8).span)
    source.append(UInt8(ascii: "/"))
    self.source = source
    compressor = nil
  }

  /// Starts an envelope and forgets what the one before held.
  package mutating func begin(journal: JournalID, epoch: Epoch, first: Sequence) {
    precondition(first > .none, "the first sequence of a journal is 1")
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
    text.removeAll(keepingCapacity: true)
    let room = headRoom
    text.append(addingCapacity: room) { $0.append(repeating: 0, count: room) }
  }

  /// Bytes that `finish` would write without compression, now. Exact.
  package var byteCount: Int {
    opening.count + identity.count + next.previous.rawValue.decimalDigitCount
      + EnvelopeEncoder.frameByteCount + eventsByteCount + gaps.text.count + elided.text.count
  }

  private var eventsByteCount: Int { text.count - headRoom }

  /// Where the events begin.
  private var headRoom: Int {
    opening.count + identity.count + UInt64.decimalDigitCountMax
      + EnvelopeEncoder.eventsMark.utf8CodeUnitCount
  }

  private static let eventsMark: StaticString = ",\"events\":["
  /// `eventsMark` + `],"gaps":[` + `],"elided":[` + `]}`
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
    let isFirst = eventCount == 0
    eventCount += 1
    spell(fields.sequence, topic: topic, id: id)
    EnvelopeEncoder.appendHead(
      fields, isFirst: isFirst, topic: topic, id: id, source: source, spelling, &times, to: &text)
    appendFlags(fields)
    attributes.append(properties, to: &text)
    appendData(fields.flags, properties, payload)
    text.append(UInt8(ascii: "}"))
  }

  /// Writes down what of an event's texts cannot stand as it is.
  private mutating func spell(_ sequence: Sequence, topic: Span<UInt8>, id: Span<UInt8>) {
    spelling.removeAll()
    if id.isEmpty {
      spelling.id.append(contentsOf: idPrefix)
      spelling.id.append(decimal: sequence.rawValue)
    } else if !JSONString.isPlain(id) {
      JSONString.appendEscaped(id, to: &spelling.id)
    }
    guard !topic.isUnreserved else { return }
    spelling.source.append(percentEncoding: topic)
    JSONString.appendEscaped(topic, to: &spelling.topic)
  }

  /// The texts of one event's head; empty is what can stand as it is.
  private struct Spelling: ~Copyable {
    var id: [UInt8] = []
    var source: [UInt8] = []
    var topic: [UInt8] = []

    mutating func removeAll() {
      id.removeAll(keepingCapacity: true)
      source.removeAll(keepingCapacity: true)
      topic.removeAll(keepingCapacity: true)
    }
  }

  /// An event up to its topic: all that every event has.
  private static func appendHead(
    _ fields: EventFields, isFirst: Bool, topic: Span<UInt8>, id: Span<UInt8>,
    source: borrowing [UInt8], _ spelling: borrowing Spelling, _ times: inout RFC3339Writer,
    to text: inout [UInt8]
  ) {
    let source = source.span
    let spelledID = spelling.id.span
    let spelledSource = spelling.source.span
    let spelledTopic = spelling.topic.span
    let capacity =
      headByteCountMax + source.count + id.count + 2 * topic.count + spelledID.count
      + spelledSource.count + spelledTopic.count
    text.append(addingCapacity: capacity) { text in
      if !isFirst { text.append(UInt8(ascii: ",")) }
      text.append(ascii: "{\"specversion\":\"1.0\",\"id\":\"")
      text.append(spelledID.isEmpty ? id : spelledID)
      text.append(source)
      text.append(spelledSource.isEmpty ? topic : spelledSource)
      if fields.kind == .deadLetter {
        text.append(ascii: "\",\"type\":\"penstock.dead-letter\",\"time\":\"")
      } else {
        text.append(ascii: "\",\"type\":\"penstock.record\",\"time\":\"")
      }
      times.append(fields.received, to: &text)
      text.append(ascii: "\",\"sequence\":\"")
      text.append(decimal: fields.sequence.rawValue)
      text.append(ascii: "\",\"topic\":\"")
      text.append(spelledTopic.isEmpty ? topic : spelledTopic)
      text.append(UInt8(ascii: "\""))
    }
  }

  /// What `appendHead` writes besides the texts that it is given, rounded up.
  private static let headByteCountMax = 160

  /// Appends the events since `begin` as they stand in the envelope, commas between them: for
  /// tools that print events without an envelope round them.
  package func appendEvents(to other: inout [UInt8]) {
    other.append(contentsOf: text[headRoom...])
  }

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
    let start = putHead()
    let eventsEnd = text.count
    text.append(ascii: "],\"gaps\":[")
    text.append(contentsOf: gaps.text)
    text.append(ascii: "],\"elided\":[")
    text.append(contentsOf: elided.text)
    text.append(ascii: "]}")
    defer { text.removeLast(text.count - eventsEnd) }
    message.removeAll(keepingCapacity: true)
    if compression == .zstd, compress(from: start) {
      // As large as it is, not as what it was made of: it may wait for its answer for long.
      message.append(contentsOf: compressed)
      return .zstd
    }
    message.append(contentsOf: text[start...])
    return .none
  }

  /// Puts the head in front of the events.
  /// - Returns: where the envelope begins.
  private mutating func putHead() -> Int {
    head.removeAll(keepingCapacity: true)
    head.append(contentsOf: opening)
    head.append(contentsOf: identity)
    head.append(decimal: next.previous.rawValue)
    head.append(ascii: EnvelopeEncoder.eventsMark)
    let start = headRoom - head.count
    for index in head.indices { text[start + index] = head[index] }
    return start
  }

  private mutating func compress(from start: Int) -> Bool {
    // Not made until needed: a context takes about a megabyte.
    if compressor == nil { compressor = ZstdCompressor(level: compressionLevel) }
    return compressor?.compress(text, from: start, into: &compressed) == true
  }

  private mutating func advance(over first: Sequence, _ last: Sequence) {
    precondition(
      first == next && next > .none,
      "an envelope accounts for its sequences in order, without a hole")
    next = last.next
  }

  private mutating func appendFlags(_ fields: EventFields) {
    if fields.kind == .deadLetter, let reason = fields.reason {
      text.append(ascii: ",\"reason\":\"")
      text.append(utf8: reason.text)
      text.append(UInt8(ascii: "\""))
    }
    if fields.flags.contains(.retained) { text.append(ascii: ",\"retain\":\"true\"") }
    switch fields.flags.qualityOfService {
    case .atMostOnce: text.append(ascii: ",\"qos\":\"0\"")
    case .atLeastOnce: break
    case .exactlyOnce: text.append(ascii: ",\"qos\":\"2\"")
    }
    guard !fields.flags.contains(.clockSynchronised) else { return }
    if fields.isReceivedCorrected {
      text.append(ascii: ",\"clocksync\":\"corrected\"")
    } else {
      text.append(ascii: ",\"clocksync\":\"false\"")
    }
  }

  private mutating func appendData(
    _ flags: RecordFlags, _ properties: Span<UInt8>, _ payload: Span<UInt8>
  ) {
    var isDeclaredOther = false
    if let place = attributes.contentType {
      let contentType = properties.extracting(place)
      isDeclaredOther = !EventAttributes.declaresJSON(contentType)
      text.append(ascii: ",\"datacontenttype\":")
      JSONString.append(contentType, to: &text)
    }
    guard !payload.isEmpty else { return }
    if flags.contains(.json), !isDeclaredOther {
      text.append(ascii: ",\"data\":")
      text.append(payload)
      return
    }
    if attributes.contentType == nil {
      if case .invalid = scanner.scan(payload) {
        text.append(ascii: ",\"datacontenttype\":\"application/octet-stream\"")
      } else {
        text.append(ascii: ",\"datacontenttype\":\"application/json\"")
      }
    }
    text.append(ascii: ",\"data_base64\":\"")
    Base64.append(payload, to: &text)
    text.append(UInt8(ascii: "\""))
  }
}
