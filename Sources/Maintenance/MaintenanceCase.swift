// The maintenance of one pump as a series of steps over three services that share no transaction:
// the desk (this state machine), the work orders, and the pump itself.
//
//   phase       entered by                          waits for                  event
//   ordering    an alert                            the order is there         requested
//   stopping    the order is there                  the pump confirms          scheduled, stopping
//   closing     the pump has stopped                the order is closed        stopped
//   done        the order is closed                 -                          done
//   cancelling  a time-out, a refusal, an abort,    the order is cancelled     -
//               the alert cleared before the stop
//   cancelled   the order is cancelled              -                          cancelled
//
// Every wait has an end. What can be asked again without harm (an order by its id) is asked
// `attemptsMax` times; a stop command gets a new id each time, and only when the one before it is
// too old to be obeyed and was withdrawn. Then the case is compensated: the command is withdrawn
// and the order cancelled. A pump that has stopped is never started again by a case: that is for
// a person to decide, and the last event says that it stands still.
//
// Pure: no clock, no I/O. Inputs may come twice, late, in any order or never: what a phase does not
// wait for changes nothing. So the hub may apply an input again after a restart.

package import GatewayCore

/// How long a case waits, and how often it asks.
package struct MaintenanceLimits: Sendable, Hashable {
  /// For an answer about the work order.
  package var orderTimeout = Duration.seconds(60)
  /// For the pump's confirmation. Not below `commandLife`.
  package var confirmationTimeout = Duration.seconds(180)
  /// A command is not obeyed any more after this: its message expires, and the pump refuses it.
  package var commandLife = Duration.seconds(60)
  /// Requests about an order, and stop commands.
  package var attemptsMax = 3

  package static let attemptsRange = 1...10

  package init() {}
}

/// An alert that begins a case.
package struct MaintenanceCause: Sendable, Hashable {
  package let asset: String
  package let alert: String
  package let rule: String
  package let severity: String
  package let message: String
  /// Of the event that raised it in the hub's store. A case is named by it, and an alert that is
  /// not newer than the last one of its asset begins none.
  package let position: UInt64

  package init(
    asset: String, alert: String, rule: String, severity: String, message: String, position: UInt64
  ) {
    self.asset = asset
    self.alert = alert
    self.rule = rule
    self.severity = severity
    self.message = message
    self.position = position
  }
}

/// What a case hears of the others.
package enum MaintenanceInput: Sendable, Hashable {
  /// The alert it began with is over.
  case alertCleared(alert: String)
  case orderCreated(order: String)
  case orderRefused(order: String, reason: String)
  case orderClosed(order: String)
  case orderCancelled(order: String)
  /// Of the pump; `refusal` nil: done.
  case confirmation(command: String, refusal: String?)
  /// A person ends the case.
  case abort(reason: String)
  /// Time has passed.
  case tick
}

/// What is to happen because of an input: in the transaction that keeps the case's new state.
package enum MaintenanceEffect: Sendable, Hashable {
  case event(MaintenanceEvent)
  /// To the work orders; each may be asked again.
  case createOrder(order: String)
  case closeOrder(order: String)
  case cancelOrder(order: String)
  /// To the pump; once for each id.
  case sendStop(StopCommand)
  /// Take the command out of what is not yet sent. One that is out cannot be called back: it ends
  /// by its expiry.
  case withdraw(command: String)
}

package struct StopCommand: Sendable, Hashable {
  package let id: String
  package let asset: String
  package let issuedAt: WallTime
  /// For the message's expiry.
  package let life: Duration
}

