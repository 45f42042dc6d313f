import GatewayCore

/// The inside of JSON strings: escaping and unescaping. Appends to a caller's buffer and allocates
/// only when that has to grow.
package enum JSONString {
  /// Appends `text` as a JSON string with its quotes. What is not UTF-8 becomes U+FFFD, one for
  /// each maximal ill-formed piece.
  package static func append(_ text: Span<UInt8>, to bytes: inout [UInt8]) {
    bytes.append(UInt8(ascii: "\""))
    appendEscaped(text, to: &bytes)
    bytes.append(UInt8(ascii: "\""))
  }

  /// The same for a text that is in memory as a String.
  package static func append(_ text: String, to bytes: inout [UInt8]) {
    var text = text
    text.makeContiguousUTF8()
    append(text.utf8.span, to: &bytes)
  }

  /// Whether the text stands for itself within a JSON string. Characters beyond ASCII do not count
  /// as such, although they may.
  package static func isPlain(_ text: Span<UInt8>) -> Bool {
    JSONLexer.plainEnd(text, 0) == text.count
  }

  /// Appends the escaped content only.
  package static func appendEscaped(_ text: Span<UInt8>, to bytes: inout [UInt8]) {
    var position = 0
    while position < text.count {
      let end = JSONLexer.plainEnd(text, position)
      if end > position {
        bytes.append(text.extracting(position..<end))
        position = end
      }
      guard position < text.count else { return }
      let byte = text[position]
      if byte >= 0x80 {
        let (count, isComplete) = UTF8Scalar.subpart(text, position)
        if isComplete {
          bytes.append(text.extracting(position..<position + count))
        } else {
          bytes.append(ascii: "\u{FFFD}")
        }
        position += count
      } else {
        appendEscape(of: byte, to: &bytes)
        position += 1
      }
    }
  }

  private static func appendEscape(of byte: UInt8, to bytes: inout [UInt8]) {
    switch byte {
    case UInt8(ascii: "\""): bytes.append(ascii: "\\\"")
    case UInt8(ascii: "\\"): bytes.append(ascii: "\\\\")
    case 0x08: bytes.append(ascii: "\\b")
    case 0x09: bytes.append(ascii: "\\t")
    case 0x0A: bytes.append(ascii: "\\n")
    case 0x0C: bytes.append(ascii: "\\f")
    case 0x0D: bytes.append(ascii: "\\r")
    default:
      bytes.append(ascii: "\\u00")
      bytes.append(UInt8(ascii: "0") + byte >> 4)
      let low = byte & 0xF
      bytes.append(low < 10 ? UInt8(ascii: "0") + low : UInt8(ascii: "a") + low - 10)
    }
  }

  /// Appends the value of a string whose content (without quotes) the scanner or reader has found
  /// valid. A lone surrogate becomes U+FFFD.
  package static func appendUnescaped(_ content: Span<UInt8>, to bytes: inout [UInt8]) {
    var position = 0
    while position < content.count {
      var end = position
      while end < content.count, content[end] != UInt8(ascii: "\\") { end += 1 }
      if end > position { bytes.append(content.extracting(position..<end)) }
      guard content.count - end >= 2 else { return }
      position = end + 2
      switch content[end + 1] {
      case UInt8(ascii: "b"): bytes.append(0x08)
      case UInt8(ascii: "f"): bytes.append(0x0C)
      case UInt8(ascii: "n"): bytes.append(0x0A)
      case UInt8(ascii: "r"): bytes.append(0x0D)
      case UInt8(ascii: "t"): bytes.append(0x09)
      case UInt8(ascii: "u"): position = appendUnicodeEscape(content, end, to: &bytes)
      case let byte: bytes.append(byte)
      }
    }
  }

  private static func appendUnicodeEscape(
    _ content: Span<UInt8>, _ start: Int, to bytes: inout [UInt8]
  ) -> Int {
    guard let unit = codeUnit(content, start) else { return content.count }
    var value = UInt32(unit)
    var end = start + 6
    if unit & 0xFC00 == 0xD800, let low = codeUnit(content, end), low & 0xFC00 == 0xDC00 {
      value = 0x10000 + (UInt32(unit) & 0x3FF) << 10 + UInt32(low) & 0x3FF
      end += 6
    }
    appendUTF8(of: Unicode.Scalar(value) ?? "\u{FFFD}", to: &bytes)
    return end
  }

  private static func appendUTF8(of scalar: Unicode.Scalar, to bytes: inout [UInt8]) {
    let value = scalar.value
    func put(_ bits: UInt32, _ mark: UInt32) {
      bytes.append(UInt8(truncatingIfNeeded: bits | mark))
    }
    switch value {
    case 0..<0x80: put(value, 0)
    case 0x80..<0x800:
      put(value >> 6, 0xC0)
      put(value & 0x3F, 0x80)
    case 0x800..<0x10000:
      put(value >> 12, 0xE0)
      put(value >> 6 & 0x3F, 0x80)
      put(value & 0x3F, 0x80)
    default:
      put(value >> 18, 0xF0)
      put(value >> 12 & 0x3F, 0x80)
      put(value >> 6 & 0x3F, 0x80)
      put(value & 0x3F, 0x80)
    }
  }

  /// The UTF-16 code unit of a `\uXXXX` at `start`; nil when there is none.
  static func codeUnit(_ bytes: Span<UInt8>, _ start: Int) -> UInt16? {
    guard bytes.count - start >= 6, bytes[start] == UInt8(ascii: "\\"),
      bytes[start + 1] == UInt8(ascii: "u")
    else { return nil }
    var unit: UInt16 = 0
    for index in start + 2..<start + 6 {
      guard let digit = Hexadecimal.value(of: bytes[index]) else { return nil }
      unit = unit << 4 | UInt16(digit)
    }
    return unit
  }
}
