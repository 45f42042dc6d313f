import ArgumentParser
import GatewayCore
import Platform
import RingJournal

struct JournalTailCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tail",
    abstract: "Show a journal's newest records, and go on showing what is committed.",
    discussion: """
      The lines are those of `penstock journal list`; with --json those of `penstock journal \
      export`. With --follow it goes on until SIGINT or SIGTERM, looking at the file five times a \
      second; the gateway does not notice. When the ring overtakes it, it says which records it \
      missed. A file that is replaced meanwhile (resized, restored) is opened anew.

      Examples:
        penstock journal tail /var/lib/penstock/telemetry.journal
        penstock journal tail -f --source 'pumps/ND01/#' telemetry.journal
        penstock journal tail -f -n 0 --json telemetry.journal | jq .topic

      Exit codes: 0 shown, interrupted too · 64 usage · 65 not a usable journal · 74 the file \
      cannot be read.
      """)

  @OptionGroup var argument: JournalFileArgument

  @Flag(name: [.short, .long], help: "Go on with what is committed from now on.")
  var follow = false

  @Option(
    name: [.customShort("n"), .long],
    help: ArgumentHelp("Begin with so many of the newest sequences.", valueName: "n"))
  var lines: UInt64 = 10

  @Option(
    help: ArgumentHelp(
      "Only records of topics that match this filter, with + and #.", valueName: "filter"),
    transform: RecordSelection.filter)
  var source: TopicFilter?

  @Flag(help: "One JSON object per line.") var json = false

  private static let pollInterval: Duration = .milliseconds(200)

  func run() throws {
    let path = try argument.path()
    let interruption = try WakeUp()
    if follow { try TerminationSignal.onFirst { interruption.signal() } }
    var output = DataOutput()
    var next: Sequence?
    var journal: JournalID?
    while true {
      // Another file under the old name: TerminationSignal lasts, the observer does not.
      let file = try? FileStatus(path: path)
      var observer = try reportingJournalErrors { () throws(JournalError) in
        try JournalObserver(path: path)
      }
      if observer.identity.id != journal {
        if journal != nil { Console.error("penstock: \(path) is another journal now") }
        journal = observer.identity.id
        let start = observer.committed.rawValue - min(lines, observer.committed.rawValue) + 1
        next = max(Sequence(start), observer.oldest)
      }
      var position = next ?? .first
      var events = EventLines(observer.identity, site: nil)
      repeat {
        try show(&observer, &position, &events, &output)
        guard follow, output.isOpen else { return }
        if Poll.wait(socket: nil, wakeUp: interruption, timeout: Self.pollInterval).wokenUp {
          return
        }
        _ = try reportingJournalErrors { () throws(JournalError) in try observer.follow() }
      } while (try? FileStatus(path: path)).map { $0.inode == file?.inode } ?? true
      next = position
    }
  }

  /// Shows everything from `position` on and moves it behind that.
  private func show(
    _ observer: inout JournalObserver, _ position: inout Sequence, _ events: inout EventLines,
    _ output: inout DataOutput
  ) throws {
    guard position <= observer.committed else { return }
    var (failure, next) = (nil as (any Error)?, position)
    try reportingJournalErrors { () throws(JournalError) in
      try observer.visit(from: position) { item, bytes in
        next = item.sequences.last.next
        if case .record(let record) = item,
          !(source?.matches(bytes.extracting(record.topic)) ?? true)
        {
          return true
        }
        do {
          if json {
            try output.line(events.line(item, bytes))
          } else {
            try output.line(RecordRow.text(item, bytes))
          }
        } catch {
          failure = error
          return false
        }
        return output.isOpen
      }
    }
    position = next
    if let failure { throw failure }
    try output.flush()
  }
}
