package import GatewayCore

/// Rules applied to readings: a pure function of the rules, what they remember of the asset, and
/// the reading with its time. No clock, no I/O, no randomness: the same readings in the same order
/// give the same alerts, at any time and on any machine.
///
/// A reading that is not newer than the newest evaluated (a duplicate, or one that comes late)
/// changes nothing. When the time of a newer reading goes back by more than `jitterMax`, a clock
/// was set: what was counted in times begins anew, and what stands, stands.
package struct AlertEvaluator: Sendable {
  /// A time that goes back by less stands still.
  package static let jitterMax = Duration.seconds(5)

  package let rules: AlertRuleSet
  /// What a reading is asked for, by place in this list.
  package let metrics: [String]
  /// By rule: the places of its metrics.
  private let places: [[Int]]
  private let hasStaleRules: Bool

  package init(rules: AlertRuleSet) {
    self.rules = rules
    var metrics: [String] = []
    places = rules.rules.map { rule in
      rule.condition.metrics.map { metric in
        if let place = metrics.firstIndex(of: metric) { return place }
        metrics.append(metric)
        return metrics.count - 1
      }
    }
    self.metrics = metrics
    hasStaleRules = rules.rules.contains { if case .stale = $0.condition { true } else { false } }
  }

  /// The state of an asset of which nothing is known.
  package func newState(asset: String) -> AssetAlerts {
    let states = rules.rules.indices.filter { rules.rules[$0].assets.selects(asset) }.map { rule in
      var state = RuleState()
      if case .combination(let comparisons, _, _) = rules.rules[rule].condition {
        state.lastHeld = Array(repeating: nil, count: comparisons.count)
      }
      return (rule: rule, state: state)
    }
    return AssetAlerts(asset: asset, order: nil, time: nil, states: states)
  }

  /// Evaluates one reading.
  /// - Parameters:
  ///   - value: of the metric at a place in `metrics`; nil when the reading does not have it, which
  ///     leaves rules about it alone.
  /// - Returns: in the order of the rules; allocates nothing when there is nothing to say.
  package func evaluate(
    order: ReadingOrder, time: WallTime, _ alerts: inout AssetAlerts, value: (Int) -> Double?
  ) -> [AlertChange] {
    if let newest = alerts.order, order <= newest { return [] }
    var changes: [AlertChange] = []
    var now = time
    if let last = alerts.time, time < last {
      if last.nanoseconds - time.nanoseconds < Self.jitterMax.nanoseconds {
        now = last
      } else {
        for index in alerts.states.indices { alerts.states[index].state.forgetTimes() }
      }
    }
    // The silence came before the reading that ends it.
    if alerts.time.map({ $0 < now }) ?? false { changes = tick(now: now, &alerts) }
    alerts.order = order
    for index in alerts.states.indices {
      let rule = alerts.states[index].rule
      let step = Step(
        evaluator: self, rule: rule, asset: alerts.asset, order: order, now: now)
      step.take(&alerts.states[index].state, &changes) { value(places[rule][$0]) }
    }
    alerts.time = now
    return changes
  }

  /// Evaluates the silence up to `now`, the hub's clock. The alerts that it raises are those, with
  /// the same times, that the next reading would raise: how often it is called does not matter.
  package func tick(now: WallTime, _ alerts: inout AssetAlerts) -> [AlertChange] {
    guard hasStaleRules, let order = alerts.order, let time = alerts.time else { return [] }
    var changes: [AlertChange] = []
    for index in alerts.states.indices {
      let rule = alerts.states[index].rule
      guard case .stale(let after) = rules.rules[rule].condition else { continue }
      let step = Step(
        evaluator: self, rule: rule, asset: alerts.asset, order: order, now: now)
      step.raiseIfStale(since: time, after, &alerts.states[index].state, &changes)
    }
    return changes
  }

  /// When the next call of `tick` could raise something; nil: not before another reading.
  package func nextTick(_ alerts: AssetAlerts) -> WallTime? {
    guard hasStaleRules, let time = alerts.time else { return nil }
    var next: WallTime?
    for (rule, state) in alerts.states where state.alert == nil {
      guard case .stale(let after) = rules.rules[rule].condition else { continue }
      let due = WallTime(nanoseconds: time.nanoseconds + after.nanoseconds + 1)
      next = min(next ?? due, due)
    }
    return next
  }
}

/// One rule at one reading.
private struct Step {
  let evaluator: AlertEvaluator
  let rule: Int
  let asset: String
  /// The reading, or the last one before a silence.
  let order: ReadingOrder
  let now: WallTime

