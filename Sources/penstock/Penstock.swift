import ArgumentParser
import Gateway
import GatewayCore
import Glibc
import Platform

/// The agent and its tools.
@main
struct Penstock: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "penstock",
    abstract: "MQTT edge gateway: durable before PUBACK, deduplicated, delivered in batches.",
    discussion: """
      Exit codes: 0 success · 64 usage · 65 not a usable journal (`penstock journal`) · 69 broker \
      unavailable or refusing (one-shot commands; `run` never exits because of a broker) · 70 a \
      bug of ours · 74 disk failed, journal poisoned · 75 journal in use (`penstock journal`) · 78 \
      configuration · 79 `run` was told to stop, under systemd. `status`, `drain` and `doctor` end \
      with 1 when they find something missing or wrong.
      """,
    version: Version.text,
    subcommands: [
      RunCommand.self, CheckConfigCommand.self, JournalCommand.self, SimulateCommand.self,
      PublishCommand.self, SubscribeCommand.self, StatusCommand.self, DrainCommand.self,
      TopCommand.self, ResendCommand.self, DoctorCommand.self, DemoCommand.self,
      VersionCommand.self,
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
    } catch {
      exit(withError: error)
    }
  }
}

extension GatewayCore.ExitCode {
  /// Says why on standard error and ends the command with this code.
  func failure(_ reason: String) -> ArgumentParser.ExitCode {
    Console.error("penstock: \(reason)")
    return ArgumentParser.ExitCode(rawValue)
  }
}
