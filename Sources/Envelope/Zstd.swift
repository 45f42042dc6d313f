// The C boundary to libzstd: the only file that imports CZstd. Contexts are kept for the life of
// their owner, because making one costs more than a small batch.

import CZstd
import GatewayCore

/// Compresses whole messages, one frame each, with the content's size and checksum in the frame.
@safe struct ZstdCompressor: ~Copyable {
  private let context: OpaquePointer

  /// `level`: in `Compression.levels`. Nil when there is no memory for it.
  init?(level: Int) {
    guard let context = unsafe ZSTD_createCCtx() else { return nil }
    unsafe self.context = context
    // Both are valid parameters of every zstd since 1.4: they cannot fail.
    unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, Int32(level))
    unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
  }

  deinit { unsafe ZSTD_freeCCtx(context) }

  /// Replaces `message` by what `text` is from `start` on, compressed. False when that would not be
  /// smaller, or when there is no memory for it; `message` is then empty.
  mutating func compress(
    _ text: borrowing [UInt8], from start: Int, into message: inout [UInt8]
  ) -> Bool {
    let plain = text.span.extracting(start...)
    message.removeAll(keepingCapacity: true)
    guard plain.count > 1 else { return false }
    var result = 0
    message.append(addingCapacity: plain.count - 1) { output in
      unsafe output.withUnsafeMutableBufferPointer { target, initializedCount in
        unsafe plain.withUnsafeBufferPointer { source in
          unsafe result = ZSTD_compress2(
            context, target.baseAddress, target.count, source.baseAddress, source.count)
        }
        initializedCount = ZSTD_isError(result) == 0 ? result : 0
      }
    }
    // The target is one byte smaller than the source: not to fit in it means not to be smaller.
    return ZSTD_isError(result) == 0
  }
}

/// Decompresses one frame that may come from anyone.
@safe struct ZstdDecompressor: ~Copyable {
  /// log2 of the largest window a frame may ask for: 64 MiB of memory.
  static let windowLogMax: Int32 = 26

  private let context: OpaquePointer

  init() throws(EnvelopeError) {
    guard let context = unsafe ZSTD_createDCtx() else { throw EnvelopeError(.outOfMemory) }
    unsafe self.context = context
    unsafe ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, ZstdDecompressor.windowLogMax)
  }

  deinit { unsafe ZSTD_freeDCtx(context) }

  /// Whether the bytes begin with zstd's magic number (RFC 8878, section 3.1.1).
  static func recognises(_ bytes: Span<UInt8>) -> Bool {
    bytes.count >= 4 && bytes[0] == 0x28 && bytes[1] == 0xB5 && bytes[2] == 0x2F
      && bytes[3] == 0xFD
  }

  /// Replaces `plain` by the content of the one frame that `bytes` are. Memory grows with what
  /// really comes out, not with what the frame's header claims, and stops at `byteCountMax`.
  mutating func decompress(
    _ bytes: Span<UInt8>, into plain: inout [UInt8], byteCountMax: Int
  ) throws(EnvelopeError) {
    plain.removeAll(keepingCapacity: true)
    unsafe ZSTD_DCtx_reset(context, ZSTD_reset_session_only)
    var position = 0
    while true {
      let before = plain.count
      let (result, consumed) = step(
        bytes, from: position, into: &plain, byteCountMax: byteCountMax)
      guard ZSTD_isError(result) == 0 else {
        throw EnvelopeError(
          .badCompression, detail: unsafe String(cString: ZSTD_getErrorName(result)))
      }
      guard plain.count <= byteCountMax else {
        throw EnvelopeError(.tooLarge, detail: "more than \(byteCountMax) bytes decompressed")
      }
      position += consumed
      if result == 0 { break }  // The frame is complete.
      guard consumed > 0 || plain.count > before else {
        throw EnvelopeError(.badCompression, detail: "the frame is cut short")
      }
    }
    guard position == bytes.count else {
      throw EnvelopeError(.badCompression, detail: "bytes follow the frame")
    }
  }

  private mutating func step(
    _ bytes: Span<UInt8>, from position: Int, into plain: inout [UInt8], byteCountMax: Int
  ) -> (result: Int, consumed: Int) {
    var result = 0
    var consumed = 0
    // Doubles, and stops one byte behind the limit: enough to see that it was passed.
    let room = min(max(ZSTD_DStreamOutSize(), plain.count), byteCountMax - plain.count + 1)
    plain.append(addingCapacity: room) { output in
      unsafe output.withUnsafeMutableBufferPointer { target, initializedCount in
        unsafe bytes.withUnsafeBufferPointer { source in
          var input = unsafe ZSTD_inBuffer(
            src: source.baseAddress, size: source.count, pos: position)
          var buffer = unsafe ZSTD_outBuffer(
            dst: target.baseAddress, size: target.count, pos: initializedCount)
          unsafe result = ZSTD_decompressStream(context, &buffer, &input)
          unsafe consumed = input.pos - position
          unsafe initializedCount = buffer.pos
        }
      }
    }
    return (result, consumed)
  }
}
