// Goal: whatever is lost, repeated or late between desk, orders and pump, every case ends, no step
// is done twice, and the parties agree at the end. Method: every reachable state of a small world
// is visited: each message on its way may be delivered and stay (a duplicate, or late), be
// delivered and go, or be lost; the pump may refuse; a planner may end the order; time may pass at
// any moment. Cannot show: more attempts than two.

import GatewayCore
import Testing

@testable import Maintenance

/// What is on its way between the three.
private enum Letter: Hashable, Comparable {
  case create, close, cancel
  case answer(String)
  /// A command, while it is young enough to be obeyed, and after.
  case stop(Int), expiredStop(Int)
  case done(Int), refused(Int)
}

/// Desk, orders and pump, and what is between them.
private struct World: Hashable {
  var state: MaintenanceCase
  var order: WorkOrders.State?
  var pumpRuns = true
  /// What the pump has answered to which command: true for done.
  var answered: [Int: Bool] = [:]
  var letters: Set<Letter> = []
  /// How often each event was emitted, by name.
  var events: [String: Int] = [:]
  var alertStands = true
  var sent: Set<String> = []

  /// Time is taken out, so that worlds that differ in nothing else are one.
  var normalised: World {
    var copy = self
    copy.state.startedAt = testTime(0)
    if copy.state.deadline != nil { copy.state.deadline = testTime(0) }
    return copy
  }
}

@Suite("Interleavings of a maintenance case")
struct InterleavingTests {
  private let orderID = "case-7-order"

  private func fail(_ message: String, _ world: World) {
    Issue.record("\(message): \(world.state.phase) \(world.letters.sorted()) \(world.events)")
  }

  /// Applies effects; a step that is done twice is an issue.
  private func apply(_ effects: [MaintenanceEffect], _ world: inout World) {
    for effect in effects {
      switch effect {
      case .event(let event):
        let name =
          event.kind == .stopping ? "stopping \(event.command ?? "")" : event.kind.rawValue
        world.events[name, default: 0] += 1
        if world.events[name] != 1 { fail("\(name) was emitted twice", world) }
      case .createOrder: world.letters.insert(.create)
      case .closeOrder: world.letters.insert(.close)
      case .cancelOrder: world.letters.insert(.cancel)
      case .sendStop(let command):
        if !world.sent.insert(command.id).inserted { fail("\(command.id) was sent twice", world) }
        if world.letters.contains(where: { if case .stop = $0 { true } else { false } }) {
          fail("a command was sent while another could be obeyed", world)
        }
        world.letters.insert(.stop(world.state.stopCount))
      case .withdraw: break
      }
    }
  }

  private func take(_ input: MaintenanceInput, _ world: inout World) {
    let before = world.state
    let effects = world.state.take(input, now: testTime(0), limits: testLimits)
    if before.isOver, world.state != before || !effects.isEmpty {
      fail("a case that is over has changed", world)
    }
    let once = world.state
    // The same input at once again: as after a restart that forgot that it was taken.
    if input != .tick {
      let again = world.state.take(input, now: testTime(0), limits: testLimits)
      if !again.isEmpty || world.state != once { fail("\(input) counted twice", world) }
    }
    apply(effects, &world)
  }

  /// - Parameter obeys: whether the pump does what it is told for the first time.
  private func deliver(_ letter: Letter, _ world: inout World, obeys: Bool = true) {
    var orders = WorkOrders()
    if let order = world.order { orders.restore(order: orderID, state: order) }
    switch letter {
    case .create, .close, .cancel:
      let answer =
        switch letter {
        case .create: orders.create(orderID)
        case .close: orders.close(orderID)
        default: orders.cancel(orderID)
        }
      world.order = answer.state
      world.letters.insert(.answer(answer.state.rawValue))
    case .answer("open"): take(.orderCreated(order: orderID), &world)
    case .answer("closed"): take(.orderClosed(order: orderID), &world)
    case .answer: take(.orderCancelled(order: orderID), &world)
    case .stop(let number), .expiredStop(let number):
      // The pump's promise: one answer to each id, and it is obeyed at most once.
      let isYoung = if case .stop = letter { true } else { false }
      let isDone = world.answered[number] ?? (isYoung && obeys)
      if world.answered[number] == nil, isDone { world.pumpRuns = false }
      world.answered[number] = isDone
      world.letters.insert(isDone ? .done(number) : .refused(number))
    case .done(let number):
      take(.confirmation(command: world.state.stopCommand(number), refusal: nil), &world)
    case .refused(let number):
      take(.confirmation(command: world.state.stopCommand(number), refusal: "expired"), &world)
    }
  }

