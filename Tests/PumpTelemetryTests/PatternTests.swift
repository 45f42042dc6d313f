// Goal: each pattern does to its metric what its description says, to no other metric, and the same
// in every run. Method: a pump with a pattern beside its twin without. Cannot show: that a real
// failure looks like it.

import GatewayCore
import Testing

@testable import PumpTelemetry

/// The readings of one pump, metric by metric.
struct Story {
  var values: [[Double]] = []

  init(_ pattern: String..., readings: Int, interval: Duration = .seconds(1)) throws {
    let patterns = try pattern.map { try PatternAssignment("*:" + $0).pattern }
    var pump = Readings(generator: SplitMix64(seed: 4, stream: 1), patterns: patterns)
    for _ in 0..<readings {
      pump.advance(interval: interval)
      values.append(Metric.allCases.map { pump.shown[$0.rawValue] })
    }
  }

  func of(_ metric: Metric) -> [Double] { values.map { $0[metric.rawValue] } }
}

@Suite("Patterns")
struct PatternTests {
  private static let level = try? Story(readings: 1)

  /// What the pattern changes in its metric, as parts of the pump's level of it.
  private func change(
    _ pattern: String, readings: Int = 100, interval: Duration = .seconds(1)
  ) throws -> [Double] {
    let metric = try PatternAssignment("*:" + pattern).pattern.metric
    let twin = try Story(readings: readings, interval: interval)
    let pump = try Story(pattern, readings: readings, interval: interval)
    for other in Metric.allCases where other != metric {
      #expect(pump.of(other) == twin.of(other))
    }
    // Drift and noise come to a few percent of the level at most.
    return zip(pump.of(metric), twin.of(metric)).map { ($0 - $1) / $1 }
  }

  @Test("a drop falls over its ramp, stays, and comes back over it", arguments: Metric.allCases)
  func drop(metric: Metric) throws {
    let change = try change("\(metric.field)=drop:start=20:duration=40:depth=30%:ramp=10")
    #expect(change[..<20].allSatisfy { $0 == 0 })
    for reading in 20..<30 {
      #expect(abs(change[reading] + 0.03 * Double(reading - 19)) < 0.03)
      #expect(change[reading] < change[reading - 1])
    }
    #expect(change[30..<60].allSatisfy { abs($0 + 0.3) < 0.03 })
    #expect(abs(change[65] + 0.12) < 0.03)
    #expect(change[70...].allSatisfy { abs($0) < 1e-9 })
  }

  @Test("a rise in the metric's own unit, by the pump's time")
  func rise() throws {
    let pattern = "temperature=rise:start=30s:duration=1m:depth=15:ramp=10s"
    let twin = try Story(readings: 300, interval: .milliseconds(500)).of(.temperature)
    let pump = try Story(pattern, readings: 300, interval: .milliseconds(500)).of(.temperature)
    let change = zip(pump, twin).map { $0 - $1 }
    #expect(change[..<60].allSatisfy { $0 == 0 })
    #expect(abs(change[70] - 7.5) < 1e-9)
    #expect(change[80..<180].allSatisfy { abs($0 - 15) < 1e-9 })
    #expect(change[200...].allSatisfy { abs($0) < 1e-9 })
  }

  @Test("a spike is one reading, and every so many after it")
  func spike() throws {
    let change = try change("current=spike:start=10:duration=50:depth=50%:every=20")
    for (reading, part) in change.enumerated() {
      let isSpike = [10, 30, 50].contains(reading)
      #expect(isSpike ? abs(part - 0.5) < 0.05 : part == 0, "reading \(reading)")
    }
    let once = try self.change("current=spike:start=10:depth=50%")
    #expect(once.count { $0 != 0 } == 1)
  }

  @Test("a stuck sensor shows its last value, also when the pump stops, and then lives again")
  func stuck() throws {
    let pump = try Story("pressure=stuck:start=5:duration=20", readings: 60)
    let twin = try Story(readings: 60)
    #expect(Set(pump.of(.pressure)[4..<25]).count == 1)
    #expect(pump.of(.pressure)[25...] == twin.of(.pressure)[25...])
    let pattern = try PatternAssignment("*:rotation=stuck:start=3").pattern
    var readings = Readings(generator: SplitMix64(seed: 1, stream: 1), patterns: [pattern])
    for _ in 0..<5 { readings.advance(interval: .zero) }
    readings.isRunning = false
    readings.advance(interval: .zero)
    #expect(readings.shown[Metric.rotation.rawValue] > 3000)
    #expect(readings.shown[Metric.current.rawValue] == 0)
  }

