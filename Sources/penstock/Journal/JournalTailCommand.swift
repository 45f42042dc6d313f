import ArgumentParser

struct JournalTailCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "tail", abstract: "Tail a journal.")
}