  /// What an alert says beside its name.
  private struct Figures {
    var metric: String?
    var value: Double?
    var limit: Double?
    var change: Double?
  }

  private var definition: AlertRule { evaluator.rules.rules[rule] }

  func take(
    _ state: inout RuleState, _ changes: inout [AlertChange], _ value: (Int) -> Double?
  ) {
    switch definition.condition {
    case .threshold(let comparison, let clear, let holding):
      guard let value = value(0) else { return }
      let holds = comparison.holds(value)
      let isClear = comparison.side == .above ? value <= clear : value >= clear
      state.since = holds ? state.since ?? now : nil
      let figures = Figures(metric: comparison.metric, value: value, limit: comparison.limit)
      let lasts = state.since.map { now.nanoseconds - $0.nanoseconds >= holding.nanoseconds }
      settle(&state, &changes, raises: lasts ?? false, clears: isClear, figures)
    case .rateOfChange(let metric, let rises, let amount, let within, let clear):
      guard let value = value(0) else { return }
      state.window.add(value, at: now, length: within)
      let change = rises ? value - state.window.least : state.window.greatest - value
      let figures = Figures(
        metric: metric, value: value, limit: amount, change: rises ? change : -change)
      settle(&state, &changes, raises: change >= amount, clears: change < clear, figures)
    case .deadBand(let metric, let low, let high, let hysteresis):
      guard let value = value(0) else { return }
      let figures = Figures(metric: metric, value: value, limit: value < low ? low : high)
      settle(
        &state, &changes, raises: value < low || value > high,
        clears: value >= low + hysteresis && value <= high - hysteresis, figures)
    case .stale:
      settle(&state, &changes, raises: false, clears: true, Figures())
    case .combination(let comparisons, let atLeast, let within):
      for (index, comparison) in comparisons.enumerated() {
        if let value = value(index), comparison.holds(value) { state.lastHeld[index] = now }
      }
      let count = state.lastHeld.count { held in
        held.map { now.nanoseconds - $0.nanoseconds <= within.nanoseconds } ?? false
      }
      settle(
        &state, &changes, raises: count >= atLeast, clears: count < atLeast,
        Figures(value: Double(count), limit: Double(atLeast)))
    }
  }

  /// As of the time at which the silence became too long.
  func raiseIfStale(
    since last: WallTime, _ after: Duration, _ state: inout RuleState,
    _ changes: inout [AlertChange]
  ) {
    guard state.alert == nil, now.nanoseconds - last.nanoseconds > after.nanoseconds
    else { return }
    let time = WallTime(nanoseconds: last.nanoseconds + after.nanoseconds)
    raise(&state, &changes, time, Figures(limit: after.seconds))
  }

  private func settle(
    _ state: inout RuleState, _ changes: inout [AlertChange], raises: Bool, clears: Bool,
    _ figures: Figures
  ) {
    if state.alert == nil {
      if raises { raise(&state, &changes, now, figures) }
    } else if clears, !raises {
      changes.append(change(.cleared, state.alert ?? "", now, figures))
      state.alert = nil
    }
  }

  private func raise(
    _ state: inout RuleState, _ changes: inout [AlertChange], _ time: WallTime,
    _ figures: Figures
  ) {
    let alert = "\(definition.name)/\(asset)/\(order.era).\(order.sequence)"
    state.alert = alert
    changes.append(change(.raised, alert, time, figures))
  }

  private func change(
    _ kind: AlertChange.Kind, _ alert: String, _ time: WallTime, _ figures: Figures
  ) -> AlertChange {
    let message = definition.message.filled { placeholder in
      switch placeholder {
      case "asset": asset
      case "rule": definition.name
      case "metric": figures.metric ?? "?"
      case "value": Self.text(figures.value)
      case "limit": Self.text(figures.limit)
      case "change": Self.text(figures.change)
      default: "?"
      }
    }
    return AlertChange(
      kind: kind, alert: alert, rule: definition.name, asset: asset,
      severity: definition.severity, startsMaintenance: definition.startsMaintenance,
      message: message, metric: figures.metric, value: figures.value, limit: figures.limit,
      time: time)
  }

  /// To a thousandth, without what is not needed.
  private static func text(_ value: Double?) -> String {
    guard let value else { return "?" }
    let rounded = abs(value) < 1e12 ? (value * 1000).rounded() / 1000 : value
    let text = "\(rounded)"
    return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
  }
}
