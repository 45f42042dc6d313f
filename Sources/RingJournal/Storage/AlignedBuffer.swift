/// Block-aligned bytes, allocated once and never grown: what O_DIRECT reads into and what one
/// commit writes from. Bytes are lent as spans inside closures and never escape.
package struct AlignedBuffer: ~Copyable, Sendable {
  // Never copied out of this struct, so it stays uniquely referenced and its address is stable.
  private var storage: [UInt8]
  private let start: Int
  package let count: Int

  /// `count` zero bytes.
  package init(count: Int) {
    self.count = count
    storage = [UInt8](repeating: 0, count: count + Block.byteCount)
    // Should the address ever move, O_DIRECT answers EINVAL and the scan reads through the cache.
    let address = unsafe storage.withUnsafeBytes { Int(bitPattern: $0.baseAddress) }
    start = (Block.byteCount - address % Block.byteCount) % Block.byteCount
  }

  package func withBytes<Result, Failure: Error>(
    _ range: Range<Int>, _ body: (Span<UInt8>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "bytes of this buffer")
    return try body(
      storage.span.extracting(start + range.lowerBound..<start + range.upperBound))
  }

  package mutating func withMutableBytes<Result, Failure: Error>(
    _ range: Range<Int>, _ body: (inout MutableSpan<UInt8>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "bytes of this buffer")
    let absolute = start + range.lowerBound..<start + range.upperBound
    var all = storage.mutableSpan
    var part = all._mutatingExtracting(absolute)
    return try body(&part)
  }

  package mutating func copy(_ bytes: Span<UInt8>, at offset: Int) {
    withMutableBytes(offset..<offset + bytes.count) { $0.copy(from: bytes) }
  }

  package mutating func zero(_ range: Range<Int>) {
    withMutableBytes(range) { $0.update(repeating: 0) }
  }

  /// Moves bytes within the buffer; source and destination may overlap.
  package mutating func move(_ range: Range<Int>, to destination: Int) {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= count && destination >= 0
        && destination + range.count <= count, "bytes of this buffer")
    guard !range.isEmpty else { return }
    let (start, from) = (self.start, range.lowerBound)
    unsafe storage.withUnsafeMutableBytes { bytes in
      guard let base = bytes.baseAddress else { return }
      unsafe (base + start + destination).copyMemory(
        from: base + start + from, byteCount: range.count)
    }
  }
}

extension MutableSpan where Element == UInt8 {
  /// Copies all of `bytes`, which must have the same count.
  package mutating func copy(from bytes: Span<UInt8>) {
    precondition(bytes.count == count, "source and destination of one size")
    guard !bytes.isEmpty else { return }
    unsafe withUnsafeMutableBytes { destination in
      unsafe bytes.withUnsafeBytes { unsafe destination.copyMemory(from: $0) }
    }
  }
}
