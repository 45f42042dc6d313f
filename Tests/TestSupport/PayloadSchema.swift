import GatewayCore
import JSONScanning
import Platform

/// A JSON Schema of this repository, as far as payloads need it: one object whose members are
/// `string` (with `enum` and `format: date-time`), `number` or `boolean`, and which are required.
/// Stricter than the standard: a member that the schema does not name is a problem, because then
/// the schema says too little.
package struct PayloadSchema: Sendable {
  private struct Member {
    var type = ""
    var format = ""
    var choices: [String] = []
  }

  private let required: [String]
  private let members: [String: Member]

  /// - Parameter path: below the repository.
  package init(_ path: String, file: String = #filePath) throws {
    let root = file.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()
    let bytes = try File.readSmall("\(root)/\(path)", byteCountMax: 1 << 20)
    var required: [String] = []
    var members: [String: Member] = [:]
    let json = bytes.span
    var scanner = JSONScanner(pointers: [])
    guard scanner.scan(json) == .valid else { throw TestFailure("\(path) is not JSON") }
    var reader = JSONReader()
    try reader.beginObject(in: json)
    while let name = try reader.nextName(in: json) {
      switch Self.text(name, json) {
      case "required":
        try reader.beginArray(in: json)
        while try reader.nextElement(in: json) {
          required.append(Self.text(try reader.readString(in: json), json))
        }
      case "properties":
        try reader.beginObject(in: json)
        while let name = try reader.nextName(in: json) {
          let member = Self.text(name, json)
          members[member] = try Self.member(&reader, json)
        }
      default: _ = try reader.readValue(in: json)
      }
    }
    guard !members.isEmpty, required.allSatisfy({ members[$0] != nil }) else {
      throw TestFailure("\(path) names no members, or requires one that it does not name")
    }
    self.required = required
    self.members = members
  }

  private static func member(
    _ reader: inout JSONReader, _ json: Span<UInt8>
  ) throws -> Member {
    var member = Member()
    try reader.beginObject(in: json)
    while let name = try reader.nextName(in: json) {
      switch text(name, json) {
      case "type": member.type = text(try reader.readString(in: json), json)
      case "format": member.format = text(try reader.readString(in: json), json)
      case "enum":
        try reader.beginArray(in: json)
        while try reader.nextElement(in: json) {
          member.choices.append(text(try reader.readString(in: json), json))
        }
      default: _ = try reader.readValue(in: json)
      }
    }
    return member
  }

  /// What is wrong with a payload; empty when nothing is.
  package func problems(of payload: [UInt8]) throws -> [String] {
    let json = payload.span
    var scanner = JSONScanner(pointers: [])
    guard scanner.scan(json) == .valid else { return ["is not JSON"] }
    var problems: [String] = []
    var seen: Set<String> = []
    var reader = JSONReader()
    try reader.beginObject(in: json)
    while let nameToken = try reader.nextName(in: json) {
      let name = Self.text(nameToken, json)
      let value = try reader.readValue(in: json)
      seen.insert(name)
      guard let member = members[name] else {
        problems.append("\(name) is not in the schema")
        continue
      }
      let text = Self.text(value, json)
      let isRight =
        switch value.kind {
        case .string: member.type == "string"
        case .number: member.type == "number"
        case .true, .false: member.type == "boolean"
        case .null, .object, .array: false
        }
      if !isRight { problems.append("\(name) is no \(member.type)") }
      if !member.choices.isEmpty, !member.choices.contains(text) {
        problems.append("\(name) is \(text), which the schema does not know")
      }
      if member.format == "date-time", WallTime(rfc3339: Array(text.utf8).span) == nil {
        problems.append("\(name) is no time")
      }
    }
    return problems + required.filter { !seen.contains($0) }.map { "\($0) is missing" }
  }

  private static func text(_ match: JSONMatch, _ json: Span<UInt8>) -> String {
    var bytes: [UInt8] = []
    JSONString.appendUnescaped(json.extracting(match.content), to: &bytes)
    return String(decoding: bytes.span)
  }
}
