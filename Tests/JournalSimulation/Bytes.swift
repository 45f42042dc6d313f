extension Array where Element == UInt8 {
  /// Overwrites bytes in place, with one memcpy.
  package mutating func put(_ bytes: Span<UInt8>, at offset: Int) {
    precondition(offset + bytes.count <= count)
    unsafe withUnsafeMutableBytes { destination in
      unsafe bytes.withUnsafeBytes { source in
        guard let base = destination.baseAddress, let from = source.baseAddress else { return }
        unsafe (base + offset).copyMemory(from: from, byteCount: source.count)
      }
    }
  }
}

extension MutableSpan where Element == UInt8 {
  /// Overwrites the first bytes.
  package mutating func put(_ bytes: Span<UInt8>) {
    precondition(bytes.count <= count)
    unsafe withUnsafeMutableBytes { destination in
      unsafe bytes.withUnsafeBytes { source in
        guard let base = destination.baseAddress, let from = source.baseAddress else { return }
        unsafe base.copyMemory(from: from, byteCount: source.count)
      }
    }
  }
}
