import ArgumentParser
import Control
import GatewayConfiguration
import GatewayCore
import Platform

struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Say whether everything has arrived, and how the gateway is.",
    discussion: """
      Asks the running agent over control-socket in its data directory; only its user and root \
      may. The first line answers "did everything arrive?". A record has arrived when every \
      required destination has accepted it; records younger than --grace are on their way. Then, \
      for each route and destination: what is accepted and what is missing, how much of the ring \
      that takes, how old it is, rates of the last minute, when the ring is full and when the \
      destination has caught up, the state of the connections with their reason, losses by \
      reason, certificates that end soon, and the latest warnings.

      Where no agent runs it reads the journal files of --config, without a lock and without \
      writing, says what they hold, and ends with 69. With --socket there are no files to read.

      --json prints one object with the same facts and the names that Control.docc/Status.md \
      explains. Names stay; more may come.

      Examples:
        penstock status
        penstock status --config penstock.yaml --json | jq .arrived
        penstock status --grace 1m || logger "penstock: not everything has arrived"

      Exit codes: 0 everything has arrived and the gateway is well · 1 something is missing, or \
      the gateway is degraded · 64 usage · 69 no agent runs, or it does not answer this user · 78 \
      configuration.
      """)

  @OptionGroup var agent: AgentArguments

  @Option(
    help: ArgumentHelp(
      "Records of at most this age are on their way; 0s: none is.", valueName: "time"),
    transform: StatusCommand.grace)
  var grace: Duration = .seconds(10)

  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    let options = try agent.options()
    let path = agent.socketPath(options)
    let status: GatewayStatus
    var absence: AgentAbsence?
    do {
      status = try Agent(socket: path).status()
    } catch let error as AgentAbsence {
      guard case .notRunning = error, let options else { throw error.failure(socket: path) }
      absence = error
      status = GatewayStatus(readingJournalsOf: options)
    } catch let error as ControlRefusal {
      throw GatewayCore.ExitCode.unavailable.failure("\(error)")
    }
    let arrival = Arrival(status, grace: grace)
    if json {
      Console.line(object(status, arrival).line)
    } else {
      show(status, arrival)
    }
    if let absence { throw absence.failure(socket: path) }
    if arrival.kind != .all && arrival.kind != .underWay || status.health != "ok" {
      throw ArgumentParser.ExitCode(1)
    }
  }

  private func object(_ status: GatewayStatus, _ arrival: Arrival) -> JSONValue {
    JSONValue.object { object in
      object.put("arrived", arrival.kind.rawValue)
      object.put("outstanding", arrival.outstanding)
      object.put("summary", arrival.sentence)
      status.put(into: &object)
    }
  }

  private func show(_ status: GatewayStatus, _ arrival: Arrival) {
    let isWell = arrival.kind == .all || arrival.kind == .underWay
    if status.source == .journals {
      Console.line(Terminal.coloured("The agent does not run; this is from its files.", .red))
    }
    Console.line(Terminal.coloured(arrival.sentence, isWell ? .green : .red))
    for line in StatusText(status: status).lines { Console.line(line) }
  }

  static func grace(_ text: String) throws -> Duration {
    text == "0s" ? .zero : try BrokerArguments.duration(text)
  }
}
