import ArgumentParser
import Control
import GatewayCore
import Platform

struct TopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top",
    abstract: "Watch the running gateway: rates, backlog, disk and destinations, live.",
    discussion: """
      Asks the agent once a second, as `penstock status` does, and draws what it says: for each \
      route what comes in, how full the ring is, how long a sync of the disk takes and how long a \
      PUBACK waits for it; for each destination what goes out, what is missing and how old that \
      is. Rates and times are of the last second; before there are two pictures, of the last \
      minute. The agent does not notice.

      q, Ctrl-C or SIGTERM ends it. An agent that ends meanwhile is waited for. Where standard \
      output is no terminal it prints one picture and ends.

      Exit codes: 0 · 64 usage · 69 no agent runs, or it does not answer this user · 78 \
      configuration.
      """)

  @OptionGroup var agent: AgentArguments

  private static let refreshEvery: Duration = .seconds(1)

  func run() throws {
    let path = agent.socketPath(try agent.options())
    do {
      let first = try Agent(socket: path).status()
      guard Console.isTerminal else {
        for line in TopScreen(first, before: nil).lines { Console.line(line) }
        return
      }
      try watch(path, first)
    } catch let error as AgentAbsence {
      throw error.failure(socket: path)
    } catch let error as ControlRefusal {
      throw GatewayCore.ExitCode.unavailable.failure("\(error)")
    }
  }

  private func watch(_ path: String, _ first: GatewayStatus) throws {
    let interruption = try WakeUp()
    try TerminationSignal.onFirst { interruption.signal() }
    let keyboard = Keyboard()
    Console.text(Self.hideCursor)
    defer { Console.text(Self.showCursor) }
    var agent: Agent?
    var before: GatewayStatus?
    var now: GatewayStatus? = first
    var isEnding = false
    while !isEnding {
      draw(now, before: before)
      isEnding = waitForKey(keyboard, interruption)
      before = now
      do {
        if agent == nil { agent = try Agent(socket: path) }
        now = try agent?.status()
      } catch {
        // It ended, or is being restarted: look again in a second.
        agent = nil
        now = nil
      }
    }
  }

  private func draw(_ now: GatewayStatus?, before: GatewayStatus?) {
    let size = Console.size ?? (columns: 80, rows: 24)
    let lines = now.map { TopScreen($0, before: before).lines } ?? ["no agent runs; waiting for it"]
    var text = Self.home
    for line in (lines + ["", "q ends"]).prefix(max(1, size.rows - 1)) {
      text += line.prefix(size.columns) + Self.eraseRest + "\n"
    }
    Console.text(text + Self.eraseBelow)
  }

  /// Waits for the next refresh.
  /// - Returns: whether to end.
  private func waitForKey(_ keyboard: borrowing Keyboard, _ interruption: WakeUp) -> Bool {
    let until = Clock.monotonic() + Self.refreshEvery
    while true {
      let rest = until.since(Clock.monotonic())
      guard rest > .zero else { return false }
      var interests = [Poll.Interest(keyboard.pollDescriptor)]
      if Poll.wait(&interests, wakeUp: interruption, timeout: rest) { return true }
      if interests[0].isReady {
        guard let key = keyboard.read() else { return true }
        if key == UInt8(ascii: "q") || key == UInt8(ascii: "Q") { return true }
      }
    }
  }

  // ECMA-48, as every terminal of the last forty years knows it.
  private static let home = "\u{1b}[H"
  private static let eraseRest = "\u{1b}[K"
  private static let eraseBelow = "\u{1b}[J"
  private static let hideCursor = "\u{1b}[2J\u{1b}[?25l"
  private static let showCursor = "\u{1b}[?25h"
}

/// One picture of `top`.
struct TopScreen {
  private let now: GatewayStatus
  /// The picture before; nil for the first, and after a restart of the agent.
  private let before: GatewayStatus?
  private let elapsed: Duration

  init(_ now: GatewayStatus, before: GatewayStatus?) {
    self.now = now
    // By the agent's uptime, because a wall clock jumps.
    let elapsed = (now.uptime ?? .zero) - (before?.uptime ?? .zero)
    self.before = elapsed > .zero ? before : nil
    self.elapsed = elapsed
  }

  var lines: [String] {
    let uptime = now.uptime.map { "up \(Figures.duration($0))" } ?? ""
    var lines = [
      "penstock \(now.gatewayID)  \(now.health ?? "")  \(uptime)  \(now.time)",
      Arrival(now, grace: .seconds(10)).sentence, "",
    ]
    lines += routeLines + [""] + sinkLines
    if let problem = now.problems.last {
      lines += [
        "",
        "\(problem.time) \(problem.level) \(Printable.text(problem.message)) "
          + Printable.text(problem.detail),
      ]
    }
    return lines
  }

  private var routeLines: [String] {
    var table = TextTable([
      "ROUTE", "PHASE", "RECEIVING", ">IN/S", ">SEQUENCE", ">RING", ">FULL IN", ">SYNC", ">PUBACK",
    ])
    for route in now.routes {
      let earlier = before?.routes.first { $0.name == route.name }
      let journal = route.journal
      table.add([
        route.name, route.phase.rawValue, route.ingest?.state ?? "-",
        rate(
          journal?.committed, earlier?.journal?.committed, otherwise: journal?.recordsPerSecond),
        journal.map { "\($0.committed)" } ?? "-",
        journal.map {
          Figures.percent(Double($0.used.rawValue), of: Double($0.capacity.rawValue))
        } ?? "-",
        journal?.timeToFull.map { Figures.duration($0) } ?? "-",
        mean(route.syncs, earlier?.syncs, otherwise: journal?.syncTime),
        mean(route.pubackDelays, earlier?.pubackDelays, otherwise: journal?.pubackDelay),
      ])
    }
    return table.lines
  }

  private var sinkLines: [String] {
    var table = TextTable([
      "ROUTE", "DESTINATION", "STATE", ">OUT/S", ">MISSING", ">BYTES", ">OLDEST", ">IN FLIGHT",
      "DRAINED IN",
    ])
    for route in now.routes {
      let earlier = before?.routes.first { $0.name == route.name }
      for sink in route.sinks {
        let sinkBefore = earlier?.sinks.first { $0.name == sink.name }
        table.add([
          route.name, sink.name, sink.stage?.state ?? "-",
          rate(sink.acknowledged, sinkBefore?.acknowledged, otherwise: sink.recordsPerSecond),
          "\(sink.outstanding)", sink.backlog.map { Figures.bytes($0.rawValue) } ?? "-",
          sink.oldestAge.map { Figures.duration($0) } ?? "-",
          sink.inFlightCount.map { "\($0)" } ?? "-", StatusText.drainTime(sink),
        ])
      }
    }
    return table.lines
  }

  private func rate(_ now: Sequence?, _ before: Sequence?, otherwise: Double?) -> String {
    var rate = otherwise
    if let now, let before { rate = Double(now.count(since: before)) / elapsed.seconds }
    return rate.flatMap { Figures.decimal($0, digits: 1) } ?? "-"
  }

  private func mean(
    _ now: DurationTotal?, _ before: DurationTotal?, otherwise: Duration?
  ) -> String {
    var mean = otherwise
    if let now, let before { mean = now.mean(since: before) }
    return mean.map { Figures.milliseconds($0) } ?? "-"
  }
}
