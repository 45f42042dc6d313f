// The tokens of RFC 8259, strictly: each function takes the position where a token begins and
// answers with the position after it, or throws where the bytes stop being that token. Bytes are
// read through Span, bounds checked; eight at a time through Words.swift.

/// Eight times the same byte.
@inline(__always)
private func repeated(_ byte: UInt8) -> UInt64 { UInt64(byte) &* 0x0101_0101_0101_0101 }

/// Where a string token ends and what was seen in it.
struct JSONStringToken {
  /// After the closing quote.
  var end: Int
  var hasEscapes = false
  var hasLoneSurrogate = false
}

enum JSONLexer {
  @inline(__always)
  static func skipWhitespace(_ bytes: Span<UInt8>, _ start: Int) -> Int {
    var position = start
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x09, 0x0A, 0x0D: position += 1
      default: return position
      }
    }
    return position
  }

  /// How many bytes from `start` are ASCII and mean themselves inside a JSON string: no quote, no
  /// backslash, no control character. Eight at a time; the flag of the *first* special byte in a
  /// word is exact, later ones may be carries.
  @inline(__always)
  static func plainEnd(_ bytes: Span<UInt8>, _ start: Int) -> Int {
    var position = start
    while bytes.count - position >= 8 {
      let word = bytes.littleEndianWord(at: position)
      let quote = word ^ repeated(UInt8(ascii: "\""))
      let backslash = word ^ repeated(UInt8(ascii: "\\"))
      let special =
        ((quote &- repeated(1)) & ~quote) | ((backslash &- repeated(1)) & ~backslash)
        | ((word &- repeated(0x20)) & ~word) | word
      let flags = special & repeated(0x80)
      if flags != 0 { return position + flags.trailingZeroBitCount / 8 }
      position += 8
    }
    while position < bytes.count {
      let byte = bytes[position]
      if byte < 0x20 || byte >= 0x80 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
        break
      }
      position += 1
    }
    return position
  }

  /// A string; `start` is the position after its opening quote.
  @inline(__always)
  static func string(
    _ bytes: Span<UInt8>, _ start: Int
  ) throws(JSONSyntaxError) -> JSONStringToken {
    let position = plainEnd(bytes, start)
    if position < bytes.count, bytes[position] == UInt8(ascii: "\"") {
      return JSONStringToken(end: position + 1)
    }
    return try richString(bytes, position)
  }

  /// The rest of a string that has escapes or non-ASCII characters.
  private static func richString(
    _ bytes: Span<UInt8>, _ start: Int
  ) throws(JSONSyntaxError) -> JSONStringToken {
    var token = JSONStringToken(end: start)
    var position = start
    while true {
      position = plainEnd(bytes, position)
      guard position < bytes.count else { throw JSONSyntaxError(position, .quote) }
      let byte = bytes[position]
      if byte == UInt8(ascii: "\"") {
        token.end = position + 1
        return token
      } else if byte == UInt8(ascii: "\\") {
        token.hasEscapes = true
        position = try escape(bytes, position, &token)
      } else if byte < 0x20 {
        throw JSONSyntaxError(position, .control)
      } else {
        // Texts that are not ASCII seldom are so for one character only.
        repeat {
          let count = UTF8Scalar.byteCount(bytes, position)
          guard count > 0 else { throw JSONSyntaxError(position, .utf8) }
          position += count
        } while position < bytes.count && bytes[position] >= 0x80
      }
    }
  }

  private static func escape(
    _ bytes: Span<UInt8>, _ start: Int, _ token: inout JSONStringToken
  ) throws(JSONSyntaxError) -> Int {
    guard bytes.count - start >= 2 else { throw JSONSyntaxError(bytes.count, .escape) }
    switch bytes[start + 1] {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"),
      UInt8(ascii: "f"), UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
      return start + 2
    case UInt8(ascii: "u"):
      guard let unit = JSONString.codeUnit(bytes, start) else {
        throw JSONSyntaxError(start, .escape)
      }
      guard unit & 0xF800 == 0xD800 else { return start + 6 }
      if unit < 0xDC00, let low = JSONString.codeUnit(bytes, start + 6), low & 0xFC00 == 0xDC00 {
        return start + 12
      }
      token.hasLoneSurrogate = true
      return start + 6
    default:
      throw JSONSyntaxError(start, .escape)
    }
  }

  /// `true`, `false` or `null`, by its first letter.
  static func literal(
    _ bytes: Span<UInt8>, _ start: Int
  ) throws(JSONSyntaxError) -> (end: Int, kind: JSONKind) {
    let rest = bytes.count - start
    guard rest >= 4 else { throw JSONSyntaxError(start, .value) }
    func reads(_ second: Unicode.Scalar, _ third: Unicode.Scalar, _ fourth: Unicode.Scalar) -> Bool
    {
      bytes[start + 1] == UInt8(ascii: second) && bytes[start + 2] == UInt8(ascii: third)
        && bytes[start + 3] == UInt8(ascii: fourth)
    }
    switch bytes[start] {
    case UInt8(ascii: "t") where reads("r", "u", "e"): return (start + 4, .true)
    case UInt8(ascii: "n") where reads("u", "l", "l"): return (start + 4, .null)
    case UInt8(ascii: "f") where reads("a", "l", "s"):
      if rest >= 5, bytes[start + 4] == UInt8(ascii: "e") { return (start + 5, .false) }
    default: break
    }
    throw JSONSyntaxError(start, .value)
  }

  /// A number; `start` is its minus sign or first digit.
  @inline(__always)
  static func number(
    _ bytes: Span<UInt8>, _ start: Int
  ) throws(JSONSyntaxError) -> (end: Int, isBeyondDouble: Bool) {
    var position = start
    if bytes[position] == UInt8(ascii: "-") { position += 1 }
    let digits = position
    position = try digitsEnd(bytes, position)
    if bytes[digits] == UInt8(ascii: "0"), position > digits + 1 {
      throw JSONSyntaxError(digits + 1, .commaOrBrace)
    }
    let digitCount = position - digits
    if position < bytes.count, bytes[position] == UInt8(ascii: ".") {
      position = try digitsEnd(bytes, position + 1)
    }
    var hasExponent = false
    if position < bytes.count, bytes[position] | 0x20 == UInt8(ascii: "e") {
      hasExponent = true
      position += 1
      if position < bytes.count,
        bytes[position] == UInt8(ascii: "+") || bytes[position] == UInt8(ascii: "-")
      {
        position += 1
      }
      position = try digitsEnd(bytes, position)
    }
    guard hasExponent || digitCount > 308 else { return (position, false) }
    return (position, JSONNumber.isBeyondDouble(bytes, digits..<position))
  }

  @inline(__always)
  private static func digitsEnd(
    _ bytes: Span<UInt8>, _ start: Int
  ) throws(JSONSyntaxError) -> Int {
    var position = start
    while position < bytes.count, bytes[position] &- UInt8(ascii: "0") < 10 { position += 1 }
    guard position > start else { throw JSONSyntaxError(position, .digit) }
    return position
  }
}

