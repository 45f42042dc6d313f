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
      """)

  @Option(help: "How many pumps.") var pumps = 10

  @Option(
    help: "Messages per second over all pumps, repeats included; 0 is as fast as it goes.")
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

  @Option(help: "Connections that the pumps share.") var connections = 1

  @Option(help: "Un-acknowledged messages per connection.") var window = 100

  @OptionGroup(title: "Broker") var broker: BrokerArguments

  @Flag(help: "Print the result as JSON and no progress.") var json = false

  func validate() throws {
    try check(pumps, 1...PumpFleet.countMax, "--pumps")
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

  private var options: SimulationOptions {
    var options = SimulationOptions(
      connection: broker.connection(clientID: BrokerArguments.uniqueClientID("simulate")))
    options.pumpCount = pumps
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
    let simulation = try Simulation(options: options)
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
