import CChecksum
import GatewayCore

// Little-endian loads and stores and the checksum: with `AlignedBuffer` and `POSIXDisk` the only
// places of this module where `unsafe` is allowed. Every access is bounds checked by the span.

extension Span where Element == UInt8 {
  /// The little-endian integer at `offset`.
  @inline(__always)
  func load<Value: FixedWidthInteger & BitwiseCopyable>(
    at offset: Int, as type: Value.Type = Value.self
  ) -> Value {
    unsafe Value(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: Value.self))
  }

  /// The same for a place that the caller has already checked to be inside: a record has eleven
  /// fields, and one check is enough for all of them.
  @inline(__always)
  func loadChecked<Value: FixedWidthInteger & BitwiseCopyable>(
    at offset: Int, as type: Value.Type = Value.self
  ) -> Value {
    unsafe Value(
      littleEndian: bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: Value.self))
  }

  /// UTF-8 text; nil when it is not UTF-8: repaired, it would not fit where it came from.
  func text(at offset: Int, count: Int) -> String? {
    guard let text = try? UTF8Span(validating: extracting(offset..<offset + count)) else {
      return nil
    }
    return String(copying: text)
  }
}

extension MutableSpan where Element == UInt8 {
  /// Stores a little-endian integer at `offset`.
  @inline(__always)
  mutating func store<Value: FixedWidthInteger & BitwiseCopyable>(
    _ value: Value, at offset: Int
  ) {
    precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= count, "bytes of this span")
    unsafe withUnsafeMutableBytes { bytes in
      unsafe bytes.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
    }
  }

  /// The same for a place that the caller has already checked to be inside.
  @inline(__always)
  mutating func storeChecked<Value: FixedWidthInteger & BitwiseCopyable>(
    _ value: Value, at offset: Int
  ) {
    unsafe withUnsafeMutableBytes { bytes in
      unsafe bytes.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
    }
  }

  @inline(__always)
  mutating func store(_ bytes: Span<UInt8>, at offset: Int) {
    precondition(offset >= 0 && offset + bytes.count <= count, "bytes of this span")
    unsafe withUnsafeMutableBytes { destination in
      unsafe bytes.withUnsafeBytes { source in
        guard let base = destination.baseAddress, let from = source.baseAddress else {
          return
        }
        unsafe (base + offset).copyMemory(from: from, byteCount: source.count)
      }
    }
  }

  mutating func store(utf8 text: String, at offset: Int) {
    for (index, byte) in text.utf8.enumerated() { self[offset + index] = byte }
  }
}

/// Sequences, laps, group numbers and everything else that only counts up stay at or below this: no
/// journal lives to see it, and no arithmetic on what a file says can overflow.
enum Counting {
  static let max: UInt64 = 1 << 62
}

/// CRC-32C (RFC 3720, appendix B.4), continued from a secret seed so that nobody who can only send
/// payloads can forge a group inside one. No defence against who can read the file.
enum Checksum {
  static func crc32c(_ bytes: Span<UInt8>, seed: UInt32 = 0) -> UInt32 {
    unsafe bytes.withUnsafeBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return seed }
      return unsafe penstock_crc32c(seed, base, buffer.count)
    }
  }
}

extension MutableSpan where Element == UInt8 {
  mutating func store(magic: StaticString, at offset: Int) {
    magic.withUTF8Buffer { text in
      for index in text.indices { self[offset + index] = unsafe text[index] }
    }
  }
}

extension Span where Element == UInt8 {
  func hasMagic(_ magic: StaticString, at offset: Int) -> Bool {
    guard offset + magic.utf8CodeUnitCount <= count else { return false }
    return magic.withUTF8Buffer { text in
      for index in text.indices where unsafe self[offset + index] != text[index] {
        return false
      }
      return true
    }
  }
}
