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
  /// Batches published and not yet accepted by the broker; held in memory.
  package var inFlightMax: Int = 16
  /// With `accept: hub`: batches that the consumer has not accepted, those in flight included. They
  /// wait in the broker's queue for the consumer, so this stays below what the broker keeps there.
  package var unacceptedMax: Int = 100
  /// With `accept: hub`: a consumer that accepts nothing for so long is alarmed about, and sent the
  /// oldest batch once more; also the pause before what it misses is sent another time.
  package var acceptTimeout: Duration = .seconds(60)
  /// A publish without an answer for longer costs the connection.
  package var answerTimeout: Duration = .seconds(30)
  /// The largest packet the broker takes, where it cannot say so itself (MQTT 3.1.1).
  package var packetByteCountMax: ByteCount?
  /// Size of the local ring for records that are refused for good.
  package var deadLetterCapacity: ByteCount = .mebibytes(16)
  /// Where refused records are published as well; nil publishes them nowhere.
  package var deadLetterTopic: String?
  package var drain: DrainOrder = .inOrder
  /// Nil: as fast as the broker takes it.
  package var rateLimit: RateLimit?
  /// Among the sinks that deliver to one broker: 9 goes first.
  package var priority: Int = 5
  /// Connects outside the link's window, and may go on when its data budget is spent.
  package var isUrgent: Bool = false

  package static let inFlightLimit = 1_000
  /// Half of what Mosquitto queues for an absent client by default.
  package static let unacceptedLimit = 500

  package init(name: String, connection: ConnectionOptions, topic: String) {
    self.name = name
    self.connection = connection
    self.topic = topic
  }
}

extension SinkOptions {
  /// Whether it may need a second reader.
  package var readsOutOfTurn: Bool { acceptance == .hub || drain == .liveFirst }
}
