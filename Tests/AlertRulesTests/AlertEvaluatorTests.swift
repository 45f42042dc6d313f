// Goal: each kind of rule raises and clears when it says so; the same readings give the same alerts
// however often they come, whenever silence is looked at and whenever the hub restarts.
// Method: hand-made readings for each kind; random streams with duplicates, late readings, ticks
// and restarts against the plain stream. Cannot show: that a rule is the right one for a pump.

import GatewayCore
import Testing

@testable import AlertRules

/// Applies rules to readings of one asset, as a hub would.
struct Watch {
  let evaluator: AlertEvaluator
  var alerts: AssetAlerts
  var sequence: UInt64 = 0
  var changes: [AlertChange] = []

  init(_ rules: [AlertRule], asset: String = "ND01") {
    evaluator = AlertEvaluator(rules: AlertRuleSet(rules))
    alerts = evaluator.newState(asset: asset)
  }

  init(_ condition: AlertCondition) {
    self.init([AlertRule(name: "r", condition: condition)])
  }

  static func time(_ second: Double) -> WallTime {
    WallTime(nanoseconds: 1_795_413_600_000_000_000 + Int64(second * 1e9))
  }

  /// The next reading; what it raised and cleared.
  @discardableResult
  mutating func read(
    at second: Double, _ values: [String: Double], sequence: UInt64? = nil, era: UInt64 = 0
  ) -> [AlertChange] {
    self.sequence = sequence ?? self.sequence + 1
    let new = evaluator.evaluate(
      order: ReadingOrder(era: era, sequence: self.sequence), time: Self.time(second), &alerts
    ) { values[evaluator.metrics[$0]] }
    changes += new
    return new
  }

  @discardableResult
  mutating func tick(at second: Double) -> [AlertChange] {
    let new = evaluator.tick(now: Self.time(second), &alerts)
    changes += new
    return new
  }

  /// As a restart of the hub does.
  mutating func restart() throws {
    var bytes: [UInt8] = []
    alerts.append(to: &bytes, evaluator)
    let (restored, cleared) = try evaluator.state(
      asset: alerts.asset, bytes: bytes.span, now: Self.time(0))
    #expect(restored == alerts)
    #expect(cleared.isEmpty)
    alerts = restored
  }
}

extension [AlertChange] {
  /// `+` for raised, `-` for cleared.
  var signs: String { map { $0.kind == .raised ? "+" : "-" }.joined() }
}

@Suite("Alert rules")
struct AlertEvaluatorTests {
  static let hot = Comparison(metric: "temperature", side: .above, limit: 110)

  @Test("a threshold raises above its limit and clears at or below the other")
  func threshold() throws {
    var watch = Watch(.threshold(Self.hot, clear: 100, holding: .zero))
    for (second, value) in [90.0, 110, 110.1, 130, 105, 101, 120, 100, 99].enumerated() {
      watch.read(at: Double(second), ["temperature": value])
    }
    #expect(watch.changes.signs == "+-")
    let raised = watch.changes[0]
    #expect(raised.value == 110.1 && raised.limit == 110 && raised.metric == "temperature")
    #expect(raised.time == Watch.time(2) && watch.changes[1].time == Watch.time(7))
    #expect(raised.alert == "r/ND01/0.3" && watch.changes[1].alert == raised.alert)
  }

  @Test("below is above upside down")
  func below() {
    var watch = Watch(
      .threshold(Comparison(metric: "flowRate", side: .below, limit: 10), clear: 10, holding: .zero)
    )
    for (second, value) in [11.0, 10, 9.9, 9, 10].enumerated() {
      watch.read(at: Double(second), ["flowRate": value])
    }
    #expect(watch.changes.signs == "+-")
    #expect(watch.changes[0].time == Watch.time(2) && watch.changes[1].time == Watch.time(4))
  }

