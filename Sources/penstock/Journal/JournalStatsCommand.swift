import ArgumentParser
import GatewayCore
import Platform
import RingJournal

struct JournalStatsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stats",
    abstract: "Say what a journal holds, how far each sink has come, and what it costs.",
    discussion: """
      Reads the file without a lock and without writing: live or dead, also a copy on another \
      machine. Undelivered is what a required sink has not acknowledged; kept is all that the \
      ring still holds. Accepted ahead is what a sink with drain: live-first has got out of turn, \
      beyond what it has acknowledged.

      Rates come from the newest commit groups, at most an hour of them. Time to full is how long \
      the free part lasts at that rate when nothing is delivered. Time to drain is the backlog \
      divided by what the sink acknowledges beyond what comes in; it is unknown for a sink that \
      makes no progress now. Written per day and syncs per day are means over the life of the \
      file, without its filling at creation; after a crash the last sixteenth of a turn may be \
      missing from them. Write amplification is bytes written divided by topic and payload bytes.

      Sources are counted over the records that the ring still holds.

      Examples:
        penstock journal stats /var/lib/penstock/telemetry.journal
        penstock journal stats --config penstock.yaml --route telemetry --json | jq .sinks
        penstock journal stats telemetry.journal --all-sources

      Exit codes: 0 said · 64 usage · 65 not a usable journal · 74 the file cannot be read.
      """)

  @OptionGroup var argument: JournalFileArgument
  @Flag(help: "Tell all sources, not the twenty that have the most records.")
  var allSources = false
  @Flag(help: "Print one JSON object.") var json = false

  private static let sourcesShown = 20

  func run() throws {
    let path = try argument.path()
    var progress = ProgressLine()
    var sources = SourceCounts()
    var observer = try reportingJournalErrors { () throws(JournalError) in
      try JournalObserver(path: path) { share in
        progress.show("reading \(path): \(Int(share * 100)) %")
      }
    }
    try reportingJournalErrors { () throws(JournalError) in
      try observer.visit { item, bytes in
        if case .record(let record) = item {
          sources.count(record, bytes)
          if record.sequence.rawValue % 4096 == 0 {
            progress.show("counting sources: sequence \(record.sequence)")
          }
        }
        return true
      }
    }
    progress.end()
    let report = StatisticsReport(
      statistics: observer.statistics, facts: observer.facts, rates: observer.rates(),
      sinkBacklogBytes: observer.backlogByteCounts, sources: sources,
      sourcesMax: allSources ? .max : Self.sourcesShown, isLive: observer.isLive, now: Clock.wall())
    if json {
      Console.line(report.object.line)
    } else {
      for line in report.lines { Console.line(line) }
    }
  }
}
