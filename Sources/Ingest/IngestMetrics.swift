import CoreMetrics
import Deduplication
import Filtering
import GatewayCore
package import RingJournal

/// Every metric this stage emits; the contract is Observability's catalogue. The thread counts in
/// plain integers and publishes once per commit, so a message costs no atomic operation.
package struct IngestMetrics: Sendable {
  struct Counts: Sendable {
    var messages = 0
    var bytes = 0
    var duplicates = 0
    var journalled = 0
    var missingID = 0
    var conflicts = 0
    var tooLarge = 0
    var droppedConflicts = 0
    /// Beyond the quota, the rate or the size of their source.
    var overQuota = 0
    var overRate = 0
    var overSize = 0
    /// Of topics that are not carried.
    var strays = 0
    var filteredTopic = 0
    var filteredDeadBand = 0
    var filteredMinInterval = 0
    /// Of the journalled ones, those that an aggregate has or will have.
    var aggregated = 0
    /// Made here, of them.
    var aggregates = 0
    /// Carried by this route before.
    var roundTrips = 0
    /// QoS 0 messages: journalled, but nobody would have sent them again.
    var unprotected = 0
  }

  let messages: Counter
  let bytes: Counter
  let duplicates: Counter
  let journalled: Counter
  let deadLettersMissingID: Counter
  let deadLettersConflict: Counter
  let deadLettersTooLarge: Counter
  let droppedConflict: Counter
  let droppedQuota: Counter
  let droppedRate: Counter
  let droppedSize: Counter
  let droppedTopic: Counter
  let droppedLoop: Counter
  let quotaSources: Gauge
  let quotaShared: Counter
  let filteredTopic: Counter
  let filteredDeadBand: Counter
  let filteredMinInterval: Counter
  let filterSeries: Gauge
  let filterUntracked: Counter
  let aggregated: Counter
  let aggregates: Counter
  let unprotected: Counter
  let sessionLost: Counter
  let sessionExpiry: Gauge
  let takeovers: Counter
  let reconnects: Counter
  let connected: Gauge
  let paused: Gauge
  let windowIDs: Gauge
  let pubackDelay: Timer
  let groupRecords: Recorder
  let fsync: Timer
  let writtenBytes: Counter
  let commits: Counter
  let capacityBytes: Gauge
  let usedBytes: Gauge
  let committedSequence: Gauge
  let deliverOnly: Gauge
  let oldestUndelivered: Gauge

  private let route: String

  package init(route: String) {
    self.route = route
    let route = [("route", route)]
    func counter(_ name: String, _ more: [(String, String)] = []) -> Counter {
      Counter(label: "penstock_\(name)", dimensions: route + more)
    }
    func gauge(_ name: String) -> Gauge { Gauge(label: "penstock_\(name)", dimensions: route) }
    messages = counter("ingest_messages_total")
    bytes = counter("ingest_bytes_total")
    duplicates = counter("ingest_duplicates_total")
    journalled = counter("ingest_journalled_total")
    let reason = { (reason: DeadLetterReason) in [("reason", reason.text)] }
    deadLettersMissingID = counter("ingest_dead_letters_total", reason(.missingID))
    deadLettersConflict = counter("ingest_dead_letters_total", reason(.conflict))
    deadLettersTooLarge = counter("ingest_dead_letters_total", reason(.tooLarge))
    droppedConflict = counter("ingest_dropped_total", [("reason", "conflict")])
    droppedQuota = counter("ingest_dropped_total", [("reason", RefusalReason.quota.rawValue)])
    droppedRate = counter("ingest_dropped_total", [("reason", RefusalReason.rate.rawValue)])
    droppedSize = counter("ingest_dropped_total", [("reason", RefusalReason.size.rawValue)])
    droppedTopic = counter("ingest_dropped_total", [("reason", "topic")])
    droppedLoop = counter("ingest_dropped_total", [("reason", "loop")])
    quotaSources = gauge("ingest_quota_sources")
    quotaShared = counter("ingest_quota_shared_total")
    let filtered = { (reason: FilterReason) in [("reason", reason.rawValue)] }
    filteredTopic = counter("ingest_filtered_total", filtered(.topic))
    filteredDeadBand = counter("ingest_filtered_total", filtered(.deadBand))
    filteredMinInterval = counter("ingest_filtered_total", filtered(.minInterval))
    filterSeries = gauge("ingest_filter_series")
    filterUntracked = counter("ingest_filter_untracked_total")
    aggregated = counter("ingest_aggregated_total")
    aggregates = counter("ingest_aggregates_total")
    unprotected = counter("ingest_unprotected_total")
    sessionLost = counter("ingest_session_lost_total")
    sessionExpiry = gauge("ingest_session_expiry_seconds")
    takeovers = counter("ingest_takeovers_total")
    reconnects = counter("ingest_reconnects_total")
    connected = gauge("ingest_connected")
    paused = gauge("ingest_paused")
    windowIDs = gauge("dedup_window_ids")
    pubackDelay = Timer(label: "penstock_ingest_puback_delay_seconds", dimensions: route)
    groupRecords = Recorder(label: "penstock_ingest_group_records", dimensions: route)
    fsync = Timer(label: "penstock_journal_fsync_seconds", dimensions: route)
    writtenBytes = counter("journal_written_bytes_total")
    commits = counter("journal_commits_total")
    capacityBytes = gauge("journal_capacity_bytes")
    usedBytes = gauge("journal_used_bytes")
    committedSequence = gauge("journal_committed_sequence")
    deliverOnly = gauge("journal_deliver_only")
    oldestUndelivered = gauge("journal_oldest_undelivered_seconds")
    // There from the start, so that the first loss is an increase and not a new series.
    for reason in GapReason.allCases { lost(0, reason) }
  }

  /// What there is to say of a journal that is only read.
  package func deliversOnly(_ statistics: JournalStatistics) {
    deliverOnly.record(1)
    capacityBytes.record(statistics.capacity.rawValue)
    usedBytes.record(statistics.used.rawValue)
    committedSequence.record(Int64(clamping: statistics.committed.rawValue))
  }

  /// Records that the ring gave up or cannot read. Rare, so the counter is looked up by name.
  func lost(_ count: UInt64, _ reason: GapReason) {
    Counter(
      label: "penstock_journal_lost_records_total",
      dimensions: [("route", route), ("reason", reason.text)]
    ).increment(by: Int64(clamping: count))
  }

  func committed(_ receipt: CommitReceipt, recordCount: Int) {
    fsync.recordNanoseconds(receipt.syncDuration.nanoseconds)
    groupRecords.record(recordCount)
    writtenBytes.increment(by: receipt.byteCount.rawValue)
    commits.increment()
  }

  /// Publishes what was counted since the last call and starts at zero again.
  func publish(_ counts: inout Counts) {
    guard counts.messages > 0 || counts.aggregates > 0 else { return }
    messages.increment(by: counts.messages)
    bytes.increment(by: counts.bytes)
    if counts.duplicates > 0 { duplicates.increment(by: counts.duplicates) }
    if counts.journalled > 0 { journalled.increment(by: counts.journalled) }
    if counts.missingID > 0 { deadLettersMissingID.increment(by: counts.missingID) }
    if counts.conflicts > 0 { deadLettersConflict.increment(by: counts.conflicts) }
    if counts.tooLarge > 0 { deadLettersTooLarge.increment(by: counts.tooLarge) }
    if counts.droppedConflicts > 0 { droppedConflict.increment(by: counts.droppedConflicts) }
    if counts.overQuota > 0 { droppedQuota.increment(by: counts.overQuota) }
    if counts.overRate > 0 { droppedRate.increment(by: counts.overRate) }
    if counts.overSize > 0 { droppedSize.increment(by: counts.overSize) }
    if counts.strays > 0 { droppedTopic.increment(by: counts.strays) }
    if counts.filteredTopic > 0 { filteredTopic.increment(by: counts.filteredTopic) }
    if counts.filteredDeadBand > 0 { filteredDeadBand.increment(by: counts.filteredDeadBand) }
    if counts.filteredMinInterval > 0 {
      filteredMinInterval.increment(by: counts.filteredMinInterval)
    }
    if counts.aggregated > 0 { aggregated.increment(by: counts.aggregated) }
    if counts.aggregates > 0 { aggregates.increment(by: counts.aggregates) }
    if counts.roundTrips > 0 { droppedLoop.increment(by: counts.roundTrips) }
    if counts.unprotected > 0 { unprotected.increment(by: counts.unprotected) }
    counts = Counts()
  }
}
