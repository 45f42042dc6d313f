// A case as the hub keeps it: one JSON object, for programs and for people who look.

import GatewayCore
import JSONScanning

/// Bytes that are no case.
package struct MaintenanceCaseError: Error, Hashable, Sendable, CustomStringConvertible {
  package let description: String
}

extension MaintenanceCase {
  private static let format: UInt64 = 1

  package func appendJSON(to bytes: inout [UInt8]) {
    func put(_ field: StaticString, _ value: String) {
      bytes.append(ascii: field)
      JSONString.append(value, to: &bytes)
    }
    func put(_ field: StaticString, _ value: WallTime) {
      // Whole nanoseconds, as text: a double would round them.
      put(field, String(value.nanoseconds))
    }
    func put(_ field: StaticString, _ value: Int) {
      bytes.append(ascii: field)
      bytes.append(decimal: UInt64(value))
    }
    bytes.append(ascii: "{\"format\":")
    bytes.append(decimal: Self.format)
    put(",\"case\":", id)
    put(",\"assetId\":", cause.asset)
    put(",\"alert\":", cause.alert)
    put(",\"rule\":", cause.rule)
    put(",\"severity\":", cause.severity)
    put(",\"message\":", cause.message)
    put(",\"position\":", String(cause.position))
    put(",\"phase\":", phase.rawValue)
    put(",\"attempt\":", attempt)
    put(",\"stops\":", stopCount)
    bytes.append(ascii: pumpHasStopped ? ",\"stopped\":true" : ",\"stopped\":false")
    put(",\"startedAt\":", startedAt)
    if let deadline { put(",\"deadline\":", deadline) }
    if let reason { put(",\"reason\":", reason.rawValue) }
    put(",\"detail\":", detail)
    bytes.append(UInt8(ascii: "}"))
  }

  /// What `appendJSON` wrote.
  package init(json: Span<UInt8>) throws(MaintenanceCaseError) {
    var fields: [String: String] = [:]
    var scanner = JSONScanner(pointers: [])
    guard scanner.scan(json) == .valid else {
      throw MaintenanceCaseError(description: "is not JSON")
    }
    do throws(JSONSyntaxError) {
      var reader = JSONReader()
      try reader.beginObject(in: json)
      while let name = try reader.nextName(in: json) {
        let value = try reader.readValue(in: json)
        fields[Self.text(name, json)] = Self.text(value, json)
      }
    } catch {
      throw MaintenanceCaseError(description: "is no JSON object")
    }
    func text(_ name: String) throws(MaintenanceCaseError) -> String {
      guard let text = fields[name] else {
        throw MaintenanceCaseError(description: "has no \(name)")
      }
      return text
    }
    func number<Value: FixedWidthInteger>(_ name: String) throws(MaintenanceCaseError) -> Value {
      guard let number = Value(try text(name)) else {
        throw MaintenanceCaseError(description: "\(name) is no number")
      }
      return number
    }
    func word<Value: RawRepresentable<String>>(
      _ name: String
    ) throws(MaintenanceCaseError) -> Value {
      guard let word = Value(rawValue: try text(name)) else {
        throw MaintenanceCaseError(description: "\(name) is not known")
      }
      return word
    }
    guard try number("format") as UInt64 == Self.format else {
      throw MaintenanceCaseError(description: "is of a format that this program does not know")
    }
    let cause = MaintenanceCause(
      asset: try text("assetId"), alert: try text("alert"), rule: try text("rule"),
      severity: try text("severity"), message: try text("message"),
      position: try number("position"))
    self.init(
      id: try text("case"), cause: cause,
      startedAt: WallTime(nanoseconds: try number("startedAt")))
    phase = try word("phase")
    attempt = try number("attempt")
    stopCount = try number("stops")
    pumpHasStopped = try text("stopped") == "true"
    if fields["deadline"] != nil { deadline = WallTime(nanoseconds: try number("deadline")) }
    if fields["reason"] != nil { reason = try word("reason") }
    detail = try text("detail")
    guard (0...1000).contains(stopCount), isOver == (deadline == nil) else {
      throw MaintenanceCaseError(description: "contradicts itself")
    }
  }

  private static func text(_ match: JSONMatch, _ json: Span<UInt8>) -> String {
    var bytes: [UInt8] = []
    JSONString.appendUnescaped(json.extracting(match.content), to: &bytes)
    return String(decoding: bytes.span)
  }
}
