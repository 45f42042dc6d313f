// Goal: what says nothing new does not pass, everything else does, and never less passes than the
// rules say. Method: the filter as a value with the time as a number; a slow model for random
// series. Cannot show: what is done with the answer (the intake's tests do).

import AllocationCounting
import GatewayCore
import JSONScanning
import Testing

@testable import Filtering

private func time(_ seconds: Double) -> MonotonicTime {
  MonotonicTime(nanoseconds: Int64(seconds * 1e9))
}

/// A filter with the scanner it needs.
private final class Kit {
  var filter: EdgeFilter
  private var scanner: JSONScanner

  init(_ rules: FieldRule..., include: [String] = [], exclude: [String] = []) throws {
    var options = FilterOptions()
    options.fields = rules
    options.include = include
    options.exclude = exclude
    // As in a route: the pointer of the id stands first.
    filter = try EdgeFilter(options, behind: [JSONPointer("/messageId")])
    scanner = JSONScanner(pointers: filter.pointers)
  }

  /// Nil: it passes.
  func judge(
    _ payload: [UInt8], topic: [UInt8] = Array("pumps/1".utf8), at seconds: Double = 0
  ) -> FilterReason? {
    _ = scanner.scan(payload.span)
    let verdict = filter.judge(
      topic: topic.span, payload: payload.span, json: scanner, now: time(seconds))
    if case .filtered(let reason) = verdict { return reason }
    return nil
  }

  func judge(
    _ payload: String, topic: String = "pumps/1", at seconds: Double = 0
  ) -> FilterReason? {
    judge(Array(payload.utf8), topic: Array(topic.utf8), at: seconds)
  }
}

private func rule(
  _ pointer: String = "/v", band: DeadBand? = nil, interval: Double? = nil, silence: Double? = nil,
  key: String? = nil, topics: [String] = ["#"]
) -> FieldRule {
  var rule = FieldRule(pointer: pointer)
  rule.deadBand = band
  rule.minInterval = interval.map { .seconds($0) }
  rule.maxSilence = silence.map { .seconds($0) }
  rule.key = key
  rule.topics = topics
  return rule
}

@Suite struct FieldFilterTests {
  @Test("a dead-band is around the last value that passed, so that a slow drift is seen")
  func deadBand() throws {
    let kit = try Kit(rule(band: .absolute(1)))
    let steps = [10, 10.5, 11, 11.01, 11.9, 10.02, 10, 12.01]
    let answers = steps.map { kit.judge("{\"v\":\($0)}") }
    let blocked = FilterReason.deadBand
    #expect(answers == [nil, blocked, blocked, nil, blocked, blocked, nil, nil])
    let drift = try Kit(rule(band: .absolute(1)))
    let passed = (0..<100).count { drift.judge("{\"v\":\(Double($0) * 0.3)}") == nil }
    #expect(passed == 25)
  }

  @Test("a band in percent is of the last value that passed; none at all passes every change")
  func percent() throws {
    let kit = try Kit(rule(band: .percent(10)))
    #expect(kit.judge(#"{"v":-100}"#) == nil)
    #expect(kit.judge(#"{"v":-110}"#) == .deadBand && kit.judge(#"{"v":-90}"#) == .deadBand)
    #expect(kit.judge(#"{"v":-111}"#) == nil && kit.judge(#"{"v":-101}"#) == .deadBand)
    #expect(kit.judge(#"{"v":0}"#) == nil && kit.judge(#"{"v":0.0}"#) == .deadBand)
    #expect(kit.judge(#"{"v":1e-9}"#) == nil)
    let exact = try Kit(rule(band: .absolute(0)))
    #expect(exact.judge(#"{"v":5}"#) == nil && exact.judge(#"{"v":5.0}"#) == .deadBand)
    #expect(exact.judge(#"{"v":5.000001}"#) == nil)
  }

  @Test("a minimum interval, alone and beside a band; a maximum silence overrules both")
  func times() throws {
    let kit = try Kit(rule(interval: 10))
    #expect(
      [0, 5, 9.9, 10, 19, 20].map { kit.judge(#"{"v":1}"#, at: $0) } == [
        nil, .minInterval, .minInterval, nil, .minInterval, nil,
      ])
    let both = try Kit(rule(band: .absolute(1), interval: 10, silence: 60))
    #expect(both.judge(#"{"v":1}"#, at: 0) == nil)
    #expect(both.judge(#"{"v":5}"#, at: 5) == .minInterval)
    #expect(both.judge(#"{"v":5}"#, at: 10) == nil)
    #expect(both.judge(#"{"v":5}"#, at: 69) == .deadBand)
    #expect(both.judge(#"{"v":5}"#, at: 70) == nil)
  }

