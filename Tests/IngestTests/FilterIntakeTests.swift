// Goal: what is filtered takes no room and is acknowledged; a reading is durable before its PUBACK
// and in exactly one aggregate, whatever crashed; without a filter nothing costs anything. Method:
// messages go into the real intake and loop over a small ring, the journal is opened again as after
// a crash. Cannot show: delivery (the integration tests do).

import AllocationCounting
import Filtering
import GatewayCore
import Mosquitto
import Platform
import RingJournal
import Testing

@testable import Ingest

private func reading(_ id: Int, _ value: Double, pump: Int = 1, padding: Int = 0) -> Sent {
  var sent = Sent(
    #"{"messageId":"m\#(id)","value":\#(value),"#
      + #""text":"\#(String(repeating: "x", count: padding))"}"#)
  sent.topic = Array("pumps/\(pump)/metrics".utf8)
  return sent
}

private struct Record: Equatable {
  var sequence: UInt64
  var flags: RecordFlags
  var topic: String
  var id: String
  var payload: String

  var isAggregate: Bool { flags.contains(.aggregate) }
}

private func records(_ state: JournalState) throws -> [Record] {
  var found: [Record] = []
  var reader = try state.makeReader(sink: 0)
  var outcome = ReadOutcome.stopped
  repeat {
    outcome = try reader.read { record, bytes in
      found.append(
        Record(
          sequence: record.sequence.rawValue,
          flags: record.flags.intersection([.aggregated, .elided, .aggregate]),
          topic: String(decoding: bytes.extracting(record.topic)),
          id: String(decoding: bytes.extracting(record.idTextBytes)),
          payload: String(decoding: bytes.extracting(record.payload))))
      return true
    }
    // Behind what the ring has given up it goes on.
  } while outcome != .caughtUp
  return found
}

/// The whole number behind a name in an aggregate.
private func number(_ name: String, in payload: String) -> UInt64? {
  guard let range = payload.firstRange(of: "\"\(name)\":") else { return nil }
  let rest = payload[range.upperBound...].drop { $0 == "\"" }
  return UInt64(rest.prefix { $0.isNumber })
}

@Suite("filters in the intake") struct FilterIntakeTests {
  private func kit(
    blocks: Int = 64, _ change: (inout FilterOptions) -> Void
  ) throws -> IngestKit {
    let kit = try IngestKit(blocks: blocks)
    change(&kit.options.filter)
    return kit
  }

  private func aggregating(
    blocks: Int = 64, keepsRaw: Bool = false, every: Duration = .seconds(86_400)
  ) throws -> IngestKit {
    try kit(blocks: blocks) { filter in
      var aggregate = AggregateOptions(every: every, fields: ["/value"])
      aggregate.keepsRaw = keepsRaw
      filter.aggregate = aggregate
    }
  }

  @Test("filtered messages are acknowledged without a record, counted, and conserved")
  func filtered() throws {
    let kit = try kit { filter in
      filter.exclude = ["valves/#"]
      var rule = FieldRule(pointer: "/value")
      rule.deadBand = .absolute(1)
      filter.fields = [rule]
    }
    let broker = try kit.run([
      [
        .accept(sessionPresent: false), .grant([.grantedQoS1]),
        .messages([reading(1, 5), reading(2, 5.5), reading(3, 7)]), .dry,
        .messages([reading(4, 7), reading(5, 6.5)]), .dry,
      ]
    ])
    let releases = broker.calls.filter { if case .release = $0.kind { true } else { false } }
    #expect(releases.prefix(2) == [Call(.release(3), 2), Call(.release(2), 2)])
    let (intake, state) = try kit.openIntake()
    #expect(try records(state).map(\.id) == ["m1", "m3"])
    var valve = reading(6, 99)
    valve.topic = Array("valves/1".utf8)
    intake.receive(valve)
    intake.receive(reading(3, 7))
    intake.receive(reading(7, 50))
    intake.receive(reading(8, 50))
    intake.receive(reading(1, 60))
    let counts = intake.counts
    #expect(counts.filteredTopic == 1 && counts.filteredDeadBand == 1)
    // Same id, other payload: a conflict is not for a filter to hide.
    #expect(counts.duplicates == 1 && counts.journalled == 1 && counts.conflicts == 1)
    #expect(
      counts.messages
        == counts.filteredTopic + counts.filteredDeadBand + counts.duplicates + counts.journalled
        + counts.conflicts)
  }

  @Test("readings are kept and elided, then summed up; with keep_raw they are delivered as well")
  func aggregates() throws {
    for keepsRaw in [false, true] {
      let kit = try aggregating(keepsRaw: keepsRaw)
      do {
        let (intake, state) = try kit.openIntake()
        for id in 1...4 { intake.receive(reading(id, Double(id), pump: 1 + id % 2)) }
        intake.receive(Sent(#"{"messageId":"other","note":1}"#))
        try intake.closeAggregates(now: Clock.monotonic(), all: true)
        _ = try intake.commit()
        let found = try records(state)
        let raw: RecordFlags = keepsRaw ? [.aggregated] : [.aggregated, .elided]
        #expect(found.map(\.flags) == [raw, raw, raw, raw, [], .aggregate, .aggregate])
        let journal = state.identity.id
        #expect(
          found.suffix(2).map(\.id)
            == ["aggregate-\(journal)-1-3", "aggregate-\(journal)-2-4"])
        #expect(
          found.suffix(2).map(\.topic) == [
            "pumps/2/metrics/aggregate", "pumps/1/metrics/aggregate",
          ])
        #expect(found.last?.payload.contains(#""count":2"#) == true)
        #expect(found.last?.payload.contains(#""mean":3.0"#) == true)
        // Closed once: nothing is left to close, now or after a restart.
        try intake.closeAggregates(now: Clock.monotonic(), all: true)
        #expect(intake.openRecordCount == 0)
      }
      let (again, _) = try kit.openIntake()
      try again.closeAggregates(now: Clock.monotonic(), all: true)
      #expect(again.openRecordCount == 0)
    }
  }

  @Test("keep_raw with a dead-band: every reading is summed up, the news is delivered")
  func keepRawWithBand() throws {
    let kit = try aggregating(keepsRaw: true)
    var rule = FieldRule(pointer: "/value")
    rule.deadBand = .absolute(1)
    kit.options.filter.fields = [rule]
    let (intake, state) = try kit.openIntake()
    for (id, value) in [5, 5.5, 8, 8.5].enumerated() { intake.receive(reading(id, value)) }
    _ = try intake.commit()
    let hidden: RecordFlags = [.aggregated, .elided]
    #expect(try records(state).map(\.flags) == [.aggregated, hidden, .aggregated, hidden])
    #expect(intake.counts.filteredDeadBand == 0 && intake.counts.aggregated == 4)
  }

  @Test("a PUBACK leaves after its reading is durable, and a redelivery is not summed up twice")
  func durable() throws {
    let kit = try aggregating()
    let broker = try kit.run([
      [
        .accept(sessionPresent: false), .grant([.grantedQoS1]),
        .messages([reading(1, 1), reading(2, 2)]), .dry, .messages([reading(3, 3)]), .cut,
      ],
      [
        .accept(sessionPresent: true), .messages([reading(2, 2), reading(3, 3)]), .dry,
      ],
    ])
    let releases = broker.calls.filter { if case .release = $0.kind { true } else { false } }
    #expect(releases.prefix(2) == [Call(.release(2), 2), Call(.release(2), 3)])
    // The end of the run has closed the window.
    let (_, state) = try kit.openIntake()
    let aggregates = try records(state).filter(\.isAggregate)
    #expect(aggregates.map { number("count", in: $0.payload) } == [3])
    #expect(aggregates[0].payload.contains(#""early":true"#))
  }

  @Test("crashes anywhere, redeliveries and full groups: each reading is in exactly one aggregate")
  func crashes() throws {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<12 {
      let kit = try aggregating(blocks: 512)
      var pending: [Sent] = []
      var nextID = 0
      for _ in 0..<5 {
        // A crash: what was not committed is gone, the broker has it and sends it again.
        let (intake, _) = try kit.openIntake()
        if Bool.random(using: &generator) {
          try intake.closeAggregates(now: Clock.monotonic(), all: true)
        }
        for message in pending { intake.receive(message) }
        for _ in 0..<Int.random(in: 0...60, using: &generator) {
          let message = reading(
            nextID, Double(nextID), pump: Int.random(in: 0...2, using: &generator), padding: 300)
          nextID += 1
          pending.append(message)
          intake.receive(message)
          if Int.random(in: 0..<10, using: &generator) == 0 {
            _ = try intake.commit()
            pending.removeAll()
          }
          if Int.random(in: 0..<25, using: &generator) == 0 {
            try intake.closeAggregates(now: Clock.monotonic(), all: true)
          }
        }
        #expect(!intake.wasRefusedRoom)
      }
      let (intake, state) = try kit.openIntake()
      for message in pending { intake.receive(message) }
      try intake.closeAggregates(now: Clock.monotonic(), all: true)
      _ = try intake.commit()
      let found = try records(state)
      let readings = found.filter { $0.flags.contains(.aggregated) }
      #expect(Set(readings.map(\.id)) == Set((0..<nextID).map { "m\($0)" }))
      #expect(readings.count == nextID)
      var seen: [UInt64: Int] = [:]
      for aggregate in found where aggregate.isAggregate {
        let source = String(aggregate.topic.dropLast("/aggregate".count))
        let first = try #require(number("first_sequence", in: aggregate.payload))
        let last = try #require(number("last_sequence", in: aggregate.payload))
        let own = readings.filter { $0.topic == source && (first...last).contains($0.sequence) }
        #expect(own.count == number("readings", in: aggregate.payload).map { Int($0) })
        for reading in own { seen[reading.sequence, default: 0] += 1 }
      }
      #expect(seen.count == nextID && seen.values.allSatisfy { $0 == 1 })
    }
  }

  @Test("a window is closed before the ring has gone a quarter of its way since it opened")
  func ringQuarter() throws {
    let kit = try aggregating(blocks: 64)
    kit.journalOptions.whenFull = .dropOldest
    let (intake, state) = try kit.openIntake()
    var aggregates = 0
    for id in 0..<600 {
      intake.receive(reading(id, 1, padding: 900))
      if id.isMultiple(of: 10) { _ = try intake.commit() }
      aggregates = intake.counts.aggregates
    }
    _ = try intake.commit()
    // Six hundred records of a kilobyte are two and a half times round the ring.
    #expect((8...14).contains(aggregates))
    // What was overwritten is in aggregates that came before.
    let oldest = try #require(try records(state).first).sequence
    let first = try #require(
      try records(state).filter(\.isAggregate)
        .compactMap { number("first_sequence", in: $0.payload) }.min())
    #expect(first > 1 && oldest > 1)
  }

  @Test("a full ring: the aggregates wait, and are made when there is room")
  func fullRing() throws {
    let kit = try aggregating(blocks: 32)
    let (intake, state) = try kit.openIntake()
    var id = 0
    while !intake.wasRefusedRoom {
      intake.receive(reading(id, 1, pump: id % 3, padding: 900))
      id += 1
    }
    _ = try intake.commit()
    let taken = try records(state)
    state.acknowledge(0, through: state.committed)
    intake.beginConnection()
    intake.refreshRoom()
    try intake.closeAggregates(now: Clock.monotonic(), all: true)
    #expect(!intake.wasRefusedRoom)
    _ = try intake.commit()
    let all = taken + (try records(state))
    let summed = all.filter(\.isAggregate).compactMap { number("readings", in: $0.payload) }
    #expect(summed.reduce(0, +) == UInt64(all.count { $0.flags.contains(.aggregated) }))
  }

  @Test("the loop closes windows although nothing comes, connected or not")
  func timed() throws {
    let kit = try aggregating(every: .milliseconds(200))
    let deadline = Clock.monotonic() + .seconds(20)
    let broker = try kit.run([
      [.accept(sessionPresent: false), .grant([.grantedQoS1]), .messages([reading(1, 1)])]
    ]) { made, _, control in
      made.onExhausted = {
        if made.calls.contains(where: { $0.committed == 2 }) || Clock.monotonic() > deadline {
          control.advance(to: .close)
        }
      }
    }
    #expect(broker.calls.contains { $0.committed == 2 })
    let (_, state) = try kit.openIntake()
    let found = try records(state)
    #expect(found.map(\.isAggregate) == [false, true])
    #expect(found.last?.payload.contains("early") == false)
  }

  @Test("no filter: no filter in the way; with all of them no allocation per message")
  func cost() throws {
    let plain = try IngestKit(blocks: 2048)
    let (without, _) = try plain.openIntake()
    #expect(without.filter == nil)
    let kit = try aggregating(blocks: 2048, keepsRaw: true)
    kit.options.filter.exclude = ["valves/#"]
    var rule = FieldRule(pointer: "/value")
    rule.deadBand = .percent(5)
    rule.minInterval = .milliseconds(100)
    kit.options.filter.fields = [rule]
    kit.journalOptions.commitByteCountMax = .mebibytes(1)
    let (intake, _) = try kit.openIntake()
    let first = (0..<1000).map { reading($0, Double($0)) }
    for message in first { intake.receive(message) }
    _ = try intake.commit()
    let fresh = (0..<1000).map { reading(1000 + $0, Double($0)) }
    let count = AllocationCounter.measure {
      for index in 0..<1000 { intake.receive(fresh[index]) }
    }
    #expect(count.allocations <= 2)
    #expect(intake.counts.aggregated == 2000)
  }
}
