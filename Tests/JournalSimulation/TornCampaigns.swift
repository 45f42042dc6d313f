import GatewayCore
import RingJournal

/// The last write cut short in every way: recovery ends exactly at the last whole group, and
/// nothing of an older lap comes back as new.
extension Campaign {
  package static let torn: [Campaign] = [tornGroup, staleLap]

  /// A file before and after its last commit.
  private struct LastWrite: Sendable {
    var before: RecordedJournal
    var after: RecordedJournal
    var damage: DamageCase
    /// Where the last group was written.
    var place: Range<Int>

    init(before: RecordedJournal, after: RecordedJournal) throws {
      self.before = before
      self.after = after
      damage = try DamageCase(after)
      place = JournalImage.groups(after.image).max { $0.number < $1.number }?.occupied ?? 0..<0
    }
  }

  private enum Shape: CaseIterable {
    case firstLap, overOldGroups, wrapped, tailUp, tailDown
  }

  private static func lastWrite(_ shape: Shape) throws -> LastWrite {
    var life = RecordedJournal.Life()
    life.blockCount = 32
    life.groupCount = shape == .overOldGroups || shape == .wrapped ? 100 : 8
    life.isLeftInOrder = false
    life.byteCounts = [300, 900, 3600, 6000]
    var recorded = try RecordedJournal(seed: 7, life)
    var (before, after) = (recorded, recorded)
    try recorded.live { recorded, journal, disk in
      recorded.acknowledge(journal.state, through: recorded.committed)
      let dataEnd = recorded.image.count
      // Until four blocks fit behind the newest group, or do not fit any more.
      while shape == .wrapped || shape == .overOldGroups {
        let fits = newestEnd(disk.image) + 16_384 <= dataEnd
        if fits == (shape == .overOldGroups) { break }
        try recorded.commit(&journal, 3700)
        recorded.acknowledge(journal.state, through: recorded.committed)
      }
      let isTail = shape == .tailUp || shape == .tailDown
      for _ in 0..<(shape == .tailUp ? 1 : shape == .tailDown ? 2 : 0) {
        try recorded.commit(&journal, 700)
      }
      recorded.image = disk.image
      (before, after) = (recorded, recorded)
      try after.commit(&journal, isTail ? 700 : 15_900)
      after.image = disk.image
    }
    let write = try LastWrite(before: before, after: after)
    let earlier = JournalImage.groups(before.image).max { $0.number < $1.number }?.offset ?? 0
    switch shape {
    case .tailUp: precondition(write.place.lowerBound == earlier + 4096, "a copy at P + 1")
    case .tailDown: precondition(write.place.lowerBound == earlier - 4096, "a copy at P")
    case .wrapped: precondition(write.place.lowerBound == JournalImage.dataStart, "wrapped")
    case .firstLap, .overOldGroups: precondition(write.place.lowerBound > earlier, "at the head")
    }
    return write
  }

  private static func newestEnd(_ image: [UInt8]) -> Int {
    JournalImage.groups(image).max { $0.number < $1.number }?.occupied.upperBound ?? 0
  }

  /// Three shapes of 16 KiB, two of 4 KiB; four modes; every byte.
  private static let largeCaseCount = 3 * 4 * 16_384
  private static let tornCaseCount = largeCaseCount + 2 * 4 * 4096

  private static let tornGroup = Campaign(
    "torn-group",
    "the last group old, zero or noise from each of its bytes on, or old up to there",
    fullCount: UInt64(tornCaseCount), quickCount: 2000
  ) { _ in
    let writes = try Shape.allCases.map { try lastWrite($0) }
    return { seed in
      let index = spread(seed, over: tornCaseCount)
      let isTail = index >= largeCaseCount
      let rest = isTail ? index - largeCaseCount : index
      let byteCount = isTail ? 4096 : 16_384
      let write = writes[(isTail ? 3 : 0) + rest / byteCount / 4]
      let (mode, position) = (rest / byteCount % 4, rest % byteCount)
      var (image, old) = (write.after.image, write.before.image)
      let cut = write.place.lowerBound + position
      var generator = SeededGenerator(seed: seed)
      switch mode {
      case 0: for index in cut..<write.place.upperBound { image[index] = old[index] }
      case 1: for index in cut..<write.place.upperBound { image[index] = 0 }
      case 2:
        for index in cut..<write.place.upperBound {
          image[index] = .random(in: 0...255, using: &generator)
        }
      default: for index in write.place.lowerBound..<cut { image[index] = old[index] }
      }
      old = []
      return try write.damage.playTorn(
        image, place: write.place, committedBefore: write.before.committed)
    }
  }

  // MARK: Around the wrap

  /// The last commits of a ring of 24 blocks that has turned three times.
  private static func lastWrites() throws -> [LastWrite] {
    var life = RecordedJournal.Life()
    life.blockCount = 24
    life.groupCount = 0
    var recorded = try RecordedJournal(seed: 11, life)
    var generator = SeededGenerator(seed: 12)
    var writes: [LastWrite] = []
    try recorded.live { recorded, journal, disk in
      let lap: () -> UInt64 = { JournalImage.groups(disk.image).map(\.lap).max() ?? 0 }
      var left = Int.max
      while left > 0 {
        let byteCount = [900, 3000, 3600, 6000, 10_000].randomElement(using: &generator) ?? 900
        recorded.image = disk.image
        let before = recorded
        try recorded.commit(&journal, byteCount)
        if left == .max, lap() >= 3 { left = 100 }
        if left < .max {
          var after = recorded
          after.image = disk.image
          writes.append(try LastWrite(before: before, after: after))
          left -= 1
        }
        if recorded.committed > recorded.acknowledged + 5 {
          recorded.acknowledge(journal.state, through: recorded.committed - 5)
        }
      }
    }
    return writes
  }

  private static let staleLap = Campaign(
    "stale-lap",
    "cut in each of 100 commits after three laps: group or superblock kept, lost, mixed, garbled",
    fullCount: 100 * 40, quickCount: 100 * 10
  ) { _ in
    let writes = try lastWrites()
    return { seed in
      let write = writes[Int(seed % 100)]
      var generator = SeededGenerator(seed: seed)
      var image = write.after.image
      let old = write.before.image
      let fate = seed / 100 % 5
      // Either the group was being written and the superblock before it is durable, or the
      // superblock was.
      let isGroup = seed / 500 % 2 == 0
      if !isGroup { image.replaceSubrange(JournalImage.dataStart..., with: old.dropFirst(16_384)) }
      let part = isGroup ? JournalImage.dataStart..<image.count : 0..<JournalImage.dataStart
      for sector in stride(from: part.lowerBound, to: part.upperBound, by: 512) {
        let range = sector..<sector + 512
        if image[range] == old[range] { continue }
        switch fate {
        case 0: image.put(old.span.extracting(range), at: sector)
        case 1: break
        case 2, 3:
          if Bool.random(using: &generator) { image.put(old.span.extracting(range), at: sector) }
        default:
          if Bool.random(using: &generator) {
            for index in range { image[index] = .random(in: 0...255, using: &generator) }
          }
        }
      }
      return try write.damage.playTorn(
        image, place: write.place, committedBefore: write.before.committed)
    }
  }
}
