import Audit
import GatewayCore
import Glibc
import Platform
import RingJournal

/// What carries messages from the field broker to the central one.
enum Carrier: Hashable {
  /// The field broker itself, with Mosquitto's bridge.
  case bridge
  /// The gateway, whose batches hold at most so many records and wait at most so long.
  case penstock(batchRecords: Int, batchDelay: String)

  static let penstock = Carrier.penstock(batchRecords: 500, batchDelay: "200ms")

  /// Where a consumer at the centre listens.
  var filter: String { self == .bridge ? "pumps/#" : "penstock/v1/#" }
}

/// Field broker ▸ carrier ▸ central broker, each a fresh process on a port of its own. Both brokers
/// have the same settings whatever carries: no limit to their queues, a window of 1,000, nothing on
/// disk.
final class BridgeLine {
  let carrier: Carrier
  var field: BrokerProcess
  var central: BrokerProcess
  private let directory: TemporaryDirectory
  private var agent: ChildProcess?

  /// Prepares all and starts the field broker, with its bridge, if it is the carrier.
  /// - Parameters:
  ///   - centralAddress: where a centre of another kind listens, instead of ours.
  ///   - accept: whose acceptance counts at the gateway, if it is the carrier.
  init(_ carrier: Carrier, centralAddress: String? = nil, accept: String = "broker") throws {
    self.carrier = carrier
    var options = BrokerOptions()
    options.maxInflightMessages = 1000
    options.maxQueuedMessages = 0
    let central = try BrokerProcess(name: "central", options: options)
    let address = centralAddress ?? "127.0.0.1:\(central.port)"
    if carrier == .bridge {
      options.lines = [
        "connection bridge", "address \(address)", "topic pumps/# out 1", "remote_clientid bridge",
        "cleansession false", "notifications false", "restart_timeout 1",
      ]
    }
    self.central = central
    field = try BrokerProcess(name: "field", options: options)
    try field.start()
    directory = try TemporaryDirectory(prefix: "penstock-bench")
    if case .penstock(let records, let delay) = carrier {
      var options = AgentOptions(
        fieldPort: field.port, centralPort: self.central.port,
        observabilityPort: try Loopback.freePort())
      options.journalSize = "256MiB"
      options.batchMaxRecords = records
      options.batchMaxDelay = delay
      options.accept = accept
      let url = "mqtt://127.0.0.1:\(self.central.port)"
      let text = options.configuration(dataDirectory: try directory.makeSubdirectory("data"))
        .replacing(url, with: "mqtt://\(address)\n    insecure_plaintext: true")
      try File.replace(configurationPath, with: Array(text.utf8))
    }
  }

  private var configurationPath: String { "\(directory.path)/penstock.yaml" }

  /// Starts the gateway, if it is the carrier, and waits until messages would be taken.
  func startCarrier() throws {
    guard carrier != .bridge else { return }
    agent = try ChildProcess(
      executable: IngestBenchmark.sibling("penstock"),
      arguments: ["run", "--config", configurationPath], standardError: .discard)
    // Written when the subscription stands; what is published before reaches nobody.
    try waitUntil {
      (try? FileStatus(path: "\(directory.path)/data/telemetry.subscriptions")) != nil
    }
  }

  func stopCarrier() throws {
    guard var child = agent.take() else { return }
    guard try child.stop(atMost: .seconds(30)) == .exited(code: 0) else {
      throw BenchmarkError("the agent did not stop in order")
    }
  }

  /// Waits until the carrier is known at the centre.
  func waitForCarrier() throws {
    let name = carrier == .bridge ? " as bridge" : "-telemetry-central-out"
    try waitUntil { central.log.contains(name) }
  }

  /// Records that are durable in the gateway's journal.
  var committed: UInt64 {
    let path = "\(directory.path)/data/telemetry.journal"
    return (try? JournalInspector.statistics(path: path))?.committed.rawValue ?? 0
  }

  /// Records that the destination has accepted.
  var acknowledged: UInt64 {
    let path = "\(directory.path)/data/telemetry.journal"
    let statistics = try? JournalInspector.statistics(path: path)
    return statistics?.sinks.first?.acknowledged.rawValue ?? 0
  }

  /// Publishes to the field broker and waits until it has acknowledged all. `rate` nil: as fast as
  /// it takes them.
  func publish(_ count: Int, payloadByteCount: Int = 200, run: String, rate: Int? = nil) throws {
    var publisher = try startPublishing(
      count, payloadByteCount: payloadByteCount, run: run, rate: rate)
    guard try publisher.wait(atMost: .seconds(120)) == .exited(code: 0) else {
      throw BenchmarkError("the publisher did not finish")
    }
  }

  func startPublishing(
    _ count: Int, payloadByteCount: Int = 200, run: String, rate: Int? = nil, window: Int = 800
  ) throws -> ChildProcess {
    try ChildProcess(
      executable: IngestBenchmark.sibling("load-publisher"),
      arguments: ["\(field.port)", "\(count)", "\(payloadByteCount)", run]
        + ["\(rate ?? 0)", "\(window)"])
  }

  /// KiB: of the gateway, if it carries, and of the field broker.
  func residentMemory() throws -> (agent: Int?, broker: Int) {
    let resident: Int?
    switch agent {
    case .some(let child): resident = try Usage.status("VmRSS", of: "\(child.id)")
    case .none: resident = nil
    }
    guard let broker = field.processID else { throw BenchmarkError("the field broker is gone") }
    return (resident, try Usage.status("VmRSS", of: "\(broker)"))
  }
}

/// The plainest subscriber at the centre. Waits for the broker itself.
struct BareConsumer: ~Copyable {
  private let directory: TemporaryDirectory
  private var process: ChildProcess

  /// - Parameter wrapper: a program and arguments that run it.
  init(port: UInt16, filter: String, count: Int, wrapper: [String] = []) throws {
    let directory = try TemporaryDirectory(prefix: "penstock-bench")
    let command =
      wrapper + [IngestBenchmark.sibling("bare-subscriber"), "\(port)", filter, "\(count)"]
    let process = try ChildProcess(
      executable: command[0], arguments: Array(command.dropFirst()),
      standardOutput: .file(path: "\(directory.path)/output"))
    self.directory = directory
    self.process = process
  }

  func waitUntilSubscribed() throws {
    try IngestBenchmark.waitForLine(of: "\(directory.path)/output") { $0 == "ready" }
  }

  /// Messages a second, from the first to the last.
  consuming func rate(within limit: Duration = .seconds(120)) throws -> Double {
    guard try process.wait(atMost: limit) == .exited(code: 0) else {
      throw BenchmarkError("the consumer did not get all messages")
    }
    let fields =
      try IngestBenchmark.line(of: "\(directory.path)/output") { $0 != "ready" }?
      .split(separator: " ").compactMap { Double($0) } ?? []
    guard fields.count >= 2, fields[1] > 0 else { throw BenchmarkError("no result") }
    return fields[0] / fields[1]
  }
}

/// Looks every 20 ms for at most a minute: set-up, not measurement.
func waitUntil(_ isReached: () -> Bool) throws {
  let wakeUp = try WakeUp()
  let deadline = Clock.monotonic() + .seconds(60)
  while !isReached() {
    if Clock.monotonic() > deadline { throw BenchmarkError("a benchmark did not get ready") }
    _ = Poll.wait(socket: nil, wakeUp: wakeUp, timeout: .milliseconds(20))
  }
}
