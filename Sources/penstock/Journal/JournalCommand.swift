import ArgumentParser

struct JournalCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "journal",
    abstract: "Look into a route's journal, and mend it.",
    discussion: """
      The reading commands take no lock and write nothing: they work beside a running gateway, on \
      a file that a dead one left, on a copy on another machine, and on the dead letters \
      (<route>.dead), which are a journal of their own. Each takes the path of the file, or \
      --config and --route to find it, with --dead-letters that of the dead letters. So does \
      replay, which reads as they do and publishes what it reads.

      The writing commands (create, repair, resize, skip) need the gateway stopped. Whatever \
      moment they are interrupted at, the file is as before or as asked for.

      Exit codes: 0 done · 1 the answer is no: records are lost (verify), there is no such record \
      (show) · 64 usage · 65 the file is not a journal, or too damaged to be used as one · 69 the \
      broker is unavailable or refuses (replay) · 74 the file cannot be read · 75 another process \
      has the journal open · 78 configuration.
      """,
    subcommands: [
      JournalVerifyCommand.self, JournalStatsCommand.self, JournalListCommand.self,
      JournalShowCommand.self, JournalTailCommand.self, JournalExportCommand.self,
      JournalReplayCommand.self,
      JournalCreateCommand.self, JournalRepairCommand.self, JournalResizeCommand.self,
      JournalSkipCommand.self,
    ])
}
