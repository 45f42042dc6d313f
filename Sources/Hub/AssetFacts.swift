import GatewayCore
import JSONScanning

/// What an asset event says about an asset. Two creations of one asset are the same event when
/// their facts are equal, byte for byte without white space, in whatever order they stand.
package struct AssetFacts: Sendable, Hashable {
  /// The members that decide "same or conflict", in the order in which they are kept.
  package static let names = [
    "type", "operatingSystem", "version", "ipAddress", "location", "creationDate",
  ]

  /// `created`, when the payload does not say.
  package enum Change: String, Sendable, Hashable {
    case created, changed, retired
  }

  package var change: Change
  /// The facts that are there, in the order of `names`, as one JSON object.
  package var json: [UInt8]

  /// Why a payload is no asset event.
  package enum Problem: String, Error, Sendable, Hashable {
    case notJSON = "not-json"
    /// The payload names another asset than the topic: a business key never changes.
    case otherKey = "key-mismatch"
    case unknownChange = "unknown-change"
  }

  package init(_ payload: [UInt8], asset: String) throws(Problem) {
    guard Payload.isObject(payload) else { throw .notJSON }
    let payload = Payload.unwrapped(payload)
    if let id = Payload.text("assetId", in: payload), id != asset { throw .otherKey }
    guard let change = Change(rawValue: Payload.text("change", in: payload) ?? "created") else {
      throw .unknownChange
    }
    self.change = change
    var json: [UInt8] = [UInt8(ascii: "{")]
    for name in Self.names {
      guard let value = Payload.value(name, in: payload) else { continue }
      if json.count > 1 { json.append(UInt8(ascii: ",")) }
      JSONString.append(name, to: &json)
      json.append(UInt8(ascii: ":"))
      json.append(contentsOf: Payload.compact(value.span))
    }
    json.append(UInt8(ascii: "}"))
    self.json = json
  }

  /// The facts of `old` with those of this event in place of theirs.
  package func merged(into old: [UInt8]) -> [UInt8] {
    var json: [UInt8] = [UInt8(ascii: "{")]
    for name in Self.names {
      guard let value = Payload.value(name, in: self.json) ?? Payload.value(name, in: old) else {
        continue
      }
      if json.count > 1 { json.append(UInt8(ascii: ",")) }
      JSONString.append(name, to: &json)
      json.append(UInt8(ascii: ":"))
      json.append(contentsOf: value)
    }
    json.append(UInt8(ascii: "}"))
    return json
  }
}
