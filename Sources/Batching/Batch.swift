package import GatewayCore

/// One MQTT message upstream: the encoded bytes and exactly which sequences they account for.
package struct Batch: Sendable {
  /// Where the bytes go.
  package enum Destination: Sendable, Hashable {
    /// The sink's batch topic.
    case batches
    /// A raw record: its own topic, already mapped.
    case topic(String)
    /// What a raw route cannot say in a raw message: gaps and dead letters, as an envelope.
    case notices(Notice)
  }

  /// The last level of `penstock/v1/<gateway>/<route>/…`.
  package enum Notice: String, Sendable, Hashable {
    case gaps
    case deadLetter = "dead-letter"
  }

  /// Every sequence in here is an event, a gap or elided; the batch after it begins at `last + 1`.
  package let range: SequenceRange
  package let epoch: Epoch
  /// Records with data in them; 0 for a batch that only tells of a gap.
  package let recordCount: Int
  package let destination: Destination
  package let bytes: [UInt8]
  package let isRetained: Bool
  /// MQTT 5 properties in wire encoding; see `MQTTPropertyReader`.
  package let properties: [UInt8]
  /// The gaps it tells of.
  package var gaps: [Gap] = []
}
