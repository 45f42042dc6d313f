import Batching
import Mosquitto

/// How large a PUBLISH at QoS 1 is on the connection (MQTT 5.0, section 3.3), before TLS.
enum PublishPacket {
  /// - Parameter propertyByteCount: in wire encoding; MQTT 3.1.1 sends none.
  static func byteCount(
    topicByteCount: Int, propertyByteCount: Int, payloadByteCount: Int, version: ProtocolVersion
  ) -> Int {
    let packetIdentifierByteCount = 2
    var remaining = 2 + topicByteCount + packetIdentifierByteCount + payloadByteCount
    if version == .v5 { remaining += variableByteCount(propertyByteCount) + propertyByteCount }
    return 1 + variableByteCount(remaining) + remaining
  }

  static func byteCount(of batch: Batch, topic: String, version: ProtocolVersion) -> Int {
    byteCount(
      topicByteCount: topic.utf8.count, propertyByteCount: batch.properties.count,
      payloadByteCount: batch.bytes.count, version: version)
  }

  /// Bytes of a Variable Byte Integer (MQTT 5.0, section 1.5.5).
  private static func variableByteCount(_ value: Int) -> Int {
    switch value {
    case ..<128: 1
    case ..<16_384: 2
    case ..<2_097_152: 3
    default: 4
    }
  }
}
