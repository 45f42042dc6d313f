import GatewayCore

/// The address of a value inside a JSON text (RFC 6901): empty for the whole text, else `/` before
/// each name or array index, with `~1` for `/` and `~0` for `~` in a name. `-` (the element after
/// the last) is accepted and never matches.
package struct JSONPointer: Sendable, Hashable, CustomStringConvertible {
  /// Names and indices in one pointer.
  package static let tokenCountMax = 32
  /// Bytes of a pointer's text.
  package static let byteCountMax = 1024

  /// As written.
  package let description: String
  /// One entry per `/`, unescaped.
  let tokens: [[UInt8]]

  package init(_ text: String) throws(JSONPointerError) {
    guard text.utf8.count <= JSONPointer.byteCountMax else {
      throw JSONPointerError(.tooLong, text)
    }
    var tokens: [[UInt8]] = []
    var tilde = false
    for (index, byte) in text.utf8.enumerated() {
      if index == 0, byte != UInt8(ascii: "/") { throw JSONPointerError(.missingSlash, text) }
      if tilde {
        switch byte {
        case UInt8(ascii: "0"): tokens[tokens.count - 1].append(UInt8(ascii: "~"))
        case UInt8(ascii: "1"): tokens[tokens.count - 1].append(UInt8(ascii: "/"))
        default: throw JSONPointerError(.badEscape, text)
        }
        tilde = false
      } else if byte == UInt8(ascii: "/") {
        tokens.append([])
      } else if byte == UInt8(ascii: "~") {
        tilde = true
      } else {
        tokens[tokens.count - 1].append(byte)
      }
    }
    guard !tilde else { throw JSONPointerError(.badEscape, text) }
    guard tokens.count <= JSONPointer.tokenCountMax else { throw JSONPointerError(.tooDeep, text) }
    self.tokens = tokens
    self.description = text
  }
}

/// Why a text is not a JSON pointer.
package struct JSONPointerError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    case missingSlash, badEscape, tooDeep, tooLong
  }

  package let code: Code
  package let text: String

  init(_ code: Code, _ text: String) {
    self.code = code
    self.text = text
  }

  package var description: String {
    switch code {
    case .missingSlash:
      "the JSON pointer \"\(text)\" does not begin with a slash: write /\(text)"
    case .badEscape:
      "the JSON pointer \"\(text)\" has a ~ that is neither ~0 (for ~) nor ~1 (for /)"
    case .tooDeep:
      "the JSON pointer \"\(text)\" has more than \(JSONPointer.tokenCountMax) parts"
    case .tooLong:
      "the JSON pointer has more than \(JSONPointer.byteCountMax) bytes"
    }
  }
}
