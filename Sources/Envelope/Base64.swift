import GatewayCore

/// Base64 with padding (RFC 4648, section 4).
package enum Base64 {
  package static func text(_ bytes: Span<UInt8>) -> String {
    var text: [UInt8] = []
    append(bytes, to: &text)
    return String(decoding: text, as: UTF8.self)
  }

  static func append(_ bytes: Span<UInt8>, to text: inout [UInt8]) {
    text.reserveCapacity(growing: (bytes.count + 2) / 3 * 4)
    var position = 0
    while bytes.count - position >= 3 {
      let group =
        UInt32(bytes[position]) << 16 | UInt32(bytes[position + 1]) << 8
        | UInt32(bytes[position + 2])
      text.append(digit(group >> 18))
      text.append(digit(group >> 12))
      text.append(digit(group >> 6))
      text.append(digit(group))
      position += 3
    }
    switch bytes.count - position {
    case 1:
      let group = UInt32(bytes[position]) << 16
      text.append(digit(group >> 18))
      text.append(digit(group >> 12))
      text.append(ascii: "==")
    case 2:
      let group = UInt32(bytes[position]) << 16 | UInt32(bytes[position + 1]) << 8
      text.append(digit(group >> 18))
      text.append(digit(group >> 12))
      text.append(digit(group >> 6))
      text.append(ascii: "=")
    default: break
    }
  }

  /// The bytes that `text` stands for; nil unless it is canonical base64 with padding.
  package static func decode(_ text: Span<UInt8>) -> [UInt8]? {
    guard text.count % 4 == 0 else { return nil }
    guard !text.isEmpty else { return [] }
    var padding = 0
    if text[text.count - 1] == UInt8(ascii: "=") { padding = 1 }
    if padding == 1, text[text.count - 2] == UInt8(ascii: "=") { padding = 2 }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count / 4 * 3)
    var group: UInt32 = 0
    for index in 0..<text.count - padding {
      guard let value = value(of: text[index]) else { return nil }
      group = group << 6 | UInt32(value)
      if index % 4 == 3 {
        bytes.append(UInt8(truncatingIfNeeded: group >> 16))
        bytes.append(UInt8(truncatingIfNeeded: group >> 8))
        bytes.append(UInt8(truncatingIfNeeded: group))
        group = 0
      }
    }
    // The bits that padding leaves over must be zero, or two texts would mean the same bytes.
    switch padding {
    case 1:
      guard group & 0x3 == 0 else { return nil }
      bytes.append(UInt8(truncatingIfNeeded: group >> 10))
      bytes.append(UInt8(truncatingIfNeeded: group >> 2))
    case 2:
      guard group & 0xF == 0 else { return nil }
      bytes.append(UInt8(truncatingIfNeeded: group >> 4))
    default: break
    }
    return bytes
  }

  @inline(__always)
  private static func digit(_ value: UInt32) -> UInt8 {
    switch UInt8(truncatingIfNeeded: value & 0x3F) {
    case let value where value < 26: UInt8(ascii: "A") + value
    case let value where value < 52: UInt8(ascii: "a") + value - 26
    case let value where value < 62: UInt8(ascii: "0") + value - 52
    case 62: UInt8(ascii: "+")
    default: UInt8(ascii: "/")
    }
  }

  @inline(__always)
  private static func value(of digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): digit - UInt8(ascii: "A")
    case UInt8(ascii: "a")...UInt8(ascii: "z"): digit - UInt8(ascii: "a") + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0") + 52
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
  }
}

extension Array where Element == UInt8 {
  /// Room for `more` bytes, at least doubling: a reserve of the exact size at each call would copy
  /// the array at each call.
  fileprivate mutating func reserveCapacity(growing more: Int) {
    if capacity - count < more { reserveCapacity(Swift.max(count + more, 2 * capacity)) }
  }
}
