import ArgumentParser
import GatewayCore
import Platform
import RingJournal

struct JournalExportCommand: ParsableCommand {
  enum Format: String, ExpressibleByArgument, CaseIterable {
    case jsonl
    case raw
  }

  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write a journal's records to standard output.",
    discussion: """
      With --format jsonl each record is a line: the CloudEvent that the envelope carries, with \
      journal and epoch added. What was lost is a line {"gap": {first, last, count, reason}}, what \
      --from asks for and the ring has overwritten a line {"absent": {first, last, count}}; \
      nothing is left out in silence, except what --source, --since and --until leave out. With \
      --format raw the payloads alone, a newline after each; gaps are told on standard error.

      Reads a live, a dead or a copied file without a lock and without writing to it, and ends \
      with what is committed when it gets there. Acknowledged records are exported as long as the \
      ring still holds them. Memory does not grow with the number of records.

      Examples:
        penstock journal export /var/lib/penstock/telemetry.journal > telemetry.jsonl
        penstock journal export copy.journal --source 'pumps/ND01/#' --since 2h
        penstock journal export --config penstock.yaml --route telemetry --from 1041 --to 1540
        penstock journal export telemetry.dead --reason refused > refused.jsonl

      Exit codes: 0 written, gaps included · 64 usage · 65 not a usable journal · 74 the file \
      cannot be read, or the output cannot be written.
      """)

  @OptionGroup var argument: JournalFileArgument
  @OptionGroup var selection: RecordSelection

  @Option(help: "jsonl or raw.") var format = Format.jsonl
  @Flag(help: "The same as --format jsonl.") var json = false

  @Option(
    help: ArgumentHelp(
      "What gateway.site says, for the events' source; default: the gateway's id.",
      valueName: "name"))
  var site: String?

  func validate() throws {
    if json && format != .jsonl {
      throw ValidationError("--json and --format raw exclude each other.")
    }
  }

  func run() throws {
    let path = try argument.path()
    var progress = ProgressLine()
    var observer = try reportingJournalErrors { () throws(JournalError) in
      try JournalObserver(path: path) { share in
        progress.show("reading \(path): \(Int(share * 100)) %")
      }
    }
    var output = DataOutput()
    var lines = EventLines(observer.identity, site: site)
    var failure: (any Error)?
    let (first, last) = (selection.from.map { Sequence($0) }, selection.to.map { Sequence($0) })
    let start = max(first ?? observer.oldest, observer.oldest)
    let total = max(
      min(observer.committed, last ?? observer.committed).count(since: start.previous), 1)
    var outcome: JournalError?
    do throws(JournalError) {
      try observer.visit(from: first, through: last) { item, bytes in
        if case .record(let record) = item {
          if record.sequence.rawValue % 1024 == 0 {
            let done = record.sequence.count(since: start)
            progress.show("exporting: \(done * 100 / total) %, sequence \(record.sequence)")
          }
          if !selection.includes(record, bytes) { return true }
        }
        do {
          try write(item, bytes, &lines, &output)
        } catch {
          failure = error
          return false
        }
        return output.isOpen
      }
    } catch {
      outcome = error
    }
    progress.end()
    if let failure { throw failure }
    try output.flush()
    if let outcome { throw outcome.commandExitCode.failure("\(outcome)") }
  }

  private func write(
    _ item: JournalItem, _ bytes: Span<UInt8>, _ lines: inout EventLines, _ output: inout DataOutput
  ) throws {
    guard format == .raw else { return try output.line(lines.line(item, bytes)) }
    if case .record(let record) = item, record.kind != .tombstone {
      try output.data(bytes.extracting(record.payload))
      try output.line("")
    } else {
      Console.error("penstock: " + RecordRow.text(item, bytes).trimmed)
    }
  }
}

extension String {
  /// Without the spaces in front.
  fileprivate var trimmed: String { String(drop { $0 == " " }) }
}
