// The documented contract: every metric this product exports, with its type, labels, meaning and
// buckets. `Observability.docc/Metrics.md` shows the same table to operators, and a test compares
// the two. Stages emit through swift-metrics under exactly these names.

/// What a metric is.
package struct MetricDescription: Hashable, Sendable {
  package enum Kind: String, Hashable, Sendable {
    case counter
    case gauge
    case histogram
  }

  package let name: String
  package let kind: Kind
  /// The labels its series carry, in documented order. Histograms have `le` besides.
  package let labels: [String]
  package let help: String
  /// Upper bounds in ascending order, without +Inf. Empty unless a histogram.
  package let buckets: [Double]
}

package enum MetricCatalogue {
  /// In the order of the data path, which is also the order of exposition.
  package static let all: [MetricDescription] =
    process + brokers + ingest + journal + upstream + link + hub + itself

  /// The documented description of `name`; nil for a name that nobody documented.
  package static func description(of name: String) -> MetricDescription? {
    positions[name].map { all[$0] }
  }

  /// Where `name` stands in `all`; undocumented names come after all of them.
  static func position(of name: String) -> Int { positions[name] ?? all.count }

  private static let positions = Dictionary(
    uniqueKeysWithValues: all.enumerated().map { ($1.name, $0) })

  /// Seconds. From an SSD's 0.1 ms to a dying SD card's 10 s.
  package static let diskBuckets: [Double] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
  ]
  /// Seconds. From a loopback broker to a satellite link with retries.
  package static let networkBuckets: [Double] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
  ]
  /// Records. From one per sync to a full MQTT 5 receive window.
  package static let groupBuckets: [Double] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]

  private static let process = [
    gauge("penstock_build_info", ["version"], "Always 1; the label tells the running version."),
    counter("process_cpu_seconds_total", [], "User and system CPU time of this process."),
    gauge("process_resident_memory_bytes", [], "Resident memory of this process."),
    gauge("process_start_time_seconds", [], "Start of this process, seconds since 1970."),
    counter(
      "penstock_config_reloads_total", ["outcome"],
      "Reloads of the configuration file by SIGHUP: applied, unchanged, refused."),
  ]

  private static let brokers = [
    gauge(
      "penstock_broker_certificate_expiry_timestamp_seconds", ["broker", "which"],
      "When a certificate of a broker's connections ends, seconds since 1970: ours (client), the "
        + "CA file's (authority), the broker's own and those above it (server)."),
    gauge(
      "penstock_broker_status_online", ["broker"],
      "1 while the broker's status topic says online and the broker has our will."),
    counter(
      "penstock_broker_failbacks_total", ["broker"],
      "Times the first endpoint of a list accepted again while connections stood at a later one."),
  ]

  private static let ingest = [
    counter(
      "penstock_ingest_messages_total", ["route"],
      "Messages received from the source broker, redeliveries included."),
    counter("penstock_ingest_bytes_total", ["route"], "Topic and payload bytes received."),
    counter(
      "penstock_ingest_duplicates_total", ["route"],
      "Messages whose id was journalled already: acknowledged, not stored again."),
    counter(
      "penstock_ingest_journalled_total", ["route"], "Records that became durable in the journal."),
    counter(
      "penstock_ingest_dead_letters_total", ["route", "reason"],
      "Records journalled as dead letters: missing-id, conflict, too-large."),
    counter(
      "penstock_ingest_dropped_total", ["route", "reason"],
      "Messages acknowledged but deliberately not stored: conflict, quota, rate, size, topic, loop "
        + "(this route has carried it before)."),
    gauge(
      "penstock_ingest_quota_sources", ["route"],
      "Source topics told apart by a source quota or source limits."),
    counter(
      "penstock_ingest_quota_shared_total", ["route"],
      "Messages of topics beyond the 10,000 that quota and limits tell apart: they share one."),
    counter(
      "penstock_ingest_filtered_total", ["route", "reason"],
      "Messages that a filter left out, acknowledged, not lost: topic, dead-band, min-interval."),
    gauge(
      "penstock_ingest_filter_series", ["route"],
      "Series that the filters of this route tell apart, of fields and aggregate together."),
    counter(
      "penstock_ingest_filter_untracked_total", ["route"],
      "Messages that passed a filter because there was no place for their series."),
    counter(
      "penstock_ingest_aggregated_total", ["route"],
      "Messages that are summed up: journalled, and in an aggregate."),
    counter(
      "penstock_ingest_aggregates_total", ["route"],
      "Aggregates made and journalled, which are records that nobody sent."),
    counter(
      "penstock_ingest_unprotected_total", ["route"],
      "Messages that came at QoS 0 or 2: journalled, but until then a crash would have lost them."),
    histogram(
      "penstock_ingest_puback_delay_seconds", ["route"],
      "From the receipt of the oldest message of a commit group to its PUBACKs being flushed.",
      diskBuckets),
    histogram(
      "penstock_ingest_group_records", ["route"], "Records per commit group.", groupBuckets),
    gauge("penstock_ingest_connected", ["route"], "1 while connected to the source broker."),
    counter(
      "penstock_ingest_session_lost_total", ["route"],
      "Reconnects where the broker had forgotten our session: what it queued for us is lost."),
    gauge(
      "penstock_ingest_session_expiry_seconds", ["route"],
      "How long the source broker keeps our session while we are away, as it said (MQTT 5)."),
    counter(
      "penstock_ingest_takeovers_total", ["route"],
      "Connections lost, or taken to be, because another client uses our client id."),
    counter("penstock_ingest_reconnects_total", ["route"], "Reconnects to the source broker."),
    gauge("penstock_ingest_paused", ["route"], "1 while paused because the ring is full."),
    gauge("penstock_dedup_window_ids", ["route"], "Message ids in the deduplication window."),
  ]

  private static let journal = [
    gauge("penstock_journal_capacity_bytes", ["route"], "Bytes the ring can hold."),
    gauge(
      "penstock_journal_used_bytes", ["route"],
      "Bytes of the ring that hold records the slowest required sink has not accepted."),
    counter(
      "penstock_journal_lost_records_total", ["route", "reason"],
      "Lost, each once, whether or not the centre has been told: given up by the ring (ring-full), "
        + "refused (quota), unreadable (corrupt), expired, skipped, dead-letter-full."),
    gauge(
      "penstock_journal_deliver_only", ["route"],
      "1 while the disk can only be read: what is journalled is delivered, nothing is received."),
    gauge("penstock_journal_committed_sequence", ["route"], "Last durable sequence."),
    histogram(
      "penstock_journal_fsync_seconds", ["route"], "Duration of one fdatasync.", diskBuckets),
    counter(
      "penstock_journal_written_bytes_total", ["route"],
      "Bytes of commit groups written: the flash wear, cursors aside."
    ),
    counter("penstock_journal_commits_total", ["route"], "Commit groups made durable."),
    gauge(
      "penstock_journal_oldest_undelivered_seconds", ["route"],
      "Age of the oldest record that a required sink has not accepted; 0 when there is none."),
    counter(
      "penstock_gap_records_total", ["route", "sink", "reason"],
      "Records that will not be delivered: ring-full, quota, expired, corrupt, skipped, "
        + "dead-letter-full."),
  ]

  private static let upstream = [
    counter("penstock_upstream_batches_total", ["route", "sink"], "Batches accepted by the sink."),
    counter("penstock_upstream_records_total", ["route", "sink"], "Records accepted by the sink."),
    counter(
      "penstock_upstream_bytes_total", ["route", "sink"], "Payload bytes published and accepted."),
    counter(
      "penstock_upstream_refused_total", ["route", "sink", "code"],
      "Publishes refused by the sink, by MQTT reason code."),
    counter(
      "penstock_upstream_dead_letters_total", ["route", "sink", "reason"],
      "Records kept in the local dead-letter file: refused upstream for good (refused), commands "
        + "that were not delivered in time (expired)."),
    counter(
      "penstock_upstream_dead_letter_publishes_total", ["route", "sink", "outcome"],
      "Dead letters published on dead_letter.topic (accepted), or not to be published there and "
        + "kept on this machine only (refused)."),
    counter(
      "penstock_upstream_resent_total", ["route", "sink"],
      "Batches sent again after a lost connection or a refusal, or because the consumer misses "
        + "them."
    ),
    counter(
      "penstock_upstream_held_seconds_total", ["route", "sink", "reason"],
      "Time in which something ready to leave had to wait: rate-limit, priority, socket, "
        + "data-budget."),
    gauge(
      "penstock_upstream_closed", ["route", "sink", "reason"],
      "1 while disconnected on purpose: connect-window, data-budget."),
    gauge("penstock_upstream_connected", ["route", "sink"], "1 while connected to the sink."),
    counter("penstock_upstream_reconnects_total", ["route", "sink"], "Reconnects to the sink."),
    gauge(
      "penstock_upstream_in_flight_batches", ["route", "sink"],
      "Batches published and not yet accepted."),
    histogram(
      "penstock_upstream_publish_seconds", ["route", "sink"], "From a publish to its acceptance.",
      networkBuckets),
    gauge(
      "penstock_upstream_acknowledged_sequence", ["route", "sink"],
      "Last sequence of the contiguous run the sink has accepted."),
    gauge(
      "penstock_upstream_batch_divisor", ["route", "sink"],
      "What the limits of a batch are divided by; above 1 the link breaks before a full batch is "
        + "through."
    ),
    gauge(
      "penstock_upstream_send_allowance_bytes", ["route", "sink"],
      "Where another destination at the broker has a higher priority: bytes that may be under way, "
        + "so that the link's queue stays short; 0 where none has."),
    gauge(
      "penstock_upstream_accepted_intervals", ["route", "sink"],
      "With drain: live-first: ranges accepted beyond the cursor; at most 8, 0 without a backlog."),
    gauge(
      "penstock_upstream_unaccepted_batches", ["route", "sink"],
      "With accept: hub: batches that the broker has and the consumer has not accepted."),
    gauge(
      "penstock_upstream_acceptance_overdue", ["route", "sink"],
      "With accept: hub: 1 while the consumer has accepted nothing for accept_timeout."),
    counter(
      "penstock_upstream_acceptances_total", ["route", "sink", "verdict"],
      "With accept: hub: messages of the consumer: applied, foreign, future, malformed."),
    counter(
      "penstock_upstream_missing_records_total", ["route", "sink"],
      "With accept: hub: sequences read and sent once more because the consumer misses them."),
  ]

  private static let link = [
    gauge(
      "penstock_link_budget_spent_bytes", ["broker"],
      "Bytes counted against the data budget in this period, both directions."),
    gauge(
      "penstock_link_budget_left_bytes", ["broker"], "Bytes left of the data budget in this period."
    ),
  ]

  private static let hub = [
    counter(
      "penstock_hub_batches_total", [],
      "Batches taken by the hub, repeated ones included."),
    counter(
      "penstock_hub_events_total", [],
      "Events appended to the hub's event store."),
    counter(
      "penstock_hub_duplicates_total", [],
      "Events that changed nothing: known by position or by source and id."),
    counter(
      "penstock_hub_gap_records_total", [],
      "Sequences that gateways have told to be lost."),
    counter(
      "penstock_hub_late_events_total", [],
      "Events that came for a sequence that was known as lost."),
    counter(
      "penstock_hub_overlaps_total", [],
      "Journals that number again what they had numbered: a restored image."),
    counter(
      "penstock_hub_conflicts_total", [],
      "Asset events that contradict a registered asset: stored, without effect."),
    counter(
      "penstock_hub_dead_letters_total", ["reason"],
      "What came and could not be used, by reason: kept in the table of dead letters."),
    counter(
      "penstock_hub_commits_total", [],
      "Transactions committed."),
    counter(
      "penstock_hub_commit_failures_total", [],
      "Transactions that failed: nothing of them was acknowledged."),
    counter(
      "penstock_hub_overtaken_total", [],
      "Transactions that another hub on the same database was faster than: decided anew."),
    histogram(
      "penstock_hub_commit_seconds", [],
      "Duration of one transaction, its sync included.", diskBuckets),
    gauge(
      "penstock_hub_connected", [],
      "1 while the hub receives batches."),
    gauge(
      "penstock_hub_position", [],
      "Position of the last event."),
    gauge(
      "penstock_hub_assets", [],
      "Assets the hub knows."),
    gauge(
      "penstock_hub_missing_records", [],
      "Sequences that the hub has asked for and nobody has accounted for yet."),
    gauge(
      "penstock_hub_waiting_events", [],
      "Asset events that wait for what comes before them."),
    gauge(
      "penstock_hub_outbox_rows", [],
      "Messages in the outbox that have not left."),
    gauge(
      "penstock_hub_outbox_lag_seconds", [],
      "Age of the oldest message in the outbox; 0 when it is empty."),
    gauge(
      "penstock_hub_log_lag_bytes", [],
      "Bytes of the database's log that it keeps for the log reader; 0 without one."),
    counter(
      "penstock_hub_published_total", [],
      "Messages of the outbox that the broker has acknowledged."),
    gauge(
      "penstock_hub_relay_connected", [],
      "1 while the outbox is being published."),
    counter(
      "penstock_hub_retired_readings_total", [],
      "Readings summed up and removed, by age."),
    gauge(
      "penstock_hub_baseline_position", [],
      "Position of the state that a rebuild begins with: readings before it may be gone."),
  ]

  private static let itself = [
    counter(
      "penstock_metrics_refused_total", [],
      "Series not exported: over a limit of the registry, or used with another type.")
  ]

  private static func counter(_ name: String, _ labels: [String], _ help: String)
    -> MetricDescription
  { MetricDescription(name: name, kind: .counter, labels: labels, help: help, buckets: []) }

  private static func gauge(_ name: String, _ labels: [String], _ help: String)
    -> MetricDescription
  { MetricDescription(name: name, kind: .gauge, labels: labels, help: help, buckets: []) }

  private static func histogram(
    _ name: String, _ labels: [String], _ help: String, _ buckets: [Double]
  ) -> MetricDescription {
    MetricDescription(name: name, kind: .histogram, labels: labels, help: help, buckets: buckets)
  }
}
