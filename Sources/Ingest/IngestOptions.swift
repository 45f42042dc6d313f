package import Deduplication
package import Filtering
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
  /// Least time between the starts of two commits, at most `commitDelayMax`: spares flash where
  /// messages come one by one, at the price of PUBACKs that wait so long.
  package var commitDelayMin: Duration = .zero
  /// Larger messages are journalled as dead letters, cut to this size.
  package var recordByteCountMax: ByteCount = .mebibytes(1)
  /// The most that one source topic may hold of the ring before a required sink acknowledges; what
  /// comes beyond is refused, acknowledged and delivered as a gap. Nil: no such limit.
  package var sourceQuota: QuotaSize?

  /// Only topics that one of these matches are carried; empty: all that come.
  package var allowedTopics: [String] = []
  /// Topics that one of these matches are not carried.
  package var deniedTopics: [String] = []
  /// Nor are those that begin with one of these, or with `$`: a raw destination would publish them
  /// on a topic of the broker's own.
  package var refusedPrefixes: [String] = []
  /// Rates and sizes that each source topic must keep to; what is beyond is refused, acknowledged
  /// and delivered as a gap. Empty: no such limits.
  package var sourceLimits: [SourceLimit] = []

  /// What is left out or summed up before it is journalled.
  package var filter = FilterOptions()

  package init(
    connection: ConnectionOptions, subscriptions: [String], deduplication: DeduplicationOptions
  ) {
    self.connection = connection
    self.subscriptions = subscriptions
    self.deduplication = deduplication
  }
}
