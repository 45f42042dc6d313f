import ArgumentParser
import GatewayCore
import Platform
import RingJournal

struct JournalSkipCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "skip",
    abstract: "Give up records that a destination will never take.",
    discussion: """
      The way past a record that the centre refuses for good and that holds up all behind it: what \
      the sink has not acknowledged up to --to becomes a gap, reason skipped. The gap is delivered \
      to the centre like a record and counted in the journal; the records stay in the file until \
      the ring overwrites them, so 'journal export' can still save them. The gateway must be \
      stopped.

      Examples:
        penstock journal skip /var/lib/penstock/telemetry.journal --to 81223 --dry-run
        penstock journal skip --config penstock.yaml --route telemetry --to 81223 --sink central

      Exit codes: 0 done, also when there was nothing to give up · 64 usage · 65 not a journal · \
      74 the disk failed · 75 the gateway runs · 78 no such sequence or sink.
      """)

  @OptionGroup var argument: JournalFileArgument
  @Option(help: ArgumentHelp("The last sequence to give up.", valueName: "sequence")) var to: UInt64
  @Option(help: ArgumentHelp("Only for this sink; all of them otherwise.", valueName: "name"))
  var sink: String?
  @Flag(help: "Only say what would be given up.") var dryRun = false
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    let path = try argument.path()
    let report = try reportingJournalErrors { () throws(JournalError) in
      try JournalMaintenance.skip(
        path: path, through: Sequence(to), sink: sink, isRehearsal: dryRun)
    }
    json ? printJSON(report) : printText(report)
  }

  private func printText(_ report: SkipReport) {
    for sink in report.sinks {
      guard let range = sink.skipped else {
        Console.line("\(sink.name): nothing to give up through \(to)")
        continue
      }
      let records = Figures.count(range.count, "record")
      Console.line(
        "\(sink.name): \(records), \(range), \(dryRun ? "would be" : "are") given up")
    }
    guard report.lostRecordCount > 0 else { return }
    let lost = Figures.count(report.lostRecordCount, "record")
    Console.line(
      dryRun
        ? "\(lost) would be lost, and told to the centre as a gap"
        : "\(lost) lost; the centre will be told as a gap, reason skipped")
  }

  private func printJSON(_ report: SkipReport) {
    Console.line(
      JSONObject {
        $0.put("dry_run", dryRun)
        $0.put("through", to)
        $0.put("lost_records", report.lostRecordCount)
        $0.put(
          "sinks",
          report.sinks.map { sink in
            JSONObject {
              $0.put("name", sink.name)
              $0.put("required", sink.isRequired)
              $0.put("first", sink.skipped?.first.rawValue)
              $0.put("last", sink.skipped?.last.rawValue)
              $0.put("records", sink.skipped?.count ?? 0)
            }
          })
      }.line)
  }
}
