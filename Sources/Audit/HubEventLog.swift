import GatewayCore
import JSONScanning
import Synchronization

/// What a hub publishes, heard by a subscriber that is none of its own: each event once, by its id,
/// whatever came again.
package final class HubEventLog: Sendable {
  package struct Entry: Sendable, Hashable {
    /// Without `com.penstock.` and version: `alert.raised`.
    package let kind: String
    package let asset: String
    /// A sentence of the event's own, where it has one.
    package let message: String
  }

  private struct Heard {
    var entries: [Entry] = []
    var ids: Set<String> = []
    var repeatedCount = 0
    var undecodableCount = 0
  }

  private let heard = Mutex(Heard())

  package init() {}

  /// For a `CentralObserver` of the hub's events.
  package var record: CentralObserver.Record {
    { _, payload in self.add(payload) }
  }

  /// In the order in which they came.
  package var entries: [Entry] { heard.withLock { $0.entries } }

  /// Events that came once more: at least once is what is promised.
  package var repeatedCount: Int { heard.withLock { $0.repeatedCount } }
  package var undecodableCount: Int { heard.withLock { $0.undecodableCount } }

  /// The steps of maintenance that `asset` went through, oldest first.
  package func maintenance(of asset: String) -> [String] {
    entries.filter { $0.asset == asset }.compactMap { Self.step(ofKind: $0.kind) }
  }

  /// `stopped` of `com.penstock.maintenance.stopped.v1`; nil for other types.
  static func maintenanceStep(ofType type: String) -> String? {
    kind(ofType: type).flatMap(step)
  }

  private static func step(ofKind kind: String) -> String? {
    kind.hasPrefix("maintenance.") ? String(kind.dropFirst("maintenance.".utf8.count)) : nil
  }

  private static func kind(ofType type: String) -> String? {
    let (prefix, suffix) = ("com.penstock.", ".v1")
    guard type.hasPrefix(prefix), type.hasSuffix(suffix) else { return nil }
    return String(type.dropFirst(prefix.utf8.count).dropLast(suffix.utf8.count))
  }

  private func add(_ payload: Span<UInt8>) {
    let members = JSONMembers(payload)
    guard let id = members.text("id"), let kind = members.text("type").flatMap(Self.kind) else {
      return heard.withLock { $0.undecodableCount += 1 }
    }
    let payload = members["data"] ?? []
    let data = JSONMembers(payload.span)
    let entry = Entry(
      kind: kind, asset: members.text("subject") ?? "", message: data.text("message") ?? "")
    heard.withLock { heard in
      guard heard.ids.insert(id).inserted else { return heard.repeatedCount += 1 }
      heard.entries.append(entry)
    }
  }
}

/// The members of one JSON object, for looking at output that is not worth a decoder.
struct JSONMembers {
  /// Tokens as they stand.
  private var tokens: [String: [UInt8]] = [:]

  /// What is no object has no members.
  init(_ bytes: Span<UInt8>) {
    var scanner = JSONScanner(pointers: [])
    switch scanner.scan(bytes) {
    case .valid, .hazardous: break
    default: return
    }
    do throws(JSONSyntaxError) {
      var reader = JSONReader()
      try reader.beginObject(in: bytes)
      while let name = try reader.nextName(in: bytes) {
        let value = try reader.readValue(in: bytes)
        var token: [UInt8] = []
        token.append(bytes.extracting(value.token))
        tokens[String(decoding: bytes.extracting(name.content))] = token
      }
    } catch {
      tokens = [:]
    }
  }

  subscript(name: String) -> [UInt8]? { tokens[name] }

  /// Of a string.
  func text(_ name: String) -> String? {
    guard let token = tokens[name], token.count >= 2, token.first == UInt8(ascii: "\"") else {
      return nil
    }
    var bytes: [UInt8] = []
    JSONString.appendUnescaped(token.span.extracting(1..<token.count - 1), to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Of a whole number.
  func number(_ name: String) -> UInt64? {
    tokens[name].flatMap { UInt64(String(decoding: $0, as: UTF8.self)) }
  }

  func isTrue(_ name: String) -> Bool { tokens[name] == Array("true".utf8) }
}
