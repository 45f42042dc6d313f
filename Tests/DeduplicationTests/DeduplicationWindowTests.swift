// Goal: the window answers exactly as a set with a first-in-first-out horizon would, in bounded
// memory, whatever the ids.
// Method: seeded random runs against a plain model; the depths of replay at which the answer
// changes; ids built to crowd one part of the index.
// Cannot show: speed (see the benchmark).

import GatewayCore
import Testing

@testable import Deduplication

@Suite("Deduplication window")
struct DeduplicationWindowTests {
  /// The specification in the plainest form: a list of what was inserted, searched from the front.
  struct Model {
    let capacity: Int
    var entries: [(hash: MessageIDHash, digest: UInt64, committed: Bool)] = []

    func check(_ hash: MessageIDHash, digest: UInt64) -> DeduplicationWindow.Answer {
      let same = entries.filter { $0.hash == hash }
      if let entry = same.first(where: { $0.digest == digest }) {
        return .duplicate(committed: entry.committed)
      }
      return same.isEmpty ? .new : .conflict
    }

    mutating func insert(_ hash: MessageIDHash, digest: UInt64) {
      if entries.count == capacity { entries.removeFirst() }
      entries.append((hash, digest, false))
    }

    mutating func commit() {
      for index in entries.indices { entries[index].committed = true }
    }
  }

  @Test(
    "random use agrees with a list of the same horizon",
    arguments: [1, 2, 3, 7, 16, 100, 257], [UInt64(1), 2, 3, 4])
  func model(capacity: Int, seed: UInt64) {
    var generator = SeededGenerator(seed: seed &* 1000 &+ UInt64(capacity))
    var window = DeduplicationWindow(capacity: capacity)
    var model = Model(capacity: capacity)
    // Few different ids, so that hits, conflicts and returns after eviction are all common. Half
    // the seeds crowd the index: all low halves near the end, so that runs wrap round it.
    let crowded = seed % 2 == 0
    let ids = (0..<capacity * 3 + 2).map { _ in
      MessageIDHash(
        high: generator.next(),
        low: crowded ? UInt64.max - generator.next() % (1 << 56) : generator.next())
    }
    for _ in 0..<4000 {
      let hash = ids[Int.random(in: 0..<ids.count, using: &generator)]
      let digest = UInt64.random(in: 0...1, using: &generator)
      let answer = window.check(hash, digest: digest)
      #expect(answer == model.check(hash, digest: digest))
      if answer == .new {
        window.insert(hash, digest: digest)
        model.insert(hash, digest: digest)
      }
      if Int.random(in: 0..<10, using: &generator) == 0 {
        window.commit()
        model.commit()
      }
      #expect(window.count == model.entries.count)
    }
  }

  @Test(
    "replays of 1, the window, the window + 1 and twice the window are told as far as it reaches")
  func replayDepth() {
    let capacity = 1000
    for depth in [1, capacity, capacity + 1, 2 * capacity] {
      var generator = SeededGenerator(seed: 7)
      var window = DeduplicationWindow(capacity: capacity)
      let ids = (0..<2 * capacity).map { _ in generator.hash() }
      for id in ids { window.insert(id, digest: 1) }
      window.commit()
      let known = ids.suffix(depth).count { window.check($0, digest: 1) != .new }
      #expect(known == min(depth, capacity))
      #expect(window.count == capacity)
      #expect(window.evictedCount == UInt64(capacity))
    }
  }

  @Test("a duplicate of an uncommitted record is told from one of a committed record")
  func committed() {
    var generator = SeededGenerator(seed: 9)
    let (first, second) = (generator.hash(), generator.hash())
    var window = DeduplicationWindow(capacity: 10)
    window.insert(first, digest: 1)
    #expect(window.check(first, digest: 1) == .duplicate(committed: false))
    window.commit()
    window.insert(second, digest: 1)
    #expect(window.check(first, digest: 1) == .duplicate(committed: true))
    #expect(window.check(second, digest: 1) == .duplicate(committed: false))
  }

  @Test("the same id with another payload is a conflict, and its redelivery a duplicate")
  func conflict() {
    var generator = SeededGenerator(seed: 11)
    let hash = generator.hash()
    let hasher = MessageHasher(key: .reference)
    var window = DeduplicationWindow(capacity: 10)
    window.insert(hash, digest: 1)
    #expect(window.check(hash, digest: 2) == .conflict)
    let key = hasher.conflictHash(of: hash, digest: 2)
    #expect(window.check(key, digest: 2) == .new)
    window.insert(key, digest: 2)
    window.commit()
    #expect(window.check(key, digest: 2) == .duplicate(committed: true))
    #expect(window.check(hash, digest: 1) == .duplicate(committed: true))
    #expect(window.check(hash, digest: 3) == .conflict)
  }

  @Test(
    "the same id twice, as an accepted conflict or an older window leaves it, keeps both payloads")
  func twice() {
    var generator = SeededGenerator(seed: 12)
    let hash = generator.hash()
    var window = DeduplicationWindow(capacity: 3)
    window.insert(hash, digest: 1)
    window.insert(hash, digest: 2)
    #expect(window.check(hash, digest: 1) == .duplicate(committed: false))
    #expect(window.check(hash, digest: 2) == .duplicate(committed: false))
    window.insert(generator.hash(), digest: 0)
    window.insert(generator.hash(), digest: 0)
    #expect(window.check(hash, digest: 1) == .conflict)
    #expect(window.check(hash, digest: 2) == .duplicate(committed: false))
  }

