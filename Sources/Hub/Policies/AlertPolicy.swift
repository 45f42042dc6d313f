package import AlertRules
import GatewayCore
import JSONScanning

/// Alert rules as a policy: every reading is held against the rules in the transaction that stores
/// it, and what the rules remember of the asset is kept with it.
///
/// Rows: by asset, the inbox that its newest reading came by (i64, little-endian), then the bytes
/// of `AssetAlerts`. A row that cannot be read is given up: the asset begins anew, which may raise
/// an alert a second time.
package final class AlertPolicy: HubPolicy {
  package static let rowsName = "alerts"
  package var name: String { Self.rowsName }

  /// Silence is looked at so often.
  private static let sweepInterval = Duration.seconds(1)

  private struct Watched {
    var alerts: AssetAlerts
    var inbox: Int64
  }

  private let evaluator: AlertEvaluator
  private var watched: [String: Watched] = [:]
  /// Kept rows that wait for the first decision, because what it clears needs a time.
  private var kept: [String: [UInt8]] = [:]
  private var lastSweep: MonotonicTime?
  private var values: [Double?]

  package init(rules: AlertRuleSet) {
    evaluator = AlertEvaluator(rules: rules)
    values = Array(repeating: nil, count: evaluator.metrics.count)
  }

  package func restore(rows: [String: [UInt8]], book: AssetBook) {
    watched = [:]
    kept = rows
    lastSweep = nil
  }

  package func decide(
    _ events: ArraySlice<HubEvent>, _ view: borrowing PolicyView
  ) -> PolicyDecision {
    var decision = PolicyDecision()
    var changed: Set<String> = []
    takeKept(&decision, view.now)
    guard !evaluator.rules.rules.isEmpty else { return decision }
    for event in events where event.type == .metricRecorded {
      guard let origin = event.origin else { continue }
      evaluate(event, origin, &decision, &changed, view)
    }
    if lastSweep.map({ view.monotonic.since($0) >= Self.sweepInterval }) ?? true {
      lastSweep = view.monotonic
      sweep(&decision, &changed, view.now)
    }
    for asset in changed { decision.rows[asset] = row(asset) }
    return decision
  }

  private func evaluate(
    _ event: HubEvent, _ origin: EventOrigin, _ decision: inout PolicyDecision,
    _ changed: inout Set<String>, _ view: borrowing PolicyView
  ) {
    var entry =
      watched[event.asset]
      ?? Watched(alerts: evaluator.newState(asset: event.asset), inbox: origin.inbox)
    var era = entry.alerts.order?.era ?? 0
    if origin.inbox != entry.inbox, let newest = entry.alerts.order {
      // Another journal or another gateway: newer as a whole, or not at all.
      let old = ReadingOrigin(inbox: entry.inbox, sequence: Sequence(newest.sequence))
      guard view.book.isNewer(origin, than: old) else { return }
      era += 1
    }
    let order = ReadingOrder(era: era, sequence: origin.sequence.rawValue)
    if let newest = entry.alerts.order, order <= newest { return }
    readValues(event.payload)
    entry.inbox = origin.inbox
    let changes = evaluator.evaluate(order: order, time: event.time, &entry.alerts) { values[$0] }
    watched[event.asset] = entry
    changed.insert(event.asset)
    propose(changes, &decision)
  }

  /// Silence, of all assets.
  private func sweep(
    _ decision: inout PolicyDecision, _ changed: inout Set<String>, _ now: WallTime
  ) {
    // In an order that does not depend on the hash seed of the process.
    var due: [String] = []
    for (asset, entry) in watched {
      if let next = evaluator.nextTick(entry.alerts), next <= now { due.append(asset) }
    }
    for asset in due.sorted() {
      guard var entry = watched[asset] else { continue }
      propose(evaluator.tick(now: now, &entry.alerts), &decision)
      watched[asset] = entry
      changed.insert(asset)
    }
  }

  private func propose(_ changes: [AlertChange], _ decision: inout PolicyDecision) {
    for change in changes {
      var payload: [UInt8] = []
      change.appendJSON(to: &payload)
      decision.events.append(
        ProposedEvent(
          asset: change.asset, type: change.kind == .raised ? .alertRaised : .alertCleared,
          time: change.time, payload: payload))
    }
  }

  // MARK: Rows

  private func row(_ asset: String) -> [UInt8] {
    guard let entry = watched[asset] else { return [] }
    var bytes: [UInt8] = []
    for shift in stride(from: 0, to: 64, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: entry.inbox >> shift))
    }
    entry.alerts.append(to: &bytes, evaluator)
    return bytes
  }

  private func state(
    _ asset: String, _ row: [UInt8], _ now: WallTime
  ) throws(AlertStateError) -> (alerts: AssetAlerts, cleared: [AlertChange]) {
    try evaluator.state(asset: asset, bytes: row.span, now: now)
  }

  private func takeKept(_ decision: inout PolicyDecision, _ now: WallTime) {
    for (asset, row) in kept.sorted(by: { $0.key < $1.key }) where row.count > 8 {
      var inbox: Int64 = 0
      for index in 0..<8 { inbox |= Int64(row[index]) << (index * 8) }
      do throws(AlertStateError) {
        let (alerts, cleared) = try state(asset, Array(row[8...]), now)
        propose(cleared, &decision)
        if evaluator.rules.rules.isEmpty {
          decision.rows[asset] = .some(nil)
        } else {
          watched[asset] = Watched(alerts: alerts, inbox: inbox)
          if !cleared.isEmpty { decision.rows[asset] = self.row(asset) }
        }
      } catch {
        decision.rows[asset] = .some(nil)
      }
    }
    kept = [:]
  }

  /// The numbers of the outermost object that rules ask for.
  private func readValues(_ payload: [UInt8]) {
    for index in values.indices { values[index] = nil }
    let bytes = payload.span
    var reader = JSONReader()
    do throws(JSONSyntaxError) {
      try reader.beginObject(in: bytes)
      while let name = try reader.nextName(in: bytes) {
        let value = try reader.readValue(in: bytes)
        guard value.kind == .number else { continue }
        let text = bytes.extracting(name.content)
        for index in values.indices where text.reads(evaluator.metrics[index]) {
          values[index] = JSONDouble.value(of: bytes.extracting(value.token))
        }
      }
    } catch {
      // What is no object has no values.
    }
  }
}
