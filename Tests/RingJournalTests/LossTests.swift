// Goal: what is lost is counted once and exactly: what was committed and not delivered is what gaps
// tell, what the journal counts while it runs, and what the file says. Method: sinks that hold
// records in memory, lose their connection, forget and crash, over a ring that turns. Cannot show:
// the gateway's own sinks (the integration tests do).
import GatewayCore
import JournalSimulation
import Platform
import Testing

@testable import RingJournal

/// A destination: a reader, what it holds in memory, and what it has got for good.
private struct Destination: ~Copyable {
  let index: Int
  let state: JournalState
  var reader: JournalReader
  private var held: [(range: SequenceRange, isGap: Bool)] = []
  var account = Account()

  struct Account {
    var delivered: Set<UInt64> = []
    var gaps: Set<UInt64> = []
    var reasons: Set<GapReason> = []
  }

  init(_ state: JournalState, _ index: Int, _ account: Account = Account()) throws {
    self.index = index
    self.state = state
    self.account = account
    reader = try state.makeReader(sink: index)
  }

  /// Reads at most `count` records into memory, and the gaps before and between them.
  mutating func take(_ count: Int) throws {
    var left = count
    while left > 0 {
      var taken: [SequenceRange] = []
      let outcome = try reader.read { record, _ in
        guard taken.count < left else { return false }
        taken.append(record.sequences)
        return true
      }
      left -= taken.count
      held += taken.map { ($0, false) }
      switch outcome {
      case .gap(let gap):
        held.append((gap.range, true))
        account.reasons.insert(gap.reason)
      case .caughtUp, .stopped: return
      }
    }
  }

  /// The centre has it.
  mutating func deliver() {
    guard let last = held.last?.range.last else { return }
    for (range, isGap) in held {
      for sequence in range.first.rawValue...range.last.rawValue {
        if isGap { account.gaps.insert(sequence) } else { account.delivered.insert(sequence) }
      }
    }
    held = []
    state.acknowledge(index, through: last)
  }

  /// What was held is read again.
  mutating func forget() {
    guard let first = held.first?.range.first else { return }
    held = []
    reader.seek(to: first)
  }
}

private struct Generator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
    return word ^ word >> 31
  }
}

@Suite("Losses are counted")
struct LossTests {
  private func kit(_ sinks: [JournalSink] = [.central]) -> JournalKit {
    var kit = JournalKit(blocks: 24, commit: .kibibytes(8), sinks: sinks)
    kit.options.whenFull = .dropOldest
    return kit
  }

  private func append(_ writer: inout JournalWriter, _ generator: inout Generator) throws {
    for _ in 0...Int.random(in: 0..<3, using: &generator) {
      let size = Int.random(in: 0...2500, using: &generator)
      guard case .appended = try writer.append([UInt8](repeating: 1, count: size)) else { break }
    }
    _ = try writer.commit()
  }

  @Test(
    "one sink that stalls, forgets and catches up: not delivered = gaps = counted = on disk",
    arguments: 0..<40)
  func oneSink(seed: UInt64) throws {
    var generator = Generator(state: seed)
    let kit = kit()
    var journal = try kit.open()
    var sink = try Destination(journal.state, 0)
    for _ in 0..<300 {
      switch Int.random(in: 0..<8, using: &generator) {
      case 0: try sink.take(.random(in: 1...20, using: &generator))
      case 1: sink.deliver()
      case 2: if Bool.random(using: &generator) { sink.forget() }
      default: try append(&journal.writer, &generator)
      }
    }
    try sink.take(.max)
    sink.deliver()
    let all = Set(1...journal.state.committed.rawValue)
    #expect(sink.account.delivered.isDisjoint(with: sink.account.gaps))
    #expect(sink.account.delivered.union(sink.account.gaps) == all)
    let lost = UInt64(sink.account.gaps.count)
    #expect(lost > 0 && sink.account.reasons == [.ringFull])
    #expect(journal.state.statistics().gapRecords == [.ringFull: lost])
    try journal.writer.close()
    let seen = try JournalInspector.statistics(
      path: JournalKit.path, environment: kit.environment)
    #expect(seen.lostRecords == [.ringFull: lost])
  }

  @Test("records in memory are not lost while they can be delivered, and are once they cannot")
  func inFlight() throws {
    let kit = kit()
    var journal = try kit.open()
    for _ in 0..<10 { _ = try journal.writer.commit([UInt8](repeating: 1, count: 3000)) }
    var sink = try Destination(journal.state, 0)
    try sink.take(10)
    // The ring turns: what the sink holds goes too, and more.
    for _ in 0..<60 { _ = try journal.writer.commit([UInt8](repeating: 1, count: 3000)) }
    let oldest = journal.state.oldestKept.rawValue
    #expect(oldest > 11)
    let counted = journal.state.statistics().gapRecords[.ringFull, default: 0]
    #expect(counted == oldest - 11)
    sink.forget()
    try sink.take(.max)
    sink.deliver()
    #expect(sink.account.gaps == Set(1..<oldest))
    #expect(journal.state.statistics().gapRecords == [.ringFull: oldest - 1])
  }

