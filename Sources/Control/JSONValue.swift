import GatewayCore
import JSONScanning

/// A JSON text as a tree: for requests and answers of the control socket, which are small, rare and
/// bounded. Members keep their order.
package indirect enum JSONValue: Sendable, Hashable {
  package struct Member: Sendable, Hashable {
    package var name: String
    package var value: JSONValue
  }

  case null
  case bool(Bool)
  /// The token as it stands in the text.
  case number(String)
  case string(String)
  case array([JSONValue])
  case object([Member])

  /// Built member by member.
  package static func object(_ build: (inout JSONMembers) -> Void) -> JSONValue {
    var members = JSONMembers()
    build(&members)
    return .object(members.members)
  }

  /// Exactly one JSON text that every decoder would read alike; nil for anything else.
  package init?(_ bytes: Span<UInt8>) {
    var scanner = JSONScanner(pointers: [])
    guard case .valid = scanner.scan(bytes) else { return nil }
    var reader = JSONReader()
    do throws(JSONSyntaxError) {
      self = try JSONValue(&reader, bytes)
    } catch {
      return nil
    }
  }

  /// The scanner has bounded the depth.
  private init(_ reader: inout JSONReader, _ bytes: Span<UInt8>) throws(JSONSyntaxError) {
    switch try reader.nextKind(in: bytes) {
    case .object:
      var members: [Member] = []
      try reader.beginObject(in: bytes)
      while let name = try reader.nextName(in: bytes) {
        members.append(
          Member(name: JSONValue.text(name, bytes), value: try JSONValue(&reader, bytes)))
      }
      self = .object(members)
    case .array:
      var values: [JSONValue] = []
      try reader.beginArray(in: bytes)
      while try reader.nextElement(in: bytes) { values.append(try JSONValue(&reader, bytes)) }
      self = .array(values)
    case .string: self = .string(JSONValue.text(try reader.readString(in: bytes), bytes))
    case .number:
      let token = try reader.readValue(in: bytes).token
      self = .number(String(decoding: bytes.extracting(token)))
    case .true, .false:
      self = .bool(try reader.readValue(in: bytes).kind == .true)
    case .null:
      _ = try reader.readValue(in: bytes)
      self = .null
    }
  }

  private static func text(_ match: JSONMatch, _ bytes: Span<UInt8>) -> String {
    var content: [UInt8] = []
    JSONString.appendUnescaped(bytes.extracting(match.content), to: &content)
    return String(decoding: content, as: UTF8.self)
  }

  /// The member of that name of an object.
  package subscript(name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name == name }?.value
  }

  package var string: String? { if case .string(let text) = self { text } else { nil } }
  package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  package var uint64: UInt64? { if case .number(let text) = self { UInt64(text) } else { nil } }
  package var double: Double? { if case .number(let text) = self { Double(text) } else { nil } }
  /// The elements of an array; none of anything else.
  package var elements: [JSONValue] {
    if case .array(let values) = self { values } else { [] }
  }

  /// On one line, without spaces.
  package func append(to bytes: inout [UInt8]) {
    switch self {
    case .null: bytes.append(ascii: "null")
    case .bool(let value): bytes.append(utf8: value ? "true" : "false")
    case .number(let text): bytes.append(utf8: text)
    case .string(let text): JSONString.append(text, to: &bytes)
    case .array(let values):
      bytes.append(UInt8(ascii: "["))
      for (index, value) in values.enumerated() {
        if index > 0 { bytes.append(UInt8(ascii: ",")) }
        value.append(to: &bytes)
      }
      bytes.append(UInt8(ascii: "]"))
    case .object(let members):
      bytes.append(UInt8(ascii: "{"))
      for (index, member) in members.enumerated() {
        if index > 0 { bytes.append(UInt8(ascii: ",")) }
        JSONString.append(member.name, to: &bytes)
        bytes.append(UInt8(ascii: ":"))
        member.value.append(to: &bytes)
      }
      bytes.append(UInt8(ascii: "}"))
    }
  }

  package var line: String {
    var bytes: [UInt8] = []
    append(to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// The members of an object under construction. What is not known is null, not left out, so that a
/// reader finds every name at its place.
package struct JSONMembers {
  fileprivate(set) package var members: [JSONValue.Member] = []

  package init() {}

  package mutating func put(_ name: String, _ value: JSONValue?) {
    members.append(JSONValue.Member(name: name, value: value ?? .null))
  }

  package mutating func put(_ name: String, _ text: String?) {
    put(name, text.map { JSONValue.string($0) })
  }

  package mutating func put(_ name: String, _ value: Bool?) {
    put(name, value.map { JSONValue.bool($0) })
  }

  package mutating func put(_ name: String, _ value: (some BinaryInteger)?) {
    put(name, value.map { JSONValue.number("\($0)") })
  }

  /// To the millionth; null for what JSON cannot say.
  package mutating func put(_ name: String, _ value: Double?) {
    let millionths = value.map { ($0 * 1e6).rounded() }
    guard let millionths, millionths.isFinite, millionths.magnitude < 9e18 else {
      return put(name, nil as JSONValue?)
    }
    let whole = Int64(millionths)
    put(
      name,
      JSONValue.number(
        whole % 1_000_000 == 0 ? "\(whole / 1_000_000)" : "\(Double(whole) / 1e6)"))
  }

  /// Seconds.
  package mutating func put(_ name: String, _ duration: Duration?) {
    put(name, duration?.seconds)
  }

  package mutating func put(_ name: String, _ values: [JSONValue]) {
    put(name, JSONValue.array(values))
  }

  package mutating func put(_ name: String, _ counts: [String: UInt64]) {
    put(
      name,
      JSONValue.object { object in
        for (key, count) in counts.sorted(by: { $0.key < $1.key }) { object.put(key, count) }
      })
  }
}
