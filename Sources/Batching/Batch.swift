package import GatewayCore

/// One MQTT message upstream: the encoded bytes and exactly which sequences they account for.
package struct Batch: Sendable {
  /// Where the bytes go.
  package enum Destination: Sendable, Hashable {
    /// The sink's batch topic.
    case batches
    /// A raw record: its own topic, already mapped.
    case topic(String)
    /// A raw record whose topic has no counterpart upstream: it cannot be published.
    case unmapped(String)
    /// What a raw route cannot say in a raw message: gaps and dead letters, as an envelope.
    case notices(Notice)
    /// Nowhere: its records are looked after on this machine, as dead letters.
    case kept
  }

  /// The last level of `penstock/v1/<gateway>/<route>/…`.
  package enum Notice: String, Sendable, Hashable, CaseIterable {
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
  /// Records in it that were dead letters when they came; of a raw route none.
  package var deadLetters: [Sequence] = []
  /// From then on it must not be sent any more; nil: it never expires. By the monotonic clock.
  package var deadline: MonotonicTime?
  /// The Message Expiry Interval among `properties`.
  package var interval: Interval?

  /// Where its four bytes stand, and the moment that they count down to.
  package struct Interval: Sendable {
    package let offset: Int
    package let end: MonotonicTime
  }

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
    batch.interval = nil
    return batch
  }

  /// Stands for records that are not sent: the cursor may pass them.
  package static func kept(_ range: SequenceRange, epoch: Epoch) -> Batch {
    Batch(
      range: range, epoch: epoch, recordCount: 0, destination: .kept, bytes: [],
      isRetained: false, properties: [])
  }

  /// The properties as they must read now: what the message has waited since it was made is taken
  /// off its Message Expiry Interval, in whole seconds, never below 1.
  package func properties(at now: MonotonicTime) -> [UInt8] {
    guard let interval else { return properties }
    var properties = properties
    let left = UInt32(clamping: max(1, interval.end.since(now).components.seconds))
    for position in 0..<4 {
      properties[interval.offset + position] = UInt8(
        truncatingIfNeeded: left >> (24 - 8 * UInt32(position)))
    }
    return properties
  }
}
