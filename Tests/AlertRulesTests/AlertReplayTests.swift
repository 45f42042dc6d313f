// Goal: alerts are a function of the readings alone: duplicates and late readings, ticks, restarts
// and the order in which assets speak change nothing. Method: random streams from seeds.
// Cannot show: that the hub gives every reading its right order.

import GatewayCore
import Testing

@testable import AlertRules

/// xorshift64*, seeded: a failing seed fails again.
struct TestGenerator: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_f491_4f6c_dd1d
  }
}

private struct Sample {
  var second: Double
  var sequence: UInt64
  var values: [String: Double]
}

@Suite("Replay of alerts")
struct AlertReplayTests {
  private static let rules: [AlertRule] = [
    AlertRule(
      name: "hot",
      condition: .threshold(
        Comparison(metric: "t", side: .above, limit: 60), clear: 50, holding: .seconds(5))),
    AlertRule(
      name: "cold",
      condition: .threshold(
        Comparison(metric: "t", side: .below, limit: 30), clear: 30, holding: .zero)),
    AlertRule(
      name: "jump",
      condition: .rateOfChange(
        metric: "p", rises: true, amount: 30, within: .seconds(20), clear: 10)),
    AlertRule(
      name: "band", condition: .deadBand(metric: "p", low: 20, high: 80, hysteresis: 10)),
    AlertRule(name: "silent", condition: .stale(after: .seconds(15))),
    AlertRule(
      name: "both",
      condition: .combination(
        [
          Comparison(metric: "t", side: .above, limit: 55),
          Comparison(metric: "p", side: .below, limit: 40),
        ], atLeast: 2, within: .seconds(10))),
  ]

  private static func stream(_ generator: inout TestGenerator) -> [Sample] {
    var (second, t, p) = (0.0, 45.0, 50.0)
    return (1...300).map { number in
      second += Double.random(in: 0...3, using: &generator)
      if Int.random(in: 0..<25, using: &generator) == 0 { second += 40 }
      // A clock that is set.
      if Int.random(in: 0..<150, using: &generator) == 0 { second -= 300 }
      t = min(max(t + Double.random(in: -8...8, using: &generator), 0), 100)
      p = min(max(p + Double.random(in: -12...12, using: &generator), 0), 100)
      var values = ["t": t, "p": p]
      if Bool.random(using: &generator) { values["p"] = nil }
      return Sample(second: second, sequence: UInt64(number) * 3, values: values)
    }
  }

  private static func plain(_ stream: [Sample]) -> Watch {
    var watch = Watch(rules)
    for sample in stream {
      watch.read(at: sample.second, sample.values, sequence: sample.sequence)
    }
    return watch
  }

  @Test(
    "the same readings give the same alerts, and every alert is raised and cleared in turn",
    arguments: UInt64(1)...20)
  func same(seed: UInt64) {
    var generator = TestGenerator(seed: seed)
    let stream = Self.stream(&generator)
    let watch = Self.plain(stream)
    #expect(watch.changes == Self.plain(stream).changes)
    #expect(watch.changes.count > 20)
    var standing: [String: String] = [:]
    var known: Set<String> = []
    for change in watch.changes {
      switch change.kind {
      case .raised:
        #expect(standing.updateValue(change.alert, forKey: change.rule) == nil)
        #expect(known.insert(change.alert).inserted, "\(change.alert) is two alerts' name")
      case .cleared: #expect(standing.removeValue(forKey: change.rule) == change.alert)
      }
    }
    let stands = watch.alerts.standing(watch.evaluator.rules)
    #expect(stands.count == standing.count && stands.allSatisfy { standing[$0.rule] == $0.alert })
  }

  @Test(
    "duplicates, late readings, ticks and restarts change nothing",
    arguments: UInt64(1)...40)
  func disturbed(seed: UInt64) throws {
    var generator = TestGenerator(seed: seed)
    let stream = Self.stream(&generator)
    let expected = Self.plain(stream)
    var watch = Watch(Self.rules)
    for (index, sample) in stream.enumerated() {
      watch.read(at: sample.second, sample.values, sequence: sample.sequence)
      while Int.random(in: 0..<3, using: &generator) == 0 {
        let before = watch.alerts
        switch Int.random(in: 0..<3, using: &generator) {
        case 0:
          let old = stream[Int.random(in: 0...index, using: &generator)]
          #expect(watch.read(at: old.second, old.values, sequence: old.sequence).isEmpty)
          #expect(watch.alerts == before)
        case 1:
          // One that was never seen, from before the newest, with a time of its own.
          let late = UInt64.random(in: 0...sample.sequence, using: &generator)
          let second = Double.random(in: 0...2000, using: &generator)
          #expect(watch.read(at: second, ["t": 99, "p": 1], sequence: late).isEmpty)
          #expect(watch.alerts == before)
        default: try watch.restart()
        }
      }
      // Silence is looked at between this reading and the next.
      if index + 1 < stream.count, Bool.random(using: &generator) {
        let next = stream[index + 1].second
        if next > sample.second {
          watch.tick(at: Double.random(in: sample.second...next, using: &generator))
        }
      }
    }
    #expect(watch.changes == expected.changes)
    #expect(watch.alerts == expected.alerts)
  }

