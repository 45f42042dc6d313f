package import GatewayCore

/// The maintenance cases of all assets: at most one at a time for each asset, and the last one is
/// remembered, so that an alert that comes again begins no second case. Pure; the hub keeps each
/// case's row with the effects, in one transaction.
package struct MaintenanceDesk: Sendable {
  /// What is to be done for one asset, and that its row is to be kept anew.
  package struct Outcome: Sendable, Hashable {
    package let asset: String
    package let effects: [MaintenanceEffect]
  }

  package let limits: MaintenanceLimits
  private var cases: [String: MaintenanceCase] = [:]
  /// By order and by command: the asset. Of running cases only.
  private var assetOfOrder: [String: String] = [:]

  package init(limits: MaintenanceLimits) { self.limits = limits }

  /// The last case of each asset, running or over, by asset.
  package var all: [MaintenanceCase] { cases.values.sorted { $0.cause.asset < $1.cause.asset } }

  package var running: [MaintenanceCase] { all.filter { !$0.isOver } }

  package func lastCase(of asset: String) -> MaintenanceCase? { cases[asset] }

  /// Takes over a case that was kept.
  package mutating func restore(_ kept: MaintenanceCase) {
    cases[kept.cause.asset] = kept
    if !kept.isOver { assetOfOrder[kept.order] = kept.cause.asset }
  }

  /// An alert whose rule begins a case. Nothing happens while one runs, and for an alert that is
  /// not newer than the last.
  package mutating func alertRaised(_ cause: MaintenanceCause, now: WallTime) -> Outcome? {
    if let last = cases[cause.asset] {
      guard last.isOver, last.cause.position < cause.position else { return nil }
      assetOfOrder[last.order] = nil
    }
    let (opened, effects) = MaintenanceCase.open(
      id: "case-\(cause.position)", cause: cause, now: now, limits: limits)
    cases[cause.asset] = opened
    assetOfOrder[opened.order] = cause.asset
    return Outcome(asset: cause.asset, effects: effects)
  }

  /// What an asset's case hears; nil when it changes nothing.
  package mutating func take(
    _ input: MaintenanceInput, asset: String, now: WallTime
  ) -> Outcome? {
    guard var running = cases[asset], !running.isOver else { return nil }
    let before = running
    let effects = running.take(input, now: now, limits: limits)
    guard running != before else { return nil }
    cases[asset] = running
    if running.isOver { assetOfOrder[running.order] = nil }
    return Outcome(asset: asset, effects: effects)
  }

  /// What the work orders answer.
  package mutating func take(_ answer: WorkOrders.Answer, now: WallTime) -> Outcome? {
    guard let asset = assetOfOrder[answer.order] else { return nil }
    let input: MaintenanceInput =
      switch answer.state {
      case .open: .orderCreated(order: answer.order)
      case .closed: .orderClosed(order: answer.order)
      case .cancelled: .orderCancelled(order: answer.order)
      }
    return take(input, asset: asset, now: now)
  }

  /// Lets the time pass for every running case.
  package mutating func tick(now: WallTime) -> [Outcome] {
    running.compactMap { take(.tick, asset: $0.cause.asset, now: now) }
  }

  /// When `tick` has something to do next; nil when no case runs.
  package var nextDeadline: WallTime? { running.compactMap(\.deadline).min() }
}

/// The work orders: another service, with a state of its own. Every request may come twice, late or
/// before the one that should precede it; the answer says what has become of the order.
package struct WorkOrders: Sendable {
  /// Orders that are remembered after their end; the oldest is forgotten first.
  package static let endedMax = 10_000

  package enum State: String, Sendable, Hashable, CaseIterable { case open, closed, cancelled }

  package struct Answer: Sendable, Hashable {
    package let order: String
    package let state: State
    /// Whether the request has changed anything: then the order's row is to be kept anew.
    package let isNew: Bool
  }

  private var states: [String: State] = [:]
  private var ended: [String] = []

  package init() {}

  package func state(of order: String) -> State? { states[order] }

  package var open: [String] { states.filter { $0.value == .open }.keys.sorted() }

  /// Takes over an order that was kept.
  package mutating func restore(order: String, state: State) { _ = set(order, state) }

  package mutating func create(_ order: String) -> Answer { settle(order, .open) }

  package mutating func close(_ order: String) -> Answer { settle(order, .closed) }

  /// Also of an order that is not there: it can then not be created any more.
  package mutating func cancel(_ order: String) -> Answer { settle(order, .cancelled) }

  /// An order that has ended stays what it is.
  private mutating func settle(_ order: String, _ wanted: State) -> Answer {
    let current = states[order]
    guard current == nil || (current == .open && wanted != .open) else {
      return Answer(order: order, state: current ?? wanted, isNew: false)
    }
    return set(order, wanted)
  }

  private mutating func set(_ order: String, _ state: State) -> Answer {
    states[order] = state
    if state != .open {
      ended.append(order)
      if ended.count > Self.endedMax { states[ended.removeFirst()] = nil }
    }
    return Answer(order: order, state: state, isNew: true)
  }
}
