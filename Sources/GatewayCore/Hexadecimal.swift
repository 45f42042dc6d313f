/// Lower-case hexadecimal text.
package enum Hexadecimal {
  package static func text(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
  }

  package static func text(_ bytes: Span<UInt8>) -> String {
    var text = ""
    text.reserveCapacity(bytes.count * 2)
    for index in bytes.indices {
      text.unicodeScalars.append(digit(bytes[index] >> 4))
      text.unicodeScalars.append(digit(bytes[index] & 0xf))
    }
    return text
  }

  /// The value of one digit, either case; nil for any other byte.
  package static func value(of digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
    default: nil
    }
  }

  /// The value of one digit as `text` writes it; nil for any other byte, upper case too.
  package static func value(ofLowerCase digit: UInt8) -> UInt8? {
    (UInt8(ascii: "A")...UInt8(ascii: "F")).contains(digit) ? nil : value(of: digit)
  }

  private static func digit(_ nibble: UInt8) -> Unicode.Scalar {
    Unicode.Scalar(nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "a") + nibble - 10)
  }
}
