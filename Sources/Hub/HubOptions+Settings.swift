package import GatewayConfiguration

extension HubOptions {
  /// What a file says, in this module's words.
  package init(_ settings: HubSettings) {
    self.init(hubID: settings.hubID, connection: settings.broker.connection)
    database = settings.database
    databasePasswordFile = settings.databasePasswordFile
    rules.topicPrefix = settings.topicPrefix
    rules.contiguityWait = settings.contiguityWait
    rules.publishesMetrics = settings.publishesMetrics
    rules.identityCount = settings.identityCount
    consumer.filters = settings.filters
    consumer.sharedGroup = settings.sharedGroup
    consumer.envelopeByteCountMax = settings.envelopeByteCountMax
    consumer.groupBatchesMax = settings.groupBatchesMax
    consumer.groupByteCountMax = settings.groupByteCountMax
    relay.rowsMax = settings.outboxRowsMax
    relay.inFlightMax = settings.outboxInFlightMax
    relay.readsLog = settings.outboxReader == .logReader
    staleAfter = settings.staleAfter
    snapshotEvery = settings.snapshotEvery
    retention.readings = settings.readingsKept
    retention.downsample = settings.downsampleInterval
  }
}
