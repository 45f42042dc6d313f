// Goal: looking into a journal tells the truth: every committed record once, damage as damage and
// nothing else as damage, also while the writer is at work; and it writes nothing.
// Method: observers of rings on the simulated disk, with a writer that commits between any two
// reads of the observer, and with damage done on purpose. Cannot show: pages that change within one
// read.

import GatewayCore
import JournalSimulation
import Platform
import Synchronization
import Testing

@testable import RingJournal

/// What the expectations look at: an observer itself cannot be copied into one.
private struct Look {
  let committed: Sequence
  let oldest: Sequence
  let isLive: Bool
  let facts: JournalFacts
  let statistics: JournalStatistics

  init(_ observer: borrowing JournalObserver) {
    committed = observer.committed
    oldest = observer.oldest
    isLive = observer.isLive
    facts = observer.facts
    statistics = observer.statistics
  }
}

@Suite("Observers of journals")
struct ObserverTests {
  private struct Seen: Equatable {
    var records: [UInt64] = []
    var gaps: [SequenceRange] = []
    var absent: [SequenceRange] = []

    mutating func take(_ item: JournalItem) {
      switch item {
      case .record(let record):
        records += (record.sequences.first.rawValue...record.sequences.last.rawValue)
      case .gap(let gap): gaps.append(gap.range)
      case .absent(let range): absent.append(range)
      }
    }
  }

  private func observer(_ kit: JournalKit) throws -> JournalObserver {
    try JournalObserver(path: JournalKit.path, environment: kit.environment)
  }

  private func contents(
    _ observer: inout JournalObserver, from first: Sequence? = nil, through last: Sequence? = nil
  ) throws -> Seen {
    var seen = Seen()
    try observer.visit(from: first, through: last) { item, _ in
      seen.take(item)
      return true
    }
    return seen
  }

  /// A ring that has turned: 400 commits of all sizes, all but the last few acknowledged.
  private func turned(_ kit: JournalKit, commits: Int = 400) throws -> OpenedJournal {
    var journal = try kit.open()
    for index in 0..<commits {
      let size = index % 7 == 0 ? 6000 : 40 + index % 300
      _ = try journal.writer.commit([UInt8](repeating: UInt8(index & 0xff), count: size))
      if index % 3 == 0, index > 10 {
        journal.state.acknowledge(0, through: Sequence(UInt64(index - 10)))
      }
    }
    // Carries the last cursor.
    _ = try journal.writer.commit([1])
    return journal
  }

  @Test("an observer holds what the journal holds, in order, and nothing is written")
  func sameAsTheJournal() throws {
    let kit = JournalKit()
    let journal = try turned(kit)
    let before = kit.disk.bytes(JournalKit.path)
    var observer = try observer(kit)
    let look = Look(observer)
    #expect(look.committed == journal.state.committed)
    #expect(look.oldest == journal.state.oldestKept)
    #expect(look.oldest > Sequence(100), "the ring has turned")
    let seen = try contents(&observer)
    #expect(seen.records == Array(look.oldest.rawValue...look.committed.rawValue))
    #expect(seen.gaps == [] && seen.absent == [])
    #expect(look.statistics.sinks == journal.state.statistics().sinks)
    #expect(look.statistics.used == journal.state.statistics().used)
    let found = try observer.verify()
    #expect(found.isIntact && !Look(observer).isLive)
    #expect(kit.disk.bytes(JournalKit.path) == before)
  }

  @Test("what is asked for and overwritten is absent, what is beyond the newest is nothing")
  func ranges() throws {
    let kit = JournalKit()
    _ = try turned(kit)
    var observer = try observer(kit)
    let oldest = observer.oldest
    let seen = try contents(&observer, from: .first, through: oldest.next)
    #expect(seen.absent == [SequenceRange(.first, oldest.previous)])
    #expect(seen.records == [oldest.rawValue, oldest.rawValue + 1])
    let beyond = try contents(&observer, from: observer.committed.next)
    #expect(beyond == Seen())
    let (newest, none) = (observer.committed, observer.committed.next)
    let group = observer.group(holding: newest)
    #expect(group?.sequences.contains(newest) == true)
    #expect(group?.acknowledged["central"] != nil)
    let noGroup = observer.group(holding: none)
    #expect(noGroup == nil, "nothing is beyond the newest")
  }

