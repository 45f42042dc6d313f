// Goal: the schemas describe what is sent. Method: every kind of rule raises and clears, and each
// payload is held against its schema. Cannot show: that a schema is understood.

import GatewayCore
import TestSupport
import Testing

@testable import AlertRules

@Suite("Schemas of alerts")
struct AlertSchemaTests {
  @Test("the payload of every kind of alert is as its schema says")
  func payloads() throws {
    let conditions: [AlertCondition] = [
      .threshold(Comparison(metric: "t", side: .above, limit: 5), clear: 5, holding: .zero),
      .rateOfChange(metric: "t", rises: true, amount: 3, within: .seconds(60), clear: 3),
      .deadBand(metric: "t", low: 0, high: 5, hysteresis: 0), .stale(after: .seconds(60)),
      .combination(
        [
          Comparison(metric: "t", side: .above, limit: 5),
          Comparison(metric: "p", side: .above, limit: 5),
        ], atLeast: 2, within: .seconds(60)),
    ]
    let rules = conditions.enumerated().map { AlertRule(name: "r\($0)", condition: $1) }
    var watch = Watch(rules)
    for (second, value) in [(0.0, 1.0), (1, 9), (500, 1), (900, 1)] {
      watch.read(at: second, ["t": value, "p": value])
    }
    let folder = "Sources/Hub/Hub.docc/Schemas/alert"
    var kinds: Set<String> = []
    for change in watch.changes {
      var payload: [UInt8] = []
      change.appendJSON(to: &payload)
      let schema = try PayloadSchema("\(folder).\(change.kind.rawValue).v1.json")
      #expect(try schema.problems(of: payload).isEmpty)
      kinds.insert("\(change.rule) \(change.kind)")
    }
    #expect(kinds.count == 2 * conditions.count)
    let schema = try PayloadSchema("\(folder).raised.v1.json")
    #expect(try !schema.problems(of: Array("{}".utf8)).isEmpty, "a schema that accepts anything")
  }
}
