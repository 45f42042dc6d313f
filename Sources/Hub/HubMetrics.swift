import CoreMetrics
import GatewayCore
import Platform

/// Every metric of the hub; the contract is Observability's catalogue.
package struct HubMetrics: Sendable {
  let batches = Counter(label: "penstock_hub_batches_total")
  let events = Counter(label: "penstock_hub_events_total")
  let duplicates = Counter(label: "penstock_hub_duplicates_total")
  let gapSequences = Counter(label: "penstock_hub_gap_records_total")
  let lateEvents = Counter(label: "penstock_hub_late_events_total")
  let overlaps = Counter(label: "penstock_hub_overlaps_total")
  let conflicts = Counter(label: "penstock_hub_conflicts_total")
  let commits = Counter(label: "penstock_hub_commits_total")
  let commitFailures = Counter(label: "penstock_hub_commit_failures_total")
  let overtaken = Counter(label: "penstock_hub_overtaken_total")
  let commitDuration = Recorder(label: "penstock_hub_commit_seconds", aggregate: true)
  let connected = Gauge(label: "penstock_hub_connected")
  let position = Gauge(label: "penstock_hub_position")
  let assets = Gauge(label: "penstock_hub_assets")
  let missing = Gauge(label: "penstock_hub_missing_records")
  let waiting = Gauge(label: "penstock_hub_waiting_events")
  let outboxRows = Gauge(label: "penstock_hub_outbox_rows")
  let outboxLag = Gauge(label: "penstock_hub_outbox_lag_seconds")
  let logLag = Gauge(label: "penstock_hub_log_lag_bytes")
  let published = Counter(label: "penstock_hub_published_total")
  let relayConnected = Gauge(label: "penstock_hub_relay_connected")

  let retiredReadings = Counter(label: "penstock_hub_retired_readings_total")
  let baseline = Gauge(label: "penstock_hub_baseline_position")

  package init() {}

  func add(_ counts: EngineCounts, letters: [HubDeadLetter]) {
    batches.increment(by: counts.batches)
    events.increment(by: counts.events)
    duplicates.increment(by: counts.duplicates)
    gapSequences.increment(by: Int(clamping: counts.gapSequences))
    lateEvents.increment(by: counts.lateEvents)
    overlaps.increment(by: counts.overlaps)
    conflicts.increment(by: counts.conflicts)
    for letter in letters {
      Counter(
        label: "penstock_hub_dead_letters_total", dimensions: [("reason", letter.reason)]
      ).increment()
    }
  }
}
