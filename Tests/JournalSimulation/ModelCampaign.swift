import RingJournal

extension Campaign {
  /// Random life and death of a journal beside a dictionary that knows what must be there.
  package static let model = Campaign(
    "model", "random operations, failing calls and crashes: nothing may be lost",
    fullCount: 200_000, quickCount: 2000
  ) { options in
    { seed in try modelCase(ModelScenario(seed: seed, options: options)) }
  }

  /// The same on a disk that also rots, loses writes and misdirects them.
  package static let decay = Campaign(
    "decay", "the same on a disk that rots, loses and misdirects: every loss has its gap",
    fullCount: 200_000, quickCount: 2000
  ) { options in
    { seed in try modelCase(ModelScenario(seed: seed, options: options, decays: true)) }
  }

  /// Both, with sinks that accept what is new before their backlog.
  package static let liveFirst = Campaign(
    "live-first",
    "sinks that accept ranges beyond their cursor: each known after a crash, no other",
    fullCount: 200_000, quickCount: 2000
  ) { options in
    { seed in
      try modelCase(
        ModelScenario(
          seed: seed, options: options, decays: seed.isMultiple(of: 4), isLiveFirst: true))
    }
  }

  package static let withoutSync = control(
    "control-no-sync", "control: a journal that never syncs must be seen to lose records",
    .noSync, decays: false)

  package static let withoutChecksums = control(
    "control-no-checksums", "control: checksums not compared; damage must be seen delivered",
    .noVerification, decays: true)

  package static let acknowledgedEarly = control(
    "control-early-ack", "control: acknowledged before the commit; losses must be seen",
    .earlyAcknowledgement, decays: false)

  package static let cursorAhead = control(
    "control-cursor-ahead", "control: cursors ahead of the sinks must be seen",
    .cursorAhead, decays: false)

  package static let intervalAhead = control(
    "control-interval-ahead", "control: intervals that no sink accepted must be seen",
    .intervalAhead, decays: false)

  private static func control(
    _ name: String, _ summary: String, _ sabotage: Sabotage, decays: Bool
  ) -> Campaign {
    Campaign(name, summary, fullCount: 100, quickCount: 100, isControl: true) { options in
      { seed in
        try modelCase(
          ModelScenario(
            seed: seed, options: options, decays: decays,
            isLiveFirst: sabotage == .intervalAhead, sabotage: sabotage))
      }
    }
  }

  private static func modelCase(_ scenario: ModelScenario) throws -> CaseResult {
    var run = ModelRun(scenario)
    try run.play()
    return run.result
  }
}
