import ArgumentParser

struct JournalShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "show", abstract: "Show a journal.")
}
