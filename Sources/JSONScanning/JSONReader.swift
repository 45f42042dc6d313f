/// Pulls values out of a JSON text in the order they stand, for decoders that know what they
/// expect. The text must have passed `JSONScanner` (`valid` or `hazardous`): the reader checks the
/// shape it is asked for, not the syntax of what it skips.
///
///     try reader.beginObject(in: bytes)
///     while let name = try reader.nextName(in: bytes) { … read or skip one value … }
///
/// The bytes are lent to each call and must be the same ones every time. Allocates nothing.
package struct JSONReader: Sendable {
  /// Where the next token is looked for.
  package private(set) var position = 0
  /// Whether the innermost open container has had no element yet.
  private var isFirst = false

  package init() {}

  /// The kind of the value that comes next.
  package func nextKind(in bytes: Span<UInt8>) throws(JSONSyntaxError) -> JSONKind {
    let start = JSONLexer.skipWhitespace(bytes, position)
    guard start < bytes.count else { throw JSONSyntaxError(start, .value) }
    return switch bytes[start] {
    case UInt8(ascii: "{"): .object
    case UInt8(ascii: "["): .array
    case UInt8(ascii: "\""): .string
    case UInt8(ascii: "t"): .true
    case UInt8(ascii: "f"): .false
    case UInt8(ascii: "n"): .null
    default: .number
    }
  }

  package mutating func beginObject(in bytes: Span<UInt8>) throws(JSONSyntaxError) {
    try take(UInt8(ascii: "{"), .object, in: bytes)
    isFirst = true
  }

  package mutating func beginArray(in bytes: Span<UInt8>) throws(JSONSyntaxError) {
    try take(UInt8(ascii: "["), .array, in: bytes)
    isFirst = true
  }

  /// The next name of the innermost object, up to its value; nil after the last, with the object
  /// left.
  package mutating func nextName(in bytes: Span<UInt8>) throws(JSONSyntaxError) -> JSONMatch? {
    guard try advance(closing: UInt8(ascii: "}"), .commaOrBrace, in: bytes) else { return nil }
    let name = try readString(in: bytes)
    try take(UInt8(ascii: ":"), .colon, in: bytes)
    return name
  }

  /// Whether another element follows in the innermost array; false leaves the array.
  package mutating func nextElement(in bytes: Span<UInt8>) throws(JSONSyntaxError) -> Bool {
    try advance(closing: UInt8(ascii: "]"), .commaOrBracket, in: bytes)
  }

  /// A string value.
  package mutating func readString(in bytes: Span<UInt8>) throws(JSONSyntaxError) -> JSONMatch {
    try take(UInt8(ascii: "\""), .string, in: bytes)
    let start = position - 1
    let token = try JSONLexer.string(bytes, position)
    position = token.end
    return JSONMatch(kind: .string, token: start..<position, hasEscapes: token.hasEscapes)
  }

  /// A whole number from 0 to 2^64 - 1, written without fraction or exponent.
  package mutating func readUInt64(in bytes: Span<UInt8>) throws(JSONSyntaxError) -> UInt64 {
    let start = JSONLexer.skipWhitespace(bytes, position)
    var value: UInt64 = 0
    var end = start
    while end < bytes.count, bytes[end] &- UInt8(ascii: "0") < 10 {
      let (shifted, isLost) = value.multipliedReportingOverflow(by: 10)
      let (sum, isCarried) = shifted.addingReportingOverflow(
        UInt64(bytes[end] &- UInt8(ascii: "0")))
      guard !isLost, !isCarried else { throw JSONSyntaxError(start, .wholeNumber) }
      value = sum
      end += 1
    }
    let isCut =
      end < bytes.count
      && (bytes[end] == UInt8(ascii: ".") || bytes[end] | 0x20 == UInt8(ascii: "e"))
    guard end > start, !isCut else { throw JSONSyntaxError(start, .wholeNumber) }
    position = end
    return value
  }

  /// Any value, whole: its kind and where it stands.
  package mutating func readValue(in bytes: Span<UInt8>) throws(JSONSyntaxError) -> JSONMatch {
    let kind = try nextKind(in: bytes)
    let start = JSONLexer.skipWhitespace(bytes, position)
    switch kind {
    case .string: return try readString(in: bytes)
    case .number: position = try JSONLexer.number(bytes, start).end
    case .true, .false, .null: position = try JSONLexer.literal(bytes, start).end
    case .object, .array: position = try containerEnd(bytes, start)
    }
    isFirst = false
    return JSONMatch(kind: kind, token: start..<position)
  }

  /// Whether the whole text has been read.
  package func isAtEnd(of bytes: Span<UInt8>) -> Bool {
    JSONLexer.skipWhitespace(bytes, position) == bytes.count
  }

  private func containerEnd(_ bytes: Span<UInt8>, _ start: Int) throws(JSONSyntaxError) -> Int {
    var depth = 0
    var end = start
    while end < bytes.count {
      let byte = bytes[end]
      end += 1
      switch byte {
      case UInt8(ascii: "\""): end = try JSONLexer.string(bytes, end).end
      case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
      case UInt8(ascii: "}"), UInt8(ascii: "]"):
        depth -= 1
        if depth == 0 { return end }
      default: break
      }
    }
    throw JSONSyntaxError(end, .end)
  }

  private mutating func advance(
    closing: UInt8, _ expected: JSONSyntaxError.StaticText, in bytes: Span<UInt8>
  ) throws(JSONSyntaxError) -> Bool {
    let start = JSONLexer.skipWhitespace(bytes, position)
    guard start < bytes.count else { throw JSONSyntaxError(start, expected) }
    if bytes[start] == closing {
      position = start + 1
      isFirst = false
      return false
    }
    if isFirst {
      isFirst = false
    } else {
      try take(UInt8(ascii: ","), expected, in: bytes)
    }
    return true
  }

  private mutating func take(
    _ byte: UInt8, _ expected: JSONSyntaxError.StaticText, in bytes: Span<UInt8>
  ) throws(JSONSyntaxError) {
    let start = JSONLexer.skipWhitespace(bytes, position)
    guard start < bytes.count, bytes[start] == byte else { throw JSONSyntaxError(start, expected) }
    position = start + 1
  }
}
