import ArgumentParser
import GatewayConfiguration
import GatewayCore
import Platform
import RingJournal

struct JournalRepairCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "repair",
    abstract: "Bring a damaged journal back, cutting only what is bad.",
    discussion: """
      The gateway repairs at every start what it can, so this is for a file that it refuses, such \
      as one that was cut short, and for a file on a bench. Copies the file aside first. Then lost \
      control blocks are written anew, a missing end is filled with zeros, committed records that \
      cannot be read become a gap (their bytes go to quarantine/ beside the journal), and an \
      unfinished last write is cut off. What can be read is never touched. The gateway must be \
      stopped.

      Examples:
        penstock journal repair /var/lib/penstock/telemetry.journal
        penstock journal repair rescued.journal --no-copy --json

      Exit codes: 0 repaired, or nothing to repair · 64 usage · 65 beyond repair: nothing says \
      what the file is · 74 the disk failed, or no room for the copy · 75 the gateway runs · 78 \
      both superblocks are lost and no --config names the sinks.
      """)

  @OptionGroup var argument: JournalFileArgument
  @Option(
    help: ArgumentHelp(
      "Where to copy the file first; FILE.before-repair otherwise.", valueName: "file"))
  var copy: String?
  @Flag(help: "Make no copy.") var noCopy = false
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    if noCopy && copy != nil { throw ValidationError("Give --copy or --no-copy, not both.") }
  }

  func run() throws {
    let path = try argument.path()
    let sinks = try argument.location.config.map {
      try argument.location.configuredRoute($0).journal.sinks
    }
    let copyPath = noCopy ? nil : copy ?? path + ".before-repair"
    if let copyPath, POSIXDisk.shared.exists(copyPath) {
      throw GatewayCore.ExitCode.configuration.failure(
        "\(copyPath) is there already; name another with --copy, or move it away")
    }
    var line = ProgressLine()
    defer { line.end() }
    let report = try reportingJournalErrors { () throws(JournalError) in
      try JournalMaintenance.repair(path: path, copyPath: copyPath, sinks: sinks ?? []) {
        progress in line.show("copying: \(progress.written) of \(progress.total)")
      }
    }
    line.end()
    json ? printJSON(path, report) : printText(path, report)
  }

  private func printText(_ path: String, _ report: RepairReport) {
    if let copy = report.copy { Console.line("copied to \(copy)") }
    guard !report.wasIntact else { return Console.line("\(path): nothing to repair") }
    let recovery = report.recovery
    if report.extendedBy.rawValue > 0 {
      Console.line("the end was missing: \(Figures.bytes(report.extendedBy.rawValue)) filled")
    }
    if recovery.repairedBlockCount > 0 {
      Console.line("\(Figures.count(recovery.repairedBlockCount, "control block")) written anew")
    }
    if recovery.unreadableBlockCount > 0 {
      Console.line(
        "the disk cannot read \(Figures.count(recovery.unreadableBlockCount, "block"))")
    }
    if recovery.tornTailCount > 0 {
      Console.line("cut off: an unfinished last write, which nobody was told of")
    }
    for range in recovery.corruptRanges {
      Console.line(
        "cut: \(Figures.count(range.sequences.count, "record")), \(range.sequences), become a gap")
    }
    if recovery.quarantined.rawValue > 0 {
      Console.line("\(Figures.bytes(recovery.quarantined.rawValue)) of them are in quarantine/")
    }
    Console.line(
      "\(path): repaired; \(Figures.count(recovery.keptRecordCount, "record")) can be read")
  }

  private func printJSON(_ path: String, _ report: RepairReport) {
    let recovery = report.recovery
    Console.line(
      JSONObject {
        $0.put("file", path)
        $0.put("repaired", !report.wasIntact)
        $0.put("copy", report.copy)
        $0.put("extended_bytes", report.extendedBy.rawValue)
        $0.put("control_blocks", recovery.repairedBlockCount)
        $0.put("unreadable_blocks", recovery.unreadableBlockCount)
        $0.put("torn_tails", recovery.tornTailCount)
        $0.put("quarantined_bytes", recovery.quarantined.rawValue)
        $0.put("records", recovery.keptRecordCount)
        $0.put(
          "gaps",
          recovery.corruptRanges.map { range in
            JSONObject {
              $0.put("first", range.sequences.first.rawValue)
              $0.put("last", range.sequences.last.rawValue)
              $0.put("reason", GapReason.corrupt.text)
            }
          })
      }.line)
  }
}
