import Audit
import GatewayCore
import Glibc
import Mosquitto
import Platform
import RingJournal

/// Peak resident memory (VmHWM) of the whole agent with the default ring and window: while the ring
/// fills and the centre is away; and after a restart, while the window is rebuilt from the full
/// ring and the backlog drains.
enum MemoryBenchmark {
  /// More than the default window remembers, and most of the default ring.
  static let messages = 840_000

  static func run() throws {
    var brokerOptions = BrokerOptions()
    brokerOptions.maxInflightMessages = 1000
    brokerOptions.maxQueuedMessages = 0
    var field = try BrokerProcess(name: "field", options: brokerOptions)
    try field.start()
    var central = try BrokerProcess(name: "central", options: brokerOptions)
    let directory = try TemporaryDirectory(prefix: "penstock-bench")
    var options = AgentOptions(
      fieldPort: field.port, centralPort: central.port,
      observabilityPort: try Loopback.freePort())
    options.journalSize = "256MiB"
    let data = try directory.makeSubdirectory("data")
    let configuration = "\(directory.path)/penstock.yaml"
    let text = options.configuration(dataDirectory: data)
      .replacing("topic: penstock", with: "accept_no_subscriber: true\n        topic: penstock")
    try File.replace(configuration, with: Array(text.utf8))
    let journal = "\(data)/telemetry.journal"

    var agent = try start(configuration)
    var publisher = try ChildProcess(
      executable: IngestBenchmark.sibling("load-publisher"),
      arguments: ["\(field.port)", "\(messages)", "200", "memory"])
    guard try publisher.wait(atMost: .seconds(300)) == .exited(code: 0) else {
      throw BenchmarkError("the publisher did not finish")
    }
    try wait(for: journal) { $0.committed.rawValue >= UInt64(messages) }
    let filling = try peak(of: agent)
    try stop(&agent)

    try central.start()
    agent = try start(configuration)
    try wait(for: journal) { $0.sinks.allSatisfy { $0.acknowledged.rawValue >= UInt64(messages) } }
    let draining = try peak(of: agent)
    try stop(&agent)
    Console.line(
      "memory: peak resident of the agent \(filling / 1024) MiB with a backlog of \(messages) "
        + "messages in the default ring, \(draining / 1024) MiB after a restart while it drains "
        + "(wanted ≤ 64)")
  }

  private static func start(_ configuration: String) throws -> ChildProcess {
    try ChildProcess(
      executable: IngestBenchmark.sibling("penstock"),
      arguments: ["run", "--config", configuration], standardError: .discard)
  }

  private static func stop(_ agent: inout ChildProcess) throws {
    agent.send(signal: SIGTERM)
    guard try agent.wait(atMost: .seconds(30)) == .exited(code: 0) else {
      throw BenchmarkError("the agent did not stop in order")
    }
  }

  /// Looks into the live file every half second.
  private static func wait(
    for path: String, _ isReached: (JournalStatistics) -> Bool
  ) throws {
    let wakeUp = try WakeUp()
    let deadline = Clock.monotonic() + .seconds(300)
    while Clock.monotonic() < deadline {
      if let statistics = try? JournalInspector.statistics(path: path), isReached(statistics) {
        return
      }
      _ = Poll.wait(socket: nil, wakeUp: wakeUp, timeout: .milliseconds(500))
    }
    throw BenchmarkError("the journal did not come that far")
  }

  /// KiB.
  private static func peak(of process: borrowing ChildProcess) throws -> Int {
    try Usage.status("VmHWM", of: "\(process.id)")
  }
}
