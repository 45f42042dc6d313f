import GatewayCore

@testable import RingJournal

/// Byte 0: how much room is left before the record; byte 1: bytes behind the group's end. Then the
/// record.
///
/// Promises: the record lies between its start and the end it was given, its ranges lie in order
/// inside it, and its header's encoding is the bytes it was read from.
enum RecordTarget {
  static func run(_ input: Span<UInt8>) throws(Violation) -> Bool {
    var reader = InputReader()
    let offset = Int(reader.byte(input)) & ~7
    let behind = Int(reader.byte(input))
    let content = array(input.extracting(reader.take(1 << 16, of: input)))
    let bytes = [UInt8](repeating: 0xee, count: offset) + content
    let end = max(bytes.count - behind, 0)
    guard let header = RecordHeader.decode(bytes.span, at: offset, end: end) else { return false }
    let record = JournalRecord(
      header, sequences: 1...1, offset: offset, group: GroupHeader(), committedAt: nil,
      wallOffset: nil, elapsedBase: 0)
    try check(record, header, from: offset, end: end)
    if header.kind != .tombstone {
      let taken = header.sequenceCount(bytes.span, at: offset)
      try require(taken == 1, "what is no tombstone takes one sequence")
    } else if let tombstone = Tombstone.decode(bytes.span, record.payload) {
      try require(tombstone.count >= 1, "a tombstone stands for something")
    }
    var again = Array(bytes[offset..<offset + RecordHeader.byteCount])
    let original = again
    again.edit(0..<again.count) { header.encode(into: &$0, at: 0) }
    // A reason of a later version is not known here; two bytes are reserved; the id's place counts
    // only when it lies in the payload.
    for range in [0..<1, 2..<14, 20..<48] {
      try require(
        Array(again[range]) == Array(original[range]), "a record keeps its bytes \(range)")
    }
    return true
  }

  static func check(
    _ record: JournalRecord, _ header: RecordHeader, from offset: Int, end: Int
  ) throws(Violation) {
    try require(
      header.byteCount >= RecordHeader.byteCount && header.byteCount % 8 == 0
        && offset + header.byteCount <= end, "a record lies inside its group")
    try require(
      record.topic.lowerBound == offset + RecordHeader.byteCount
        && record.topic.upperBound <= record.properties.lowerBound
        && record.properties.upperBound == record.payload.lowerBound
        && record.payload.upperBound <= offset + header.byteCount,
      "the parts of a record lie one behind the other inside it")
    try require(
      record.idTextBytes.lowerBound >= record.topic.upperBound
        && record.idTextBytes.upperBound <= record.payload.upperBound,
      "the id's text lies inside its record")
  }

  static func seeds() -> [[UInt8]] {
    func record(_ idText: MessageIDText, _ idCount: Int) -> [UInt8] {
      let header = RecordHeader(
        kind: .data, reason: nil, flags: [.json, .retained], payloadByteCount: 20,
        topicByteCount: 5, propertiesByteCount: 3, idText: idText, idTextByteCount: idCount,
        receiveMicroseconds: -7, idHash: MessageIDHash(high: 1, low: 2), payloadDigest: 3)
      var bytes = [UInt8](repeating: 0x61, count: header.byteCount)
      bytes.edit(0..<bytes.count) { header.encode(into: &$0, at: 0) }
      return bytes
    }
    return [
      [0, 0] + record(.absent, 0), [16, 0] + record(.stored, 9),
      [0, 4] + record(.payload(offset: 4, count: 6), 6) + [1, 2, 3, 4],
    ]
  }
}