  @Test("a record without an id is always new and takes no place")
  func absent() {
    var window = DeduplicationWindow(capacity: 2)
    window.insert(.absent, digest: 1)
    #expect(window.check(.absent, digest: 1) == .new)
    #expect(window.count == 0)
  }

  @Test("rebuilding from the records still in the ring gives the window that was live")
  func rebuild() {
    var generator = SeededGenerator(seed: 13)
    let capacity = 500
    var live = DeduplicationWindow(capacity: capacity)
    var records: [(MessageIDHash, UInt64)] = []
    for _ in 0..<1700 {
      records.append((generator.hash(), generator.next()))
      live.insert(records[records.count - 1].0, digest: records[records.count - 1].1)
    }
    live.commit()
    var rebuilt = DeduplicationWindow(capacity: capacity)
    for (hash, digest) in records { rebuilt.insert(hash, digest: digest) }
    rebuilt.commit()
    for (hash, digest) in records {
      #expect(live.check(hash, digest: digest) == rebuilt.check(hash, digest: digest))
      #expect(live.check(hash, digest: digest &+ 1) == rebuilt.check(hash, digest: digest &+ 1))
    }
  }

  @Test("a flood of ids leaves size and answers alone")
  func flood() {
    var generator = SeededGenerator(seed: 17)
    let capacity = 10_000
    var window = DeduplicationWindow(capacity: capacity)
    var last: [MessageIDHash] = []
    for count in 0..<30 * capacity {
      let hash = generator.hash()
      window.insert(hash, digest: 0)
      if count >= 29 * capacity { last.append(hash) }
    }
    #expect(window.count == capacity)
    #expect(window.evictedCount == UInt64(29 * capacity))
    #expect(last.allSatisfy { window.check($0, digest: 0) == .duplicate(committed: false) })
  }

  @Test("a window takes at most 32 bytes per id", arguments: [8, 1000, 838_860, 1_000_000])
  func memory(capacity: Int) {
    #expect(DeduplicationWindow.byteCount(capacity: capacity) <= 32 * capacity)
  }

  @Test("the window keeps what it took at the start", arguments: [1, 1000])
  func storage(capacity: Int) {
    var generator = SeededGenerator(seed: 19)
    var window = DeduplicationWindow(capacity: capacity)
    let before = window.allocatedByteCount
    for _ in 0..<3 * capacity { window.insert(generator.hash(), digest: 0) }
    #expect(window.allocatedByteCount == before)
    // The allocator rounds up; 64 bytes are one array's header and rounding.
    #expect(before <= DeduplicationWindow.byteCount(capacity: capacity) + 2 * 64)
  }
}

@Suite("Deduplication window within a time")
struct TimedWindowTests {
  @Test("an id is forgotten at its age, and at most a sixteenth of it before")
  func age() {
    for offset in stride(from: Int64(0), through: 100, by: 7) {
      var generator = SeededGenerator(seed: 23)
      var window = DeduplicationWindow(capacity: 100, within: .seconds(1))
      let (first, second) = (generator.hash(), generator.hash())
      window.insert(first, digest: 1, at: milliseconds(0))
      window.insert(second, digest: 1, at: milliseconds(offset))
      window.expire(now: milliseconds(offset + 937))
      #expect(window.check(second, digest: 1) == .duplicate(committed: false))
      window.expire(now: milliseconds(1000))
      #expect(window.check(first, digest: 1) == .new)
      window.expire(now: milliseconds(offset + 1000))
      #expect(window.check(second, digest: 1) == .new)
      #expect(window.count == 0)
      #expect(window.evictedCount == 0)
    }
  }

  @Test("an id that came back after its age is remembered anew")
  func again() {
    var generator = SeededGenerator(seed: 29)
    var window = DeduplicationWindow(capacity: 3, within: .seconds(1))
    let hash = generator.hash()
    for round in 0..<Int64(20) {
      let time = milliseconds(round * 1000)
      window.expire(now: time)
      #expect(window.check(hash, digest: 1) == .new)
      window.insert(hash, digest: 1, at: time)
      window.insert(generator.hash(), digest: 1, at: time)
      #expect(window.check(hash, digest: 1) == .duplicate(committed: false))
      #expect(window.count == 2)
    }
  }

  @Test("random use agrees with a list that forgets by age", arguments: [UInt64(1), 2, 3, 4, 5, 6])
  func model(seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    let within = [Int64(50), 1000, 10_000][Int(seed % 3)]
    let step = max(1, min(within, 1000) / 16) + 1
    let capacity = 200
    var window = DeduplicationWindow(capacity: capacity, within: .milliseconds(within))
    var list: [(hash: MessageIDHash, time: Int64)] = []
    let ids = (0..<100).map { _ in generator.hash() }
    var now: Int64 = -5_000
    for _ in 0..<5000 {
      now += Int64.random(in: 0...(within / 20), using: &generator)
      window.expire(now: milliseconds(now))
      list.removeAll { now - $0.time >= within }
      let hash = ids[Int.random(in: 0..<ids.count, using: &generator)]
      let answer = window.check(hash, digest: 0)
      let young = list.contains { $0.hash == hash && now - $0.time < within - step }
      let listed = list.contains { $0.hash == hash }
      // Between the two ages either answer is right.
      #expect(answer == .new ? !young : listed)
      if answer == .new {
        window.insert(hash, digest: 0, at: milliseconds(now))
        list.append((hash, now))
        if list.count > capacity { list.removeFirst() }
      }
    }
  }
}
