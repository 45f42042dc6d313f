import GatewayCore

// Small texts appended without a String in between.

extension Array where Element == UInt8 {
  /// 16 lower-case hexadecimal digits.
  mutating func append(hexadecimal value: UInt64) {
    for position in 0..<16 { append(hexadecimalDigit(UInt8(value >> (60 - 4 * position) & 0xF))) }
  }

  /// A journal's id as `JournalID.description` prints it.
  mutating func append(_ journal: JournalID) {
    for position in 0..<32 {
      if position == 8 || position == 12 || position == 16 || position == 20 {
        append(UInt8(ascii: "-"))
      }
      let word = position < 16 ? journal.high : journal.low
      append(hexadecimalDigit(UInt8(word >> (60 - 4 * (position % 16)) & 0xF)))
    }
  }

  /// Percent-encodes all but the unreserved characters of RFC 3986, section 2.3, and the slash.
  mutating func append(percentEncoding bytes: Span<UInt8>) {
    for index in bytes.indices {
      let byte = bytes[index]
      if byte.isUnreserved {
        append(byte)
      } else {
        append(UInt8(ascii: "%"))
        append(hexadecimalDigit(byte >> 4, upperCase: true))
        append(hexadecimalDigit(byte & 0xF, upperCase: true))
      }
    }
  }
}

private func hexadecimalDigit(_ nibble: UInt8, upperCase: Bool = false) -> UInt8 {
  nibble < 10
    ? UInt8(ascii: "0") + nibble : UInt8(ascii: upperCase ? "A" : "a") + nibble - 10
}

extension UInt8 {
  /// Unreserved by RFC 3986, section 2.3, or a slash: a–z, A–Z, 0–9, `-._~/`.
  fileprivate var isUnreserved: Bool {
    // One bit per character from 0 to 63, from 64 to 127.
    let set: UInt64 = self < 64 ? 0x03FF_E000_0000_0000 : 0x47FF_FFFE_87FF_FFFE
    return self < 128 && set >> UInt64(self & 63) & 1 == 1
  }
}

extension Span where Element == UInt8 {
  /// Whether percent encoding changes nothing. Then nothing is to be escaped in JSON either.
  var isUnreserved: Bool {
    for index in indices where !self[index].isUnreserved { return false }
    return true
  }

  /// Whether the bytes are the UTF-8 of `text`.
  func reads(_ text: String) -> Bool { equals(text.utf8.span) }
}
