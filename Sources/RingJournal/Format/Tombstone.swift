import GatewayCore

/// The payload of a record of kind `tombstone`: a run of messages of one source that were refused
/// at admission. They were acknowledged to the broker because this record is durable, each has a
/// sequence of its own, and the run is delivered as a gap.
///
/// ## On disk, format version 1. Little-endian. 16 bytes; the record's topic is the source.
///
///     offset bytes
///        0     1  reason, see `GapReason`
///        1     3  zero
///        4     4  receive time of the last, signed microseconds from the group's monotonic base;
///                 the first's is the record's
///        8     8  number of messages refused, which is the number of sequences it takes, ≥ 1
struct Tombstone: Equatable {
  static let byteCount = 16
  /// A longer run begins another tombstone: a group's sequences are counted in 32 bits.
  static let countMax: UInt64 = 1 << 24

  var reason: GapReason
  var lastReceiveMicroseconds: Int32
  var count: UInt64

  func encode(into bytes: inout MutableSpan<UInt8>, at offset: Int) {
    bytes.store(UInt64(0), at: offset)
    bytes[offset] = reason.rawValue
    bytes.store(lastReceiveMicroseconds, at: offset + 4)
    bytes.store(count, at: offset + 8)
  }

  /// Nil when it is not one that this version could have written.
  static func decode(_ bytes: Span<UInt8>, _ payload: Range<Int>) -> Tombstone? {
    guard payload.count == byteCount,
      let reason = GapReason(rawValue: bytes[payload.lowerBound])
    else { return nil }
    let count: UInt64 = bytes.load(at: payload.lowerBound + 8)
    guard (1...countMax).contains(count) else { return nil }
    return Tombstone(
      reason: reason, lastReceiveMicroseconds: bytes.load(at: payload.lowerBound + 4),
      count: count)
  }
}
