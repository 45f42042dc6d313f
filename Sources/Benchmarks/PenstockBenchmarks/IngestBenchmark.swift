import Audit
import GatewayCore
import Glibc
import Mosquitto
import Platform

/// Durable ingest against the plainest subscriber there is, in turn, each with a fresh broker of the
/// configuration we ship for the field, under the same load.
enum IngestBenchmark {
  static let rounds = 7
  static let messages = 120_000
  static let payloadByteCount = 200

  struct Result {
    let rate: Double
    let cpuMicroseconds: Double
  }

  static func run() throws {
    Console.line(
      "ingest: \(rounds) rounds of \(messages) messages of \(payloadByteCount) bytes, QoS 1")
    var rates: [Double] = []
    var cpu: [Double] = []
    for round in 1...rounds {
      // Who comes first changes, so that a machine that gets slower favours nobody.
      let bare: Result
      let ours: Result
      if round.isMultiple(of: 2) {
        ours = try measure(durable: true, round: round)
        bare = try measure(durable: false, round: round)
      } else {
        bare = try measure(durable: false, round: round)
        ours = try measure(durable: true, round: round)
      }
      rates.append(ours.rate / bare.rate)
      cpu.append(ours.cpuMicroseconds / bare.cpuMicroseconds)
      Console.line(
        "  round \(round): bare \(Int(bare.rate)) msg/s \(bare.cpuMicroseconds.short) µs CPU/msg · "
          + "durable \(Int(ours.rate)) msg/s \(ours.cpuMicroseconds.short) µs CPU/msg · "
          + "rate \((ours.rate / bare.rate).short) × CPU "
          + "\((ours.cpuMicroseconds / bare.cpuMicroseconds).short) ×")
    }
    Console.line(
      "  rate: median \(rates.median.short) × (wanted ≥ 1.0), lower quartile "
        + "\(rates.quantile(0.25).short) × (≥ 0.9); CPU per message: median "
        + "\(cpu.median.short) × (≤ 1.3)")
  }

  private static func measure(durable: Bool, round: Int) throws -> Result {
    var options = BrokerOptions()
    options.maxInflightMessages = 1000
    options.maxQueuedMessages = 0
    options.persistence = false
    var broker = try BrokerProcess(name: "bench", options: options)
    try broker.start()
    let directory = try TemporaryDirectory(prefix: "penstock-bench")
    let output = "\(directory.path)/output"
    let data = try directory.makeSubdirectory("data")
    let port = "\(broker.port)"
    var consumer = try ChildProcess(
      executable: sibling(durable ? "penstock-benchmarks" : "bare-subscriber"),
      arguments: (durable ? ["consume-durable"] : [])
        + [port, "pumps/+/metrics", "\(messages)"] + (durable ? [data] : []),
      standardOutput: .file(path: output))
    try waitForLine(of: output) { $0 == "ready" }
    var publisher = try ChildProcess(
      executable: sibling("load-publisher"),
      arguments: [port, "\(messages)", "\(payloadByteCount)", "r\(round)"])
    guard let status = try consumer.wait(atMost: .seconds(120)), status == .exited(code: 0) else {
      throw BenchmarkError("the \(durable ? "durable" : "bare") subscriber did not finish")
    }
    _ = try publisher.wait(atMost: .seconds(30))
    let fields = try line(of: output) { $0 != "ready" }?.split(separator: " ").map(String.init) ?? []
    guard fields.count >= 3, let count = Double(fields[0]), let seconds = Double(fields[1]),
      let cpu = Double(fields[2])
    else { throw BenchmarkError("no result from the subscriber") }
    return Result(rate: count / seconds, cpuMicroseconds: cpu / count * 1e6)
  }

  /// A program built beside this one.
  static func sibling(_ name: String) -> String {
    let own = CommandLine.arguments[0]
    return File.directoryName(of: own) + "/" + name
  }

  static func line(of path: String, where matches: (Substring) -> Bool) throws -> String? {
    guard let bytes = try? File.readSmall(path, byteCountMax: 1 << 20) else { return nil }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").first(where: matches)
      .map(String.init)
  }

  /// Looks every 10 ms for at most a minute; a benchmark's set-up, not its measurement.
  static func waitForLine(of path: String, where matches: (Substring) -> Bool) throws {
    let wakeUp = try WakeUp()
    let deadline = Clock.monotonic() + .seconds(60)
    while try line(of: path, where: matches) == nil {
      if Clock.monotonic() > deadline { throw BenchmarkError("nothing came in \(path)") }
      _ = Poll.wait(socket: nil, wakeUp: wakeUp, timeout: .milliseconds(10))
    }
  }
}