  @Test("a drift goes off slowly, stays off, and is mended at once")
  func drift() throws {
    let change = try change("intakePressure=drift:start=10:duration=60:depth=20%:ramp=40")
    #expect(change[..<10].allSatisfy { $0 == 0 })
    #expect(abs(change[29] - 0.1) < 0.02)
    #expect(change[50..<70].allSatisfy { abs($0 - 0.2) < 0.02 })
    #expect(change[70...].allSatisfy { $0 == 0 })
  }

  @Test("normal operation with more noise stays around its level")
  func noise() throws {
    let change = try change("flowRate=normal:depth=8%", readings: 2000)
    let mean = change.reduce(0, +) / 2000
    let deviation = (change.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 2000).squareRoot()
    #expect(abs(mean) < 0.01)
    #expect((0.06...0.1).contains(deviation))
  }

  @Test("patterns of one metric add up; no reading is below zero where nothing can be")
  func sum() throws {
    let change = try change("temperature=rise:ramp=0:depth=10%")
    #expect(change.allSatisfy { abs($0 - 0.1) < 0.01 })
    let both = try Story(
      "rotation=drop:ramp=0:depth=60%", "rotation=drop:ramp=0:depth=60%", readings: 20)
    #expect(both.of(.rotation).allSatisfy { $0 == 0 })
  }

  @Test("a pump tells the same story in every run, whatever its rate")
  func deterministic() throws {
    let pattern = "temperature=rise:start=10:duration=20"
    let slow = try Story(pattern, readings: 50, interval: .seconds(60))
    let fast = try Story(pattern, readings: 50, interval: .zero)
    #expect(slow.values == fast.values)
  }

  @Test(
    "what is wrong with a pattern is said",
    arguments: [
      ("ND03", "accepted: PUMP:METRIC=SHAPE"),
      ("ND 3:temperature=rise", "\"ND 3\" is not a pump"),
      ("ND03:heat=rise", "\"heat\" is not a metric; accepted: rotation, current, intakePressure"),
      ("ND03:temperature=up", "accepted: normal, drop, rise, spike, stuck, drift"),
      ("ND03:temperature", "\"temperature\" has no ="),
      ("ND03:temperature=rise:start=1x", "start=1x: \"1x\" is not accepted; accepted: a number of"),
      ("ND03:temperature=rise:depth=-5", "depth=-5: \"-5\" is not accepted"),
      ("ND03:temperature=rise:depth=2000%", "accepted: a share of the normal value"),
      ("ND03:temperature=rise:depth=nan", "accepted: a share of the normal value"),
      ("ND03:temperature=rise:until=5", "accepted: start, duration, depth, ramp, every"),
      ("ND03:temperature=rise:every=5", "every is of spike only"),
      ("ND03:temperature=stuck:depth=5", "stuck has no depth"),
      ("ND03:temperature=spike:ramp=5", "ramp is of drop, rise and drift only"),
      ("ND03:temperature=spike:every=0", "accepted: readings, 1 to 1000000"),
      ("ND03:temperature=rise:start=1001h", "of at most 1000h"),
    ])
  func refused(text: String, reason: String) {
    #expect(throws: FleetPlanError.self) { try PatternAssignment(text) }
    do { _ = try PatternAssignment(text) } catch {
      #expect("\(error)".contains(reason), "\(error)")
    }
  }

  @Test("patterns go to the pumps they name")
  func assignment() throws {
    var plan = FleetPlan(count: 3)
    try plan.add(["*:current=drop", "ND02:pressure=drift"].map { try PatternAssignment($0) })
    #expect(plan.pumps.map(\.patterns.count) == [1, 2, 1])
    #expect(throws: FleetPlanError.self) {
      try plan.add([try PatternAssignment("ND04:current=drop")])
    }
    #expect(plan.part(1, of: 2).pumps.map(\.id) == ["ND02"])
    #expect(plan.pumpWithoutTime(hasRate: false) == nil)
    try plan.add([try PatternAssignment("ND03:current=drop:start=5s")])
    #expect(plan.pumpWithoutTime(hasRate: false) == "ND03")
    #expect(plan.pumpWithoutTime(hasRate: true) == nil)
    for _ in 0..<15 { try? plan.add([try PatternAssignment("ND01:current=drop")]) }
    #expect(throws: FleetPlanError.self) { try plan.add([try PatternAssignment("*:current=drop")]) }
  }
}
