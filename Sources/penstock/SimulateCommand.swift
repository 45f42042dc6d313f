import ArgumentParser
import Audit
import GatewayCore
import Mosquitto
import Platform
import PumpTelemetry

struct SimulateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate",
    abstract: "Be a number of pumps that send telemetry to a broker.",
    discussion: """
      Each pump announces itself on pumps/<asset id>/asset and then measures on \
      pumps/<asset id>/metrics, with QoS 1 and message ids that no other run uses. What was not \
      acknowledged is sent again after a reconnect. Without --count and --duration it runs until \
      Ctrl-C. Exits with 69 when the broker is unavailable, refuses messages or leaves some \
      unanswered.

      METRICS

      rotation (rpm), current (A), intakePressure and pressure (kPa, at the pump's intake and \
      discharge), flowRate (m³/d) and temperature (°C), those of an electrical submersible pump \
      in an oil well. The same seed gives the same pumps and readings, whatever the rate.

      PATTERNS

      PUMP:METRIC=SHAPE, then any of :start=, :duration=, :depth=, :ramp= and :every=. PUMP is an \
      id, or * for every pump. The shapes:

      normal   noise of the depth (1 %) instead of the metric's own
      drop     falls by the depth (30 %) over the ramp (10 readings), comes back at the end
      rise     the same upwards
      spike    single readings are off by the depth (50 %): the first, and every N-th with :every=N
      stuck    the sensor shows what it showed last, whatever the pump does
      drift    the sensor goes off by the depth (10 %), slowly, until the ramp is over

      start, duration and ramp are readings of the pump (300) or times (90s, 5m); times count from \
      interval to interval as the rate sets it, so that a pattern is the same in every run. \
      Without a start it begins at once, without a duration it does not end. depth is a share of \
      the pump's normal value (20%) or a number in the metric's unit (15).

      FILE OF PUMPS

      {"pumps": [{"id": "ND03", "rate": 2, "count": 1000, "asset": {"version": "2.4.1", \
      "location": {"site": "Grane"}}, "patterns": [{"metric": "temperature", "pattern": "rise", \
      "start": "60s", "duration": 300, "depth": "20%"}]}]}

      Only id is required. What asset leaves out is made up from id and seed.

      COMMANDS

      A pump hears pumps/<asset id>/commands and obeys {"commandId": text, "assetId": text, \
      "command": "stop", "start" or "setRate", "rate": readings per second, "issuedAt": RFC 3339}. \
      It answers on pumps/<asset id>/confirmations with "result": "done" or "refused" and the \
      reason. A command id is obeyed once and confirmed as often as it comes. A stopped pump goes \
      on measuring: rotation, current and flow are 0, its pressure falls to the intake's.
      """)

  @Option(help: "How many pumps: ND01, ND02, …") var pumps: Int?

  @Option(
    name: .customLong("pump-id"),
    help: ArgumentHelp(
      "A pump by its id, instead of a number of them. Repeatable.", valueName: "id")
  )
  var pumpIDs: [String] = []

  @Option(
    help: ArgumentHelp(
      "A JSON file of pumps and their patterns, instead of a number of them.", valueName: "file"))
  var pumpsFile: String?

  @Option(
    help: ArgumentHelp(
      "What a metric does beside normal operation, as in "
        + "ND03:temperature=rise:start=60s:depth=20%. Repeatable.", valueName: "pattern"))
  var pattern: [String] = []

  @Option(
    help: """
      Messages per second over all pumps without a rate of their own, repeats included; 0 is as \
      fast as it goes.
      """)
  var rate = 100.0

  @Option(
    help: ArgumentHelp("Stop after this time, as in 30s.", valueName: "time"),
    transform: BrokerArguments.duration)
  var duration: Duration?

  @Option(help: "Stop after this many messages, repeats not counted.") var count: UInt64?

  @Option(help: "The same seed gives the same pumps and readings.") var seed: UInt64 = 1

  @Option(
    name: .customLong("run"), help: "The name of the run in the message ids; default: a random one."
  )
  var runName: String?

  @Option(
    name: .customLong("repeat"),
    help: ArgumentHelp("Share of messages sent twice on purpose, 0 to 1.", valueName: "share"))
  var repeatShare = 0.0

  @Flag(inversion: .prefixedNo, help: "Begin with a new-asset event of each pump.")
  var assetEvents = true

  @Flag(inversion: .prefixedNo, help: "Hear commands and confirm them.") var commands = true

  @Option(
    help: ArgumentHelp(
      "Refuse commands that are older than this; default: 60s.", valueName: "time"),
    transform: BrokerArguments.duration)
  var commandAge = PumpFleet.commandAgeMaxDefault

  @Option(help: "Connections that the pumps share.") var connections = 1

  @Option(help: "Un-acknowledged messages per connection.") var window = 100

  @OptionGroup(title: "Broker") var broker: BrokerArguments

  @Flag(help: "Print the result as JSON and no progress.") var json = false

  func validate() throws {
    if let pumps { try check(pumps, 1...PumpFleet.countMax, "--pumps") }
    if [pumps != nil, !pumpIDs.isEmpty, pumpsFile != nil].count(where: \.self) > 1 {
      throw ValidationError("Pumps come from one of --pumps, --pump-id and --pumps-file.")
    }
    try check(connections, 1...SimulationOptions.connectionCountMax, "--connections")
    try check(window, 1...SimulationOptions.windowMax, "--window")
    try check(repeatShare, 0...1, "--repeat")
    try check(rate, 0...10_000_000, "--rate")
    if let runName, RunID(runName) == nil {
      throw ValidationError(
        "--run takes 1 to \(RunID.byteCountMax) letters, digits and underscores.")
    }
  }

  private func check<Value: Comparable>(
    _ value: Value, _ range: ClosedRange<Value>, _ name: String
  ) throws {
    if !range.contains(value) {
      throw ValidationError("\(name) is from \(range.lowerBound) to \(range.upperBound).")
    }
  }

  /// The pumps and what they are to do; says what is wrong with them.
  private func plan() throws -> FleetPlan {
    do {
      var plan: FleetPlan
      if let pumpsFile {
        let bytes = try File.readSmall(pumpsFile, byteCountMax: PumpsFile.byteCountMax)
        plan = try PumpsFile.parse(bytes.span, file: pumpsFile)
      } else if !pumpIDs.isEmpty {
        plan = try FleetPlan(
          pumpIDs.map { id in
            guard let pump = PumpPlan(id: id) else {
              throw ValidationError("--pump-id \(id) is no id; accepted: \(PumpPlan.acceptedID).")
            }
            return pump
          })
      } else {
        plan = FleetPlan(count: pumps ?? 10)
      }
      try plan.add(pattern.map { try PatternAssignment($0) })
      if let id = plan.pumpWithoutTime(hasRate: rate > 0) {
        throw ValidationError(
          "a pattern of \(id) counts time, but with --rate 0 a pump has none: count readings, "
            + "or give a rate.")
      }
      return plan
    } catch let error as PumpsFileError {
      throw GatewayCore.ExitCode.configuration.failure("\(error)")
    } catch let error as ArgumentParser.ExitCode {
      throw error
    } catch {
      throw ValidationError("\(error)")
    }
  }

  private func options() throws -> SimulationOptions {
    var options = SimulationOptions(
      connection: broker.connection(clientID: BrokerArguments.uniqueClientID("simulate")))
    options.plan = try plan()
    options.obeysCommands = commands
    options.commandAgeMax = commandAge
    options.rate = rate > 0 ? rate : nil
    options.duration = duration
    options.count = count
    options.seed = seed
    options.run = runName.flatMap { RunID($0) } ?? .random()
    options.repeatShare = repeatShare
    options.announces = assetEvents
    options.connectionCount = connections
    options.window = window
    return options
  }

  func run() throws {
    let simulation = try Simulation(options: options())
    try TerminationSignal.onFirst { simulation.stop() }
    let showsProgress = !json && Console.isTerminal
    let eraseLine = "\r\u{1b}[K"
    let start = Clock.monotonic()
    simulation.start()
    while !simulation.wait(timeout: .milliseconds(500)) {
      if showsProgress {
        Console.text(eraseLine + Self.progress(simulation.counts, since: start))
      }
    }
    if showsProgress { Console.text(eraseLine) }
    let counts = simulation.counts
    let seconds = Clock.monotonic().since(start).seconds
    if json || counts.sent > 0 {
      Console.text(json ? Self.json(counts, seconds) : Self.table(counts, seconds))
    }
    if let error = simulation.error {
      throw GatewayCore.ExitCode.unavailable.failure("\(error)")
    }
    if counts.unheard > 0 {
      Console.error(
        "penstock: nobody subscribes to these topics: the broker threw \(counts.unheard) messages "
          + "away. Check that the gateway has subscribed.")
    }
    if let deafness = counts.deafness {
      Console.error(
        "penstock: \(broker.broker) lets the pumps hear no commands: \(deafness). Check that its "
          + "access rules let this user read pumps/+/commands, or give --no-commands.")
    }
    if counts.failed > 0 {
      let reason = counts.lastRefusal.map { "\($0)" } ?? "unknown"
      throw GatewayCore.ExitCode.unavailable.failure(
        "\(broker.broker) refused \(counts.failed) messages: \(reason). "
          + "Check its access rules and limits.")
    }
    if counts.outstanding > 0 {
      throw GatewayCore.ExitCode.unavailable.failure(
        "\(broker.broker) left \(counts.outstanding) messages without an answer")
    }
  }

  private static func progress(_ counts: SimulationCounts, since start: MonotonicTime) -> String {
    let seconds = max(Clock.monotonic().since(start).seconds, 0.001)
    return "sent \(counts.sent)  acknowledged \(counts.acknowledged)  repeated \(counts.repeated)  "
      + "waiting \(counts.outstanding)  failed \(counts.failed)  "
      + "\(rate(counts, seconds)) msg/s"
  }

  /// Sends per second, with one decimal.
  private static func rate(_ counts: SimulationCounts, _ seconds: Double) -> String {
    let tenths = UInt64((Double(counts.sent + counts.repeated) / seconds * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }

  private static func rows(_ counts: SimulationCounts) -> [(name: String, value: UInt64)] {
    [
      ("sent", counts.sent), ("acknowledged", counts.acknowledged), ("repeated", counts.repeated),
      ("resent", counts.resent), ("no_subscriber", counts.unheard), ("failed", counts.failed),
      ("unanswered", counts.outstanding), ("connections_lost", counts.connectionsLost),
      ("commands", counts.commands), ("commands_repeated", counts.commandsRepeated),
      ("commands_refused", counts.commandsRefused), ("confirmations", counts.confirmations),
    ]
  }

  private static func table(_ counts: SimulationCounts, _ seconds: Double) -> String {
    var text = ""
    for (name, value) in rows(counts) {
      let padding = String(repeating: " ", count: 18 - name.utf8.count)
      text += "\(name.map { $0 == "_" ? " " : String($0) }.joined())\(padding)\(value)\n"
    }
    return text + "rate              \(rate(counts, seconds)) msg/s over \(tenths(seconds)) s\n"
  }

  private static func json(_ counts: SimulationCounts, _ seconds: Double) -> String {
    let fields = rows(counts).map { "\"\($0.name)\":\($0.value)" }.joined(separator: ",")
    return "{\(fields),\"seconds\":\(tenths(seconds)),\"rate\":\(rate(counts, seconds))}\n"
  }

  private static func tenths(_ seconds: Double) -> String {
    let tenths = UInt64((seconds * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }
}
