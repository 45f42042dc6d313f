/// The way a message has come: each route that carries it appends a user property `penstock-via`,
/// so that one that meets its own name can tell that the message went round.
package enum Via {
  package static let propertyName = "penstock-via"
  /// A message with so many has lost its way, whatever the names say.
  package static let countMax = 16

  package static func name(gateway: String, route: String) -> String { "\(gateway)/\(route)" }

  /// Whether a message with these properties, in wire encoding, has come this way before. What is
  /// malformed in them ends them.
  package static func contains(_ name: Span<UInt8>, in properties: Span<UInt8>) -> Bool {
    var reader = MQTTPropertyReader()
    var count = 0
    while let property = reader.next(in: properties) {
      guard property.identifier == .userProperty,
        properties.extracting(property.name).equals(propertyName.utf8.span)
      else { continue }
      count += 1
      if count >= countMax || properties.extracting(property.value).equals(name) { return true }
    }
    return false
  }
}
