package import RingJournal

/// What the cases of a campaign came to. All but `unprovable` must stay zero, unless the campaign
/// is a negative control.
package struct CampaignTally: Sendable, Equatable {
  package var cases: UInt64 = 0
  /// Committed records that were neither delivered nor covered by a gap.
  package var lost: UInt64 = 0
  /// Records that were never appended.
  package var invented: UInt64 = 0
  /// Records delivered with other bytes than they were committed with.
  package var wrong: UInt64 = 0
  /// Records delivered more than once for one position of the cursor.
  package var duplicated: UInt64 = 0
  /// Damage of which neither a gap nor a report says anything, although a record is missing.
  package var undetected: UInt64 = 0
  /// Committed records of the newest groups, damaged so that nothing on the disk proves any more
  /// that they were committed. The one loss that no journal can notice; counted, not a failure.
  package var unprovable: UInt64 = 0

  package init() {}

  package static func += (sum: inout CampaignTally, other: CampaignTally) {
    sum.cases += other.cases
    sum.lost += other.lost
    sum.invented += other.invented
    sum.wrong += other.wrong
    sum.duplicated += other.duplicated
    sum.undetected += other.undetected
    sum.unprovable += other.unprovable
  }
}

/// One case: what it counted, and in words what went wrong. No words: the case has passed.
package struct CaseResult: Sendable {
  package var tally = CampaignTally()
  package var complaints: [String] = []

  package init() { tally.cases = 1 }
}

/// What the command line says about every case of a run.
package struct CampaignOptions: Sendable {
  /// Sector size of the simulated disk in bytes, 512 or 4096; nil: each case decides by its seed.
  package var sectorByteCount: Int?
  /// What a full ring does; nil: each case decides.
  package var whenFull: WhenFull?
  /// Tells on standard error what happens: for one seed.
  package var isTracing = false

  package init(
    sectorByteCount: Int? = nil, whenFull: WhenFull? = nil, isTracing: Bool = false
  ) {
    self.isTracing = isTracing
    self.sectorByteCount = sectorByteCount
    self.whenFull = whenFull
  }
}

/// A family of cases, numbered from 0 by their seed; equal seeds are equal cases on every machine.
/// To add one, write it in a file of its own and name it in `Campaign.all`.
package struct Campaign: Sendable {
  /// One case; called on several threads at once.
  package typealias Trial = @Sendable (_ seed: UInt64) throws -> CaseResult

  /// As typed on the command line.
  package let name: String
  package let summary: String
  /// How many cases a full run has, and how many the short one of every build.
  package let fullCount: UInt64
  package let quickCount: UInt64
  /// A negative control breaks a promise on purpose: the run fails unless cases fail.
  package let isControl: Bool
  /// Called once per run: the place for what all cases share, such as an image to damage.
  package let prepare: @Sendable (CampaignOptions) throws -> Trial

  package init(
    _ name: String, _ summary: String, fullCount: UInt64, quickCount: UInt64,
    isControl: Bool = false, prepare: @escaping @Sendable (CampaignOptions) throws -> Trial
  ) {
    self.name = name
    self.summary = summary
    self.fullCount = fullCount
    self.quickCount = quickCount
    self.isControl = isControl
    self.prepare = prepare
  }

  /// In the order in which `all` runs them.
  package static let all: [Campaign] =
    [
      .model,
      .decay,
      .liveFirst,
      .subsets,
      .withoutSync,
      .withoutChecksums,
      .acknowledgedEarly,
      .cursorAhead,
      .intervalAhead,
    ] + torn + damage
}
