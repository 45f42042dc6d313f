import GatewayCore

/// Damage to a finished file: rot, noise, holes, blocks that changed places or fell back to an
/// earlier state, blocks that cannot be read, damaged superblocks. Nothing wrong may be delivered,
/// each loss is a gap, no gap is larger than the damage, and the journal goes on working.
extension Campaign {
  package static let damage: [Campaign] = [
    bitRot, bitRotAfterCrash, bitRotUnchecked, noise, swappedBlocks, swappedSectors, staleBlocks,
    unreadable, unreadableLater, superblocks,
  ]

  /// The patients: in their first lap, after several laps, and as a power cut leaves them.
  static func patients(isLeftInOrder: Bool = true, snapshots: Int = 0) throws
    -> [RecordedJournal]
  {
    var young = RecordedJournal.Life()
    young.groupCount = 14
    young.lag = 8
    var old = RecordedJournal.Life()
    old.groupCount = 90
    old.lag = 9
    return try [young, old].enumerated().map { index, life in
      var life = life
      life.isLeftInOrder = isLeftInOrder
      life.snapshotCount = snapshots
      return try RecordedJournal(seed: UInt64(index + 1), life)
    }
  }

  /// Spreads neighbouring seeds over all cases, each case once: short runs sample everything.
  package static func spread(_ seed: UInt64, over count: Int) -> Int {
    Int(seed &* 1_000_003 % UInt64(count))
  }

  private static func damaging(
    _ patients: [RecordedJournal],
    _ trial: @escaping @Sendable (UInt64, RecordedJournal, DamageCase) throws -> CaseResult
  ) throws -> Trial {
    let cases = try patients.map { ($0, try DamageCase($0)) }
    return { seed in
      let (recorded, damage) = cases[Int(seed % UInt64(cases.count))]
      return try trial(seed / UInt64(cases.count), recorded, damage)
    }
  }

  // MARK: Rot

  /// 16 blocks of data, 4 of control: 655,360 bits, twice.
  private static let bitCount: UInt64 = 20 * 4096 * 8

  private static func flip(
    _ seed: UInt64, _ recorded: RecordedJournal, _ damage: DamageCase
  ) throws -> CaseResult {
    var image = recorded.image
    let bit = spread(seed, over: image.count * 8)
    image[bit / 8] ^= 1 << (bit % 8)
    return try damage.play(image, touched: [bit / 8..<bit / 8 + 1])
  }

  private static let bitRot = Campaign(
    "bit-rot", "every bit of a file of 80 KiB, in its first lap and after several, flipped",
    fullCount: 2 * bitCount, quickCount: 8000
  ) { _ in try damaging(try patients(), flip) }

  private static let bitRotAfterCrash = Campaign(
    "bit-rot-after-crash",
    "the same without a superblock behind the last group, whose loss alone may go undetected",
    fullCount: 2 * bitCount, quickCount: 8000
  ) { _ in try damaging(try patients(isLeftInOrder: false), flip) }

  private static let bitRotUnchecked = Campaign(
    "control-checksums-off", "control: with checksums ignored, flipped bits must be delivered",
    fullCount: 2000, quickCount: 2000, isControl: true
  ) { _ in
    let cases = try patients().map { recorded in
      var recorded = recorded
      let damage = try DamageCase(recorded)
      recorded.disableVerification()
      return (recorded, damage.withoutVerification())
    }
    return { seed in
      let (recorded, damage) = cases[Int(seed % 2)]
      // Bodies only: without checksums a damaged length may mean anything.
      let bodies = JournalImage.groups(recorded.image).filter { $0.last > recorded.acknowledged }
      var generator = SeededGenerator(seed: seed)
      guard let group = bodies.randomElement(using: &generator) else { return CaseResult() }
      let byte = group.used.upperBound - 1 - Int.random(in: 8..<16, using: &generator)
      var image = recorded.image
      image[byte] ^= 1
      return try damage.play(image, touched: [byte..<byte + 1])
    }
  }

  private static let noise = Campaign(
    "noise", "512 B and 4 KiB of noise or zeros and holes of 16 KiB anywhere", fullCount: 40_000,
    quickCount: 2000
  ) { _ in
    try damaging(try patients() + patients(isLeftInOrder: false)) { seed, recorded, damage in
      var generator = SeededGenerator(seed: seed)
      var image = recorded.image
      let byteCount = [512, 4096, 16384].randomElement(using: &generator) ?? 512
      let isZero = byteCount == 16384 || Bool.random(using: &generator)
      let start = Int.random(in: 0...image.count / 512 - byteCount / 512, using: &generator) * 512
      for index in start..<start + byteCount {
        image[index] = isZero ? 0 : UInt8.random(in: 0...255, using: &generator)
      }
      return try damage.play(image, touched: [start..<start + byteCount])
    }
  }

