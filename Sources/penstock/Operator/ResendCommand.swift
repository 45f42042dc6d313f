import ArgumentParser
import Control
import GatewayCore
import Platform

struct ResendCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "resend",
    abstract: "Send a range of records to a destination once more.",
    discussion: """
      For a centre that asks for what it has lost. What was delivered stays in the ring until it \
      is overwritten, and this publishes it again, where and how the destination of the running \
      agent gets its batches, marked as a replay. No cursor moves, and the agent goes on \
      delivering beside it.

      It asks the agent which records it still has, and is then `penstock journal replay` with the \
      agent's configuration, environment and credentials, over a connection of its own and no \
      faster than --rate. Where no agent runs, use `penstock journal replay`.

      Examples:
        penstock resend --route telemetry --sink central --from 1041 --to 1540
        penstock resend --route telemetry --sink central --from 1041 --rate 2MB/s --dry-run

      Exit codes: 0 all accepted · 64 usage · 69 no agent runs, the broker is unavailable or \
      refuses, or interrupted · 74 the journal cannot be read · 78 no such route, destination or \
      record, or the configuration has errors.
      """)

  @OptionGroup var agent: AgentArguments

  @Option(help: ArgumentHelp("The route.", valueName: "name")) var route: String
  @Option(help: ArgumentHelp("The destination.", valueName: "name")) var sink: String
  @Option(help: ArgumentHelp("The first sequence.", valueName: "n")) var from: UInt64
  @Option(help: ArgumentHelp("The last one; default: the newest.", valueName: "n")) var to: UInt64?

  @Option(
    help: ArgumentHelp("Records or bytes per second at most: 500/s, 64KiB/s.", valueName: "rate"),
    transform: ResendCommand.rate)
  var rate = "500/s"

  @Flag(help: "Go on where the broker says that nobody subscribes.")
  var acceptNoSubscriber = false

  @Flag(help: "Only say what would be published.") var dryRun = false
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    if from == 0 { throw ValidationError("Sequences begin at 1.") }
    if let to, to < from { throw ValidationError("--to lies before --from.") }
  }

  func run() throws {
    let path = agent.socketPath(try agent.options())
    let status: GatewayStatus
    do {
      status = try Agent(socket: path).status()
    } catch let error as AgentAbsence {
      throw error.failure(socket: path)
    } catch let error as ControlRefusal {
      throw GatewayCore.ExitCode.unavailable.failure("\(error)")
    }
    try check(status)
    guard let process = status.processID, let configuration = status.configurationPath else {
      throw GatewayCore.ExitCode.unavailable.failure("the agent does not say how it was started")
    }
    try replay(configuration, environment: environment(of: process))
  }

  /// Whether the agent has what is asked for.
  private func check(_ status: GatewayStatus) throws {
    guard let found = status.routes.first(where: { $0.name == route }) else {
      let names = status.routes.map(\.name).joined(separator: ", ")
      throw GatewayCore.ExitCode.configuration.failure(
        "there is no route \(route); there are: \(names)")
    }
    guard found.sinks.contains(where: { $0.name == sink }), let journal = found.journal else {
      let names = found.sinks.map(\.name).joined(separator: ", ")
      throw GatewayCore.ExitCode.configuration.failure(
        "route \(route) has no destination \(sink) now; it has: \(names)")
    }
    if from > journal.committed.rawValue {
      throw GatewayCore.ExitCode.configuration.failure(
        "there is no record \(from): the newest of route \(route) is \(journal.committed)")
    }
    if let to, to < journal.oldestKept.rawValue {
      throw GatewayCore.ExitCode.configuration.failure(
        "records \(from) to \(to) are not in the ring any more: the oldest that is kept is "
          + "\(journal.oldestKept)")
    }
  }

  /// What the agent was started with, its credentials' directory too; what it does not have, we do.
  private func environment(of process: UInt64) throws -> [String: String] {
    var environment = ["PATH": Environment.value(of: "PATH") ?? "/usr/bin:/bin"]
    do throws(SystemError) {
      let bytes = try File.readSmall("/proc/\(process)/environ", byteCountMax: 4 << 20)
      for entry in bytes.split(separator: 0) {
        let text = String(decoding: entry, as: UTF8.self)
        guard let equals = text.firstIndex(of: "=") else { continue }
        environment[String(text[..<equals])] = String(text[text.index(after: equals)...])
      }
    } catch {
      throw GatewayCore.ExitCode.unavailable.failure(
        "the agent's environment may not be read by this user (\(error.reason)); run as the "
          + "gateway's user or as root")
    }
    // Of the agent's own supervision.
    for name in ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"] { environment[name] = nil }
    return environment
  }

  private func replay(_ configuration: String, environment: [String: String]) throws {
    guard let executable = Environment.ownExecutable else {
      throw GatewayCore.ExitCode.bug.failure("/proc/self/exe cannot be read; is /proc mounted?")
    }
    var arguments = [
      "journal", "replay", "--config", configuration, "--route", route, "--sink", sink,
      "--from", "\(from)", "--rate", rate,
    ]
    if let to { arguments += ["--to", "\(to)"] }
    if acceptNoSubscriber { arguments.append("--accept-no-subscriber") }
    if dryRun { arguments.append("--dry-run") }
    if json { arguments.append("--json") }
    let interruption = try WakeUp()
    try TerminationSignal.onFirst { interruption.signal() }
    var child: ChildProcess
    do throws(SystemError) {
      child = try ChildProcess(
        executable: executable, arguments: arguments, environment: environment)
    } catch {
      throw GatewayCore.ExitCode.bug.failure("cannot start \(executable): \(error.reason)")
    }
    var isTold = false
    while true {
      if let ended = try child.wait(atMost: .milliseconds(200)) {
        guard case .exited(let code) = ended else {
          throw GatewayCore.ExitCode.unavailable.failure("the replay was \(ended)")
        }
        if code != 0 { throw ArgumentParser.ExitCode(code) }
        return
      }
      if !isTold, Poll.wait(socket: nil, wakeUp: interruption, timeout: .zero).wokenUp {
        isTold = true
        child.send(signal: TerminationSignal.number)
      }
    }
  }

  static func rate(_ text: String) throws -> String {
    _ = try JournalReplayCommand.rate(text)
    return text
  }
}
