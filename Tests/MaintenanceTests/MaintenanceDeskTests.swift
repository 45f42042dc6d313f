// Goal: one case at a time for each asset, none for an alert that comes again, and orders that
// answer the same however often they are asked. Method: desk and orders as values. Cannot show: the
// hub's tables.

import GatewayCore
import Testing

@testable import Maintenance

@Suite("Maintenance desk")
struct MaintenanceDeskTests {
  @Test("the desk and the orders bring a case to its end between them")
  func together() {
    var desk = MaintenanceDesk(limits: testLimits)
    var orders = WorkOrders()
    var words: [String] = []
    func answer(_ effects: [MaintenanceEffect]) {
      words += effects.words
      for effect in effects {
        let reply: WorkOrders.Answer? =
          switch effect {
          case .createOrder(let order): orders.create(order)
          case .closeOrder(let order): orders.close(order)
          case .cancelOrder(let order): orders.cancel(order)
          case .event, .sendStop, .withdraw: nil
          }
        if let reply, let outcome = desk.take(reply, now: testTime(1)) { answer(outcome.effects) }
      }
    }
    let opened = desk.alertRaised(testCause(), now: testTime(0))
    answer(opened?.effects ?? [])
    #expect(desk.running.count == 1 && orders.open == ["case-7-order"])
    let input = MaintenanceInput.confirmation(command: "case-7-stop-1", refusal: nil)
    let stopped = desk.take(input, asset: "ND01", now: testTime(2))
    answer(stopped?.effects ?? [])
    #expect(
      words == [
        "requested", "create case-7-order", "scheduled", "stopping", "send case-7-stop-1",
        "stopped", "close case-7-order", "done",
      ])
    #expect(desk.running.isEmpty && desk.nextDeadline == nil && orders.open.isEmpty)
    #expect(desk.lastCase(of: "ND01")?.phase == .done)
  }

  @Test("one case at a time for an asset; an alert that comes again begins none")
  func oneAtATime() {
    var desk = MaintenanceDesk(limits: testLimits)
    #expect(desk.alertRaised(testCause(7), now: testTime(0)) != nil)
    #expect(desk.alertRaised(testCause(7), now: testTime(0)) == nil)
    #expect(desk.alertRaised(testCause(9), now: testTime(0)) == nil)
    #expect(desk.alertRaised(testCause(8, asset: "ND02"), now: testTime(0)) != nil)
    #expect(desk.running.map(\.cause.asset) == ["ND01", "ND02"])
    _ = desk.take(.orderCancelled(order: "case-7-order"), asset: "ND01", now: testTime(1))
    #expect(desk.running.map(\.cause.asset) == ["ND02"])
    #expect(desk.alertRaised(testCause(7), now: testTime(2)) == nil)
    #expect(desk.alertRaised(testCause(10), now: testTime(2)) != nil)
    // What the old case hears now is not the new one's.
    let late = WorkOrders.Answer(order: "case-7-order", state: .open, isNew: true)
    #expect(desk.take(late, now: testTime(3)) == nil)
    let old = MaintenanceInput.confirmation(command: "case-7-stop-1", refusal: nil)
    #expect(desk.take(old, asset: "ND01", now: testTime(3)) == nil)
  }

  @Test("a desk that was kept goes on where it was")
  func restored() throws {
    var desk = MaintenanceDesk(limits: testLimits)
    _ = desk.alertRaised(testCause(7), now: testTime(0))
    _ = desk.alertRaised(testCause(8, asset: "ND02"), now: testTime(0))
    _ = desk.take(.orderCancelled(order: "case-8-order"), asset: "ND02", now: testTime(1))
    var restored = MaintenanceDesk(limits: testLimits)
    for kept in desk.all {
      var bytes: [UInt8] = []
      kept.appendJSON(to: &bytes)
      restored.restore(try MaintenanceCase(json: bytes.span))
    }
    #expect(restored.all == desk.all)
    #expect(restored.nextDeadline == testTime(60))
    #expect(restored.alertRaised(testCause(8, asset: "ND02"), now: testTime(2)) == nil)
    let answer = WorkOrders.Answer(order: "case-7-order", state: .open, isNew: true)
    #expect(restored.take(answer, now: testTime(2))?.effects.words.first == "scheduled")
  }

  @Test("time passes for every running case, and for none before its deadline")
  func ticks() {
    var desk = MaintenanceDesk(limits: testLimits)
    _ = desk.alertRaised(testCause(7), now: testTime(0))
    _ = desk.alertRaised(testCause(8, asset: "ND02"), now: testTime(10))
    #expect(desk.tick(now: testTime(59)).isEmpty)
    #expect(desk.tick(now: testTime(60)).map(\.asset) == ["ND01"])
    #expect(desk.tick(now: testTime(70)).map(\.asset) == ["ND02"])
  }

  @Test("an order answers the same however often it is asked, and one that has ended stays so")
  func orders() {
    var orders = WorkOrders()
    #expect(orders.create("a") == .init(order: "a", state: .open, isNew: true))
    #expect(orders.create("a") == .init(order: "a", state: .open, isNew: false))
    #expect(orders.close("a") == .init(order: "a", state: .closed, isNew: true))
    #expect(orders.cancel("a") == .init(order: "a", state: .closed, isNew: false))
    #expect(orders.create("a") == .init(order: "a", state: .closed, isNew: false))
    // Cancelled before it came: it does not come any more.
    #expect(orders.cancel("b").isNew)
    #expect(orders.create("b") == .init(order: "b", state: .cancelled, isNew: false))
    for number in 0...WorkOrders.endedMax { _ = orders.close("n\(number)") }
    #expect(orders.state(of: "a") == nil && orders.state(of: "n\(WorkOrders.endedMax)") == .closed)
  }
}