package struct MaintenanceCase: Sendable, Hashable {
  package enum Phase: String, Sendable, Hashable, CaseIterable {
    case ordering, stopping, closing, cancelling, done, cancelled
  }

  /// Why a case was not brought to its end.
  package enum CancelReason: String, Sendable, Hashable, CaseIterable {
    case alertCleared = "alert-cleared"
    case orderUnanswered = "order-unanswered"
    case orderRefused = "order-refused"
    case orderCancelled = "order-cancelled"
    case orderClosed = "order-closed"
    case pumpUnanswered = "pump-unanswered"
    case pumpRefused = "pump-refused"
    case aborted
  }

  package let id: String
  package let cause: MaintenanceCause
  package internal(set) var phase = Phase.ordering
  /// Of the phase: how often it has asked, from 1.
  package internal(set) var attempt = 1
  package internal(set) var startedAt: WallTime
  /// When the wait of the phase is over; nil at the end.
  package internal(set) var deadline: WallTime?
  /// Stop commands that were sent.
  package internal(set) var stopCount = 0
  /// Whether the pump has confirmed a stop of this case, in time or too late.
  package internal(set) var pumpHasStopped = false
  package internal(set) var reason: CancelReason?
  /// In words of whoever gave it.
  package internal(set) var detail = ""

  package var isOver: Bool { phase == .done || phase == .cancelled }
  package var order: String { "\(id)-order" }

  package func stopCommand(_ number: Int) -> String { "\(id)-stop-\(number)" }

  /// Opens a case. `id` is unique for good, at most 64 bytes.
  package static func open(
    id: String, cause: MaintenanceCause, now: WallTime, limits: MaintenanceLimits
  ) -> (case: MaintenanceCase, effects: [MaintenanceEffect]) {
    var opened = MaintenanceCase(id: id, cause: cause, startedAt: now)
    opened.wait(limits.orderTimeout, now)
    return (opened, [.event(opened.event(.requested, now)), .createOrder(order: opened.order)])
  }

  init(id: String, cause: MaintenanceCause, startedAt: WallTime) {
    self.id = id
    self.cause = cause
    self.startedAt = startedAt
  }

  /// Takes one input. The same input again changes nothing and has no effects.
  package mutating func take(
    _ input: MaintenanceInput, now: WallTime, limits: MaintenanceLimits
  ) -> [MaintenanceEffect] {
    if isOver { return [] }
    switch input {
    case .tick: return tick(now, limits)
    case .alertCleared(let alert):
      // Once the pump is told to stop, that the alert ends may be the stop's own doing.
      guard alert == cause.alert, phase == .ordering else { return [] }
      return cancel(.alertCleared, "", now, limits)
    case .abort(let text):
      guard phase == .ordering || phase == .stopping else { return [] }
      return cancel(.aborted, text, now, limits)
    case .orderCreated(let order):
      guard order == self.order, phase == .ordering else { return [] }
      return [.event(event(.scheduled, now))] + stop(now, limits)
    case .orderRefused(let order, let text):
      guard order == self.order, phase == .ordering else { return [] }
      return end(.orderRefused, text, now)
    case .orderClosed(let order): return order == self.order ? orderClosed(now) : []
    case .orderCancelled(let order): return order == self.order ? orderCancelled(now) : []
    case .confirmation(let command, let refusal):
      return confirmed(command, refusal, now, limits)
    }
  }

  // MARK: Steps

  private mutating func stop(_ now: WallTime, _ limits: MaintenanceLimits) -> [MaintenanceEffect] {
    phase = .stopping
    stopCount += 1
    attempt = stopCount
    wait(max(limits.confirmationTimeout, limits.commandLife), now)
    let command = StopCommand(
      id: stopCommand(stopCount), asset: cause.asset, issuedAt: now, life: limits.commandLife)
    return [.event(event(.stopping, now)), .sendStop(command)]
  }

  private mutating func confirmed(
    _ command: String, _ refusal: String?, _ now: WallTime, _ limits: MaintenanceLimits
  ) -> [MaintenanceEffect] {
    guard let number = (0..<stopCount).map({ $0 + 1 }).first(where: { stopCommand($0) == command })
    else { return [] }
    if let refusal {
      // Of one that was given up already it says nothing new.
      guard phase == .stopping, number == stopCount else { return [] }
      if stopCount < limits.attemptsMax { return stop(now, limits) }
      return cancel(.pumpRefused, refusal, now, limits)
    }
    pumpHasStopped = true
    guard phase == .stopping else { return [] }
    phase = .closing
    attempt = 1
    wait(limits.orderTimeout, now)
    // An earlier one was obeyed after all: the latest has nothing left to do.
    let withdrawn: [MaintenanceEffect] =
      number == stopCount ? [] : [.withdraw(command: stopCommand(stopCount))]
    return withdrawn + [.event(event(.stopped, now)), .closeOrder(order: order)]
  }

  private mutating func orderClosed(_ now: WallTime) -> [MaintenanceEffect] {
    switch phase {
    case .closing:
      phase = .done
      deadline = nil
      return [.event(event(.done, now))]
    case .stopping:
      // Somebody else has closed it.
      return [.withdraw(command: stopCommand(stopCount))] + end(.orderClosed, "", now)
    case .cancelling: return end(reason ?? .orderClosed, detail, now)
    case .ordering: return end(.orderClosed, "", now)
    case .done, .cancelled: return []
    }
  }

  private mutating func orderCancelled(_ now: WallTime) -> [MaintenanceEffect] {
    switch phase {
    case .cancelling: return end(reason ?? .orderCancelled, detail, now)
    case .stopping:
      return [.withdraw(command: stopCommand(stopCount))] + end(.orderCancelled, "", now)
    case .ordering, .closing: return end(.orderCancelled, "", now)
    case .done, .cancelled: return []
    }
  }

  private mutating func tick(_ now: WallTime, _ limits: MaintenanceLimits) -> [MaintenanceEffect] {
    guard let deadline else { return [] }
    let timeout =
      phase == .stopping
      ? max(limits.confirmationTimeout, limits.commandLife) : limits.orderTimeout
    if deadline.nanoseconds - now.nanoseconds > timeout.nanoseconds {
      // The clock has gone back: the wait is not longer for it.
      wait(timeout, now)
    }
    guard now >= deadline else { return [] }
    switch phase {
    case .ordering:
      if attempt < limits.attemptsMax { return askAgain(.createOrder(order: order), now, limits) }
      return cancel(.orderUnanswered, "", now, limits)
    case .stopping:
      let withdrawn = MaintenanceEffect.withdraw(command: stopCommand(stopCount))
      if stopCount < limits.attemptsMax { return [withdrawn] + stop(now, limits) }
      return cancel(.pumpUnanswered, "", now, limits)
    case .closing:
      if attempt < limits.attemptsMax { return askAgain(.closeOrder(order: order), now, limits) }
      return cancel(.orderUnanswered, "", now, limits)
    case .cancelling:
      if attempt < limits.attemptsMax { return askAgain(.cancelOrder(order: order), now, limits) }
      return end(reason ?? .orderUnanswered, "the order may still be open", now)
    case .done, .cancelled: return []
    }
  }

  private mutating func askAgain(
    _ effect: MaintenanceEffect, _ now: WallTime, _ limits: MaintenanceLimits
  ) -> [MaintenanceEffect] {
    attempt += 1
    wait(limits.orderTimeout, now)
    return [effect]
  }

  // MARK: Compensation

  private mutating func cancel(
    _ reason: CancelReason, _ detail: String, _ now: WallTime, _ limits: MaintenanceLimits
  ) -> [MaintenanceEffect] {
    let withdrawn: [MaintenanceEffect] =
      phase == .stopping ? [.withdraw(command: stopCommand(stopCount))] : []
    phase = .cancelling
    attempt = 1
    self.reason = reason
    self.detail = detail
    wait(limits.orderTimeout, now)
    return withdrawn + [.cancelOrder(order: order)]
  }

  private mutating func end(
    _ reason: CancelReason, _ detail: String, _ now: WallTime
  ) -> [MaintenanceEffect] {
    phase = .cancelled
    deadline = nil
    self.reason = reason
    self.detail = detail
    return [.event(event(.cancelled, now))]
  }

  private mutating func wait(_ timeout: Duration, _ now: WallTime) {
    deadline = WallTime(nanoseconds: now.nanoseconds + timeout.nanoseconds)
  }

  private func event(_ kind: MaintenanceEvent.Kind, _ now: WallTime) -> MaintenanceEvent {
    MaintenanceEvent(
      kind: kind, caseID: id, cause: cause, order: order,
      command: stopCount > 0 ? stopCommand(stopCount) : nil, pumpHasStopped: pumpHasStopped,
      reason: kind == .cancelled ? reason : nil, detail: kind == .cancelled ? detail : "",
      time: now)
  }
}
