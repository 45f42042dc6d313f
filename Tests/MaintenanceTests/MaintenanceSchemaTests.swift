// Goal: the schemas describe what is sent. Method: cases that end in each way, each payload held
// against its schema. Cannot show: that a schema is understood.

import GatewayCore
import TestSupport
import Testing

@testable import Maintenance

@Suite("Schemas of maintenance")
struct MaintenanceSchemaTests {
  @Test("the payload of every event is as its schema says")
  func payloads() throws {
    let order = "case-7-order"
    let ways: [[MaintenanceInput]] = [
      [
        .orderCreated(order: order), .confirmation(command: "case-7-stop-1", refusal: nil),
        .orderClosed(order: order),
      ],
      [.orderRefused(order: order, reason: "no crew")],
      [.orderCreated(order: order), .abort(reason: "not now"), .orderCancelled(order: order)],
    ]
    var kinds: Set<MaintenanceEvent.Kind> = []
    for way in ways {
      var (state, effects) = MaintenanceCase.open(
        id: "case-7", cause: testCause(), now: testTime(0), limits: testLimits)
      for input in way { effects += state.take(input, now: testTime(1), limits: testLimits) }
      #expect(state.isOver)
      for case .event(let event) in effects {
        var payload: [UInt8] = []
        event.appendJSON(to: &payload)
        let schema = try PayloadSchema(
          "Sources/Hub/Hub.docc/Schemas/maintenance.\(event.kind.rawValue).v1.json")
        #expect(try schema.problems(of: payload).isEmpty, "\(event.kind)")
        kinds.insert(event.kind)
      }
    }
    #expect(kinds.count == MaintenanceEvent.Kind.allCases.count)
  }

  @Test("the reasons in the schema are the reasons there are")
  func reasons() throws {
    let schema = try PayloadSchema(
      "Sources/Hub/Hub.docc/Schemas/maintenance.cancelled.v1.json")
    for reason in MaintenanceCase.CancelReason.allCases {
      let payload = "{\"reason\":\"\(reason.rawValue)\"}"
      let problems = try schema.problems(of: Array(payload.utf8))
      #expect(!problems.contains { $0.contains("does not know") }, "\(reason)")
    }
    let wrong = try schema.problems(of: Array(#"{"reason":"x"}"#.utf8))
    #expect(wrong.contains("reason is x, which the schema does not know"))
  }
}
