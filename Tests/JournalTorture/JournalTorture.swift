import ArgumentParser
import GatewayCore
import Glibc
import JournalSimulation
import Platform
import RingJournal

/// Plays the campaigns of `JournalSimulation`. A failing case prints the one line that repeats it.
@main
struct JournalTorture: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "journal-torture",
    abstract: "Prove the ring journal against a simulated disk.",
    discussion: Campaign.all.map { "\($0.name): \($0.summary)" }.joined(separator: "\n"))

  @Argument(help: "The name of a campaign, or all.") var campaign: String

  @Option(help: "How many cases; default: the campaign's full number.") var seeds: UInt64?

  @Option(help: "The first seed.") var from: UInt64 = 0

  @Option(help: "Only this seed.") var seed: UInt64?

  @Option(help: "Sector size in bytes, 512 or 4096; default: each case decides.") var sector: Int?

  @Option(help: "What a full ring does, block or drop-oldest; default: each case decides.")
  var whenFull: String?

  @Option(help: "How many threads; default: one per core.") var jobs: Int?

  @Flag(help: "The short run of every build.") var quick = false

  @Flag(help: "Tell what happens; for one seed.") var trace = false

  @Flag(help: "Results as JSON, one line per campaign.") var json = false

  func validate() throws {
    guard campaign == "all" || Campaign.all.contains(where: { $0.name == campaign }) else {
      throw ValidationError(
        "no campaign is called \(campaign); there are all, "
          + Campaign.all.map(\.name).joined(separator: ", "))
    }
    guard sector == nil || sector == 512 || sector == 4096 else {
      throw ValidationError("a sector has 512 or 4096 bytes")
    }
    guard whenFull.map({ WhenFull(rawValue: $0) != nil }) ?? true else {
      throw ValidationError("a full ring does block or drop-oldest")
    }
    guard campaign != "all" || (seed == nil && seeds == nil && from == 0) else {
      throw ValidationError("--seed, --seeds and --from need the name of one campaign")
    }
  }

  /// The options that a failing case needs again.
  private var arguments: String {
    (sector.map { " --sector \($0)" } ?? "") + (whenFull.map { " --when-full \($0)" } ?? "")
  }

  func run() throws {
    var isPassed = true
    for candidate in Campaign.all where campaign == "all" || campaign == candidate.name {
      if try !play(candidate) { isPassed = false }
    }
    if !isPassed { throw ExitCode(1) }
  }

  private func play(_ campaign: Campaign) throws -> Bool {
    let count = seed == nil ? seeds ?? (quick ? campaign.quickCount : campaign.fullCount) : 1
    let first = seed ?? from
    let cores = Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    let run = CampaignRun(
      campaign, seeds: first..<first + count,
      options: CampaignOptions(
        sectorByteCount: sector, whenFull: whenFull.flatMap { WhenFull(rawValue: $0) },
        isTracing: trace),
      threadCount: jobs ?? cores)
    TrappedCase.report(campaign.name, arguments: arguments)
    let start = Clock.monotonic()
    let report = TortureReport(campaign, caseCount: count, arguments: arguments, start: start)
    var lastLine = start
    let result = try run.run { finished, result in
      let now = Clock.monotonic()
      guard !json, Console.isTerminal || now.since(lastLine) >= .seconds(10) else { return }
      lastLine = now
      report.progress(finished, result, now: now)
    }
    return report.finish(result, now: Clock.monotonic(), asJSON: json)
  }
}