  @Test("what is no number, no field, no JSON or another topic passes, and a fault is news")
  func passing() throws {
    let kit = try Kit(rule(band: .absolute(1000), topics: ["pumps/#"]))
    #expect(kit.judge(#"{"v":1}"#) == nil && kit.judge(#"{"v":2}"#) == .deadBand)
    for payload in [#"{"v":null}"#, #"{"v":"x"}"#, #"{"w":1}"#, "no", "", "[1]"] {
      #expect(kit.judge(payload) == nil, "\(payload)")
    }
    #expect(kit.judge(#"{"v":1}"#) == nil, "after a fault the value is new")
    #expect(kit.judge(#"{"v":1}"#, topic: "valves/1") == nil)
    #expect(kit.judge(#"{"v":1}"#, topic: "valves/1") == nil)
    // A number beyond all doubles is none.
    #expect(kit.judge(#"{"v":1e999}"#) == nil && kit.judge(#"{"v":1e999}"#) == nil)
  }

  @Test("topics and keys tell series apart; of several fields one that moves is enough")
  func series() throws {
    let kit = try Kit(rule(band: .absolute(1), key: "/type"))
    #expect(kit.judge(#"{"type":"flow","v":1}"#) == nil)
    #expect(kit.judge(#"{"type":"level","v":1}"#) == nil)
    #expect(kit.judge(#"{"type":"flow","v":1}"#) == .deadBand)
    #expect(kit.judge(#"{"type":"flow","v":1}"#, topic: "pumps/2") == nil)
    #expect(kit.filter.seriesCount == 3)
    let two = try Kit(rule("/a", band: .absolute(1)), rule("/b", band: .absolute(1)))
    #expect(two.judge(#"{"a":1,"b":1}"#) == nil && two.judge(#"{"a":1,"b":1}"#) == .deadBand)
    #expect(two.judge(#"{"a":2,"b":9}"#) == nil)
    // Both values are now what passed last.
    #expect(two.judge(#"{"a":3,"b":9}"#) == .deadBand && two.judge(#"{"a":3.1,"b":9}"#) == nil)
  }

  @Test("never is a value held back that differs from the last one at the centre by more")
  func model() throws {
    var generator = SystemRandomNumberGenerator()
    let kit = try Kit(rule(band: .absolute(3), interval: 5, silence: 30, key: "/k"))
    var atCentre: [Int: (value: Double, time: Double)] = [:]
    var passedCount = 0
    var now = 0.0
    for _ in 0..<5000 {
      now += Double.random(in: 0...3, using: &generator)
      let series = Int.random(in: 0..<4, using: &generator)
      let value = Double(Int.random(in: 0..<20, using: &generator))
      let reason = kit.judge("{\"k\":\(series),\"v\":\(value)}", at: now)
      let last = atCentre[series]
      let expected: FilterReason? =
        switch last {
        case nil: nil
        case let last? where now - last.time >= 30: nil
        case let last? where abs(last.value - value) <= 3: .deadBand
        case let last? where now - last.time < 5: .minInterval
        default: nil
        }
      // Times are kept in nanoseconds: a borderline may fall either way.
      if let last, abs(now - last.time - 30) < 1e-6 || abs(now - last.time - 5) < 1e-6 { continue }
      #expect(reason == expected)
      if reason == nil {
        atCentre[series] = (value, now)
        passedCount += 1
      }
    }
    #expect((200..<4000).contains(passedCount))
  }

  @Test("topics: include and exclude")
  func topics() throws {
    let kit = try Kit(include: ["pumps/#"], exclude: ["pumps/9/#"])
    func passes(_ topic: String) -> Bool { kit.filter.passes(Array(topic.utf8).span) }
    #expect(passes("pumps/1/a") && !passes("pumps/9/a") && !passes("valves/1"))
    let none = try Kit()
    let isPassing = none.filter.passes(Array("a".utf8).span)
    #expect(isPassing)
  }

  @Test("series beyond the table pass and are counted; an idle one gives its place")
  func capacity() throws {
    var pointers: [JSONPointer] = []
    var filter = try FieldFilter([rule(band: .absolute(1))], pointers: &pointers, capacity: 2)
    var scanner = JSONScanner(pointers: pointers)
    let payload = Array(#"{"v":1}"#.utf8)
    _ = scanner.scan(payload.span)
    func judge(_ topic: String, at seconds: Double) -> FilterReason? {
      filter.judge(
        topic: Array(topic.utf8).span, payload: payload.span, json: scanner, now: time(seconds))
    }
    #expect(judge("a", at: 0) == nil && judge("b", at: 0) == nil && judge("a", at: 0) != nil)
    #expect(judge("c", at: 1) == nil && judge("c", at: 1) == nil)
    #expect(filter.untrackedCount == 2)
    _ = judge("b", at: 3000)
    #expect(judge("c", at: 4000) == nil && judge("c", at: 4000) == .deadBand)
    #expect(judge("b", at: 4000) == .deadBand)
    #expect(filter.untrackedCount == 2 && filter.seriesCount == 2)
  }

  @Test("no allocation per message")
  func allocations() throws {
    let kit = try Kit(rule(band: .percent(5), interval: 10, key: "/type"))
    let payload = Array(#"{"messageId":"m","type":"flow","v":12.75}"#.utf8)
    let topic = Array("pumps/1/metrics".utf8)
    _ = kit.judge(payload, topic: topic)
    let count = AllocationCounter.measure {
      for _ in 0..<1000 { _ = kit.judge(payload, topic: topic) }
    }
    #expect(count.allocations == 0)
  }
}
