import GatewayCore
import Mosquitto

/// One message as a subscriber got it, kept whole.
struct RawMessage: Sendable, Hashable {
  let topic: String
  let payload: [UInt8]
  let isRetained: Bool
  let quality: QualityOfService
  /// In wire encoding.
  let properties: [UInt8]

  init(
    _ header: MessageHeader, _ topic: Span<UInt8>, _ payload: Span<UInt8>,
    _ properties: Span<UInt8>
  ) {
    self.topic = String(decoding: topic)
    self.payload = Array(copying: payload)
    isRetained = header.isRetained
    quality = header.qualityOfService
    self.properties = Array(copying: properties)
  }

  var text: String { String(decoding: payload, as: UTF8.self) }

  /// The value of the first user property of this name.
  func user(_ name: String) -> String? {
    MQTTPropertyReader.userProperty(named: Array(name.utf8).span, in: properties.span)
      .map { String(decoding: properties[$0], as: UTF8.self) }
  }

  /// Seconds of the Message Expiry Interval.
  var interval: UInt32? {
    var reader = MQTTPropertyReader()
    while let property = reader.next(in: properties.span) {
      if property.identifier == .messageExpiryInterval { return property.number }
    }
    return nil
  }

  /// Each property as text, without those that the gateway adds and without the expiry, in order.
  var foreignProperties: [String] { RawMessage.foreign(properties) }

  static func foreign(_ properties: [UInt8]) -> [String] {
    var texts: [String] = []
    var reader = MQTTPropertyReader()
    while let property = reader.next(in: properties.span) {
      let value = String(decoding: properties[property.value], as: UTF8.self)
      let name = String(decoding: properties[property.name], as: UTF8.self)
      if property.identifier == .messageExpiryInterval || name.hasPrefix("penstock-") { continue }
      texts.append("\(property.identifier.rawValue) \(name)=\(value)")
    }
    return texts
  }
}