  @Test("a threshold with a time raises only when it was passed without a break for so long")
  func holding() {
    var watch = Watch(.threshold(Self.hot, clear: 110, holding: .seconds(30)))
    for second in stride(from: 0.0, through: 25, by: 5) {
      watch.read(at: second, ["temperature": 120])
    }
    watch.read(at: 29, ["temperature": 90])
    for second in stride(from: 31.0, through: 61, by: 5) {
      watch.read(at: second, ["temperature": 120])
    }
    #expect(watch.changes.signs == "+")
    #expect(watch.changes[0].time == Watch.time(61))
  }

  @Test("a change within a time raises, whichever way it is watched for")
  func rateOfChange() {
    func watch(rises: Bool) -> Watch {
      Watch(
        .rateOfChange(
          metric: "pressure", rises: rises, amount: 100, within: .seconds(60), clear: 20))
    }
    var falling = watch(rises: false)
    var rising = watch(rises: true)
    var value = 1000.0
    for second in 0..<600 {
      // 2 per second for a minute, then still.
      if (200..<260).contains(second) { value -= 2 }
      falling.read(at: Double(second), ["pressure": value])
      rising.read(at: Double(second), ["pressure": value])
    }
    #expect(falling.changes.signs == "+-")
    #expect(rising.changes.isEmpty)
    #expect(falling.changes[0].time == Watch.time(249))
    // The window is exact to a 32nd of its length.
    let cleared = falling.changes[1].time.nanoseconds - Watch.time(0).nanoseconds
    #expect((308...314).contains(cleared / 1_000_000_000))
    // The same change, slowly.
    var slow = watch(rises: false)
    for second in 0..<600 { slow.read(at: Double(second), ["pressure": 1000 - Double(second)]) }
    #expect(slow.changes.isEmpty)
  }

  @Test("a dead band raises outside, and clears only inside by the hysteresis")
  func deadBand() {
    var watch = Watch(.deadBand(metric: "current", low: 30, high: 60, hysteresis: 5))
    for (second, value) in [45.0, 60, 61, 59, 56, 55, 29, 34, 35, 60].enumerated() {
      watch.read(at: Double(second), ["current": value])
    }
    #expect(watch.changes.signs == "+-+-")
    #expect(watch.changes.map(\.time) == [2, 5, 6, 8].map { Watch.time($0) })
    #expect(watch.changes[0].limit == 60 && watch.changes[2].limit == 30)
  }

