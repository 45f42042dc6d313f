import RingJournal

extension Campaign {
  /// Random life and death of a journal beside a dictionary that knows what must be there.
  package static let model = Campaign(
    "model", "random operations, faults and crashes against a model", fullCount: 200_000,
    quickCount: 2000
  ) { options in
    { seed in try modelCase(seed, options) }
  }

  /// Negative control: nothing is ever synced.
  package static let withoutSync = Campaign(
    "control-no-sync", "control: a journal that never syncs must be seen to lose records",
    fullCount: 100, quickCount: 100, isControl: true
  ) { options in
    { seed in try modelCase(seed, options, isSyncDisabled: true) }
  }

  private static func modelCase(
    _ seed: UInt64, _ options: CampaignOptions, isSyncDisabled: Bool = false
  ) throws -> CaseResult {
    var run = try ModelRun(
      seed: seed, policy: seed % 3 == 0 ? .dropOldest : .block, isSyncDisabled: isSyncDisabled)
    try run.play()
    var result = CaseResult()
    result.complaints = run.complaints
    return result
  }
}
