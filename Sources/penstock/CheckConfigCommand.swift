import ArgumentParser
import GatewayConfiguration
import GatewayCore
import Platform

struct CheckConfigCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check-config",
    abstract: "Check a configuration file and print what is in force.",
    discussion: """
      Prints every value with its default filled in; secrets are masked. Warnings and errors go to \
      standard error as file:line:column: key: what is wrong; accepted: what would be right. \
      Exits with 78 when there is an error.
      """)

  @Argument(help: "The configuration file.") var file: String
  @Flag(name: .shortAndLong, help: "Print nothing when the file is right.") var quiet = false

  func run() throws {
    let configuration = try load(file)
    for warning in configuration.warnings { Console.error("\(warning)") }
    if !quiet { Console.text(configuration.options.effectiveText) }
  }
}
