import Audit
import Envelope
import GatewayCore
import Glibc
import Mosquitto
import Platform
import Synchronization

/// The gateway beside a Mosquitto bridge: the same two brokers, the same load, the same consumer,
/// in turn within one run.
enum BridgeBenchmark {
  private static let payloadByteCount = 200

  /// Messages a second from end to end, published as fast as the field broker takes them.
  static func throughput() throws {
    let (rounds, count) = (5, 150_000)
    Console.line("bridge: \(rounds) rounds of \(count) messages of \(payloadByteCount) bytes")
    var ratios: [Double] = []
    for round in 1...rounds {
      let rates = try inTurn(round, .penstock) { try live($0, count, run: "t\(round)") }
      ratios.append(rates.penstock / rates.bridge)
      Console.line(
        "  round \(round): bridge \(Int(rates.bridge)) msg/s · penstock \(Int(rates.penstock)) "
          + "msg/s · \((rates.penstock / rates.bridge).short) ×")
    }
    Console.line("  end to end: median \(ratios.median.short) × (wanted ≥ 1.3)")
  }

  /// Who comes first changes, so that a machine that gets slower favours nobody.
  private static func inTurn<Value>(
    _ round: Int, _ ours: Carrier, _ body: (Carrier) throws -> Value
  ) rethrows -> (bridge: Value, penstock: Value) {
    if round.isMultiple(of: 2) {
      let second = try body(ours)
      return (try body(.bridge), second)
    }
    let first = try body(.bridge)
    return (first, try body(ours))
  }

  private static func live(_ carrier: Carrier, _ count: Int, run: String) throws -> Double {
    let line = try BridgeLine(carrier)
    try line.central.start()
    let consumer = try BareConsumer(
      port: line.central.port, filter: carrier.filter, count: count)
    try consumer.waitUntilSubscribed()
    try line.startCarrier()
    try line.waitForCarrier()
    // One alone, with a window that keeps the broker busy, is slower than what it is to load.
    var first = try line.startPublishing(count / 2, run: run + "a", window: 200)
    var second = try line.startPublishing(count / 2, run: run + "b", window: 200)
    let rate = try consumer.rate()
    _ = try first.wait(atMost: .seconds(30))
    _ = try second.wait(atMost: .seconds(30))
    try line.stopCarrier()
    return rate
  }

  /// A backlog of an outage: how fast it drains, and what it costs in memory until then.
  static func drain() throws {
    let (rounds, count) = (3, 300_000)
    Console.line("drain: \(rounds) rounds, a backlog of \(count) messages")
    var ratios: [Double] = []
    for round in 1...rounds {
      let result = try inTurn(round, .penstock) { try outage($0, count, run: "d\(round)") }
      ratios.append(result.penstock.rate / result.bridge.rate)
      Console.line(
        "  round \(round): bridge \(Int(result.bridge.rate)) msg/s · penstock "
          + "\(Int(result.penstock.rate)) msg/s · "
          + "\((result.penstock.rate / result.bridge.rate).short) ×")
      Console.line("    resident with the bridge: \(result.bridge.memory)")
      Console.line("    resident with penstock: \(result.penstock.memory)")
    }
    Console.line("  draining: median \(ratios.median.short) × the bridge (wanted ≥ 8)")
  }

  private static func outage(
    _ carrier: Carrier, _ count: Int, run: String
  ) throws -> (rate: Double, memory: String) {
    let line = try BridgeLine(carrier)
    let warmUp = count / 10
    let consumer = try BareConsumer(
      port: line.central.port, filter: carrier.filter, count: count)
    try line.startCarrier()
    // Buffers and windows have their size before the growth is looked at.
    try line.publish(warmUp, run: run + "w")
    let before = try line.residentMemory()
    try line.publish(count - warmUp, run: run)
    if carrier != .bridge { try waitUntil { line.committed >= UInt64(count) } }
    let after = try line.residentMemory()
    // The back-off of a long outage is not what is measured.
    try line.stopCarrier()
    try line.central.start()
    try consumer.waitUntilSubscribed()
    try line.startCarrier()
    let rate = try consumer.rate()
    try line.stopCarrier()
    let growth = after.broker - before.broker + (after.agent ?? 0) - (before.agent ?? 0)
    let perMessage = Double(growth) * 1024 / Double(count - warmUp)
    return (
      rate,
      "field broker \(before.broker) → \(after.broker) KiB"
        + (after.agent.map { ", agent \(before.agent ?? 0) → \($0) KiB" } ?? "")
        + ", \(perMessage.short) bytes per queued message"
    )
  }

