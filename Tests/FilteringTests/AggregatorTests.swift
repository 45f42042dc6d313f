// Goal: an aggregate says what its readings said, each reading is in exactly one, and what a crash
// leaves in a journal makes the same ones again. Method: the aggregator as a value over a journal
// that is an array; crashes anywhere; a slow model. Cannot show: the real journal (the intake's
// tests do).

import AllocationCounting
import GatewayCore
import JSONScanning
import Testing

@testable import Filtering

private func wall(_ seconds: Double) -> WallTime { WallTime(nanoseconds: Int64(seconds * 1e9)) }

/// One record of the array that stands for a journal.
private struct Kept {
  var flags: RecordFlags
  var sequence: GatewayCore.Sequence
  var received: WallTime
  var digest: UInt64 = 0
  var topic: [UInt8]
  var payload: [UInt8]
}

/// The owner's part of an aggregator, over an array.
private final class Owner {
  var aggregator: Aggregator
  private var scanner: JSONScanner
  var journal: [Kept]
  var byteCountMax = Int.max

  init(_ options: AggregateOptions, capacity: Int = 100) throws {
    var pointers: [JSONPointer] = []
    aggregator = try Aggregator(options, pointers: &pointers, capacity: capacity)
    scanner = JSONScanner(pointers: pointers)
    journal = []
  }

  /// After a crash: the journal is all there is.
  convenience init(_ options: AggregateOptions, recovering journal: [Kept]) throws {
    try self.init(options)
    var recovery = try AggregateRecovery(options, behind: [], capacity: 100)
    for kept in journal {
      recovery.recover(
        flags: kept.flags, sequence: kept.sequence, received: kept.received, digest: kept.digest,
        topic: kept.topic.span, payload: kept.payload.span)
    }
    aggregator = recovery.finish()
    self.journal = journal
  }

  private var next: GatewayCore.Sequence { Sequence(UInt64(journal.count) + 1) }

  /// Whether it was a reading.
  @discardableResult
  func take(_ payload: String, topic: String = "pumps/1", at seconds: Double) -> Bool {
    let (payload, topic) = (Array(payload.utf8), Array(topic.utf8))
    _ = scanner.scan(payload.span)
    let reading = aggregator.reading(topic: topic.span, payload: payload.span, json: scanner)
    if aggregator.isDue(at: wall(seconds), byteCountMax: byteCountMax) { close(at: seconds) }
    let kept = Kept(
      flags: reading == nil ? [] : [.aggregated, .elided], sequence: next, received: wall(seconds),
      topic: topic, payload: payload)
    journal.append(kept)
    aggregator.journalled(byteCount: payload.count)
    if let reading { aggregator.add(reading, sequence: kept.sequence, at: wall(seconds)) }
    return reading != nil
  }

  func close(at seconds: Double, limit: Int = .max) {
    var count = 0
    while count < limit, let aggregate = aggregator.next(at: wall(seconds)) {
      journal.append(
        Kept(
          flags: [.aggregate], sequence: next, received: wall(seconds), digest: aggregate.digest,
          topic: aggregate.topic, payload: aggregate.payload))
      aggregator.closed()
      count += 1
    }
  }

  var aggregates: [String] {
    journal.filter { $0.flags.contains(.aggregate) }.map {
      String(decoding: $0.topic, as: UTF8.self) + " " + String(decoding: $0.payload, as: UTF8.self)
    }
  }
}

private func options(
  every: Int = 60, fields: [String] = ["/v"], key: String? = nil,
  functions: [AggregateFunction] = AggregateFunction.allCases
) -> AggregateOptions {
  var options = AggregateOptions(every: .seconds(every), fields: fields)
  options.key = key
  options.functions = functions
  return options
}

/// Which readings (sequences) each aggregate of an array says it has, by its own first and last.
private func accounted(_ journal: [Kept]) throws -> [GatewayCore.Sequence: Int] {
  var counts: [GatewayCore.Sequence: Int] = [:]
  var scanner = JSONScanner(pointers: [
    try JSONPointer("/first_sequence"), try JSONPointer("/last_sequence"), try JSONPointer("/key"),
  ])
  for kept in journal where kept.flags.contains(.aggregate) {
    #expect(scanner.scan(kept.payload.span) == .valid)
    func text(_ index: Int) -> String {
      guard let match = scanner.match(index) else { return "" }
      return String(decoding: kept.payload[match.content], as: UTF8.self)
    }
    let (first, last) = (UInt64(text(0)) ?? 0, UInt64(text(1)) ?? 0)
    let source = kept.topic.dropLast("/aggregate".utf8.count)
    let key = text(2)
    for reading in journal
    where reading.flags.contains(.aggregated) && reading.topic == Array(source)
      && (first...last).contains(reading.sequence.rawValue)
    {
      let isOfKey = String(decoding: reading.payload, as: UTF8.self).contains("\"k\":\(key)")
      if key.isEmpty || isOfKey { counts[reading.sequence, default: 0] += 1 }
    }
  }
  return counts
}

