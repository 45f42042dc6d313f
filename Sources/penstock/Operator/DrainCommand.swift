import ArgumentParser
import Control
import GatewayCore
import Platform

struct DrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "drain",
    abstract: "Deliver everything and leave the brokers in good order.",
    discussion: """
      For the time before a gateway is taken down, renamed or moved. The running agent takes no \
      more from its source brokers and keeps its sessions there, so that they hold what comes; \
      delivers all that is journalled, however long that takes; then closes the journals. It \
      stays up, drained, until it is restarted, or ends with --stop.

      With --end-session it also unsubscribes, takes what the broker still holds for it, and ends \
      the session: for a route or gateway that gets another name or is not coming back. Else the \
      broker keeps messages for a session that nobody will resume. From then on what is published \
      there is not received: stop or move the pumps first.

      This command waits and shows how far it is. When --timeout has passed, or at Ctrl-C, it says \
      what is missing and ends; the agent goes on draining, and asking again waits again. A \
      restart of the agent ends the drain, and it receives again. SIGTERM while it drains is a \
      clean stop: what is not delivered stays in the journal.

      Destinations with required: false get five more seconds when the required ones have \
      everything; what they miss is no failure.

      Examples:
        penstock drain && systemctl stop penstock
        penstock drain --route telemetry --timeout 10m
        penstock drain --end-session --stop --config /etc/penstock/penstock.yaml

      Exit codes: 0 every required destination has everything · 1 not yet: the time has passed, or \
      interrupted · 64 usage · 69 no agent runs, it refuses, or it ended meanwhile · 78 \
      configuration.
      """)

  @OptionGroup var agent: AgentArguments

  @Option(
    name: .customLong("route"),
    help: ArgumentHelp("Only this route; may be given again. Default: all.", valueName: "name"))
  var routes: [String] = []

  @Flag(help: "Unsubscribe and end the sessions at the source brokers.") var endSession = false

  @Option(
    help: ArgumentHelp("Wait for at most so long; default: for ever.", valueName: "time"),
    transform: BrokerArguments.duration)
  var timeout: Duration?

  @Flag(help: "End the agent once everything is delivered.") var stop = false

  @Flag(help: "Print one JSON object at the end, and no progress.") var json = false

  private static let lookEvery: Duration = .milliseconds(500)

  func validate() throws {
    if stop && !routes.isEmpty {
      throw ValidationError("--stop ends the whole agent: drain all routes, without --route.")
    }
  }

  func run() throws {
    let path = agent.socketPath(try agent.options())
    do {
      try drain(Agent(socket: path))
    } catch let error as AgentAbsence {
      throw error.failure(socket: path)
    } catch let error as ControlRefusal {
      throw GatewayCore.ExitCode.unavailable.failure("\(error)")
    }
  }

  private func drain(_ agent: consuming Agent) throws {
    let interruption = try WakeUp()
    try TerminationSignal.onFirst { interruption.signal() }
    _ = try agent.ask(.drain(routes: routes, endsSession: endSession))
    let start = Clock.monotonic()
    let end = timeout.map { start + $0 }
    var progress = DrainProgress(isShown: !json, start: start)
    while true {
      let status = try agent.status()
      let drain = DrainStatus(status, routes: routes)
      progress.show(drain)
      if drain.isComplete {
        progress.end()
        if stop { _ = try agent.ask(.stop) }
        return finish(drain, elapsed: Clock.monotonic().since(start))
      }
      let rest = end.map { $0.since(Clock.monotonic()) } ?? Self.lookEvery
      let isInterrupted = Poll.wait(
        socket: nil, wakeUp: interruption, timeout: max(.zero, min(rest, Self.lookEvery))
      ).wokenUp
      if isInterrupted || rest <= .zero {
        progress.end()
        finish(drain, elapsed: Clock.monotonic().since(start))
        let why = isInterrupted ? "interrupted" : "the time has passed"
        Console.error(
          "penstock: \(why). The agent goes on draining; ask again to wait again, restart it to "
            + "receive again.")
        throw ArgumentParser.ExitCode(1)
      }
    }
  }

  private func finish(_ drain: DrainStatus, elapsed: Duration) {
    if json {
      Console.line(
        JSONValue.object { object in
          object.put("drained", drain.isComplete)
          object.put("outstanding", drain.outstanding)
          object.put("seconds", elapsed)
          object.put(
            "routes",
            drain.routes.map { route in
              JSONValue.object { object in
                object.put("name", route.name)
                object.put("phase", route.phase.rawValue)
                object.put(
                  "sinks",
                  route.sinks.map { sink in
                    JSONValue.object { object in
                      object.put("name", sink.name)
                      object.put("required", sink.isRequired)
                      object.put("outstanding", sink.outstanding)
                      object.put("state", sink.stage?.state)
                      object.put("detail", sink.stage?.detail)
                    }
                  })
              }
            })
        }.line)
      return
    }
    for line in drain.lines { Console.line(line) }
    if drain.isComplete {
      Console.line(
        "drained in \(Figures.duration(elapsed))"
          + (stop ? "; the agent ends" : "; the agent receives nothing until it is restarted"))
    }
  }
}

