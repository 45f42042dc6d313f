import Audit
import GatewayCore
import Hub
import Platform

/// Field broker ▸ gateway ▸ central broker ▸ hub: how fast a backlog becomes state, beside the same
/// batches out of the central broker's queue, which is as fast as the hub takes any.
enum HubDrainBenchmark {
  static func run() throws {
    let (rounds, count) = (3, 300_000)
    Console.line("hub-drain: \(rounds) rounds, a backlog of \(count) messages")
    var ratios: [Double] = []
    for round in 1...rounds {
      let own = try measure(count, accept: "broker", run: "q\(round)")
      let drain = try measure(count, accept: "hub", run: "h\(round)")
      ratios.append(drain / own)
      Console.line(
        "  round \(round): from a queue \(Int(own)) events/s · a gateway's drain \(Int(drain)) "
          + "events/s · \((drain / own).short) ×")
    }
    Console.line("  drained into the hub: median \(ratios.median.short) × (wanted ≥ 0.9)")
  }

  /// Events a second, from the first to the last in the store. With `accept: broker` all batches
  /// wait at the broker before the hub is there; with `accept: hub` they come as it takes them.
  private static func measure(_ count: Int, accept: String, run: String) throws -> Double {
    let line = try BridgeLine(.penstock, accept: accept)
    let directory = try TemporaryDirectory(prefix: "penstock-bench")
    let database = directory.path + "/hub.sqlite"
    let configuration = directory.path + "/hub.yaml"
    let text = """
      hub: {id: hub-bench, database: "\(database)"}
      broker: {url: "mqtt://127.0.0.1:\(line.central.port)"}
      observability: {listen: none}

      """
    try File.replace(configuration, with: Array(text.utf8))
    func startHub() throws -> ChildProcess {
      try ChildProcess(
        executable: IngestBenchmark.sibling("penstock-hub"),
        arguments: ["run", "--config", configuration], standardError: .discard)
    }
    try line.startCarrier()
    try line.publish(count, run: run)
    try waitUntil { line.committed >= UInt64(count) }
    try line.stopCarrier()
    try line.central.start()
    var hub = try startHub()
    // Its session then stands at the broker, whether or not it is there.
    try waitUntil { line.central.log.contains("penstock-hub-hub-bench-in") }
    try waitUntil { (try? SQLiteStore(path: database, access: .read).retention()) != nil }
    let store = try SQLiteStore(path: database, access: .read)
    if accept == "broker" {
      _ = try hub.stop(atMost: .seconds(20))
      try line.startCarrier()
      try waitUntil { line.acknowledged >= UInt64(count) }
      try line.stopCarrier()
      hub = try startHub()
    } else {
      try line.startCarrier()
    }
    var first: (position: UInt64, time: MonotonicTime)?
    var last = Clock.monotonic()
    try waitUntil {
      let position = (try? store.retention().last) ?? 0
      last = Clock.monotonic()
      if first == nil, position > 0 { first = (position, last) }
      return position >= UInt64(count)
    }
    guard let first else { throw BenchmarkError("nothing was applied") }
    let rate = Double(UInt64(count) - first.position) / last.since(first.time).seconds
    let assets = try store.load().assets.reduce(0) { $0 + $1.version }
    guard assets == UInt64(count) else { throw BenchmarkError("\(assets) applied, not \(count)") }
    _ = try hub.stop(atMost: .seconds(20))
    if accept == "hub" { try line.stopCarrier() }
    return rate
  }
}
