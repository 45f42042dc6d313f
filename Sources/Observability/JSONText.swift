import GatewayCore

/// Writes JSON (RFC 8259) for the health page and for log lines.
enum JSONText {
  /// A quoted JSON string. Control characters, C1 included, and the separators and direction marks
  /// that could disguise a line are escaped.
  static func append(string text: some StringProtocol, to bytes: inout [UInt8]) {
    bytes.append(UInt8(ascii: "\""))
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": bytes.append(ascii: "\\\"")
      case "\\": bytes.append(ascii: "\\\\")
      case "\n": bytes.append(ascii: "\\n")
      case "\r": bytes.append(ascii: "\\r")
      case "\t": bytes.append(ascii: "\\t")
      default:
        if TextSafety.mustEscape(scalar) {
          for unit in UTF16.encode(scalar).map({ Array($0) }) ?? [] {
            bytes.append(ascii: "\\u")
            bytes.append(utf8: String(Hexadecimal.text(UInt64(unit)).suffix(4)))
          }
        } else {
          bytes.append(contentsOf: UTF8.encode(scalar).map { Array($0) } ?? [])
        }
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }

  /// `"key":`, with a comma before it unless it opens the object.
  static func append(key: StaticString, to bytes: inout [UInt8]) {
    if bytes.last != UInt8(ascii: "{") { bytes.append(UInt8(ascii: ",")) }
    bytes.append(UInt8(ascii: "\""))
    bytes.append(ascii: key)
    bytes.append(ascii: "\":")
  }
}

/// What must never reach a terminal or a log as it is: topics and reason strings come from
/// strangers.
enum TextSafety {
  static func mustEscape(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x20, 0x7f..<0xa0: true  // C0, DEL, C1: escape sequences start here
    case 0x200b...0x200f, 0x2028...0x202e, 0x2060...0x206f, 0xfeff: true  // invisible, reordering
    case 0xe0000...0xe007f: true  // tags: invisible text
    default: false
    }
  }

  /// The longest prefix of at most `byteCountMax` bytes of UTF-8 that ends at a scalar.
  static func prefix(_ text: some StringProtocol, byteCountMax: Int) -> String {
    guard text.utf8.count > byteCountMax else { return String(text) }
    var result = ""
    var count = 0
    for scalar in text.unicodeScalars {
      count += UTF8.width(scalar)
      if count > byteCountMax { break }
      result.unicodeScalars.append(scalar)
    }
    return result
  }
}
