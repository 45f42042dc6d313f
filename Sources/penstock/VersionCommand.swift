import ArgumentParser
import Gateway
import GatewayCore
import Platform

struct VersionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version", abstract: "Print the version.")

  @Flag(help: "Print JSON.") var json = false

  func run() {
    Console.line(json ? #"{"version":"\#(Version.text)"}"# : "penstock \(Version.text)")
  }
}