  /// From the publisher's clock to the consumer's, at 1,000 messages a second.
  static func latency() throws {
    let (rate, seconds) = (1000, 20)
    Console.line("latency: \(rate) messages a second for \(seconds) s")
    for (carrier, name, wanted) in [
      (Carrier.bridge, "bridge", nil), (.penstock, "penstock, as shipped", 20 + 200 + 20),
      (.penstock(batchRecords: 500, batchDelay: "10ms"), "penstock, batch delay 10 ms", 50),
    ] as [(Carrier, String, Int?)] {
      let delays = try measureLatency(carrier, rate: rate, count: rate * seconds)
      Console.line(
        "  \(name): p50 \((delays.median * 1000).short) ms, p99 "
          + "\((delays.quantile(0.99) * 1000).short) ms, at most "
          + "\((delays.quantile(1) * 1000).short) ms"
          + (wanted.map { " (p99 wanted ≤ \($0))" } ?? ""))
    }
  }

  private static func measureLatency(
    _ carrier: Carrier, rate: Int, count: Int
  ) throws -> [Double] {
    let line = try BridgeLine(carrier)
    try line.central.start()
    let clock = ArrivalClock()
    let observer = try CentralObserver(
      endpoint: line.central.endpoint, clientID: "consumer", filters: [carrier.filter],
      record: clock.arrived)
    observer.start()
    guard observer.wait(timeout: .seconds(10), until: { $0.isSubscribed }) else {
      throw BenchmarkError("the consumer could not subscribe")
    }
    try line.startCarrier()
    try line.waitForCarrier()
    try line.publish(count, run: "l", rate: rate)
    try waitUntil { clock.count == count }
    observer.stop()
    try line.stopCarrier()
    // The first second is the connections' own.
    return Array(clock.delays.dropFirst(rate))
  }

  /// Bytes on the interface to the centre, TCP and IP included, both directions.
  static func bytes() throws {
    let count = 30_000
    if let obstacle = UpstreamInterface.obstacle {
      return Console.line("bytes: not measured: \(obstacle)")
    }
    Console.line("bytes: \(count) messages of \(payloadByteCount) bytes with noise")
    let bridge = try upstreamBytes(.bridge, count)
    Console.line("  bridge: \(bridge.short) bytes per message on the upstream interface")
    for (records, wanted) in [(500, 1 / 5.0), (20, 1 / 3.5)] {
      let ours = try upstreamBytes(.penstock(batchRecords: records, batchDelay: "5s"), count)
      Console.line(
        "  penstock, batches of \(records): \(ours.short) bytes per message, "
          + "\((ours / bridge).short) × (1/\((bridge / ours).short)) of the bridge's "
          + "(wanted ≤ \(wanted.short))")
    }
  }

  private static func upstreamBytes(_ carrier: Carrier, _ count: Int) throws -> Double {
    let interface = try UpstreamInterface()
    let central = try interface.startBroker()
    defer { withExtendedLifetime(central) {} }
    let line = try BridgeLine(carrier, centralAddress: "\(interface.address):1883")
    let consumer = try BareConsumer(
      port: 1883, filter: carrier.filter, count: count, wrapper: interface.wrapper)
    try consumer.waitUntilSubscribed()
    let before = try interface.byteCount()
    try line.startCarrier()
    // A bridge says nothing that could be waited for; its first messages wait in its queue.
    try line.publish(count, run: "b")
    _ = try consumer.rate()
    try line.stopCarrier()
    return Double(try interface.byteCount() - before) / Double(count)
  }
}

/// When which message arrived, against the time that its payload says it was made.
private final class ArrivalClock: Sendable {
  private let state = Mutex<[Double]>([])
  private static let label = Array("\"sentAt\":".utf8)

  var count: Int { state.withLock { $0.count } }
  /// Seconds, in the order of arrival.
  var delays: [Double] { state.withLock { $0 } }

  /// On the observer's thread.
  @Sendable func arrived(_ topic: Span<UInt8>, _ payload: Span<UInt8>) {
    let now = Clock.monotonic().nanoseconds
    guard let envelope = try? EnvelopeDecoder.decode(payload) else {
      return add([delay(payload, now)])
    }
    add(envelope.events.map { delay($0.payload.span, now) })
  }

  private func add(_ more: [Double?]) { state.withLock { $0 += more.compactMap(\.self) } }

  private func delay(_ payload: Span<UInt8>, _ now: Int64) -> Double? {
    let label = Self.label
    guard payload.count > label.count else { return nil }
    for start in 0..<payload.count - label.count {
      guard label.indices.allSatisfy({ payload[start + $0] == label[$0] }) else { continue }
      var sent: Int64 = 0
      for index in start + label.count..<payload.count {
        guard case UInt8(ascii: "0")...UInt8(ascii: "9") = payload[index] else { break }
        sent = sent * 10 + Int64(payload[index] - UInt8(ascii: "0"))
      }
      return Double(now - sent) / 1e9
    }
    return nil
  }
}