enum JSONNumber {
  /// Whether the magnitude of an unsigned JSON number is above 1.7976931348623157e308, the largest
  /// double in its usual 17 digits. (The next 7.9e291 would still round down to it; they are called
  /// beyond, which costs nothing but base64.) Underflow to zero is not a hazard.
  static func isBeyondDouble(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
    // The number is 0.d1 d2 d3 … × 10^point with d1 ≠ 0.
    var point = 0
    var leading: UInt64 = 0
    var leadingCount = 0
    var inFraction = false
    var position = range.lowerBound
    while position < range.upperBound {
      let byte = bytes[position]
      if byte == UInt8(ascii: ".") {
        inFraction = true
      } else if byte | 0x20 == UInt8(ascii: "e") {
        break
      } else {
        let digit = UInt64(byte &- UInt8(ascii: "0"))
        let isSignificant = leadingCount > 0 || digit != 0
        if isSignificant, leadingCount < 17 {
          leading = leading * 10 + digit
          leadingCount += 1
        }
        if inFraction, !isSignificant { point -= 1 }
        if !inFraction, isSignificant { point += 1 }
      }
      position += 1
    }
    guard leadingCount > 0 else { return false }
    point += exponent(bytes, position..<range.upperBound)
    guard point == 309 else { return point > 309 }
    for _ in leadingCount..<17 { leading *= 10 }
    return leading > 17_976_931_348_623_157
  }

  /// The value after `e`, saturating far outside what a double has; 0 for an empty range.
  private static func exponent(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Int {
    var value = 0
    var isNegative = false
    for position in range.dropFirst() {
      switch bytes[position] {
      case UInt8(ascii: "-"): isNegative = true
      case UInt8(ascii: "+"): break
      default:
        value = min(value * 10 + Int(bytes[position] &- UInt8(ascii: "0")), 1 << 40)
      }
    }
    return isNegative ? -value : value
  }
}

enum UTF8Scalar {
  /// How many bytes the well-formed UTF-8 sequence at `start` has; 0 when it is ill formed.
  /// Source: RFC 3629, section 4 (no overlong forms, no surrogates, nothing above U+10FFFF).
  @inline(__always)
  static func byteCount(_ bytes: Span<UInt8>, _ start: Int) -> Int {
    let first = bytes[start]
    if first >= 0xC2, first < 0xE0, bytes.count - start >= 2, bytes[start + 1] & 0xC0 == 0x80 {
      return 2
    }
    let (count, complete) = subpart(bytes, start)
    return complete ? count : 0
  }

  /// The longest beginning of a well-formed sequence at `start` (at least one byte), and whether it
  /// is a whole one. An incomplete one is what a single U+FFFD replaces (Unicode 15, section 3.9,
  /// "Substitution of Maximal Subparts").
  static func subpart(_ bytes: Span<UInt8>, _ start: Int) -> (count: Int, isComplete: Bool) {
    let first = bytes[start]
    let needed: Int
    var second: ClosedRange<UInt8> = 0x80...0xBF
    switch first {
    case 0x00...0x7F: return (1, true)
    case 0xC2...0xDF: needed = 2
    case 0xE0...0xEF:
      needed = 3
      if first == 0xE0 { second = 0xA0...0xBF }
      if first == 0xED { second = 0x80...0x9F }
    case 0xF0...0xF4:
      needed = 4
      if first == 0xF0 { second = 0x90...0xBF }
      if first == 0xF4 { second = 0x80...0x8F }
    default: return (1, false)
    }
    var count = 1
    while count < needed {
      guard start + count < bytes.count else { return (count, false) }
      let byte = bytes[start + count]
      guard count == 1 ? second.contains(byte) : byte & 0xC0 == 0x80 else { return (count, false) }
      count += 1
    }
    return (count, true)
  }
}
