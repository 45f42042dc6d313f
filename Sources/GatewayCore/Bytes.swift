// Byte codecs: the one place of this module where `unsafe` is allowed. Everything here is bounds
// checked by Span or by the array it appends to.

extension Array where Element == UInt8 {
  /// Appends a copy of the bytes: one memcpy, no allocation while capacity lasts.
  package mutating func append(_ bytes: Span<UInt8>) {
    unsafe bytes.withUnsafeBufferPointer { unsafe self.append(contentsOf: $0) }
  }

  package mutating func append(ascii text: StaticString) {
    text.withUTF8Buffer { unsafe self.append(contentsOf: $0) }
  }

  /// Appends the UTF-8 of `text` without an intermediate array.
  package mutating func append(utf8 text: String) {
    self.append(contentsOf: text.utf8)
  }

  /// Appends the decimal digits of `value` without making a String.
  package mutating func append(decimal value: UInt64) {
    append(addingCapacity: UInt64.decimalDigitCountMax) { $0.append(decimal: value) }
  }
}

extension UInt64 {
  /// Of `UInt64.max`.
  package static let decimalDigitCountMax = 20

  /// How many decimal digits it has.
  package var decimalDigitCount: Int {
    var (count, power) = (1, 10 as UInt64)
    while self >= power, count < Self.decimalDigitCountMax {
      count += 1
      power &*= 10
    }
    return count
  }
}

// For what is written per record: the caller reserves once what all pieces take, and each piece
// costs one comparison. Inlinable, because a call into another module costs more than most pieces.

extension OutputSpan where Element == UInt8 {
  /// Appends a copy of the bytes: one memcpy. Traps when there is no room.
  @inlinable
  package mutating func append(_ bytes: Span<UInt8>) {
    precondition(bytes.count <= freeCapacity, "room was reserved")
    unsafe withUnsafeMutableBufferPointer { buffer, count in
      unsafe bytes.withUnsafeBufferPointer { source in
        guard let base = buffer.baseAddress, let from = source.baseAddress else { return }
        unsafe (base + count).initialize(from: from, count: source.count)
      }
      count += bytes.count
    }
  }

  @inlinable
  package mutating func append(ascii text: StaticString) {
    let size = text.utf8CodeUnitCount
    precondition(size <= freeCapacity, "room was reserved")
    unsafe withUnsafeMutableBufferPointer { buffer, count in
      guard let base = buffer.baseAddress else { return }
      unsafe (base + count).initialize(from: text.utf8Start, count: size)
      count += size
    }
  }

  /// Appends the decimal digits of `value`.
  package mutating func append(decimal value: UInt64) {
    let size = value.decimalDigitCount
    precondition(size <= freeCapacity, "room was reserved")
    unsafe withUnsafeMutableBufferPointer { buffer, count in
      var (rest, place) = (value, count + size)
      // A division by a constant is a multiplication.
      while place > count {
        place -= 1
        unsafe buffer[place] = UInt8(truncatingIfNeeded: 0x30 + rest % 10)
        rest /= 10
      }
      count += size
    }
  }
}

extension String {
  /// Decodes UTF-8, replacing what is not UTF-8 by U+FFFD.
  package init(decoding bytes: Span<UInt8>) {
    self = unsafe bytes.withUnsafeBufferPointer { unsafe String(decoding: $0, as: UTF8.self) }
  }
}

extension Span where Element == UInt8 {
  /// Whether both spans hold the same bytes.
  package func equals(_ other: Span<UInt8>) -> Bool {
    guard count == other.count else { return false }
    for index in indices where self[index] != other[index] { return false }
    return true
  }
}
