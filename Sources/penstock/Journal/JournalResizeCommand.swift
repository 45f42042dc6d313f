import ArgumentParser
import GatewayConfiguration
import GatewayCore
import Platform
import RingJournal

struct JournalResizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "resize",
    abstract: "Give a journal another size.",
    discussion: """
      Writes a new file of the new size beside the old one, copies into it all that is not \
      delivered and as much of the rest as fits (its ids are what duplicates are recognised by), \
      and puts it in the old one's place in one step. Identity, sequences, cursors and counters \
      stay. The gateway must be stopped, and there must be room for both files. Set journal.size \
      in the configuration to the same value, or the gateway warns.

      Examples:
        penstock journal resize /var/lib/penstock/telemetry.journal --size 512MiB
        penstock journal resize --config penstock.yaml --route telemetry

      Exit codes: 0 done · 64 usage · 65 not a journal · 74 the disk failed · 75 the gateway runs \
      · 78 too small for what is not delivered, or no room for both files.
      """)

  @OptionGroup var argument: JournalFileArgument
  @Option(
    help: ArgumentHelp(
      "The new size, as 512MiB; with --config what journal.size says.", valueName: "size"))
  var size: String?
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    let path = try argument.path()
    let capacity = try capacity()
    var line = ProgressLine()
    defer { line.end() }
    let report = try reportingJournalErrors { () throws(JournalError) in
      try JournalMaintenance.resize(path: path, capacity: capacity) { progress in
        line.show("\(progress.written) of \(progress.total)")
      }
    }
    line.end()
    guard !json else {
      return Console.line(
        JSONObject {
          $0.put("file", path)
          $0.put("capacity_before_bytes", report.before.rawValue)
          $0.put("capacity_bytes", report.after.rawValue)
          $0.put("kept_groups", report.keptGroupCount)
          $0.put("dropped_groups", report.droppedGroupCount)
        }.line)
    }
    Console.line("\(path): \(report.before) → \(report.after)")
    Console.line(
      "kept \(Figures.count(report.keptGroupCount, "commit group")), "
        + "all that is not delivered among them")
    if report.droppedGroupCount > 0 {
      Console.line(
        "\(Figures.count(report.droppedGroupCount, "delivered commit group")) did not fit: "
          + "duplicates of their messages are no longer recognised")
    }
  }

  private func capacity() throws -> ByteCount {
    if let size {
      guard let capacity = ByteCount(text: size) else {
        throw ValidationError("'\(size)' is not a size; accepted: as 512MiB, at least 16MiB.")
      }
      return capacity
    }
    guard let config = argument.location.config else {
      throw ValidationError("Which size? Give --size, or --config for what journal.size says.")
    }
    return try argument.location.configuredRoute(config).journal.capacity
  }
}