  @Test("groups come in order, with laps and offsets that grow")
  func groups() throws {
    let kit = JournalKit()
    _ = try turned(kit)
    var observer = try observer(kit)
    var groups: [JournalGroup] = []
    observer.visitGroups {
      groups.append($0)
      return true
    }
    let look = Look(observer)
    #expect(groups.count == look.statistics.groupCount)
    #expect(groups.last?.sequences.last == look.committed)
    for (before, after) in zip(groups, groups.dropFirst()) {
      #expect(before.sequences.last.next == after.sequences.first)
      #expect((before.lap, before.offset) < (after.lap, after.offset))
    }
  }

  @Test(
    "an observer follows the writer, copies of the tail, turns of the ring and new epochs included")
  func follows() throws {
    for seed in 1...8 {
      var generator = SeededGenerator(seed: UInt64(seed))
      let kit = JournalKit(blocks: 32)
      var journal = try kit.open()
      var observer = try observer(kit)
      var (seen, next) = (Seen(), Sequence.first)
      for step in 0..<200 {
        let size = Int.random(in: 0..<4, using: &generator) == 0 ? 5000 : 60
        _ = try journal.writer.commit([UInt8](repeating: 7, count: size))
        journal.state.acknowledge(0, through: journal.state.committed)
        if step == 100 {
          try journal.writer.close()
          kit.disk.kill()
          journal = try kit.open()
          // On this disk the reader's descriptor died, too.
          observer = try self.observer(kit)
        }
        // At the latest before the ring could turn under the reader.
        guard step % 3 == 0 || step == 199 else { continue }
        let (hasNews, committed) = (try observer.follow(), observer.committed)
        #expect(hasNews && committed == journal.state.committed, "seed \(seed), step \(step)")
        try observer.visit(from: next) { item, _ in
          seen.take(item)
          next = item.sequences.last.next
          return true
        }
      }
      #expect(seen.records == Array(1...200), "seed \(seed)")
      #expect(seen.gaps == [] && seen.absent == [], "seed \(seed)")
      let (isLive, hasNews) = (observer.isLive, try observer.follow())
      #expect(isLive && !hasNews)
    }
  }

  @Test("a reader that the ring overtakes is told what it missed, and it is no damage")
  func overtaken() throws {
    let kit = JournalKit(blocks: 32)
    var journal = try kit.open()
    _ = try journal.writer.commit([1])
    var observer = try observer(kit)
    _ = try contents(&observer)
    for _ in 0..<300 {
      _ = try journal.writer.commit([UInt8](repeating: 7, count: 3000))
      journal.state.acknowledge(0, through: journal.state.committed)
    }
    let hasNews = try observer.follow()
    let seen = try contents(&observer, from: Sequence(2))
    let look = Look(observer)
    #expect(hasNews)
    #expect(seen.absent == [SequenceRange(Sequence(2), look.oldest.previous)])
    #expect(seen.records == Array(look.oldest.rawValue...301))
    #expect(seen.gaps == [])
  }

  @Test("damage is found, all of it and nothing else", arguments: 1...20)
  func damage(seed: UInt64) throws {
    let kit = JournalKit()
    let journal = try turned(kit)
    var generator = SeededGenerator(seed: seed)
    let entries = journal.state.index.withLock { index in
      (0..<index.count).map { index[$0] }.filter { $0.first >= journal.state.oldestKept.rawValue }
    }
    // Not the newest: a damaged last write may be a torn one. Not the oldest: where a last write
    // may have gone, a hole among released groups is none.
    let victim = entries[
      Int.random(in: entries.count / 2..<entries.count - 2, using: &generator)]
    let place = victim.offset + Int.random(in: 0..<Int(victim.usedByteCount), using: &generator)
    kit.disk.damage(JournalKit.path) { $0[place] ^= 1 << UInt8(seed % 8) }
    var observer = try observer(kit)
    let range = SequenceRange(Sequence(victim.first), Sequence(victim.last))
    let found = try observer.verify()
    #expect(!found.isIntact)
    // Where the older copy of a tail is still whole, it has some of the records.
    let lost = try #require(found.corrupt.first)
    #expect(found.corrupt.count == 1)
    #expect(lost.last == range.last && lost.first >= range.first)
    let look = Look(observer)
    #expect(look.facts.corrupt.map(\.sequences) == [lost])
    #expect(found.overtaken == [] && found.contradictions == [])
    let seen = try contents(&observer)
    #expect(seen.gaps == [lost])
    let all = Set(look.oldest.rawValue...look.committed.rawValue)
    #expect(Set(seen.records) == all.subtracting(lost.first.rawValue...victim.last))
    #expect(!look.isLive)
  }