  @Test("silence raises as of the time it was too long, told by a tick or by the next reading")
  func stale() throws {
    var ticked = Watch(.stale(after: .seconds(60)))
    var untold = ticked
    for second in [0.0, 50, 100] {
      ticked.read(at: second, ["x": 1])
      untold.read(at: second, ["x": 1])
    }
    #expect(
      ticked.evaluator.nextTick(ticked.alerts)
        == WallTime(nanoseconds: Watch.time(160).nanoseconds + 1))
    #expect(ticked.tick(at: 160).isEmpty)
    #expect(ticked.tick(at: 500).signs == "+")
    #expect(ticked.tick(at: 501).isEmpty)
    #expect(ticked.evaluator.nextTick(ticked.alerts) == nil)
    for second in [700.0, 701] {
      ticked.read(at: second, ["x": 1])
      untold.read(at: second, ["x": 1])
    }
    #expect(ticked.changes.signs == "+-")
    #expect(ticked.changes[0].time == Watch.time(160) && ticked.changes[1].time == Watch.time(700))
    #expect(ticked.changes == untold.changes)
    var fresh = Watch(.stale(after: .seconds(60)))
    #expect(fresh.tick(at: 1e6).isEmpty, "an asset that never measured is not stale")
  }

  @Test("a combination raises while enough of its comparisons have held within the time")
  func combination() {
    let comparisons = [
      Comparison(metric: "current", side: .below, limit: 30),
      Comparison(metric: "flowRate", side: .below, limit: 100),
      Comparison(metric: "temperature", side: .above, limit: 100),
    ]
    var watch = Watch(.combination(comparisons, atLeast: 2, within: .seconds(60)))
    watch.read(at: 0, ["current": 20, "flowRate": 300, "temperature": 80])
    watch.read(at: 61, ["flowRate": 90])
    #expect(watch.changes.isEmpty)
    watch.read(at: 100, ["temperature": 101])
    watch.read(at: 121, ["temperature": 80])
    #expect(watch.changes.signs == "+")
    watch.read(at: 122, ["temperature": 80])
    #expect(watch.changes.signs == "+-")
    #expect(watch.changes.map(\.time) == [Watch.time(100), Watch.time(122)])
  }

  @Test("a reading without the metric leaves the rule alone")
  func missing() {
    var watch = Watch(.threshold(Self.hot, clear: 100, holding: .zero))
    watch.read(at: 0, ["temperature": 120])
    watch.read(at: 1, ["pressure": 1])
    #expect(watch.changes.signs == "+")
  }

  @Test("rules are about the assets they select")
  func selected() {
    func names(_ asset: String) -> [String] {
      let watch = Watch(
        [
          AlertRule(name: "all", condition: .stale(after: .seconds(1))),
          AlertRule(
            name: "west", assets: AssetSelector(patterns: ["west-*", "ND07"]),
            condition: .stale(after: .seconds(1))),
        ], asset: asset)
      return watch.alerts.states.map { watch.evaluator.rules.rules[$0.rule].name }
    }
    #expect(names("west-3") == ["all", "west"] && names("ND07") == ["all", "west"])
    #expect(names("ND071") == ["all"] && names("west") == ["all"])
  }

  @Test("a clock that jumps back starts times anew, and neither raises nor clears")
  func clockBack() {
    var watch = Watch(.threshold(Self.hot, clear: 100, holding: .seconds(30)))
    watch.read(at: 1000, ["temperature": 120])
    watch.read(at: 1020, ["temperature": 120])
    watch.read(at: 20, ["temperature": 120])
    watch.read(at: 49, ["temperature": 120])
    #expect(watch.changes.isEmpty)
    watch.read(at: 50, ["temperature": 120])
    #expect(watch.changes.signs == "+")
    watch.read(at: 10, ["temperature": 120])
    #expect(watch.changes.signs == "+")
    // A step back of a few milliseconds is no jump.
    var jitter = Watch(.threshold(Self.hot, clear: 100, holding: .seconds(30)))
    for second in [0, 10, 9.9, 20, 19.8, 30] { jitter.read(at: second, ["temperature": 120]) }
    #expect(jitter.changes.signs == "+")
  }

  @Test("the message says what its placeholders stand for")
  func message() throws {
    let text = "{rule}: {metric} of {asset} is {value}, over {limit}; {change}"
    let message = try #require(AlertMessage.read(text).message)
    var watch = Watch(
      [
        AlertRule(
          name: "hot", severity: .critical, message: message, startsMaintenance: true,
          condition: .threshold(Self.hot, clear: 100, holding: .zero))
      ], asset: "ND\"07")
    let change = try #require(watch.read(at: 0, ["temperature": 120.12345]).first)
    #expect(change.message == "hot: temperature of ND\"07 is 120.123, over 110; ?")
    #expect(change.startsMaintenance && change.severity == .critical)
    var json: [UInt8] = []
    change.appendJSON(to: &json)
    #expect(
      String(decoding: json, as: UTF8.self)
        == #"{"alert":"hot/ND\"07/0.1","rule":"hot","assetId":"ND\"07","severity":"critical","#
        + #""message":"hot: temperature of ND\"07 is 120.123, over 110; ?","#
        + #""metric":"temperature","value":120.12345,"limit":110.0,"#
        + #""time":"2026-11-23T06:00:00.000Z"}"#)
    for wrong in ["{", "{x}", "a {value} {valu", "{{value}}"] {
      #expect(AlertMessage.read(wrong).message == nil, "\(wrong)")
    }
  }
}
