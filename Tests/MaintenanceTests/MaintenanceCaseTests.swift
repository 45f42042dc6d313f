// Goal: a case goes its way, waits no longer than it says, compensates what it cannot finish, and
// takes no input twice. Method: the machine as a value, input by input. Cannot show: that the hub
// keeps the effects with the state.

import GatewayCore
import JSONScanning
import Testing

@testable import Maintenance

let testLimits: MaintenanceLimits = {
  var limits = MaintenanceLimits()
  limits.attemptsMax = 2
  return limits
}()

func testTime(_ second: Int64) -> WallTime {
  WallTime(nanoseconds: (1_795_413_600 + second) * 1_000_000_000)
}

func testCause(_ position: UInt64 = 7, asset: String = "ND01") -> MaintenanceCause {
  MaintenanceCause(
    asset: asset, alert: "hot/\(asset)/0.\(position)", rule: "hot", severity: "critical",
    message: "motor is hot", position: position)
}

extension [MaintenanceEffect] {
  /// Events by kind, the others by name.
  var words: [String] {
    map { effect in
      switch effect {
      case .event(let event): event.kind.rawValue
      case .createOrder(let order): "create \(order)"
      case .closeOrder(let order): "close \(order)"
      case .cancelOrder(let order): "cancel \(order)"
      case .sendStop(let command): "send \(command.id)"
      case .withdraw(let command): "withdraw \(command)"
      }
    }
  }
}

/// One case and what it did.
private struct Run {
  var state: MaintenanceCase
  var effects: [MaintenanceEffect]
  var now: Int64 = 0

  init() {
    (state, effects) = MaintenanceCase.open(
      id: "case-7", cause: testCause(), now: testTime(0), limits: testLimits)
  }

  @discardableResult
  mutating func take(_ input: MaintenanceInput, after seconds: Int64 = 1) -> [String] {
    now += seconds
    let new = state.take(input, now: testTime(now), limits: testLimits)
    effects += new
    return new.words
  }

  var cancelled: MaintenanceEvent? {
    guard case .event(let event) = effects.last, event.kind == .cancelled else { return nil }
    return event
  }
}

@Suite("Maintenance case")
struct MaintenanceCaseTests {
  private let order = "case-7-order"

  @Test("an alert becomes an order, a stop, a confirmation and a closed order")
  func straight() {
    var run = Run()
    run.take(.orderCreated(order: order))
    run.take(.confirmation(command: "case-7-stop-1", refusal: nil))
    run.take(.orderClosed(order: order))
    #expect(
      run.effects.words == [
        "requested", "create case-7-order", "scheduled", "stopping", "send case-7-stop-1",
        "stopped", "close case-7-order", "done",
      ])
    #expect(run.state.phase == .done && run.state.isOver && run.state.deadline == nil)
    guard case .sendStop(let command) = run.effects[4] else { return #expect(Bool(false)) }
    #expect(command.asset == "ND01" && command.issuedAt == testTime(1))
    #expect(command.life == testLimits.commandLife)
  }

  @Test("every input a second time changes nothing")
  func twice() {
    var run = Run()
    for input: MaintenanceInput in [
      .orderCreated(order: order), .confirmation(command: "case-7-stop-1", refusal: nil),
      .orderClosed(order: order),
    ] {
      #expect(!run.take(input).isEmpty)
      let before = run.state
      #expect(run.take(input).isEmpty)
      #expect(run.state == before)
    }
  }

  @Test("an order that nobody answers for is asked for again, then the case is cancelled")
  func orderUnanswered() {
    var run = Run()
    #expect(run.take(.tick, after: 59).isEmpty)
    #expect(run.take(.tick, after: 1) == ["create case-7-order"])
    #expect(run.take(.tick, after: 60) == ["cancel case-7-order"])
    #expect(run.take(.orderCreated(order: order)).isEmpty)
    #expect(run.take(.tick, after: 60) == ["cancel case-7-order"])
    #expect(run.take(.tick, after: 60) == ["cancelled"])
    #expect(run.cancelled?.reason == .orderUnanswered)
    #expect(run.cancelled?.detail == "the order may still be open")
  }

