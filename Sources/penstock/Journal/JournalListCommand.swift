import ArgumentParser

struct JournalListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "list", abstract: "List a journal.")
}
