import GatewayCore
import JSONScanning

/// One JSON object (RFC 8259) that is written member by member: what `--json` prints.
struct JSONObject {
  /// Without the closing brace.
  private var text: [UInt8] = [UInt8(ascii: "{")]

  init() {}

  init(_ build: (inout JSONObject) -> Void) { build(&self) }

  /// The whole object.
  var bytes: [UInt8] { text + [UInt8(ascii: "}")] }

  var line: String { String(decoding: bytes, as: UTF8.self) }

  mutating func put(_ name: StaticString, _ value: String?) {
    key(name)
    guard let value else { return text.append(ascii: "null") }
    JSONString.append(value, to: &text)
  }

  mutating func put(_ name: StaticString, utf8 value: Span<UInt8>) {
    key(name)
    JSONString.append(value, to: &text)
  }

  mutating func put(_ name: StaticString, _ value: (some BinaryInteger)?) {
    put(name, raw: value.map { "\($0)" } ?? "null")
  }

  mutating func put(_ name: StaticString, _ value: Bool) {
    put(name, raw: value ? "true" : "false")
  }

  /// With `digits` digits behind the point; null when there is no number to tell.
  mutating func put(_ name: StaticString, _ value: Double?, digits: Int) {
    put(name, raw: value.flatMap { Figures.decimal($0, digits: digits) } ?? "null")
  }

  mutating func put(_ name: StaticString, _ value: JSONObject?) {
    key(name)
    text.append(contentsOf: value?.bytes ?? Array("null".utf8))
  }

  mutating func put(_ name: StaticString, _ values: [JSONObject]) {
    key(name)
    text.append(UInt8(ascii: "["))
    for (index, value) in values.enumerated() {
      if index > 0 { text.append(UInt8(ascii: ",")) }
      text.append(contentsOf: value.bytes)
    }
    text.append(UInt8(ascii: "]"))
  }

  mutating func put(_ name: StaticString, _ values: [String]) {
    key(name)
    text.append(UInt8(ascii: "["))
    for (index, value) in values.enumerated() {
      if index > 0 { text.append(UInt8(ascii: ",")) }
      JSONString.append(value, to: &text)
    }
    text.append(UInt8(ascii: "]"))
  }

  /// A value that is JSON already.
  mutating func put(_ name: StaticString, json value: Span<UInt8>) {
    key(name)
    text.append(value)
  }

  /// A member whose name is data.
  mutating func put(named name: String, _ value: some BinaryInteger) {
    separate()
    JSONString.append(name, to: &text)
    text.append(UInt8(ascii: ":"))
    text.append(utf8: "\(value)")
  }

  private mutating func put(_ name: StaticString, raw value: String) {
    key(name)
    text.append(utf8: value)
  }

  private mutating func key(_ name: StaticString) {
    separate()
    text.append(UInt8(ascii: "\""))
    text.append(ascii: name)
    text.append(ascii: "\":")
  }

  private mutating func separate() {
    if text.count > 1 { text.append(UInt8(ascii: ",")) }
  }
}
