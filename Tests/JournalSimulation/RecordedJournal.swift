import GatewayCore
package import RingJournal

/// A journal file that was written in a scripted life, together with what must be in it: the
/// patient of the damage campaigns. Equal seeds are equal files.
package struct RecordedJournal: Sendable {
  package var image: [UInt8]
  /// The file after each commit, the last ones.
  package private(set) var snapshots: [[UInt8]] = []
  package private(set) var committed: UInt64 = 0
  package private(set) var acknowledged: UInt64 = 0
  package private(set) var environment: JournalEnvironment
  package private(set) var options: JournalOptions
  /// Byte count of each payload, by sequence.
  private var byteCounts: [Int] = [0]

  package struct Life: Sendable {
    package var blockCount = 16
    package var groupCount = 20
    /// How many of the newest records stay unacknowledged while the life goes on.
    package var lag: UInt64 = 6
    /// Open the journal anew after this many commits: several epochs in one file.
    package var groupsPerOpening = 9
    /// Twice opened and left in order at the end: both superblocks know everything. Otherwise the
    /// power went right after the last commit.
    package var isLeftInOrder = true
    /// Payload sizes to choose from.
    package var byteCounts = [20, 60, 300, 900, 1500, 3000, 3600, 6000]
    package var snapshotCount = 0

    package init() {}
  }

  /// Plays the life.
  package init(seed: UInt64, _ life: Life) throws {
    let kit = JournalKit(blocks: life.blockCount, commit: .kibibytes(16), seed: seed)
    var generator = SeededGenerator(seed: seed)
    options = kit.options
    environment = kit.environment
    _ = try Journal.open(path: JournalKit.path, options: options, environment: environment)
    image = kit.disk.bytes(JournalKit.path)
    var left = life.groupCount
    while left > 0 {
      try live { recorded, journal, disk in
        for _ in 0..<min(left, life.groupsPerOpening) {
          try recorded.commit(
            &journal, life.byteCounts.randomElement(using: &generator) ?? 300)
          if recorded.committed > life.lag + recorded.acknowledged {
            recorded.acknowledge(journal.state, through: recorded.committed - life.lag)
          }
          guard life.snapshotCount > 0 else { continue }
          if recorded.snapshots.count == life.snapshotCount { recorded.snapshots.removeFirst() }
          recorded.snapshots.append(disk.image)
        }
      }
      left -= min(left, life.groupsPerOpening)
    }
    if life.isLeftInOrder {
      for _ in 0..<2 { try live { _, journal, _ in try journal.writer.close() } }
    }
  }

  /// Opens the file, and keeps what its life wrote.
  package mutating func live(
    _ body: (inout RecordedJournal, inout OpenedJournal, ImageDisk) throws -> Void
  ) throws {
    let disk = ImageDisk(image)
    var journal = try open(disk)
    try body(&self, &journal, disk)
    image = disk.image
  }

  package func open(
    _ disk: ImageDisk, recovered: (JournalRecord, Span<UInt8>) -> Void = { _, _ in }
  ) throws(JournalError) -> OpenedJournal {
    var environment = environment
    environment.disk = disk
    return try Journal.open(
      path: JournalKit.path, options: options, environment: environment, recovered: recovered)
  }

  /// What a look at the file without opening it says.
  package func inspect(_ disk: ImageDisk) throws(JournalError) -> JournalStatistics {
    var environment = environment
    environment.disk = disk
    return try JournalInspector.statistics(path: JournalKit.path, environment: environment)
  }

  /// From now on each opening has the same epoch, so that a case does not depend on those before.
  mutating func fixEpoch() { environment.random = { 0x5eed } }

  /// Negative control: nothing that is read is checked.
  package mutating func disableVerification() { environment.isVerificationDisabled = true }

  /// Appends and commits one record; makes room when the ring is full.
  package mutating func commit(_ journal: inout OpenedJournal, _ byteCount: Int) throws {
    let payload = RecordedJournal.payload(committed + 1, byteCount: byteCount)
    while true {
      if let sequence = try journal.writer.commit(payload) {
        committed = sequence.rawValue
        byteCounts.append(byteCount)
        return
      }
      acknowledge(journal.state, through: min(acknowledged + 1, committed))
    }
  }

  package mutating func acknowledge(_ state: JournalState, through: UInt64) {
    acknowledged = through
    state.acknowledge(0, through: Sequence(through))
  }

  /// Whether this is what was committed under the sequence.
  package func isRight(_ sequence: UInt64, _ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
    guard sequence >= 1, sequence < byteCounts.count, byteCounts[Int(sequence)] == range.count
    else { return false }
    var word = firstWord(sequence)
    for index in range {
      if bytes[index] != UInt8(truncatingIfNeeded: word >> 56) { return false }
      word = nextWord(word)
    }
    return true
  }

  static func payload(_ sequence: UInt64, byteCount: Int) -> [UInt8] {
    var word = firstWord(sequence)
    return (0..<byteCount).map { _ in
      defer { word = nextWord(word) }
      return UInt8(truncatingIfNeeded: word >> 56)
    }
  }
}

// A linear congruential sequence (Knuth's MMIX constants): cheap, and no sector equals another.

private func firstWord(_ sequence: UInt64) -> UInt64 {
  var generator = SeededGenerator(seed: sequence)
  return generator.next()
}

@inline(__always)
private func nextWord(_ word: UInt64) -> UInt64 {
  word &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
}
