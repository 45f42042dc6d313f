import GatewayCore

/// The head of a record inside a group.
///
/// ## On disk, format version 1. Little-endian. 48 bytes, 8-aligned, then topic, stored id text,
/// properties and payload without gaps, then zeros up to a multiple of 8.
///
///     offset bytes
///        0     1  kind, see `RecordKind`; 0 is never valid
///        1     1  dead-letter reason, 0: none
///        2     2  flags, see `RecordFlags`
///        4     4  payload byte count
///        8     2  topic byte count          10  2  properties byte count
///       12     1  id text: 0 absent, 1 within the payload, 2 stored
///       13     1  byte count of the id text
///       14     2  zero
///       16     4  offset of the id text within the payload
///       20     4  receive time, signed microseconds from the group's monotonic base
///       24    16  keyed hash of (source topic, id), high and low half
///       40     8  keyed digest of the payload
///
/// The sequence is implied: the group's first plus what the records before it take, one each, a
/// tombstone as many as it stands for. The body checksum of the group covers the record; lengths
/// are bounds-checked again before they are used.
struct RecordHeader {
  static let byteCount = 48

  var kind: RecordKind
  var reason: DeadLetterReason?
  var flags: RecordFlags
  var payloadByteCount: Int
  var topicByteCount: Int
  var propertiesByteCount: Int
  var idText: MessageIDText
  var idTextByteCount: Int
  var receiveMicroseconds: Int32
  var idHash: MessageIDHash
  var payloadDigest: UInt64

  // A pattern, not `==`: comparing an enum of another module costs a generic call per record.
  var storedIDByteCount: Int { if case .stored = idText { idTextByteCount } else { 0 } }

  /// Header, bytes and padding.
  var byteCount: Int {
    RecordHeader.byteCount(
      topic: topicByteCount, storedID: storedIDByteCount, properties: propertiesByteCount,
      payload: payloadByteCount)
  }

  static func byteCount(topic: Int, storedID: Int, properties: Int, payload: Int) -> Int {
    (byteCount + topic + storedID + properties + payload + 7) & ~7
  }

  /// How many sequences the record at `offset` takes; nil when it is a tombstone that is not whole.
  func sequenceCount(_ bytes: Span<UInt8>, at offset: Int) -> UInt64? {
    guard case .tombstone = kind else { return 1 }
    let start =
      offset + RecordHeader.byteCount + topicByteCount + storedIDByteCount + propertiesByteCount
    return Tombstone.decode(bytes, start..<start + payloadByteCount)?.count
  }

  /// Twelve fields, one bounds check.
  @inline(__always)
  func encode(into bytes: inout MutableSpan<UInt8>, at offset: Int) {
    precondition(
      offset >= 0 && offset + RecordHeader.byteCount <= bytes.count, "bytes of this span")
    var idPlace: UInt8 = 0
    var idOffset: UInt32 = 0
    switch idText {
    case .absent: break
    case .payload(let offsetInPayload, _):
      idPlace = 1
      idOffset = UInt32(offsetInPayload)
    case .stored: idPlace = 2
    }
    bytes.storeChecked(kind.rawValue, at: offset)
    bytes.storeChecked(reason?.rawValue ?? 0, at: offset + 1)
    bytes.storeChecked(flags.rawValue, at: offset + 2)
    bytes.storeChecked(UInt32(payloadByteCount), at: offset + 4)
    bytes.storeChecked(UInt16(topicByteCount), at: offset + 8)
    bytes.storeChecked(UInt16(propertiesByteCount), at: offset + 10)
    bytes.storeChecked(idPlace, at: offset + 12)
    bytes.storeChecked(UInt8(idTextByteCount), at: offset + 13)
    bytes.storeChecked(UInt16(0), at: offset + 14)
    bytes.storeChecked(idOffset, at: offset + 16)
    bytes.storeChecked(receiveMicroseconds, at: offset + 20)
    bytes.storeChecked(idHash.high, at: offset + 24)
    bytes.storeChecked(idHash.low, at: offset + 32)
    bytes.storeChecked(payloadDigest, at: offset + 40)
  }

  /// The record that begins at `offset` and ends at or before `end`; nil when it is not whole or
  /// not ours.
  static func decode(_ bytes: Span<UInt8>, at offset: Int, end: Int) -> RecordHeader? {
    guard end <= bytes.count, offset >= 0, offset + byteCount <= end,
      let kind = RecordKind(rawValue: bytes.loadChecked(at: offset, as: UInt8.self))
    else { return nil }
    let idCount = Int(bytes.loadChecked(at: offset + 13, as: UInt8.self))
    let payloadCount = Int(bytes.loadChecked(at: offset + 4, as: UInt32.self))
    let idText: MessageIDText
    switch bytes.loadChecked(at: offset + 12, as: UInt8.self) {
    case 0: idText = .absent
    case 1:
      let start = Int(bytes.loadChecked(at: offset + 16, as: UInt32.self))
      guard start + idCount <= payloadCount else { return nil }
      idText = .payload(offset: start, count: idCount)
    case 2: idText = .stored
    default: return nil
    }
    let header = RecordHeader(
      kind: kind,
      reason: DeadLetterReason(rawValue: bytes.loadChecked(at: offset + 1, as: UInt8.self)),
      flags: RecordFlags(rawValue: bytes.loadChecked(at: offset + 2)),
      payloadByteCount: payloadCount,
      topicByteCount: Int(bytes.loadChecked(at: offset + 8, as: UInt16.self)),
      propertiesByteCount: Int(bytes.loadChecked(at: offset + 10, as: UInt16.self)), idText: idText,
      idTextByteCount: idCount, receiveMicroseconds: bytes.loadChecked(at: offset + 20),
      idHash: MessageIDHash(
        high: bytes.loadChecked(at: offset + 24), low: bytes.loadChecked(at: offset + 32)),
      payloadDigest: bytes.loadChecked(at: offset + 40))
    guard offset + header.byteCount <= end else { return nil }
    return header
  }
}