  @Test("a newer era is newer, whatever its sequences")
  func era() {
    var watch = Watch(Self.rules)
    watch.read(at: 0, ["t": 10], sequence: 500)
    #expect(watch.changes.signs == "+")
    #expect(watch.read(at: 1, ["t": 90], sequence: 1).isEmpty)
    #expect(watch.read(at: 2, ["t": 40], sequence: 1, era: 1).signs == "-")
    #expect(watch.read(at: 3, ["t": 10], sequence: 501, era: 0).isEmpty)
  }

  @Test("what is remembered of an asset stays small, and is read back from its bytes or refused")
  func bytes() throws {
    var watch = Watch(Self.rules)
    var generator = TestGenerator(seed: 7)
    for _ in 0..<20 {
      for sample in Self.stream(&generator) { watch.read(at: sample.second, sample.values) }
    }
    var bytes: [UInt8] = []
    watch.alerts.append(to: &bytes, watch.evaluator)
    #expect(bytes.count < Self.rules.count * 1024)
    try watch.restart()
    for count in 0..<bytes.count { #expect(isRefused(Array(bytes[..<count]), watch)) }
    #expect(isRefused(bytes + [0], watch))
    #expect(!isRefused(bytes, watch))
    for _ in 0..<2000 {
      var rotten = bytes
      rotten[Int.random(in: 0..<rotten.count, using: &generator)] ^=
        UInt8.random(in: 1...255, using: &generator)
      // Refused or read, but it comes back.
      _ = isRefused(rotten, watch)
    }
  }

  private func isRefused(_ bytes: [UInt8], _ watch: Watch) -> Bool {
    do throws(AlertStateError) {
      _ = try watch.evaluator.state(asset: "ND01", bytes: bytes.span, now: Watch.time(0))
      return false
    } catch {
      return true
    }
  }

  @Test("what stood of a rule that was changed or removed is cleared, others stand")
  func changedRules() throws {
    var watch = Watch([Self.rules[1], Self.rules[3]])
    watch.read(at: 0, ["t": 10, "p": 90])
    #expect(watch.changes.signs == "++")
    var bytes: [UInt8] = []
    watch.alerts.append(to: &bytes, watch.evaluator)
    let changed = AlertRule(
      name: "band", condition: .deadBand(metric: "p", low: 20, high: 85, hysteresis: 10))
    let reworded = AlertRule(
      name: "cold", severity: .critical, condition: Self.rules[1].condition)
    for (rules, reason) in [([reworded, changed], "changed"), ([reworded], "removed")] {
      let evaluator = AlertEvaluator(rules: AlertRuleSet(rules))
      let (alerts, cleared) = try evaluator.state(
        asset: "ND01", bytes: bytes.span, now: Watch.time(9))
      #expect(cleared.map(\.message) == ["the rule band was \(reason)"])
      #expect(cleared.map(\.alert) == [watch.changes[1].alert])
      #expect(cleared[0].time == Watch.time(9) && cleared[0].kind == .cleared)
      #expect(alerts.standing(evaluator.rules).map(\.rule) == ["cold"])
    }
  }

  @Test("recorded lines give the alerts that the hub would have given")
  func rehearsal() throws {
    var rehearsal = AlertRehearsal(rules: AlertRuleSet(Self.rules))
    let lines = [
      #"{"messageId":"1","assetId":"ND01","timestamp":"2026-11-23T06:00:00Z","t":40,"p":50}"#,
      #"pumps/ND01/metrics {"assetId":"ND01","timestamp":"2026-11-23T06:00:01Z","t":10}"#,
      #"{"specversion":"1.0","time":"2026-11-23T06:00:05Z","subject":"ND02","data":{"p":90}}"#,
      #"{"time":"2026-11-23T06:00:06Z","data":{"assetId":"ND01","timestamp":"x","t":40}}"#,
      "", "{", #"{"assetId":"ND01"}"#, #"{"assetId":"ND01","timestamp":"2026-11-23T06:00:00Z"}"#,
      #"{"t":1,"timestamp":"2026-11-23T06:00:00Z"}"#,
      #"{"assetId":"ND03","timestamp":"2026-11-23T06:00:30Z","t":40}"#,
    ]
    let taken = lines.map { rehearsal.take(Array($0.utf8).span) }
    #expect(
      taken.map { $0 == .reading } == [
        true, true, true, true, false, false, false, false, false, true,
      ])
    let changes = rehearsal.changes()
    #expect(
      changes.map { "\($0.line) \($0.change.rule) \($0.change.kind) \($0.change.asset)" } == [
        "2 cold raised ND01", "3 band raised ND02", "4 cold cleared ND01",
        "0 silent raised ND02", "0 silent raised ND01",
      ])
  }
}