  @Test("of several required sinks each has its gaps; the ring counts a record once")
  func severalSinks() throws {
    let sinks = [JournalSink(name: "a"), JournalSink(name: "b"), JournalSink(name: "c")]
    let kit = kit(sinks)
    var journal = try kit.open()
    var generator = Generator(state: 5)
    var prompt = try Destination(journal.state, 0)
    var slow = try Destination(journal.state, 1)
    var absent = try Destination(journal.state, 2)
    for round in 0..<200 {
      try append(&journal.writer, &generator)
      try prompt.take(.max)
      prompt.deliver()
      if round.isMultiple(of: 10) {
        try slow.take(8)
        slow.deliver()
      }
    }
    for _ in 0..<1 {
      try slow.take(.max)
      slow.deliver()
      try absent.take(.max)
      absent.deliver()
    }
    #expect(prompt.account.gaps.isEmpty && !slow.account.gaps.isEmpty)
    #expect(slow.account.gaps.isStrictSubset(of: absent.account.gaps))
    let lost = UInt64(absent.account.gaps.union(slow.account.gaps).count)
    #expect(journal.state.statistics().gapRecords == [.ringFull: lost])
  }

  @Test("what only a best-effort sink misses is a gap for this sink, and no loss")
  func bestEffort() throws {
    let kit = kit([.central, JournalSink(name: "lab", required: false)])
    var journal = try kit.open()
    var central = try Destination(journal.state, 0)
    for _ in 0..<100 {
      _ = try journal.writer.commit([UInt8](repeating: 1, count: 3000))
      try central.take(.max)
      central.deliver()
    }
    var lab = try Destination(journal.state, 1)
    try lab.take(.max)
    lab.deliver()
    #expect(central.account.gaps.isEmpty)
    #expect(lab.account.gaps.count > 50)
    #expect(lab.account.delivered.union(lab.account.gaps) == Set(1...100))
    #expect(journal.state.statistics().gapRecords == [:])
  }

  @Test("crashes in the middle of dropping: the file's count is what gaps tell", arguments: 0..<40)
  func crashes(seed: UInt64) throws {
    var generator = Generator(state: 1000 + seed)
    let kit = kit()
    var account = Destination.Account()
    for life in 0..<5 {
      var journal = try kit.open()
      var sink = try Destination(journal.state, 0, account)
      let steps = Int.random(in: 10...80, using: &generator)
      for _ in 0..<steps {
        switch Int.random(in: 0..<8, using: &generator) {
        case 0: try sink.take(.random(in: 1...6, using: &generator))
        case 1:
          sink.deliver()
          // Delivered and forgotten in a crash is another promise (a second of redelivery).
          kit.clock.advance(.seconds(2))
          _ = try journal.writer.maintain(now: kit.clock.monotonic())
          kit.clock.advance(.seconds(2))
          _ = try journal.writer.maintain(now: kit.clock.monotonic())
        default: try append(&journal.writer, &generator)
        }
      }
      if life == 4 {
        try sink.take(.max)
        sink.deliver()
        account = sink.account
        let all = Set(1...journal.state.committed.rawValue)
        #expect(account.delivered.isDisjoint(with: account.gaps))
        #expect(account.delivered.union(account.gaps) == all)
        #expect(
          journal.state.statistics().lostRecords[.ringFull, default: 0]
            == UInt64(account.gaps.count))
        try journal.writer.close()
      }
      account = sink.account
      kit.disk.crash(.nothing, seed: seed &* 10 &+ UInt64(life))
    }
  }

  @Test("refusals after the last superblock are counted by the next opening")
  func refusals() throws {
    let kit = kit()
    let topic: [UInt8] = [0x70]
    do {
      var journal = try kit.open()
      for _ in 0..<7 {
        _ = try journal.writer.appendRefusal(
          topic: topic.span, received: MonotonicTime(nanoseconds: 1))
        _ = try journal.writer.commit()
      }
    }
    for _ in 0..<2 {
      kit.disk.crash(.nothing, seed: 1)
      let journal = try kit.open()
      #expect(journal.state.statistics().lostRecords == [.quota: 7])
    }
  }

  @Test("what the operator skipped stays skipped, also when the ring gives it up later")
  func skipped() throws {
    let kit = kit()
    var journal = try kit.open()
    for _ in 0..<10 { _ = try journal.writer.commit([UInt8](repeating: 1, count: 3000)) }
    var reader = try JournalReader(
      state: journal.state, sink: 0, position: .first, skippedThrough: 4)
    #expect(
      try reader.read { _, _ in true } == .gap(Gap(SequenceRange(.first, Sequence(4)), .skipped)))
    reader.seek(to: .first)
    for _ in 0..<60 { _ = try journal.writer.commit([UInt8](repeating: 1, count: 3000)) }
    #expect(
      try reader.read { _, _ in true } == .gap(Gap(SequenceRange(.first, Sequence(4)), .skipped)))
    let oldest = journal.state.oldestKept
    #expect(
      try reader.read { _, _ in true }
        == .gap(Gap(SequenceRange(Sequence(5), oldest.previous), .ringFull)))
  }

  @Test("an acknowledged commit group gives back exactly what it takes")
  func space() throws {
    let kit = JournalKit(blocks: 64, commit: .kibibytes(32))
    var journal = try kit.open()
    var groups: [(last: Sequence, byteCount: Int)] = []
    for size in [1, 3, 2, 5, 1, 4, 2, 6, 3, 1] {
      // So large that none of them stays a tail.
      for _ in 0..<size {
        _ = try journal.writer.append([UInt8](repeating: 1, count: 4096 - 64 - 256 / size))
      }
      let receipt = try journal.writer.commit()
      let range = try #require(receipt.range)
      groups.append((range.last, receipt.byteCount.rawValue))
    }
    for (last, byteCount) in groups {
      let before = journal.writer.freeByteCount
      journal.state.acknowledge(0, through: last.previous)
      let isOne = groups.first.map { $0.last } == .first && last == .first
      if !isOne { #expect(journal.writer.freeByteCount == before) }
      journal.state.acknowledge(0, through: last)
      #expect(journal.writer.freeByteCount == before + byteCount)
    }
    #expect(journal.writer.freeFraction == 1)
  }
}