  @Test("without any superblock the records are found all the same")
  func noSuperblock() throws {
    let kit = JournalKit()
    let journal = try turned(kit)
    kit.disk.damage(JournalKit.path) {
      $0[600] ^= 1
      $0[2 * 4096 + 600] ^= 1
    }
    var observer = try observer(kit)
    let look = Look(observer)
    #expect(look.facts.damagedBlockCount == 2)
    #expect(look.facts.epoch == nil)
    let found = try observer.verify()
    #expect(found.isIntact)
    #expect(look.committed == journal.state.committed)
    #expect(look.statistics.sinks.map(\.acknowledged) == [journal.state.acknowledged(0)])
  }

  @Test("a copy that was cut short is read as far as it goes")
  func cutShort() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    for _ in 0..<20 { _ = try journal.writer.commit([UInt8](repeating: 1, count: 5000)) }
    try journal.writer.close()
    kit.disk.damage(JournalKit.path) { $0.removeLast($0.count - 20 * 4096) }
    var observer = try observer(kit)
    let look = Look(observer)
    #expect(look.facts.missingByteCount == 48 * 4096)
    let seen = try contents(&observer)
    #expect(seen.records.first == 1 && seen.records.count < 20)
    #expect(seen.gaps.last?.last == Sequence(20))
    #expect(seen.records.count + Int(seen.gaps.reduce(0) { $0 + $1.count }) == 20)
  }

  @Test("rates come from the newest groups of one boot, and are unknown without time passed")
  func rates() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    _ = try journal.writer.commit([1])
    var early = try observer(kit)
    let none = early.rates()
    #expect(none == nil)
    for _ in 0..<10 {
      kit.clock.advance(.seconds(10))
      _ = try journal.writer.commit([UInt8](repeating: 1, count: 4000))
      journal.state.acknowledge(0, through: journal.state.committed.previous)
    }
    var observer = try observer(kit)
    let known = observer.rates()
    let rates = try #require(known)
    #expect(rates.span >= .seconds(100) && rates.span < .seconds(101))
    #expect(abs(rates.records - 0.11) < 0.002, "\(rates.records)")
    #expect(abs(rates.ringBytes - 860) < 10, "\(rates.ringBytes)")
    #expect(abs((rates.acknowledged["central"] ?? 0) - 0.09) < 0.011, "\(rates)")
  }
}

/// What the observer sees when the writer commits between any two of its reads.
@Suite("Observers of journals at work")
struct LiveObserverTests {
  /// Commits before the observer's reads, as often and as large as the generator says.
  private final class Companion: Sendable {
    private struct State: ~Copyable, Sendable {
      var writer: JournalWriter
      var generator: SeededGenerator
      var isAtWork = true
      var commitCount = 0
    }
    private let state: Mutex<State>
    private let journal: JournalState

    init(_ journal: consuming OpenedJournal, seed: UInt64) {
      self.journal = journal.state
      state = Mutex(
        State(writer: journal.takeWriter(), generator: SeededGenerator(seed: seed)))
    }

    var commitCount: Int { state.withLock { $0.commitCount } }
    func stop() { state.withLock { $0.isAtWork = false } }

    func work() throws(JournalError) {
      try state.withLock { state throws(JournalError) in
        guard state.isAtWork, state.commitCount < 400 else { return }
        // Idle, or so busy that a tail turns over between two reads of its pair of blocks.
        guard Int.random(in: 0..<3, using: &state.generator) == 0 else { return }
        for _ in 0..<Int.random(in: 0..<10, using: &state.generator) {
          let size = Int.random(in: 0..<5, using: &state.generator) == 0 ? 2500 : 300
          _ = try state.writer.commit([UInt8](repeating: 3, count: size))
          state.commitCount += 1
        }
        let lag = UInt64.random(in: 0..<20, using: &state.generator)
        let committed = journal.committed.rawValue
        if committed > lag { journal.acknowledge(0, through: Sequence(committed - lag)) }
      }
    }
  }

