// Goal: a source over its quota is refused, told of and acknowledged like all others, and nobody
// else notices. Method: messages go into the real intake over a small ring; the journal is read
// back. Cannot show: a real broker (the integration tests do).

import GatewayCore
import Mosquitto
import RingJournal
import Testing

@testable import Ingest

private func message(_ pump: Int, _ id: Int, padding: Int = 900) -> Sent {
  var sent = Sent(
    #"{"messageId":"m\#(id)","text":"\#(String(repeating: "x", count: padding))"}"#)
  sent.topic = Array("pumps/\(pump)/metrics".utf8)
  return sent
}

/// A run of what the journal holds: kind, source and how many sequences.
private struct Run: Equatable {
  var kind: RecordKind
  var topic: String
  var count: UInt64
}

private func runs(_ state: JournalState) throws -> [Run] {
  var runs: [Run] = []
  var reader = try state.makeReader(sink: 0)
  _ = try reader.read { record, bytes in
    var topic: [UInt8] = []
    topic.append(bytes.extracting(record.topic))
    let run = Run(
      kind: record.kind, topic: String(decoding: topic, as: UTF8.self),
      count: record.sequences.count)
    if let last = runs.last, last.kind == run.kind, last.topic == run.topic {
      runs[runs.count - 1].count += run.count
    } else {
      runs.append(run)
    }
    return true
  }
  return runs
}

@Suite("a source over its quota") struct QuotaIntakeTests {
  /// 128 blocks, of which one source may hold 40 kB: 39 of these records.
  private func kit() throws -> IngestKit {
    let kit = try IngestKit(blocks: 128)
    kit.options.sourceQuota = .bytes(ByteCount(40_000))
    return kit
  }

  private func take(_ intake: Intake, _ messages: some Swift.Sequence<Sent>) throws {
    for message in messages { intake.receive(message) }
    if let failure = intake.failure { throw failure }
    _ = try intake.commit()
    intake.refreshRoom()
  }

  @Test("it is refused in runs of sequences; the others are taken, and it again once delivered")
  func refused() throws {
    let kit = try kit()
    let (intake, state) = try kit.openIntake()
    try take(intake, (1...100).map { message(1, $0) })
    let taken = try #require(try runs(state).first).count
    // 48 + 15 + 930 bytes each, rounded up.
    #expect(taken == 40 || taken == 39)
    try take(intake, (1...20).map { message(2, $0) })
    #expect(
      try runs(state) == [
        Run(kind: .data, topic: "pumps/1/metrics", count: taken),
        Run(kind: .tombstone, topic: "pumps/1/metrics", count: 100 - taken),
        Run(kind: .data, topic: "pumps/2/metrics", count: 20),
      ])
    #expect(intake.refusedCount == 100 - taken)
    #expect(intake.counts.overQuota == Int(100 - taken))
    #expect(state.statistics().gapRecords == [.quota: 100 - taken])
    let told = try #require(intake.takeRefusal())
    #expect(told.topic == "pumps/1/metrics" && told.quota == ByteCount(40_000))
    #expect(told.held <= told.quota && told.held.rawValue > 38_000)
    state.acknowledge(0, through: state.committed)
    try take(intake, [message(1, 200)])
    #expect(intake.refusedCount == 100 - taken)
    #expect(try runs(state) == [Run(kind: .data, topic: "pumps/1/metrics", count: 1)])
  }

  @Test("negative control: without a quota the mad source fills the ring and stops everybody")
  func unlimited() throws {
    let kit = try kit()
    kit.options.sourceQuota = nil
    let (intake, _) = try kit.openIntake()
    for id in 1...2000 { intake.receive(message(1, id)) }
    #expect(intake.wasRefusedRoom)
  }

  @Test("with one, a mad source never fills the ring: the others find room, whatever it sends")
  func ringStaysOpen() throws {
    let kit = try kit()
    let (intake, state) = try kit.openIntake()
    for round in 0..<50 {
      try take(intake, (0..<100).map { message(1, 1000 * round + $0) })
      try take(intake, [message(2, round)])
    }
    #expect(!intake.wasRefusedRoom)
    let runs = try runs(state)
    #expect(runs.reduce(0) { $0 + ($1.topic == "pumps/2/metrics" ? $1.count : 0) } == 50)
    #expect(runs.reduce(0) { $0 + $1.count } == 5050)
  }

  @Test("a duplicate is a duplicate, not refused; a refused one that comes again counts once")
  func duplicates() throws {
    let kit = try kit()
    let (intake, state) = try kit.openIntake()
    try take(intake, (1...100).map { message(1, $0) })
    let (committed, refused) = (state.committed, intake.refusedCount)
    try take(intake, (1...100).map { message(1, $0) })
    #expect(state.committed == committed && intake.refusedCount == refused)
  }

  @Test("what it holds is known after a restart; a refused id is not, and is judged anew")
  func restart() throws {
    let kit = try kit()
    var taken: UInt64 = 0
    do {
      let (intake, state) = try kit.openIntake()
      try take(intake, (1...100).map { message(1, $0) })
      taken = try #require(try runs(state).first).count
    }
    do {
      let (intake, _) = try kit.openIntake()
      // The first are in the journal, the last were refused and are refused again.
      try take(intake, (1...100).map { message(1, $0) })
      #expect(intake.refusedCount == 100 - taken)
    }
    let (intake, state) = try kit.openIntake()
    // One run of each life.
    #expect(state.statistics().lostRecords == [.quota: 2 * (100 - taken)])
    state.acknowledge(0, through: state.committed)
    try take(intake, [message(1, 100)])
    #expect(intake.refusedCount == 0)
  }

  @Test("dead letters count for their source")
  func deadLetters() throws {
    let kit = try kit()
    let (intake, state) = try kit.openIntake()
    let large = (1...20).map { message(1, $0, padding: 5000) }
    try take(intake, large)
    let runs = try runs(state)
    #expect(runs.map(\.kind) == [.deadLetter, .tombstone])
    #expect(runs.map(\.count).reduce(0, +) == 20 && runs[0].count < 15)
  }

  @Test("a refusal that finds no room waits like every other message")
  func fullRing() throws {
    let kit = try IngestKit(blocks: 32)
    kit.options.sourceQuota = .bytes(ByteCount(120_000))
    let (intake, state) = try kit.openIntake()
    for id in 1...2000 where !intake.wasRefusedRoom {
      intake.receive(message(1, id))
      intake.receive(message(2, id, padding: 100))
    }
    #expect(intake.wasRefusedRoom)
    _ = try intake.commit()
    let found = try runs(state).reduce(0) { $0 + $1.count }
    #expect(found == state.committed.rawValue)
  }

  @Test("the PUBACK of a refused message leaves after its commit")
  func acknowledged() throws {
    let kit = try kit()
    let script: [Turn] = [
      .accept(sessionPresent: false), .grant([.grantedQoS1]),
      .messages((1...60).map { message(1, $0) }), .dry,
    ]
    let broker = try kit.run([script])
    let release = broker.calls.first { if case .release = $0.kind { true } else { false } }
    #expect(release == Call(.release(60), 60))
  }
}
