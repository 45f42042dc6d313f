import GatewayCore

/// The MQTT 5 properties of a PUBLISH to send, kept in wire encoding (`MQTTPropertyWriter`) so
/// that one value is built once and used for any number of messages. MQTT 3.1.1 has none: there
/// they are not sent.
package struct PublishProperties: Sendable, Hashable {
  /// In the encoding of `MQTTPropertyReader`.
  package let bytes: [UInt8]

  package static let none = PublishProperties(wireEncoding: [])

  /// Properties that are in wire encoding already, as a journal record keeps them.
  package init(wireEncoding bytes: [UInt8]) { self.bytes = bytes }
}
