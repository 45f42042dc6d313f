import Batching
import CoreMetrics
import GatewayCore
import Mosquitto

/// Every metric this stage emits; the contract is Observability's catalogue.
package struct UpstreamMetrics: Sendable {
  let batches: Counter
  let records: Counter
  let bytes: Counter
  let resent: Counter
  private let refusedForGood: Counter
  private let expired: Counter
  /// Letters on `dead_letter.topic`.
  let publishedDeadLetters: Counter
  let refusedDeadLetters: Counter
  /// Overwritten in a dead letter file that was full; the route's, whichever sink met it.
  let lostDeadLetters: Counter
  let reconnects: Counter
  let connected: Gauge
  let inFlight: Gauge
  let acknowledgedSequence: Gauge
  let batchDivisor: Gauge
  let sendAllowance: Gauge
  let acceptedIntervals: Gauge
  let unaccepted: Gauge
  let acceptanceOverdue: Gauge
  let missing: Counter
  let publishSeconds: Timer
  /// There from the start, so that the first gap is an increase and not a new series.
  private let gaps: [GapReason: Counter]
  private let acceptances: [AcceptanceVerdict: Counter]
  private let heldSeconds: [HoldReason: FloatingPointCounter]
  private let closedGauges: [LinkClosure.Reason: Gauge]
  private let dimensions: [(String, String)]

  package init(route: String, sink: String) {
    let dimensions = [("route", route), ("sink", sink)]
    self.dimensions = dimensions
    func counter(_ name: String) -> Counter {
      Counter(label: "penstock_upstream_\(name)", dimensions: dimensions)
    }
    func gauge(_ name: String) -> Gauge {
      Gauge(label: "penstock_upstream_\(name)", dimensions: dimensions)
    }
    batches = counter("batches_total")
    records = counter("records_total")
    bytes = counter("bytes_total")
    resent = counter("resent_total")
    func deadLetters(_ reason: DeadLetterReason) -> Counter {
      Counter(
        label: "penstock_upstream_dead_letters_total",
        dimensions: dimensions + [("reason", reason.text)])
    }
    refusedForGood = deadLetters(.refused)
    expired = deadLetters(.expired)
    func published(_ outcome: String) -> Counter {
      Counter(
        label: "penstock_upstream_dead_letter_publishes_total",
        dimensions: dimensions + [("outcome", outcome)])
    }
    publishedDeadLetters = published("accepted")
    refusedDeadLetters = published("refused")
    lostDeadLetters = Counter(
      label: "penstock_journal_lost_records_total",
      dimensions: [("route", route), ("reason", GapReason.deadLetterFull.text)])
    gaps = Dictionary(
      uniqueKeysWithValues: GapReason.allCases.map { reason in
        let counter = Counter(
          label: "penstock_gap_records_total", dimensions: dimensions + [("reason", reason.text)])
        return (reason, counter)
      })
    acceptances = Dictionary(
      uniqueKeysWithValues: AcceptanceVerdict.allCases.map { verdict in
        let counter = Counter(
          label: "penstock_upstream_acceptances_total",
          dimensions: dimensions + [("verdict", verdict.rawValue)])
        return (verdict, counter)
      })
    sendAllowance = gauge("send_allowance_bytes")
    batchDivisor = gauge("batch_divisor")
    batchDivisor.record(1)
    acceptedIntervals = gauge("accepted_intervals")
    unaccepted = gauge("unaccepted_batches")
    acceptanceOverdue = gauge("acceptance_overdue")
    missing = counter("missing_records_total")
    heldSeconds = Dictionary(
      uniqueKeysWithValues: HoldReason.allCases.map { reason in
        let counter = FloatingPointCounter(
          label: "penstock_upstream_held_seconds_total",
          dimensions: dimensions + [("reason", reason.rawValue)])
        return (reason, counter)
      })
    closedGauges = Dictionary(
      uniqueKeysWithValues: LinkClosure.Reason.allCases.map { reason in
        let gauge = Gauge(
          label: "penstock_upstream_closed",
          dimensions: dimensions + [("reason", reason.rawValue)])
        return (reason, gauge)
      })
    reconnects = counter("reconnects_total")
    connected = gauge("connected")
    inFlight = gauge("in_flight_batches")
    acknowledgedSequence = gauge("acknowledged_sequence")
    acceptedIntervals.record(0)
    unaccepted.record(0)
    acceptanceOverdue.record(0)
    publishSeconds = Timer(label: "penstock_upstream_publish_seconds", dimensions: dimensions)
  }

  /// Rare, so the counter is looked up by name.
  func refused(_ reason: ReasonCode) {
    let code = String(reason.rawValue, radix: 16)
    Counter(
      label: "penstock_upstream_refused_total", dimensions: dimensions + [("code", "0x\(code)")]
    ).increment()
  }

  func acceptances(_ verdict: AcceptanceVerdict) { acceptances[verdict]?.increment() }

  /// Disconnected on purpose; nil: not any more.
  func closed(_ reason: LinkClosure.Reason?) {
    for (each, gauge) in closedGauges { gauge.record(each == reason ? 1 : 0) }
  }

  /// Something ready to leave has waited for so long.
  func held(_ reason: HoldReason, for duration: Duration) {
    heldSeconds[reason]?.increment(by: duration.seconds)
  }

  func deadLetter(_ cause: DeadLetterCause) {
    switch cause {
    case .refused: refusedForGood.increment()
    case .expired: expired.increment()
    }
  }

  /// Counted with the acceptance and not with the sending: what is sent twice counts once.
  func accepted(_ batch: Batch) {
    if case .kept = batch.destination { return }
    batches.increment()
    records.increment(by: Int64(batch.recordCount - batch.tombstoneCount))
    bytes.increment(by: Int64(batch.byteCount))
    for gap in batch.gaps {
      gaps[gap.reason]?.increment(by: Int64(clamping: gap.range.count))
    }
  }
}