  /// Lets the companion work before each read.
  private final class BusyDisk: Disk {
    private let disk: SimulatedDisk
    private let companion: Companion
    init(_ disk: SimulatedDisk, _ companion: Companion) {
      self.disk = disk
      self.companion = companion
    }
    func open(_ path: String, _ mode: DiskOpenMode) throws(SystemError) -> any DiskFile {
      BusyFile(try disk.open(path, mode), companion)
    }
    func exists(_ path: String) -> Bool { disk.exists(path) }
    func entries(ofDirectory path: String) throws(SystemError) -> [String] {
      try disk.entries(ofDirectory: path)
    }
    func createDirectory(_ path: String) throws(SystemError) { try disk.createDirectory(path) }
    func rename(_ path: String, to newPath: String) throws(SystemError) {
      try disk.rename(path, to: newPath)
    }
    func remove(_ path: String) throws(SystemError) { try disk.remove(path) }
    func syncDirectory(of path: String) throws(SystemError) {}
    func volume(of path: String) throws(SystemError) -> VolumeFacts { try disk.volume(of: path) }
  }

  private final class BusyFile: DiskFile {
    private let file: any DiskFile
    private let companion: Companion
    init(_ file: any DiskFile, _ companion: Companion) {
      self.file = file
      self.companion = companion
    }
    func lock() throws(SystemError) -> Bool { try file.lock() }
    func byteCount() throws(SystemError) -> Int { try file.byteCount() }
    func read(into bytes: inout MutableSpan<UInt8>, at offset: Int) throws(SystemError) -> Int {
      do throws(JournalError) {
        try companion.work()
      } catch {
        throw SystemError("the companion: \(error)", code: 5)
      }
      return try file.read(into: &bytes, at: offset)
    }
    func write(_ bytes: Span<UInt8>, at offset: Int) throws(SystemError) {
      Issue.record("an observer writes nothing")
    }
    func dataSync() throws(SystemError) { Issue.record("an observer syncs nothing") }
    func fullSync() throws(SystemError) { Issue.record("an observer syncs nothing") }
    func dropCache() {}
  }

  private func scene(seed: UInt64, commits: Int) throws -> (JournalKit, Companion) {
    var kit = JournalKit(blocks: 48)
    // One block per read of the scan: the writer gets between any two blocks.
    kit.environment.scanChunkByteCount = 4096
    var journal = try kit.open()
    for index in 0..<commits {
      _ = try journal.writer.commit([UInt8](repeating: 9, count: index % 5 == 0 ? 6000 : 90))
      journal.state.acknowledge(0, through: journal.state.committed)
    }
    let companion = Companion(journal, seed: seed)
    kit.environment.disk = BusyDisk(kit.disk, companion)
    return (kit, companion)
  }

  @Test("a writer at work is never taken for damage", arguments: 1...30)
  func noFalseAlarm(seed: UInt64) throws {
    let (kit, companion) = try scene(seed: seed, commits: Int(seed % 4) * 70)
    var observer = try JournalObserver(path: JournalKit.path, environment: kit.environment)
    let found = try observer.verify()
    #expect(found.corrupt == [], "seed \(seed)")
    #expect(found.contradictions == [], "seed \(seed)")
    #expect(companion.commitCount > 20)
    companion.stop()
    _ = try observer.follow()
    let after = try observer.verify()
    #expect(after.isIntact)
  }

  @Test("damage behind a writer at work is found", arguments: 1...10)
  func damage(seed: UInt64) throws {
    var kit = JournalKit(blocks: 512)
    kit.environment.scanChunkByteCount = 4096
    var journal = try kit.open()
    for _ in 0..<60 { _ = try journal.writer.commit([UInt8](repeating: 9, count: 6000)) }
    let victim = journal.state.index.withLock { $0[20] }
    kit.disk.damage(JournalKit.path) { $0[victim.offset + 300] ^= 4 }
    let companion = Companion(journal, seed: seed)
    kit.environment.disk = BusyDisk(kit.disk, companion)
    var observer = try JournalObserver(path: JournalKit.path, environment: kit.environment)
    let found = try observer.verify()
    #expect(found.corrupt == [SequenceRange(Sequence(victim.first), Sequence(victim.last))])
  }
}
