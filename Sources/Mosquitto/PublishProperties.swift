import GatewayCore

/// The MQTT 5 properties of a PUBLISH to send, kept in wire encoding so that one value is built
/// once and used for any number of messages. MQTT 3.1.1 has none: there they are not sent.
package struct PublishProperties: Sendable, Hashable {
  /// In the encoding of `MQTTPropertyReader`.
  package private(set) var bytes: [UInt8]

  package static let none = PublishProperties()

  package init() { bytes = [] }

  /// Properties that are in wire encoding already, as a journal record keeps them.
  package init(wireEncoding bytes: [UInt8]) { self.bytes = bytes }

  /// `isText` is the payload format indicator; nil leaves it out. `messageExpiry` is rounded up to
  /// whole seconds. Values of more than 65,535 bytes are our own bug.
  package init(
    contentType: String? = nil, isText: Bool? = nil, messageExpiry: Duration? = nil,
    userProperties: [(name: String, value: String)] = []
  ) {
    bytes = []
    if let isText {
      MQTTPropertyWriter.append(.payloadFormatIndicator, number: isText ? 1 : 0, to: &bytes)
    }
    if let messageExpiry {
      let (seconds, rest) = messageExpiry.components
      let rounded = min(max(seconds + (rest > 0 ? 1 : 0), 0), Int64(UInt32.max))
      MQTTPropertyWriter.append(.messageExpiryInterval, number: UInt32(rounded), to: &bytes)
    }
    if let contentType {
      MQTTPropertyWriter.append(.contentType, value: Array(contentType.utf8).span, to: &bytes)
    }
    for property in userProperties { appendUserProperty(property.name, property.value) }
  }

  package mutating func appendUserProperty(_ name: String, _ value: String) {
    MQTTPropertyWriter.appendUserProperty(
      name: Array(name.utf8).span, value: Array(value.utf8).span, to: &bytes)
  }

  /// Forgets everything and keeps the memory, for a caller that sets other values per message.
  package mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }
}
