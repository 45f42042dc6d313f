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
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
        UInt8(ascii: "_"), UInt8(ascii: "~"), UInt8(ascii: "/"):
        append(byte)
      default:
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

extension Span where Element == UInt8 {
  /// Whether the bytes are the UTF-8 of `text`.
  func reads(_ text: String) -> Bool { equals(text.utf8.span) }
}
