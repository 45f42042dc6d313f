// Goal: whatever order, repetition and delay batches come in, whatever the wall clock does, and
// whenever the hub is started anew, each event is applied once and the state comes out the same.
// Method: a journal cut into batches, a seeded mess of them, the orderly run beside. Cannot show:
// gaps that are given up waiting for (EngineTests has those).

import GatewayCore
import Hub
import PumpTelemetry
import Testing

@Suite("disorder") struct DisorderTests {
  private let batches = Batches()

  /// Of sequence 1 and so on: creations, contradictions, changes, readings, gaps.
  private func journal(_ generator: inout SplitMix64) -> [Batches.Part] {
    (1...80).map { number in
      let pump = "ND0\(Int.random(in: 1...3, using: &generator))"
      return switch Int.random(in: 0..<12, using: &generator) {
      case 0: .asset(pump, "\"type\":\"esp\",\"version\":\"1\"")
      case 1: .asset(pump, "\"type\":\"other\",\"version\":\"1\"")
      case 2: .asset(pump, "\"change\":\"changed\",\"version\":\"\(number)\"")
      case 3: .gap(1, .quota)
      default: .reading(pump, Double(number))
      }
    }
  }

  /// Every batch at least once, now and then several of them at once, overlapping and again.
  private func mess(_ count: Int, _ generator: inout SplitMix64) -> [Range<Int>] {
    var ranges: [Range<Int>] = []
    var start = 0
    while start < count {
      let end = min(count, start + Int.random(in: 1...9, using: &generator))
      ranges.append(start..<end)
      // Again, whole or with a part of what is beside it.
      if Bool.random(using: &generator) {
        ranges.append(max(0, start - 3)..<min(count, end + 2))
      }
      start = end
    }
    return ranges.shuffled(using: &generator)
  }

  private func outcome(_ stage: borrowing Stage) -> [String] {
    stage.engine.book.assets.map { asset in
      "\(asset.id) \(asset.isRegistered) \(String(decoding: asset.facts, as: UTF8.self)) "
        + "\(asset.readings) \(asset.readingOrigin?.sequence.rawValue ?? 0)"
    }.sorted()
  }

  @Test("each event once, and the same state as in order", arguments: 1...12)
  func seeded(seed: Int) throws {
    var generator = SplitMix64(seed: UInt64(seed), stream: 0)
    let parts = journal(&generator)
    let directory = try TestDirectory()
    var orderly = try Stage(try SQLiteStore(path: directory.path + "/orderly.sqlite"))
    try orderly.take(batches.received(1, parts))
    var stage = try Stage(try SQLiteStore(path: directory.path + "/hub.sqlite"))
    for range in mess(parts.count, &generator) {
      // The wall clock jumps by hours, forwards and back.
      let jump = Int64.random(in: -10...10, using: &generator) * 3_600_000_000_000
      let changes = stage.engine.decide(
        [batches.received(UInt64(range.lowerBound + 1), Array(parts[range]))],
        now: WallTime(nanoseconds: Batches.time.nanoseconds + jump), clock: stage.clock)
      try stage.store.commit(changes)
      if Int.random(in: 0..<4, using: &generator) == 0 { try stage.restart() }
    }
    let inbox = try #require(stage.engine.inboxes.inboxes.first)
    #expect(inbox.accounted.text == "1-80")
    #expect(outcome(stage) == outcome(orderly), "seed \(seed)")
    func sequences(_ stage: borrowing Stage) throws -> [UInt64] {
      try stage.events().compactMap { $0.origin?.sequence.rawValue }.sorted()
    }
    #expect(try sequences(stage) == sequences(orderly), "seed \(seed)")
    #expect(try Set(sequences(stage)).count == sequences(stage).count)
    #expect(try Projection.compare(stage.store, usesSnapshots: false).isEqual)
  }
}
