import ArgumentParser
import GatewayCore
import Platform
import RingJournal

struct JournalListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "List a journal's records, or its commit groups, one per line.",
    discussion: """
      Each record with its sequence, receive time, payload bytes, kind (data, or why it is a dead \
      letter), flags, topic and message id; records that are lost are a line of their own. \
      \(RecordRow.legend) With --groups the units of durability instead: one write and one sync \
      each. With --json one JSON object per line.

      Examples:
        penstock journal list /var/lib/penstock/telemetry.journal --limit 20
        penstock journal list telemetry.journal --undelivered central --source 'pumps/+/metrics'
        penstock journal list telemetry.journal --groups --json
        penstock journal list telemetry.journal --reason conflict
        penstock journal list --config penstock.yaml --route commands --dead-letters

      Exit codes: 0 listed · 64 usage · 65 not a usable journal · 74 the file cannot be read.
      """)

  @OptionGroup var argument: JournalFileArgument
  @OptionGroup var selection: RecordSelection

  @Option(
    help: ArgumentHelp("Only what this sink has not acknowledged.", valueName: "sink"))
  var undelivered: String?

  @Option(help: ArgumentHelp("End after so many lines.", valueName: "n")) var limit: Int?
  @Flag(help: "List commit groups instead of records.") var groups = false
  @Flag(help: "One JSON object per line.") var json = false

  func validate() throws {
    if let limit, limit < 1 { throw ValidationError("--limit is at least 1.") }
    if groups
      && (selection.source != nil || selection.since != nil || selection.until != nil
        || selection.reason != nil)
    {
      throw ValidationError("--groups goes with --from, --to and --undelivered only.")
    }
  }

  func run() throws {
    let path = try argument.path()
    var observer = try reportingJournalErrors { () throws(JournalError) in
      try JournalObserver(path: path)
    }
    var first = selection.from.map { Sequence($0) }
    if let undelivered {
      let cursor = try cursor(of: undelivered, observer.statistics)
      first = max(first ?? .first, cursor.next)
    }
    var output = DataOutput()
    if groups {
      try listGroups(&observer, from: first, &output)
    } else {
      try listRecords(&observer, from: first, &output)
    }
    try output.flush()
  }

  private func cursor(of name: String, _ statistics: JournalStatistics) throws -> Sequence {
    guard let sink = statistics.sinks.first(where: { $0.name == name }) else {
      let names = statistics.sinks.map(\.name).joined(separator: ", ")
      throw ValidationError("The journal knows no sink \(name); it knows: \(names).")
    }
    return sink.acknowledged
  }

  private func listRecords(
    _ observer: inout JournalObserver, from first: Sequence?, _ output: inout DataOutput
  ) throws {
    var (failure, count) = (nil as (any Error)?, 0)
    if !json { try output.line(RecordRow.titles) }
    let last = selection.to.map { Sequence($0) }
    var outcome: JournalError?
    do throws(JournalError) {
      try observer.visit(from: first, through: last) { item, bytes in
        if case .record(let record) = item, !selection.includes(record, bytes) { return true }
        do {
          if json {
            try output.line(object(item, bytes))
          } else {
            try output.line(RecordRow.text(item, bytes))
          }
        } catch {
          failure = error
          return false
        }
        count += 1
        return output.isOpen && count < limit ?? .max
      }
    } catch {
      outcome = error
    }
    if let failure { throw failure }
    try output.flush()
    if let outcome { throw outcome.commandExitCode.failure("\(outcome)") }
  }

  private func object(_ item: JournalItem, _ bytes: Span<UInt8>) -> JSONObject {
    switch item {
    case .record(let record): RecordRow.object(record, bytes)
    case .gap(let gap): EventLines.range("gap", gap.range, gap.reason.text)
    case .absent(let range): EventLines.range("absent", range, nil)
    }
  }

  private func listGroups(
    _ observer: inout JournalObserver, from first: Sequence?, _ output: inout DataOutput
  ) throws {
    var (failure, count) = (nil as (any Error)?, 0)
    if !json { try output.line(GroupRow.titles) }
    observer.visitGroups { group in
      if group.sequences.last < first ?? .first { return true }
      if let last = selection.to, group.sequences.first.rawValue > last { return false }
      do {
        try output.line(json ? GroupRow.object(group).line : GroupRow.text(group))
      } catch {
        failure = error
        return false
      }
      count += 1
      return output.isOpen && count < limit ?? .max
    }
    if let failure { throw failure }
  }
}

/// One commit group on one line.
enum GroupRow {
  static let titles =
    "   GROUP   LAP      OFFSET    BYTES       FIRST        LAST  EPOCH             COMMITTED"

  static func text(_ group: JournalGroup) -> String {
    "\(RecordRow.right(group.number, 8))  \(RecordRow.right(group.lap, 4))"
      + "  \(RecordRow.right(group.offset, 10))  \(RecordRow.right(group.occupied.rawValue, 7))"
      + "  \(RecordRow.right(group.sequences.first, 10))"
      + "  \(RecordRow.right(group.sequences.last, 10))"
      + "  \(group.epoch)  \(group.committed)\(group.isClockSynchronised ? "" : " ?")"
  }

  static func object(_ group: JournalGroup) -> JSONObject {
    JSONObject {
      $0.put("group", group.number)
      $0.put("lap", group.lap)
      $0.put("offset", group.offset)
      $0.put("bytes", group.occupied.rawValue)
      $0.put("used_bytes", group.used.rawValue)
      $0.put("first", group.sequences.first.rawValue)
      $0.put("last", group.sequences.last.rawValue)
      $0.put("epoch", group.epoch.description)
      $0.put("boot", group.bootID.text)
      $0.put("opened", group.opened.description)
      $0.put("committed", group.committed.description)
      $0.put("clock_synchronised", group.isClockSynchronised)
      $0.put("elapsed_seconds", group.elapsed.seconds, digits: 3)
      $0.put("oldest_kept", group.oldestKept.rawValue)
      var cursors = JSONObject()
      for (name, sequence) in group.acknowledged.sorted(by: { $0.key < $1.key }) {
        cursors.put(named: name, sequence.rawValue)
      }
      $0.put("acknowledged", cursors)
    }
  }
}
