/// What an agent under audit is configured with; everything else is at its default.
package struct AgentOptions: Sendable, Hashable {
  package var gatewayID = "gw-audit"
  package var fieldPort: UInt16
  package var centralPort: UInt16
  /// For `/metrics` on loopback.
  package var observabilityPort: UInt16
  package var filters = ["pumps/+/metrics", "pumps/+/asset"]
  package var messageIDPointer = "/messageId"
  package var journalSize = "64MiB"
  package var commitMaxDelay = "20ms"
  package var batchMaxRecords = 500
  package var batchMaxDelay = "200ms"
  package var maxInFlight = 16
  package var compression = "zstd"
  /// Confirmations of pumps go up, and commands to them come down.
  package var hasHub = false
  /// `broker` or `hub`.
  package var accept = "broker"

  package init(fieldPort: UInt16, centralPort: UInt16, observabilityPort: UInt16) {
    self.fieldPort = fieldPort
    self.centralPort = centralPort
    self.observabilityPort = observabilityPort
  }

  /// The client id of the session at the field broker.
  package var inboundClientID: String { "penstock-\(gatewayID)-telemetry-in" }

  /// Where the observer listens.
  package var upstreamTopic: String { "penstock/v1/\(gatewayID)/telemetry" }

  /// What `interruptions` (kills of the agent, losses of the central broker) may bring again, in
  /// events: each time a full window of full batches, and one batch that was accepted while its
  /// cursor was being written. After a power cut it would be up to a second of accepted batches
  /// more; after SIGKILL the page cache still has their cursors.
  package func redeliveryBound(interruptions: Int) -> UInt64 {
    UInt64(interruptions * (maxInFlight + 1) * batchMaxRecords)
  }

  private var subscriptions: [String] { hasHub ? filters + ["pumps/+/confirmations"] : filters }

  private var commandFilter: String { "gateways/\(gatewayID)/commands/#" }

  /// The lines in the log of the broker at `field` and at `central` by which everything is set up.
  var subscriptionLines: (field: [String], central: [String]) {
    (
      subscriptions.map { "\(inboundClientID) 1 \($0)" },
      hasHub ? ["penstock-\(gatewayID)-commands-in 1 \(commandFilter)"] : []
    )
  }

  private var commandRoute: String {
    """
      - name: commands
        from: central
        subscribe: ["\(commandFilter)"]
        message_id: {json: /commandId}
        expire_after: 60s
        journal: {size: 16MiB}
        to:
          - name: field
            broker: field
            format: raw
            topic_map: {remove_prefix: gateways/\(gatewayID)/commands/}

    """
  }

  package func configuration(dataDirectory: String) -> String {
    """
    gateway:
      id: \(gatewayID)
      data_directory: \(dataDirectory)
    brokers:
      field:
        url: mqtt://127.0.0.1:\(fieldPort)
        client_id: penstock-${gateway.id}
      central:
        url: mqtt://127.0.0.1:\(centralPort)
        client_id: penstock-${gateway.id}
        status_topic: none
    routes:
      - name: telemetry
        from: field
        subscribe: [\(subscriptions.joined(separator: ", "))]
        message_id: {json: \(messageIDPointer)}
        journal:
          size: \(journalSize)
          commit: {max_delay: \(commitMaxDelay)}
        to:
          - name: central
            broker: central
            topic: penstock/v1/${gateway.id}/telemetry
            batch: {max_records: \(batchMaxRecords), max_delay: \(batchMaxDelay)}
            compression: \(compression)
            max_in_flight: \(maxInFlight)
            accept: \(accept)
    \(hasHub ? commandRoute : "")observability: {listen: "127.0.0.1:\(observabilityPort)"}

    """
  }
}
