import GatewayCore
package import RingJournal

/// A promise that a negative control breaks on purpose.
package enum Sabotage: Sendable {
  /// Nothing is ever synced.
  case noSync
  /// Checksums are not compared.
  case noVerification
  /// The model counts records as acknowledged when they are appended, before the commit returned.
  case earlyAcknowledgement
  /// The journal is told of acknowledgements that the sink never gave.
  case cursorAhead
  /// The same of what is accepted beyond the cursor.
  case intervalAhead
}

/// Everything about a run of the model that its seed decides before it begins.
package struct ModelScenario: Sendable {
  package let seed: UInt64
  package var sectorByteCount: Int
  package var whenFull: WhenFull
  package var blockCount: Int
  package var sinks: [JournalSink]
  /// Payload sizes to choose from.
  package var payloadByteCounts: [Int]
  /// Small records committed one by one: the tail flips between its two blocks.
  package var isLowRate: Bool
  /// The disk also rots, loses and misdirects writes: then losses are allowed, each with its gap.
  package var decays: Bool
  /// Sinks also accept what does not adjoin their cursor.
  package var isLiveFirst: Bool
  /// Opening reads ahead on a thread.
  package var readsAhead: Bool
  package var faults = DiskFaults()
  package var sabotage: Sabotage?
  package var lifeCount = 6
  package var isTracing = false

  package init(
    seed: UInt64, options: CampaignOptions = CampaignOptions(), decays: Bool = false,
    isLiveFirst: Bool = false, sabotage: Sabotage? = nil
  ) {
    // Another sequence than the operations take, so that an option changes nothing else.
    var generator = SeededGenerator(seed: ~seed)
    self.seed = seed
    isTracing = options.isTracing
    self.sabotage = sabotage
    let sector = [512, 512, 4096].randomElement(using: &generator) ?? 512
    sectorByteCount = options.sectorByteCount ?? sector
    let policy: WhenFull = Int.random(in: 0..<3, using: &generator) == 0 ? .dropOldest : .block
    whenFull = options.whenFull ?? policy
    blockCount = [16, 24, 32, 64].randomElement(using: &generator) ?? 16
    isLowRate = Int.random(in: 0..<4, using: &generator) == 0
    payloadByteCounts = isLowRate ? [8, 8, 40, 90] : [8, 8, 40, 200, 900, 5000]
    self.decays = decays
    readsAhead = Int.random(in: 0..<24, using: &generator) == 0
    sinks = ModelScenario.randomSinks(&generator)
    self.isLiveFirst = isLiveFirst
    faults.shortCall = 0.02
    faults.interruption = 0.02
    if Bool.random(using: &generator) {
      faults.failingSync = 0.01
      faults.failingWrite = 0.01
    }
    if decays {
      faults.lostWrite = [0, 0.01, 0.05].randomElement(using: &generator) ?? 0
      faults.misdirectedWrite = [0, 0.01, 0.03].randomElement(using: &generator) ?? 0
    }
    if sabotage != nil { faults = DiskFaults() }
  }

  /// One to three sinks, in any order, some of them best effort, some begin at the newest record.
  package static func randomSinks(_ generator: inout SeededGenerator) -> [JournalSink] {
    let names = ["central", "second", "third"].shuffled(using: &generator)
    let count = [1, 1, 2, 3].randomElement(using: &generator) ?? 1
    return names.prefix(count).map { name in
      JournalSink(
        name: name, required: Int.random(in: 0..<4, using: &generator) > 0,
        start: Int.random(in: 0..<4, using: &generator) == 0 ? .newest : .oldest)
    }
  }
}
