// The one place of this module where `unsafe` is allowed: eight bytes as one word. The load is
// bounds checked by RawSpan; it counts as unsafe because bytes are read as another type, and every
// pattern of bytes is a UInt64.

extension Span where Element == UInt8 {
  /// The eight bytes at `offset`, the first in the least significant place.
  @inline(__always)
  func littleEndianWord(at offset: Int) -> UInt64 {
    UInt64(
      littleEndian: unsafe self.bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }
}
