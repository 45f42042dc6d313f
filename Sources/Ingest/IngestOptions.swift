package import Deduplication
package import GatewayCore
package import Mosquitto

/// The inbound half of one route.
package struct IngestOptions: Sendable, Hashable {
  /// One stable client id; the session must survive a disconnect.
  package var connection: ConnectionOptions
  /// Topic filters, subscribed at QoS 1.
  package var subscriptions: [String]
  package var deduplication: DeduplicationOptions
  /// Upper bound on the time a PUBACK waits for its commit. Not a wait: a commit leaves earlier
  /// when the socket is dry or the window is full.
  package var commitDelayMax: Duration = .milliseconds(20)
  /// Larger messages are journalled as dead letters, cut to this size.
  package var recordByteCountMax: ByteCount = .mebibytes(1)
  /// Age (of powered time) after which a record is no longer delivered.
  package var expireAfter: Duration?

  package init(
    connection: ConnectionOptions, subscriptions: [String], deduplication: DeduplicationOptions
  ) {
    self.connection = connection
    self.subscriptions = subscriptions
    self.deduplication = deduplication
  }
}
