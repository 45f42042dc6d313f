package import GatewayCore
package import Mosquitto

/// What a hub is told. Defaults are those of `hub.yaml`.
package struct HubOptions: Sendable, Hashable {
  package var rules: HubRules
  /// Path of the SQLite file, or the URL of a PostgreSQL database.
  package var database = "/var/lib/penstock-hub/hub.sqlite"
  package var databasePasswordFile: String?
  /// Of both connections; each appends its own part to the client id.
  package var connection: ConnectionOptions
  package var consumer = ConsumerOptions()
  package var relay = RelayOptions()
  /// An asset without a reading for longer than this is stale.
  package var staleAfter: Duration = .seconds(60)
  /// Events between two snapshots of the state; nil makes none.
  package var snapshotEvery: Int? = 1_000_000

  package var retention = RetentionOptions()

  package init(hubID: String, connection: ConnectionOptions) {
    rules = HubRules(hubID: hubID)
    self.connection = connection
  }
}

/// How batches are taken.
package struct ConsumerOptions: Sendable, Hashable {
  package var filters = ["penstock/v1/+/+"]
  /// Members of one group get each batch once between them; nil: no shared subscription.
  package var sharedGroup: String?
  /// Bytes of one envelope, compressed or not; what is larger becomes a dead letter.
  package var envelopeByteCountMax: ByteCount = .mebibytes(64)
  /// Batches of one transaction.
  package var groupBatchesMax = 200
  /// Received bytes of one transaction.
  package var groupByteCountMax: ByteCount = .mebibytes(16)

  package init() {}

  /// As they are subscribed to.
  package var subscriptions: [String] {
    filters.map { filter in sharedGroup.map { "$share/\($0)/\(filter)" } ?? filter }
  }
}

/// How the outbox is emptied.
package struct RelayOptions: Sendable, Hashable {
  /// Rows that may wait. With more the hub takes no batches until some have left.
  package var rowsMax = 1_000_000
  /// Messages without their PUBACK at a time, if the broker allows so many.
  package var inFlightMax = 500
  /// How long rows that have left may stay marked in memory only: what a crash publishes again.
  package var markInterval: Duration = .milliseconds(200)
  /// Rows after which they are marked whatever the time.
  package var markRowsMax = 1_000
  /// Whether messages are found by the log of the database and not by its table.
  package var readsLog = false

  package init() {}
}
