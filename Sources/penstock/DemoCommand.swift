import ArgumentParser
import Audit
import GatewayCore
import Platform

/// Everything at once, on this machine, in less than two minutes.
struct DemoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Show outages, crashes and a failing pump on private brokers, and audit the result.",
    discussion: """
      Starts two private Mosquitto brokers on free loopback ports, this program as the agent, \
      penstock-hub behind the central broker, and simulated pumps with deliberately repeated \
      sends. Takes the central broker away, kills the agent with SIGKILL, starts it again, brings \
      the broker back, kills the hub while a motor grows hot, starts it again: an alert, a work \
      order, a stop command down to the pump, its confirmation. Then it drains, and holds pumps, \
      journal, an independent subscriber, the event store and the state made anew from it against \
      each other: nothing lost, duplicated, out of order or applied twice. Exits with 0 only when \
      all of that holds. Needs mosquitto (apt-get install mosquitto). Touches nothing outside its \
      temporary directories.
      """)

  @Option(help: "How long the pumps send, in seconds.") var seconds = 40
  @Option(help: "Messages per second, all pumps together.") var rate = 1500
  @Option(help: "Number of pumps.") var pumps = 25
  @Option(help: "Seed of the simulated pumps.") var seed: UInt64 = 1
  @Flag(help: "Keep all directories: configuration, logs, journal, event store.")
  var keep = false
  @Flag(help: "Print the audit as one JSON object; progress goes to standard error.")
  var json = false

  func validate() throws {
    guard (10...600).contains(seconds) else { throw ValidationError("--seconds is 10 to 600") }
    guard (10...20_000).contains(rate) else { throw ValidationError("--rate is 10 to 20000") }
    guard (1...1000).contains(pumps) else { throw ValidationError("--pumps is 1 to 1000") }
    guard seconds * rate <= DeliveryAudit.messageCountMaxDefault else {
      let limit = DeliveryAudit.messageCountMaxDefault
      throw ValidationError("the audit holds \(limit) messages; lower --seconds or --rate")
    }
  }

  func run() throws {
    guard let executable = Environment.ownExecutable else {
      throw GatewayCore.ExitCode.bug.failure("/proc/self/exe cannot be read; is /proc mounted?")
    }
    let hub = File.directoryName(of: executable) + "/penstock-hub"
    guard (try? FileStatus(path: hub)) != nil else {
      throw GatewayCore.ExitCode.unavailable.failure(
        "\(hub) is not there; the demo needs both programs in one directory, as `make build` puts "
          + "them")
    }
    var options = DemoOptions(executable: executable, hubExecutable: hub)
    options.seconds = seconds
    options.stage.rate = rate
    options.stage.pumps = pumps
    options.stage.seed = seed
    options.stage.isKept = keep
    let isQuiet = json
    let output = DemoOutput(isTerminal: !json && Console.isTerminal) { text in
      if isQuiet { Console.error(String(text.trimmingLast("\n"))) } else { Console.text(text) }
    }
    let result: DemoResult
    do {
      let interruption = try WakeUp()
      try TerminationSignal.onFirst { interruption.signal() }
      let demo = Demo(options: options, interruption: interruption, output: output)
      result = try demo.run()
    } catch is DemoInterrupted {
      Console.error("penstock: interrupted; brokers, agent, hub and directories are gone")
      throw ArgumentParser.ExitCode(130)
    } catch {
      throw GatewayCore.ExitCode.unavailable.failure("\(error)")
    }
    show(result)
    if !result.isClean { throw ArgumentParser.ExitCode.failure }
  }

  private func showKept(_ result: DemoResult) {
    Console.line("\nLook into what is kept:")
    Console.line("  penstock journal stats \(result.journalPath)")
    guard let database = result.databasePath else { return }
    for command in [
      "assets", "events --type alert.raised.v1", "cases --all", "offsets", "gaps",
      "rebuild --check",
    ] {
      Console.line("  penstock-hub \(command) --database \(database)")
    }
  }

  private func show(_ result: DemoResult) {
    if json {
      Console.line(result.report.json(allowedRedelivery: result.allowedRedelivery))
      return
    }
    Console.line("\nAudit by an independent subscriber on the central broker")
    Console.line(result.report.table(allowedRedelivery: result.allowedRedelivery))
    Console.line(
      result.isClean
        ? "\nEvery acknowledged message arrived and was applied, once, in order."
        : "\nA promise was broken: see above. Run again with --keep to look at logs and journal.")
    if keep { showKept(result) }
  }
}

extension String {
  /// Without one trailing `end`, if there is one.
  fileprivate func trimmingLast(_ end: Character) -> Substring {
    last == end ? dropLast() : self[...]
  }
}
