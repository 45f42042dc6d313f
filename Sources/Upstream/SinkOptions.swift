package import Batching
package import GatewayCore
package import Mosquitto
package import RingJournal

/// What counts as the centre having accepted a batch.
package enum Acceptance: String, Sendable, Hashable, CaseIterable {
  /// The broker's PUBACK with a reason code below 0x80.
  case broker
  /// The consumer's own commit, told on the acceptance topic.
  case hub
}

/// In which order a backlog leaves after an outage.
package enum DrainOrder: String, Sendable, Hashable, CaseIterable {
  /// As journalled: order per source is kept.
  case inOrder = "in-order"
  /// What arrives now goes first, the backlog fills in behind.
  case liveFirst = "live-first"
}

/// An upper bound on the bytes that leave per second.
package struct RateLimit: Sendable, Hashable {
  /// What the bound counts.
  package enum Scope: String, Sendable, Hashable, CaseIterable {
    case backlog
    case all
  }

  package var bytesPerSecond: ByteCount
  package var scope: Scope

  package init(bytesPerSecond: ByteCount, scope: Scope = .backlog) {
    self.bytesPerSecond = bytesPerSecond
    self.scope = scope
  }
}

/// The outbound half of one route to one destination.
package struct SinkOptions: Sendable, Hashable {
  /// The durable cursor's identity.
  package var name: String
  package var connection: ConnectionOptions
  package var required: Bool = true
  package var start: SinkStart = .oldest
  package var acceptance: Acceptance = .broker
  /// Whether "no matching subscribers" (0x10) counts as accepted.
  package var acceptsNoSubscriber: Bool = false
  /// The topic of the batches; unused with `raw`.
  package var topic: String
  /// Only with `raw`.
  package var topicMap: TopicMap = TopicMap()
  package var batch: BatchOptions = BatchOptions()
  /// Batches published and not yet accepted.
  package var inFlightMax: Int = 16
  /// The largest packet the broker takes, where it cannot say so itself (MQTT 3.1.1).
  package var packetByteCountMax: ByteCount?
  /// Size of the local ring for records that are refused for good.
  package var deadLetterCapacity: ByteCount = .mebibytes(16)
  /// Where refused records are published as well; nil publishes them nowhere.
  package var deadLetterTopic: String?
  package var drain: DrainOrder = .inOrder
  /// Nil: as fast as the broker takes it.
  package var rateLimit: RateLimit?

  package static let inFlightLimit = 1_000

  package init(name: String, connection: ConnectionOptions, topic: String) {
    self.name = name
    self.connection = connection
    self.topic = topic
  }
}
