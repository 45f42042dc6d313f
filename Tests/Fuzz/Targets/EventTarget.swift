import Envelope
import GatewayCore
import JSONScanning

/// flags u8, kind u8, topic length u8, id length u8, properties length u16, topic, id, properties,
/// payload: what a publisher controls of a record.
///
/// Promise: whatever a publisher sends, the envelope around it decodes, and topic, sequence and
/// payload come out as they went in.
enum EventTarget {
  static func run(_ input: Span<UInt8>) throws(Violation) -> Bool {
    var reader = InputReader()
    var flags = RecordFlags(rawValue: UInt16(reader.byte(input)) & 0x1f)
    let kind: RecordKind = reader.byte(input) & 1 == 0 ? .data : .deadLetter
    let (topicCount, idCount) = (Int(reader.byte(input)), Int(reader.byte(input)))
    let propertiesCount = reader.word(input)
    let topic = array(input.extracting(reader.take(topicCount, of: input)))
    let id = array(input.extracting(reader.take(idCount, of: input)))
    let properties = array(input.extracting(reader.take(propertiesCount, of: input)))
    let payload = array(input.extracting(reader.take(input.count, of: input)))
    // MQTT topics and ids taken from text are UTF-8: what is not was refused before.
    guard isText(topic), isText(id) else { return false }
    var scanner = JSONScanner(pointers: [])
    if scanner.scan(payload.span) == .valid {
      flags.insert(.json)
    } else {
      flags.remove(.json)
    }
    var encoder = EnvelopeEncoder(gateway: "gw-1", site: "houston", route: "telemetry")
    encoder.begin(journal: JournalID(high: 1, low: 2), epoch: Epoch(rawValue: 3), first: .first)
    encoder.appendEvent(
      EventFields(
        sequence: .first, kind: kind, reason: kind == .deadLetter ? .conflict : nil, flags: flags,
        received: WallTime(nanoseconds: 1_764_000_000_123_456_789)),
      topic: topic.span, id: id.span, properties: properties.span, payload: payload.span)
    let announced = encoder.byteCount
    var message: [UInt8] = []
    encoder.finish(last: .first, compression: .none, into: &message)
    try require(message.count == announced, "byteCount is exact")
    try check(message, topic: topic, payload: payload, flags: flags)
    return true
  }

  private static func check(
    _ message: [UInt8], topic: [UInt8], payload: [UInt8], flags: RecordFlags
  ) throws(Violation) {
    let envelope: Envelope
    do throws(EnvelopeError) {
      envelope = try EnvelopeDecoder.decode(message.span)
    } catch {
      throw Violation("an envelope of ours is refused: \(error)")
    }
    guard envelope.events.count == 1, let event = envelope.events.first else {
      throw Violation("one record is one event")
    }
    try require(Array(event.topic.utf8) == topic, "the topic comes out as it went in")
    try require(event.sequence == .first, "the sequence comes out as it went in")
    try require(
      event.isRetained == flags.contains(.retained), "the retain flag comes out as it went in")
    // Embedded JSON loses the whitespace around it.
    var expected = payload[...]
    if case .json = event.data {
      try require(flags.contains(.json), "only JSON is embedded")
      let whitespace: Set<UInt8> = [0x20, 0x09, 0x0a, 0x0d]
      while let byte = expected.last, whitespace.contains(byte) { expected.removeLast() }
      while let byte = expected.first, whitespace.contains(byte) { expected.removeFirst() }
    }
    try require(event.payload[...] == expected, "the payload comes out as it went in")
  }

  private static func isText(_ bytes: [UInt8]) -> Bool {
    String(validating: bytes, as: UTF8.self) != nil && !bytes.contains(0)
  }

  static func append(
    to encoder: inout EnvelopeEncoder, sequence: UInt64, flags: RecordFlags, payload: [UInt8]
  ) {
    encoder.appendEvent(
      EventFields(
        sequence: Sequence(sequence), kind: .data, reason: nil, flags: flags,
        received: WallTime(nanoseconds: 1_764_000_000_000_000_000)),
      topic: Array("pumps/ND01/metrics".utf8).span, id: Array("id-\(sequence)".utf8).span,
      properties: Span(), payload: payload.span)
  }

  static func seeds() -> [[UInt8]] {
    let topic = Array("pumps/ND01".utf8)
    let id = Array("17|x".utf8)
    // Content type, user property, payload format, correlation data, response topic, expiry.
    let properties: [UInt8] =
      [0x03, 0, 4] + Array("a/js".utf8) + [0x26, 0, 1, 0x6b, 0, 1, 0x76, 0x01, 1]
      + [0x09, 0, 2, 0xff, 0x00, 0x08, 0, 1, 0x72, 0x02, 0, 0, 0, 60]
    func input(_ flags: UInt8, _ kind: UInt8, _ payload: [UInt8]) -> [UInt8] {
      [flags, kind, UInt8(topic.count), UInt8(id.count), UInt8(properties.count), 0] + topic + id
        + properties + payload
    }
    return [
      input(0, 0, Array(#" {"a":[1,"\u00e9"]} "#.utf8)), input(26, 1, [0xff, 0, 0x22]),
      input(2, 0, Array("plain text".utf8)), [0, 0, 0, 0, 0, 0],
    ]
  }
}
