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
  /// Records of the journal in it, runs of refused messages included; 0 for a batch that only tells
  /// of what is not in the journal any more.
  package let recordCount: Int
  /// How many of them are such runs, which tell of gaps and deliver nothing.
  package var tombstoneCount = 0
  /// How many records it can be split into; 0 when there is none that could be a dead letter.
  package var divisibleCount: Int { recordCount == 1 && tombstoneCount == 1 ? 0 : recordCount }
  package let destination: Destination
  package private(set) var bytes: [UInt8]
  /// How many they are, or were.
  package let byteCount: Int
  package let isRetained: Bool
  /// MQTT 5 properties in wire encoding; see `MQTTPropertyReader`.
  package private(set) var properties: [UInt8]
  /// The gaps it tells of.
  package var gaps: [Gap] = []

  package init(
    range: SequenceRange, epoch: Epoch, recordCount: Int, tombstoneCount: Int = 0,
    destination: Destination, bytes: [UInt8], isRetained: Bool, properties: [UInt8],
    gaps: [Gap] = []
  ) {
    self.range = range
    self.epoch = epoch
    self.recordCount = recordCount
    self.tombstoneCount = tombstoneCount
    self.destination = destination
    self.bytes = bytes
    byteCount = bytes.count
    self.isRetained = isRetained
    self.properties = properties
    self.gaps = gaps
  }

  /// What is left to be known when it will not be sent from memory again.
  package var withoutBytes: Batch {
    var batch = self
    batch.bytes = []
    batch.properties = []
    return batch
  }
}
