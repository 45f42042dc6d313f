import GatewayCore
import JSONScanning

/// Reads the few members of a payload that the hub itself must understand.
enum Payload {
  /// The text of a member of the outermost object, nil when it is absent or no string.
  static func text(_ name: String, in payload: [UInt8]) -> String? {
    guard let value = member(name, in: payload), value.kind == .string else { return nil }
    return text(of: value, in: payload.span)
  }

  /// The bytes of a member's value.
  static func value(_ name: String, in payload: [UInt8]) -> [UInt8]? {
    member(name, in: payload).map { Array(payload[$0.token]) }
  }

  static func text(of value: JSONMatch, in bytes: Span<UInt8>) -> String {
    let content = bytes.extracting(value.content)
    guard value.hasEscapes else { return String(decoding: content) }
    var unescaped: [UInt8] = []
    JSONString.appendUnescaped(content, to: &unescaped)
    return String(decoding: unescaped.span)
  }

  private static func member(_ wanted: String, in payload: [UInt8]) -> JSONMatch? {
    let bytes = payload.span
    var reader = JSONReader()
    do {
      try reader.beginObject(in: bytes)
      while let name = try reader.nextName(in: bytes) {
        let value = try reader.readValue(in: bytes)
        if bytes.extracting(name.content).reads(wanted) { return value }
      }
    } catch {
      return nil
    }
    return nil
  }

  /// Whether the bytes are one JSON object.
  static func isObject(_ payload: [UInt8]) -> Bool {
    let bytes = payload.span
    guard let kind = try? JSONReader().nextKind(in: bytes), kind == .object else { return false }
    var scanner = JSONScanner(pointers: [])
    if case .invalid = scanner.scan(bytes) { return false }
    return true
  }

  /// A CloudEvent in structured form carries the payload proper in `data`.
  static func unwrapped(_ payload: [UInt8]) -> [UInt8] {
    guard text("specversion", in: payload) != nil, let data = value("data", in: payload),
      data.first == UInt8(ascii: "{")
    else { return payload }
    return data
  }

  /// The same value without the white space between its tokens, so that it compares by bytes.
  static func compact(_ value: Span<UInt8>) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(value.count)
    var (isInString, isEscaped) = (false, false)
    for index in value.indices {
      let byte = value[index]
      if isInString {
        result.append(byte)
        if isEscaped {
          isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
          isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
          isInString = false
        }
      } else if byte > 0x20 {
        result.append(byte)
        isInString = byte == UInt8(ascii: "\"")
      }
    }
    return result
  }
}

extension Span where Element == UInt8 {
  /// Whether these are the bytes of a text.
  func reads(_ text: String) -> Bool { equals(text.utf8.span) }
}
