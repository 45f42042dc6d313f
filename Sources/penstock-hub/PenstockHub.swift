import ArgumentParser
import GatewayCore
import Glibc
import Hub
import Platform

/// The consumer at the centre, and what looks into its database.
@main
struct PenstockHub: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "penstock-hub",
    abstract: "Takes the gateways' batches, keeps every event and the state of every asset.",
    discussion: """
      Exit codes: 0 success · 1 `rebuild` found a difference · 64 usage · 69 broker unavailable or \
      refusing (`run` never exits because of a broker) · 70 a bug of ours · 74 the database cannot \
      be read or written · 75 another hub has it · 78 configuration, or no database of a hub.
      """,
    version: Version.text,
    subcommands: [
      RunCommand.self, CheckConfigCommand.self, AssetsCommand.self, EventsCommand.self,
      HistoryCommand.self, OffsetsCommand.self, GapsCommand.self, OutboxCommand.self,
      CasesCommand.self,
      RebuildCommand.self, FollowCommand.self,
    ])

  static func main() async {
    // OpenSSL writes without MSG_NOSIGNAL: a peer that is gone must be an error, not the end.
    _ = signal(SIGPIPE, SIG_IGN)
    // Name resolution blocks the thread that connects: 2 s for each server instead of twice 5 s.
    Environment.setDefault("RES_OPTIONS", "timeout:2 attempts:1")
    do {
      var command = try parseAsRoot()
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
    } catch let error as HubStoreError {
      exit(withError: error.exitCode.failure("\(error)"))
    } catch {
      exit(withError: error)
    }
  }
}

extension GatewayCore.ExitCode {
  /// Says why on standard error and ends the command with this code.
  func failure(_ reason: String) -> ArgumentParser.ExitCode {
    Console.error("penstock-hub: \(reason)")
    return ArgumentParser.ExitCode(rawValue)
  }
}

extension HubStoreError {
  var exitCode: GatewayCore.ExitCode {
    switch code {
    case .conflict, .unavailable, .corrupt, .log: .disk
    case .busy: .busy
    case .foreign: .configuration
    }
  }
}