  /// Lets the wait of the phase run out: no command sent before can be obeyed after that.
  private func wait(_ world: inout World) {
    if world.state.phase == .stopping {
      for letter in world.letters {
        if case .stop(let number) = letter {
          world.letters.remove(letter)
          world.letters.insert(.expiredStop(number))
        }
      }
    }
    let deadline = world.state.deadline ?? testTime(0)
    apply(world.state.take(.tick, now: deadline, limits: testLimits), &world)
    if world.state.deadline != nil { world.state.deadline = testTime(60) }
  }

  private func successors(_ world: World) -> [World] {
    var found: [World] = []
    for letter in world.letters {
      var kept = world
      deliver(letter, &kept)
      var gone = world
      gone.letters.remove(letter)
      let lost = gone
      if case .stop(let number) = letter, world.answered[number] == nil {
        var refused = gone
        deliver(letter, &refused, obeys: false)
        found.append(refused)
      }
      deliver(letter, &gone)
      found += [kept, gone, lost]
    }
    if world.order == .open {
      for ending in [WorkOrders.State.closed, .cancelled] {
        var planned = world
        planned.order = ending
        planned.letters.insert(.answer(ending.rawValue))
        found.append(planned)
      }
    }
    var later = world
    wait(&later)
    var aborted = world
    take(.abort(reason: "x"), &aborted)
    found += [later, aborted]
    if world.alertStands {
      var cleared = world
      cleared.alertStands = false
      take(.alertCleared(alert: testCause().alert), &cleared)
      found.append(cleared)
    }
    return found.map(\.normalised)
  }

  /// What is still on its way when a case is over changes nothing of it, in any order.
  private func drain(_ world: World) -> [World] {
    [true, false].map { isRising in
      var drained = world
      while let letter = isRising ? drained.letters.min() : drained.letters.max() {
        drained.letters.remove(letter)
        deliver(letter, &drained)
      }
      return drained
    }
  }

  /// What must hold of a case that is over, once nothing is on its way any more.
  private func checkEnd(_ world: World) {
    let isDone = world.events["done"] == 1
    let isCancelled = world.events["cancelled"] == 1
    if isDone == isCancelled { fail("a case ends in one way", world) }
    if isDone, world.pumpRuns || world.order != .closed {
      fail("done, but the pump runs or the order is open", world)
    }
    if isDone, !world.state.pumpHasStopped { fail("done without a confirmation", world) }
    if world.state.pumpHasStopped, world.pumpRuns { fail("confirmed, but the pump runs", world) }
    if isCancelled, world.order == .open, world.state.detail != "the order may still be open" {
      fail("cancelled, but the order is open and nobody is told", world)
    }
  }

  @Test("every reachable state ends, and no step is done twice", .timeLimit(.minutes(5)))
  func all() {
    let (opened, effects) = MaintenanceCase.open(
      id: "case-7", cause: testCause(), now: testTime(0), limits: testLimits)
    var first = World(state: opened)
    apply(effects, &first)
    var visited: Set<World> = [first.normalised]
    var waiting = [first.normalised]
    var ends: [String: Int] = [:]
    while let world = waiting.popLast() {
      if world.state.isOver {
        ends[world.state.reason?.rawValue ?? "done", default: 0] += 1
        checkEnd(world)
        for drained in drain(world) { checkEnd(drained) }
        continue
      }
      checkTimeEnds(world)
      for next in successors(world) where visited.insert(next).inserted { waiting.append(next) }
      if visited.count > 1_000_000 { return #expect(Bool(false), "more states than expected") }
    }
    #expect(visited.count > 5_000, "\(visited.count) states")
    // Each way to end is among them but the refused order, which these orders never do.
    let reasons = Set(MaintenanceCase.CancelReason.allCases.map(\.rawValue))
      .subtracting(["order-refused"])
    #expect(Set(ends.keys) == reasons.union(["done"]), "\(ends)")
  }

  /// From anywhere, with everything lost from now on, time alone ends the case.
  private func checkTimeEnds(_ world: World) {
    var alone = world
    alone.letters = []
    for _ in 0..<(4 * testLimits.attemptsMax + 2) where !alone.state.isOver {
      wait(&alone)
      alone.letters = []
    }
    if !alone.state.isOver { fail("time does not end it", world) }
  }
}