/// How far a drain is.
struct DrainStatus {
  let routes: [RouteStatus]

  /// - Parameter names: the routes that count; empty: all.
  init(_ status: GatewayStatus, routes names: [String]) {
    routes = status.routes.filter { names.isEmpty || names.contains($0.name) }
  }

  /// Every journal is closed, and every required destination has everything.
  var isComplete: Bool { routes.allSatisfy { $0.phase == .drained } && outstanding == 0 }

  /// Of required destinations.
  var outstanding: UInt64 {
    routes.flatMap(\.sinks).filter(\.isRequired).reduce(0) { $0 + $1.outstanding }
  }

  /// One for each destination, and for each broker that is not left yet.
  var lines: [String] {
    routes.flatMap { route in
      var lines = route.sinks.map { Self.line(route, $0) }
      if let ingest = route.ingest, route.phase != .drained {
        lines.append("\(route.name), receiving: \(Self.state(ingest))")
      }
      return lines
    }
  }

  private static func line(_ route: RouteStatus, _ sink: SinkStatus) -> String {
    let name = "\(route.name) to \(sink.name)\(sink.isRequired ? "" : " (best effort)")"
    guard sink.outstanding > 0 else { return "\(name): has everything" }
    var text = "\(name): \(Figures.count(sink.outstanding, "record")) to go"
    if let rate = sink.recordsPerSecond, rate > 0 {
      text +=
        ", \(Figures.decimal(rate, digits: 1) ?? "?") records/s, "
        + "about \(Figures.duration(.milliseconds(Int64(Double(sink.outstanding) / rate * 1000))))"
    }
    if let stage = sink.stage, stage.state != "connected" { text += "; \(state(stage))" }
    return text
  }

  private static func state(_ stage: StageReading) -> String {
    let detail = stage.detail.isEmpty ? "" : ": \(Printable.text(stage.detail))"
    return "\(stage.state) for \(Figures.duration(stage.inState))\(detail)"
  }
}

/// A line that is written again on a terminal; elsewhere a line for each change, and every ten
/// seconds.
private struct DrainProgress {
  private static let lineEvery: Duration = .seconds(10)

  private let isShown: Bool
  private let start: MonotonicTime
  private var line = ProgressLine()
  private var lastText = ""
  private var lastShown: MonotonicTime?

  init(isShown: Bool, start: MonotonicTime) {
    self.isShown = isShown
    self.start = start
  }

  mutating func show(_ drain: DrainStatus) {
    guard isShown else { return }
    let waiting = drain.lines.filter { !$0.hasSuffix("has everything") }
    if Console.isErrorTerminal {
      return line.show(waiting.isEmpty ? "closing the journals" : waiting.joined(separator: " | "))
    }
    let states = drain.routes.map { route in
      route.phase.rawValue + route.sinks.map { $0.stage?.state ?? "" }.joined(separator: ",")
    }.joined(separator: ";")
    let now = Clock.monotonic()
    let isDue = lastShown.map { now.since($0) >= Self.lineEvery } ?? true
    guard states != lastText || isDue, !waiting.isEmpty else { return }
    lastText = states
    lastShown = now
    for text in waiting { Console.error(text) }
  }

  func end() { line.end() }
}
