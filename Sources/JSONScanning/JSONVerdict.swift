/// What one pass over a payload found.
package enum JSONVerdict: Hashable, Sendable {
  /// One JSON text by RFC 8259 that every decoder can read.
  case valid
  /// One JSON text by RFC 8259, but some decoders refuse it, and with it the whole batch it would
  /// be embedded in. Carries the first hazard met. Matches are as good as with `valid`.
  case hazardous(JSONHazard)
  /// Not JSON, from this byte on. There are no matches.
  case invalid(offset: Int)
}

/// Why valid JSON is not safe to embed: a reader that rejects it rejects the whole batch around it.
package enum JSONHazard: Hashable, Sendable, CaseIterable {
  /// `\ud800`–`\udfff` that does not pair up: not expressible in UTF-8.
  case loneSurrogate
  /// Nested deeper than `JSONScanner.safeDepthMax`.
  case depth
  /// An object with two equal names, compared after unescaping.
  case duplicateKey
  /// A number whose magnitude a double cannot hold.
  case numberBeyondDouble
  /// More names in open objects than `JSONScanner.keyCountMax`: duplicates cannot be ruled out.
  case tooManyKeys
}

/// The kinds of JSON values.
package enum JSONKind: Hashable, Sendable {
  case string, number, `true`, `false`, null, object, array
}

/// The value a pointer led to: where it stands in the bytes that were scanned.
package struct JSONMatch: Hashable, Sendable {
  package let kind: JSONKind
  /// The whole token: a string with its quotes, an object with its braces.
  package fileprivate(set) var token: Range<Int>
  /// Whether a string contains escapes, so that its content is not its value.
  package let hasEscapes: Bool

  package init(kind: JSONKind, token: Range<Int>, hasEscapes: Bool = false) {
    self.kind = kind
    self.token = token
    self.hasEscapes = hasEscapes
  }

  /// A string without its quotes; any other token as it is.
  package var content: Range<Int> {
    kind == .string ? token.lowerBound + 1..<token.upperBound - 1 : token
  }

  /// Sets where an object or array ends, once that is known.
  mutating func close(at end: Int) { token = token.lowerBound..<end }
}

/// Where, and why in a few words, bytes stop being what was expected.
package struct JSONSyntaxError: Error, Hashable, Sendable, CustomStringConvertible {
  package let offset: Int
  package let expected: StaticText

  init(_ offset: Int, _ expected: StaticText) {
    self.offset = offset
    self.expected = expected
  }

  /// The things that can be missing. A closed list, so that the error needs no allocation.
  package enum StaticText: String, Hashable, Sendable {
    case value = "a value"
    case end = "the end of the text"
    case name = "a name in quotes"
    case colon = "a colon"
    case commaOrBrace = "a comma or a closing brace"
    case commaOrBracket = "a comma or a closing bracket"
    case quote = "the closing quote"
    case escape = "a valid escape"
    case utf8 = "valid UTF-8"
    case control = "an escaped control character"
    case digit = "a digit"
    case depth = "at most 1024 levels of nesting"
    case object = "an object"
    case array = "an array"
    case string = "a string"
    case wholeNumber = "a whole number from 0 to 2^64 - 1"
  }

  package var description: String { "expected \(expected.rawValue) at byte \(offset)" }
}