@Suite struct AggregatorTests {
  @Test("all functions, in the order asked for; the window's borders in milliseconds")
  func functions() throws {
    let owner = try Owner(options())
    for (index, value) in [3.5, -1, 8, 2.5].enumerated() {
      owner.take("{\"v\":\(value)}", at: 120 + Double(index))
    }
    owner.take(#"{"v":1}"#, at: 180)
    let expected = [
      "pumps/1/aggregate ",
      #"{"from":120000,"to":180000,"readings":4,"first_sequence":"1","last_sequence":"4","#,
      #""fields":{"/v":{"count":4,"min":-1.0,"max":8.0,"mean":3.25,"sum":13.0,"#,
      #""first":3.5,"last":2.5}}}"#,
    ]
    #expect(owner.aggregates == [expected.joined()])
    // The aggregate stands before the first reading of the next window.
    #expect(owner.journal.map { $0.flags.contains(.aggregate) }.suffix(2) == [true, false])
  }

  @Test("keys as they stand in the readings, several fields, some of them missing")
  func keysAndFields() throws {
    let owner = try Owner(
      options(fields: ["/a", "/b\"c"], key: "/k", functions: [.count, .last]))
    owner.take(#"{"k":"fl\"ow","a":1}"#, at: 0)
    owner.take(#"{"k":"fl\"ow","a":2,"b\"c":7}"#, at: 1)
    owner.take(#"{"k":17,"a":5}"#, at: 2)
    owner.take(#"{"a":6}"#, at: 3)
    owner.close(at: 30)
    func expected(_ key: String, _ readings: Int, _ first: Int, _ last: Int, _ fields: String)
      -> String
    {
      [
        #"pumps/1/aggregate {"from":0,"to":60000,"early":true,"#, key,
        "\"readings\":\(readings),\"first_sequence\":\"\(first)\",",
        "\"last_sequence\":\"\(last)\",\"fields\":{", fields, "}}",
      ].joined()
    }
    let first = #""/a":{"count":2,"last":2.0},"/b\"c":{"count":1,"last":7.0}"#
    #expect(owner.aggregates.count == 3)
    #expect(owner.aggregates.first == expected(#""key":"fl\"ow","#, 2, 1, 2, first))
    #expect(
      owner.aggregates[1] == expected(#""key":17,"#, 1, 3, 3, #""/a":{"count":1,"last":5.0}"#))
    #expect(owner.aggregates[2] == expected("", 1, 4, 4, #""/a":{"count":1,"last":6.0}"#))
  }

  @Test("what is no reading passes: other topics, no number, no JSON, a name that is too long")
  func noReadings() throws {
    var options = options()
    options.topics = ["pumps/#"]
    let owner = try Owner(options)
    for payload in ["", "no", "{}", #"{"v":null}"#, #"{"v":"1"}"#, #"{"v":1e999}"#] {
      #expect(!owner.take(payload, at: 0))
    }
    #expect(!owner.take(#"{"v":1}"#, topic: "valves/1", at: 0))
    #expect(
      !owner.take(#"{"v":1}"#, topic: "pumps/" + String(repeating: "x", count: 1020), at: 0))
    #expect(owner.aggregator.untrackedCount == 1 && !owner.aggregator.isOpen)
  }

  @Test("sums beyond all doubles are null, so that the aggregate is JSON all the same")
  func overflow() throws {
    let owner = try Owner(options(functions: [.sum, .max]))
    for _ in 0..<3 { owner.take(#"{"v":1e308}"#, at: 0) }
    owner.close(at: 60)
    #expect(owner.aggregates.first?.hasSuffix(#"{"sum":null,"max":1e+308}}}"#) == true)
  }

  @Test("windows close when the ring has gone on, and when the clock is set, either way")
  func early() throws {
    let owner = try Owner(options())
    owner.byteCountMax = 50
    for index in 0..<20 { owner.take(#"{"v":1}"#, at: Double(index)) }
    #expect(owner.aggregates.count == 2)
    #expect(owner.aggregates.allSatisfy { $0.contains("\"early\":true") })
    let steps = try Owner(options())
    for seconds in [1000.0, 1001, 10, 11, -70, 5000] { steps.take(#"{"v":1}"#, at: seconds) }
    #expect(steps.aggregates.count == 3)
    #expect(steps.aggregates.allSatisfy { !$0.contains("early") })
    #expect(steps.aggregates[2].contains("\"from\":-120000"))
    #expect(try accounted(steps.journal).values.allSatisfy { $0 == 1 })
  }

  @Test("series beyond the table pass as they are; closed ones give up their places")
  func capacity() throws {
    let owner = try Owner(options(), capacity: 2)
    #expect(
      owner.take(#"{"v":1}"#, topic: "a", at: 0) && owner.take(#"{"v":1}"#, topic: "b", at: 0))
    #expect(!owner.take(#"{"v":1}"#, topic: "c", at: 0))
    owner.close(at: 60)
    #expect(owner.take(#"{"v":1}"#, topic: "c", at: 61))
    #expect(owner.aggregator.untrackedCount == 1 && owner.aggregator.seriesCount == 1)
  }

  @Test(
    "after a crash anywhere every reading is in one aggregate, and none is made twice",
    arguments: [nil, "/k"])
  func crashes(key: String?) throws {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<60 {
      let options = options(every: 10, key: key)
      var journal: [Kept] = []
      var now = 1_000_000.0
      for _ in 0..<6 {
        let owner = try Owner(options, recovering: journal)
        for _ in 0..<Int.random(in: 0...40, using: &generator) {
          now += Double.random(in: 0...1.5, using: &generator)
          let topic = "pumps/\(Int.random(in: 0...3, using: &generator))"
          owner.take(
            "{\"k\":\(Int.random(in: 0...1, using: &generator)),\"v\":\(Int(now) % 7)}",
            topic: topic, at: now)
          if owner.aggregator.isDue(at: wall(now), byteCountMax: .max) { owner.close(at: now) }
        }
        // In the middle of closing, or anywhere else: the last commits may be missing.
        if Bool.random(using: &generator) {
          owner.close(at: now, limit: Int.random(in: 0...4, using: &generator))
        }
        journal = Array(
          owner.journal.dropLast(Int.random(in: 0...5, using: &generator)))
        now += Double.random(in: 0...30, using: &generator)
      }
      let owner = try Owner(options, recovering: journal)
      owner.close(at: now)
      let accounts = try accounted(owner.journal)
      for kept in owner.journal where kept.flags.contains(.aggregated) {
        #expect(accounts[kept.sequence] == 1)
      }
    }
  }

  @Test("what is made again after a crash is what would have been made without one")
  func sameAgain() throws {
    let owner = try Owner(options(key: "/k"))
    for index in 0..<30 {
      owner.take(
        "{\"k\":\"\(index % 3)\",\"v\":\(Double(index) * 0.1)}", topic: "pumps/\(index % 2)",
        at: 600 + Double(index))
    }
    let recovered = try Owner(options(key: "/k"), recovering: owner.journal)
    #expect(recovered.aggregator.isDue(at: wall(660), byteCountMax: .max))
    #expect(!recovered.aggregator.isDue(at: wall(659), byteCountMax: .max))
    owner.close(at: 660)
    recovered.close(at: 660)
    #expect(owner.aggregates.count == 6 && owner.aggregates == recovered.aggregates)
  }

  @Test("readings that the configuration does not know any more are counted, not taken")
  func strangers() throws {
    let owner = try Owner(options())
    for _ in 0..<3 { owner.take(#"{"v":1}"#, at: 0) }
    var recovery = try AggregateRecovery(options(fields: ["/other"]), behind: [])
    for kept in owner.journal {
      recovery.recover(
        flags: kept.flags, sequence: kept.sequence, received: kept.received, digest: 0,
        topic: kept.topic.span, payload: kept.payload.span)
    }
    #expect(recovery.strangerCount == 3)
    #expect(!recovery.finish().isOpen)
  }

  @Test("no allocation per reading")
  func allocations() throws {
    var pointers: [JSONPointer] = []
    var aggregator = try Aggregator(options(key: "/k"), pointers: &pointers)
    var scanner = JSONScanner(pointers: pointers)
    let payload = Array(#"{"k":"flow","v":12.75}"#.utf8)
    let topic = Array("pumps/1/metrics".utf8)
    var sequence = GatewayCore.Sequence.none
    func take() {
      _ = scanner.scan(payload.span)
      guard
        let reading = aggregator.reading(topic: topic.span, payload: payload.span, json: scanner)
      else { return }
      sequence = sequence.next
      aggregator.add(reading, sequence: sequence, at: wall(1))
    }
    take()
    let count = AllocationCounter.measure { for _ in 0..<1000 { take() } }
    #expect(count.allocations == 0 && sequence == Sequence(1001))
  }
}