  @Test("a pump that does not answer gets a second command, then the case is compensated")
  func pumpUnanswered() {
    var run = Run()
    run.take(.orderCreated(order: order))
    #expect(run.take(.tick, after: 179).isEmpty)
    #expect(
      run.take(.tick) == ["withdraw case-7-stop-1", "stopping", "send case-7-stop-2"])
    #expect(run.take(.tick, after: 180) == ["withdraw case-7-stop-2", "cancel case-7-order"])
    #expect(run.take(.orderCancelled(order: order)) == ["cancelled"])
    #expect(run.cancelled?.reason == .pumpUnanswered && run.cancelled?.pumpHasStopped == false)
  }

  @Test("a confirmation of the first command counts after the second was sent")
  func lateConfirmation() {
    var run = Run()
    run.take(.orderCreated(order: order))
    run.take(.tick, after: 180)
    #expect(
      run.take(.confirmation(command: "case-7-stop-1", refusal: nil))
        == ["withdraw case-7-stop-2", "stopped", "close case-7-order"])
    #expect(run.take(.confirmation(command: "case-7-stop-2", refusal: nil)).isEmpty)
  }

  @Test("a confirmation after the case was given up is told with the cancellation")
  func tooLate() {
    var run = Run()
    run.take(.orderCreated(order: order))
    run.take(.tick, after: 180)
    run.take(.tick, after: 180)
    #expect(run.take(.confirmation(command: "case-7-stop-2", refusal: nil)).isEmpty)
    #expect(run.take(.orderCancelled(order: order)) == ["cancelled"])
    #expect(run.cancelled?.pumpHasStopped == true)
  }

  @Test("a refusal is answered by a new command, the last one by compensation")
  func refused() {
    var run = Run()
    run.take(.orderCreated(order: order))
    #expect(
      run.take(.confirmation(command: "case-7-stop-1", refusal: "expired"))
        == ["stopping", "send case-7-stop-2"])
    #expect(run.take(.confirmation(command: "case-7-stop-1", refusal: "expired")).isEmpty)
    #expect(run.take(.confirmation(command: "other", refusal: nil)).isEmpty)
    #expect(
      run.take(.confirmation(command: "case-7-stop-2", refusal: "expired"))
        == ["withdraw case-7-stop-2", "cancel case-7-order"])
    run.take(.orderCancelled(order: order))
    #expect(run.cancelled?.reason == .pumpRefused && run.cancelled?.detail == "expired")
  }

  @Test("an alert that is over before the stop ends the case, after it no more")
  func alertCleared() {
    var run = Run()
    #expect(run.take(.alertCleared(alert: "hot/ND01/0.8")).isEmpty)
    #expect(run.take(.alertCleared(alert: testCause().alert)) == ["cancel case-7-order"])
    run.take(.orderCancelled(order: order))
    #expect(run.cancelled?.reason == .alertCleared)
    var late = Run()
    late.take(.orderCreated(order: order))
    #expect(late.take(.alertCleared(alert: testCause().alert)).isEmpty)
  }

  @Test("a person can end a case until the pump stands still")
  func abort() {
    var run = Run()
    run.take(.orderCreated(order: order))
    #expect(
      run.take(.abort(reason: "not now")) == ["withdraw case-7-stop-1", "cancel case-7-order"])
    run.take(.orderCancelled(order: order))
    #expect(run.cancelled?.reason == .aborted && run.cancelled?.detail == "not now")
    var stopped = Run()
    stopped.take(.orderCreated(order: order))
    stopped.take(.confirmation(command: "case-7-stop-1", refusal: nil))
    #expect(stopped.take(.abort(reason: "not now")).isEmpty)
  }

  @Test("an order that others end ends the case", arguments: [false, true])
  func orderEnded(isClosed: Bool) {
    let input: MaintenanceInput =
      isClosed ? .orderClosed(order: order) : .orderCancelled(order: order)
    var run = Run()
    #expect(run.take(input) == ["cancelled"])
    var stopping = Run()
    stopping.take(.orderCreated(order: order))
    #expect(stopping.take(input) == ["withdraw case-7-stop-1", "cancelled"])
    #expect(stopping.cancelled?.reason == (isClosed ? .orderClosed : .orderCancelled))
  }

  @Test("a clock that goes back makes no wait longer than its time-out")
  func clockBack() {
    var run = Run()
    #expect(run.take(.tick, after: -100_000).isEmpty)
    #expect(run.take(.tick, after: 59).isEmpty)
    #expect(run.take(.tick, after: 1) == ["create case-7-order"])
  }

  @Test("a case comes back from its JSON as it was, at every step")
  func json() throws {
    func check(_ state: MaintenanceCase) throws {
      var bytes: [UInt8] = []
      state.appendJSON(to: &bytes)
      #expect(try MaintenanceCase(json: bytes.span) == state)
      for count in 0..<bytes.count {
        #expect(isRefused(Array(bytes[..<count])))
      }
    }
    var run = Run()
    try check(run.state)
    for input: MaintenanceInput in [
      .orderCreated(order: order), .confirmation(command: "case-7-stop-1", refusal: "a \"b\""),
      .confirmation(command: "case-7-stop-2", refusal: "c\nd"), .orderCancelled(order: order),
    ] {
      run.take(input)
      try check(run.state)
    }
    #expect(isRefused(Array(#"{"format":2}"#.utf8)))
  }

  private func isRefused(_ bytes: [UInt8]) -> Bool {
    do throws(MaintenanceCaseError) {
      _ = try MaintenanceCase(json: bytes.span)
      return false
    } catch {
      return true
    }
  }

  @Test("events and commands are JSON with the documented members")
  func payloads() throws {
    var run = Run()
    run.take(.orderCreated(order: order))
    run.take(.abort(reason: "not \"now\""))
    run.take(.orderCancelled(order: order))
    let events: [MaintenanceEvent] = run.effects.compactMap {
      if case .event(let event) = $0 { event } else { nil }
    }
    #expect(events.map(\.kind) == [.requested, .scheduled, .stopping, .cancelled])
    #expect(events[0].kind.type == "com.penstock.maintenance.requested.v1")
    func text(_ append: (inout [UInt8]) -> Void) -> String {
      var bytes: [UInt8] = []
      append(&bytes)
      return String(decoding: bytes, as: UTF8.self)
    }
    let head =
      #"{"case":"case-7","assetId":"ND01","alert":"hot/ND01/0.7","rule":"hot","#
      + #""severity":"critical","message":"motor is hot","#
    #expect(
      text { events[0].appendJSON(to: &$0) } == head + #""time":"2026-11-23T06:00:00.000Z"}"#)
    #expect(
      text { events[3].appendJSON(to: &$0) } == head
        + #""order":"case-7-order","commandId":"case-7-stop-1","stopped":false,"#
        + #""reason":"aborted","detail":"not \"now\"","time":"2026-11-23T06:00:03.000Z"}"#)
    guard case .sendStop(let command) = run.effects[4] else { return #expect(Bool(false)) }
    #expect(
      text { command.appendJSON(to: &$0) }
        == #"{"commandId":"case-7-stop-1","assetId":"ND01","command":"stop","#
        + #""issuedAt":"2026-11-23T06:00:01.000Z"}"#)
  }
}
