import ArgumentParser
import GatewayCore
import Platform
import RingJournal

struct JournalVerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Read all of a journal and say whether every record is there.",
    discussion: """
      Checks the control blocks, every commit group and every record: checksums, bounds, laps, the \
      chain of the groups, the density of the sequences. Reads past the page cache where the \
      filesystem can, so that it is the medium that answers. Writes nothing and takes no lock; a \
      file that changes meanwhile is read again where it changed, and is no cause for alarm.

      A torn tail is a last write that a crash cut short. Nobody was told that it was durable, \
      nothing is lost, and the next start writes over it. Damaged control blocks are repaired by \
      the next start from their copies.

      Examples:
        penstock journal verify /var/lib/penstock/telemetry.journal
        penstock journal verify --json --config /etc/penstock/penstock.yaml --route telemetry

      Exit codes: 0 every committed record can be read (also with a torn tail, or damaged copies \
      of control blocks) · 1 committed records cannot be read, groups contradict each other, or \
      the file was cut short · 64 usage · 65 not a journal, or no copy of its identity is whole · \
      74 the file cannot be read.
      """)

  @OptionGroup var argument: JournalFileArgument
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    let path = try argument.path()
    var progress = ProgressLine()
    let report: VerificationReport
    do throws(JournalError) {
      var observer = try JournalObserver(path: path, bypassingCache: true) { share in
        progress.show("reading \(path): \(Int(share * 50)) %")
      }
      let found = try observer.verify { share in
        progress.show("checking \(path): \(Int(50 + share * 50)) %")
      }
      report = VerificationReport(
        facts: observer.facts, statistics: observer.statistics, found: found,
        isLive: observer.isLive)
      progress.end()
    } catch {
      progress.end()
      throw error.commandExitCode.failure("\(error)")
    }
    if json {
      Console.line(report.object.line)
    } else {
      for line in report.lines { Console.line(line) }
    }
    if !report.isIntact { throw ArgumentParser.ExitCode.failure }
  }
}

/// What `verify` prints.
struct VerificationReport {
  let facts: JournalFacts
  let statistics: JournalStatistics
  let found: JournalVerification
  let isLive: Bool

  var isIntact: Bool { found.isIntact && facts.missingByteCount == 0 }

  /// Of the corrupt records, those that a required sink has not got.
  private var undeliveredCount: UInt64 {
    let required = statistics.sinks.filter(\.isRequired)
    let floor = required.map(\.acknowledged).min() ?? statistics.committed
    return found.corrupt.reduce(0) { sum, range in
      sum + range.last.count(since: max(range.first.previous, floor))
    }
  }

  var object: JSONObject {
    JSONObject {
      $0.put("intact", isIntact)
      $0.put("journal", statistics.identity.id.description)
      $0.put("live", isLive)
      $0.put("groups", found.groupCount)
      $0.put("first", statistics.oldestKept.rawValue)
      $0.put("last", statistics.committed.rawValue)
      $0.put("records", found.recordCount)
      $0.put("dead_letters", found.deadLetterCount)
      $0.put("refused_runs", found.tombstoneCount)
      $0.put("refused", found.refusedCount)
      $0.put("record_bytes", found.recordByteCount)
      $0.put("corrupt_records", found.corruptRecordCount)
      $0.put("corrupt_undelivered", undeliveredCount)
      $0.put(
        "corrupt",
        found.corrupt.map { range in
          JSONObject {
            $0.put("first", range.first.rawValue)
            $0.put("last", range.last.rawValue)
            $0.put("count", range.count)
          }
        })
      $0.put("contradictions", found.contradictions)
      $0.put("missing_bytes", facts.missingByteCount)
      $0.put("torn_tails", facts.tornTailCount)
      $0.put("damaged_control_blocks", facts.damagedBlockCount)
      $0.put("unreadable_blocks", facts.unreadableBlockCount)
      $0.put("clean_stop", facts.isCleanStop)
    }
  }

  var lines: [String] {
    var lines = ["journal   \(statistics.identity.id)"]
    lines.append(
      "route     \(statistics.identity.routeName) of gateway \(statistics.identity.gatewayID)")
    lines.append(
      found.groupCount == 0
        ? "holds     nothing"
        : "holds     \(Figures.count(found.recordCount, "record")) in "
          + "\(Figures.count(found.groupCount, "commit group")), sequences "
          + "\(statistics.oldestKept) to \(statistics.committed), "
          + "\(Figures.bytes(found.recordByteCount)) of topics and payloads")
    if found.deadLetterCount > 0 {
      lines.append("          \(Figures.count(found.deadLetterCount, "dead letter"))")
    }
    if found.refusedCount > 0 {
      lines.append("          \(Figures.count(found.refusedCount, "refused message")) on record")
    }
    return lines + notes.map { "note      " + $0 } + damage.map { "damage    " + $0 } + [verdict]
  }

  private var notes: [String] {
    var notes: [String] = []
    if isLive { notes.append("the file is in use; this is its state of a moment ago") }
    if facts.tornTailCount > 0 {
      notes.append("a last write was cut short; it was never acknowledged, nothing is lost")
    }
    if facts.damagedBlockCount > 0 {
      notes.append(
        "\(Figures.count(facts.damagedBlockCount, "control block")) of 4 damaged; the next start "
          + "repairs that from the copies")
    }
    for range in found.overtaken {
      notes.append("\(range) were overwritten while this ran; they had been released")
    }
    return notes
  }

  private var damage: [String] {
    var damage = facts.corrupt.map { range in
      "records \(range.sequences) cannot be read; they should be at "
        + range.bytes.map { "bytes \($0.lowerBound) to \($0.upperBound - 1)" }
        .joined(separator: " and ")
    }
    for range in found.corrupt
    where !facts.corrupt.contains(where: { $0.sequences.contains(range.first) }) {
      damage.append("records \(range) cannot be read")
    }
    damage += found.contradictions
    if facts.unreadableBlockCount > 0 {
      damage.append(
        "the disk refuses to read \(Figures.count(facts.unreadableBlockCount, "block")): "
          + "replace it soon")
    }
    if facts.missingByteCount > 0 {
      damage.append(
        "the file ends \(Figures.bytes(facts.missingByteCount)) early, as an incomplete copy does; "
          + "copy it again, or see `penstock journal repair`")
    }
    return damage
  }

  private var verdict: String {
    if isIntact { return "verdict   " + Terminal.coloured("intact", .green) }
    let lost =
      found.corruptRecordCount == 0
      ? "no record is lost"
      : "\(Figures.count(found.corruptRecordCount, "record")) cannot be read, "
        + "\(undeliveredCount) of them not delivered; the gateway delivers the rest and reports "
        + "a gap"
    return "verdict   " + Terminal.coloured("damaged", .red) + ": " + lost
  }
}
