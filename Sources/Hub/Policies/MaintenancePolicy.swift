package import AlertRules
import GatewayCore
package import Maintenance

/// Maintenance cases and their work orders as a policy: an alert of a rule that asks for it begins
/// a case, in the transaction that raises the alert; the pump's confirmations and time carry it on.
/// Desk and orders have rows of their own and speak by requests and answers, as two services do.
///
/// Rows: `case/<asset>`, the last case of the asset as JSON; `order/<id>`, the state of an order.
/// A command goes by the gateway that brought the asset's newest reading. One that was withdrawn
/// may still wait in the outbox: it ends by its expiry there or at the pump.
package final class MaintenancePolicy: HubPolicy {
  package static let rowsName = "maintenance"
  package var name: String { Self.rowsName }

  private static let casePrefix = "case/"
  private static let orderPrefix = "order/"

  private let limits: MaintenanceLimits
  /// Names of the rules whose alerts begin a case.
  private let rules: Set<String>
  private let topicPrefix: String
  private var desk: MaintenanceDesk
  private var orders = WorkOrders()

  package init(rules: AlertRuleSet, limits: MaintenanceLimits, topicPrefix: String) {
    self.rules = Set(rules.rules.filter(\.startsMaintenance).map(\.name))
    self.limits = limits
    self.topicPrefix = topicPrefix
    desk = MaintenanceDesk(limits: limits)
  }

  package func restore(rows: [String: [UInt8]], book: AssetBook) {
    desk = MaintenanceDesk(limits: limits)
    orders = WorkOrders()
    for (key, row) in rows.sorted(by: { $0.key < $1.key }) {
      if key.hasPrefix(Self.casePrefix) {
        // A case of another version of this program is left to a person; its row stays.
        if let kept = try? MaintenanceCase(json: row.span) { desk.restore(kept) }
      } else if key.hasPrefix(Self.orderPrefix),
        let state = WorkOrders.State(rawValue: String(decoding: row, as: UTF8.self))
      {
        orders.restore(order: String(key.dropFirst(Self.orderPrefix.count)), state: state)
      }
    }
  }

  package func decide(
    _ events: ArraySlice<HubEvent>, _ view: borrowing PolicyView
  ) -> PolicyDecision {
    var decision = PolicyDecision()
    for event in events {
      let outcome: MaintenanceDesk.Outcome?
      switch event.type {
      case .alertRaised: outcome = alertRaised(event, &decision, view.now)
      case .alertCleared:
        let alert = Payload.text("alert", in: event.payload) ?? ""
        outcome = desk.take(.alertCleared(alert: alert), asset: event.asset, now: view.now)
      case .commandConfirmed: outcome = confirmed(event, view.now)
      default: outcome = nil
      }
      if let outcome { perform(outcome, &decision, view) }
    }
    for outcome in desk.tick(now: view.now) { perform(outcome, &decision, view) }
    return decision
  }

  private func alertRaised(
    _ event: HubEvent, _ decision: inout PolicyDecision, _ now: WallTime
  ) -> MaintenanceDesk.Outcome? {
    func text(_ name: String) -> String { Payload.text(name, in: event.payload) ?? "" }
    let rule = text("rule")
    guard rules.contains(rule) else { return nil }
    let last = desk.lastCase(of: event.asset)
    let outcome = desk.alertRaised(
      MaintenanceCause(
        asset: event.asset, alert: text("alert"), rule: rule, severity: text("severity"),
        message: text("message"), position: event.position), now: now)
    // The order of the case before has done its duty.
    if outcome != nil, let last { decision.rows[Self.orderPrefix + last.order] = .some(nil) }
    return outcome
  }

  private func confirmed(_ event: HubEvent, _ now: WallTime) -> MaintenanceDesk.Outcome? {
    guard let command = Payload.text("commandId", in: event.payload) else { return nil }
    let isDone = Payload.text("result", in: event.payload) == "done"
    let reason = Payload.text("reason", in: event.payload) ?? "refused without a reason"
    return desk.take(
      .confirmation(command: command, refusal: isDone ? nil : reason), asset: event.asset,
      now: now)
  }

  private func perform(
    _ outcome: MaintenanceDesk.Outcome, _ decision: inout PolicyDecision,
    _ view: borrowing PolicyView
  ) {
    for effect in outcome.effects {
      switch effect {
      case .event(let event): propose(event, &decision)
      case .createOrder(let order): take(orders.create(order), &decision, view)
      case .closeOrder(let order): take(orders.close(order), &decision, view)
      case .cancelOrder(let order): take(orders.cancel(order), &decision, view)
      case .sendStop(let command): send(command, &decision, view)
      case .withdraw: break
      }
    }
    guard let kept = desk.lastCase(of: outcome.asset) else { return }
    var row: [UInt8] = []
    kept.appendJSON(to: &row)
    decision.rows[Self.casePrefix + outcome.asset] = row
  }

  private func take(
    _ answer: WorkOrders.Answer, _ decision: inout PolicyDecision, _ view: borrowing PolicyView
  ) {
    if answer.isNew {
      decision.rows[Self.orderPrefix + answer.order] = Array(answer.state.rawValue.utf8)
    }
    if let outcome = desk.take(answer, now: view.now) { perform(outcome, &decision, view) }
  }

  private func propose(_ event: MaintenanceEvent, _ decision: inout PolicyDecision) {
    guard let type = EventType(name: event.kind.type) else {
      preconditionFailure("every step of a case is a type of event")
    }
    var payload: [UInt8] = []
    event.appendJSON(to: &payload)
    decision.events.append(
      ProposedEvent(asset: event.cause.asset, type: type, time: event.time, payload: payload))
  }

  /// Without a gateway there is no way to the pump: the case then waits and is compensated.
  private func send(
    _ command: StopCommand, _ decision: inout PolicyDecision, _ view: borrowing PolicyView
  ) {
    guard let inbox = view.book[command.asset]?.readingOrigin?.inbox,
      let gateway = view.gateways[inbox]
    else { return }
    var payload: [UInt8] = []
    command.appendJSON(to: &payload)
    decision.messages.append(
      ProposedMessage(
        topic: "gateways/\(gateway)/commands/\(topicPrefix)/\(command.asset)/commands",
        key: command.asset, payload: payload, expiry: command.life))
  }
}
