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
    var digits: (UInt64, Int) = (1, 1)
    while value / digits.0 >= 10 { digits = (digits.0 * 10, digits.1 + 1) }
    var divisor = digits.0
    for _ in 0..<digits.1 {
      append(UInt8(ascii: "0") + UInt8(value / divisor % 10))
      divisor /= 10
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