  // MARK: Misdirected and stale

  private static func swap(
    _ seed: UInt64, _ recorded: RecordedJournal, _ damage: DamageCase, unit: Int
  ) throws -> CaseResult {
    let count = recorded.image.count / unit
    // The pairs in the order (1, 0), (2, 0), (2, 1), (3, 0) …
    var (high, rest) = (1, Int(seed))
    while rest >= high {
      rest -= high
      high += 1
    }
    precondition(high < count, "a pair of this image")
    var image = recorded.image
    let (first, second) = (rest * unit, high * unit)
    image.put(recorded.image.span.extracting(second..<second + unit), at: first)
    image.put(recorded.image.span.extracting(first..<first + unit), at: second)
    return try damage.play(image, touched: [first..<first + unit, second..<second + unit])
  }

  private static let swappedBlocks = Campaign(
    "swapped-blocks", "every pair of 4 KiB blocks of the file has changed places",
    fullCount: 2 * 190, quickCount: 2 * 190
  ) { _ in try damaging(try patients()) { try swap($0, $1, $2, unit: 4096) } }

  private static let swappedSectors = Campaign(
    "swapped-sectors", "every pair of 512-byte sectors of the file has changed places",
    fullCount: 2 * 12_720, quickCount: 1000
  ) { _ in
    try damaging(try patients()) { try swap(UInt64(spread($0, over: 12_720)), $1, $2, unit: 512) }
  }

  private static let staleBlocks = Campaign(
    "stale-blocks", "every block and sector falls back to what it was 1 … 40 commits earlier",
    fullCount: 2 * 40 * 180, quickCount: 2000
  ) { _ in
    try damaging(try patients(snapshots: 40)) { seed, recorded, damage in
      let choice = spread(seed, over: 40 * 180)
      let snapshot = recorded.snapshots[choice / 180 % recorded.snapshots.count]
      // 20 blocks, then 160 sectors.
      let unit = choice % 180 < 20 ? 4096 : 512
      let start = (unit == 4096 ? choice % 180 : choice % 180 - 20) * unit
      var image = recorded.image
      image.put(snapshot.span.extracting(start..<start + unit), at: start)
      return try damage.play(image, touched: [start..<start + unit])
    }
  }

  // MARK: Unreadable

  private static let unreadable = Campaign(
    "unreadable", "every block, and every pair of blocks, refuses to be read at the start",
    fullCount: 2 * 210, quickCount: 2 * 210
  ) { _ in
    try damaging(try patients()) { seed, recorded, damage in
      let (first, second) = pair(seed)
      return try damage.play(recorded.image, touched: [], unreadable: [first, second])
    }
  }

  /// The single blocks as (n, n), then the pairs.
  private static func pair(_ seed: UInt64) -> (Int, Int) {
    var (high, rest) = (0, Int(seed))
    while rest > high {
      rest -= high + 1
      high += 1
    }
    return (rest, high)
  }

  private static let unreadableLater = Campaign(
    "unreadable-later", "every block refuses to be read once the journal is open",
    fullCount: 2 * 16, quickCount: 2 * 16
  ) { _ in
    try damaging(try patients()) { seed, recorded, damage in
      try damage.playLater(unreadable: 4 + Int(seed))
    }
  }

  // MARK: Superblocks

  private static let superblocks = Campaign(
    "superblocks", "slots zeroed, garbled, stale, torn, alone and together, of mixed generations",
    fullCount: 2 * 6 * 6 * 40, quickCount: 2 * 6 * 6 * 40
  ) { _ in
    try damaging(try patients(snapshots: 40)) { seed, recorded, damage in
      var generator = SeededGenerator(seed: seed)
      let snapshot = recorded.snapshots[Int(seed) / 36 % recorded.snapshots.count]
      var image = recorded.image
      var touched: [Range<Int>] = []
      for (slot, kind) in [Int(seed) % 6, Int(seed) / 6 % 6].enumerated() where kind > 0 {
        let range = 2 * slot * 4096..<2 * slot * 4096 + 4096
        touched.append(range)
        switch kind {
        case 1: for index in range { image[index] = 0 }
        case 2: for index in range { image[index] = .random(in: 0...255, using: &generator) }
        case 3: image.put(snapshot.span.extracting(range), at: range.lowerBound)
        case 4: for index in range.dropFirst(1024) { image[index] = snapshot[index] }
        // The other slot's block: a superblock in the wrong slot is as good as in its own.
        default:
          let other = 2 * (1 - slot) * 4096
          image.put(
            recorded.image.span.extracting(other..<other + 4096), at: range.lowerBound)
        }
      }
      return try damage.play(image, touched: touched)
    }
  }
}
