import Audit
import GatewayCore
import Platform
import Synchronization
import TestSupport
import Testing

/// What the field sends, and what the ring needs for it.
struct PowerLoad: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let journalSize: String
  /// Of the volume; nil: what its kind needs for a ring of 16 MiB.
  let volumeByteCount: Int?
  /// Messages that may wait in the ring before they must be delivered.
  let backlogMax: Int
  /// Message number `n`, the same each time.
  let message: @Sendable (Int) -> FieldRole.Message

  /// 40 to 1,100 bytes: groups of up to 128 KiB.
  static let small = PowerLoad(
    testDescription: "small groups", journalSize: "16MiB", volumeByteCount: nil, backlogMax: 5000
  ) { number in message(number, padding: number &* 7919 % 1063) }

  /// 8 to 16 KiB, 200 in flight: groups of up to 1 MiB, which reach the disk in pieces.
  static let large = PowerLoad(
    testDescription: "groups of up to 1 MiB", journalSize: "32MiB", volumeByteCount: 80 << 20,
    backlogMax: 1000
  ) { number in message(number, padding: 8192 + number &* 7919 % 8192) }

  static func id(_ number: Int) -> String { "m-\(number)" }

  /// Of one of five pumps.
  private static func message(_ number: Int, padding: Int) -> FieldRole.Message {
    let note = String(repeating: "x", count: padding)
    let text = "{\"messageId\":\"\(id(number))\",\"value\":\(number),\"note\":\"\(note)\"}"
    return FieldRole.Message(topic: "pumps/p\(number % 5)/metrics", payload: Array(text.utf8))
  }
}

/// The gateway between two scripted brokers, and the oracle that hears all three:
///
///     field (S, A) ──▶ gateway, journal on a disk that fails ──▶ centre (D)
///         └────────▶ audit: A − D, D − S, payloads, order ◀────┘
final class PowerStage {
  let field: MQTTPeer<FieldRole>
  let central: MQTTPeer<CentralRole>
  let gateway: GatewayProcess
  let ledger = AuditLedger()
  private let receipts = ReceiptClock()

  /// - Parameter acknowledged: on the field broker's thread, for each PUBACK.
  init(
    dataDirectory: String, load: PowerLoad = .small,
    acknowledged: @escaping @Sendable () -> Void = {}
  ) throws {
    let ledger = ledger
    let receipts = receipts
    var role = FieldRole(load.message)
    role.observer.sent = { _, message in
      ledger.sent(
        topic: message.topic, id: PowerStage.id(of: message), payload: message.payload.span)
    }
    role.observer.acknowledged = { number, _ in
      acknowledged()
      ledger.acknowledged(topic: load.message(number).topic, id: PowerLoad.id(number))
    }
    let record = EnvelopeRecorder.record(into: ledger)
    field = try MQTTPeer(role)
    central = try MQTTPeer(
      CentralRole { publish in
        let before = ledger.counts.events
        record(Array(publish.topic.utf8).span, publish.payload.span)
        receipts.received(ledger.counts.events - before)
      })
    var options = AgentOptions(
      fieldPort: field.port, centralPort: central.port,
      observabilityPort: try Loopback.freePort())
    options.gatewayID = "gw-power"
    options.journalSize = load.journalSize
    options.batchMaxDelay = "50ms"
    gateway = try GatewayProcess(options, dataDirectory: dataDirectory)
  }

  // MARK: - Messages

  private static func id(of message: FieldRole.Message) -> String {
    let text = message.payload.dropFirst(14)
    return String(decoding: text.prefix { $0 != UInt8(ascii: "\"") }, as: UTF8.self)
  }

  // MARK: - Load

  /// Lets so many more messages leave; the window paces them.
  func send(_ count: Int) { field.withRole { $0.limit = $0.sentCount + count } }

  var sentCount: Int { field.withRole { $0.sentCount } }
  var acknowledgedCount: Int { field.withRole { $0.acknowledgedCount } }

  /// No new messages; waits until the gateway is there, everything sent is acknowledged and
  /// everything acknowledged has been delivered.
  func drain(within limit: Duration = .seconds(60)) throws {
    field.withRole { $0.limit = $0.sentCount }
    try gateway.wait(for: "the drain", within: limit) {
      field.withRole { $0.isSubscribed && $0.isIdle } && ledger.counts.outstanding == 0
    }
  }

  /// After the gateway's end: every PUBACK that it had sent has been read.
  func waitForSilence() throws {
    let deadline = Deadline(in: .seconds(10))
    while field.linkCount + central.linkCount > 0 {
      if deadline.isOver { throw TestFailure("a dead gateway's connections stay open") }
      _ = try gateway.ended(within: .milliseconds(1))
    }
  }

  /// How many events may come again after an interruption now: those that came within the last
  /// second, the longest that a cursor stays in memory, and half as much again for the clock.
  func redeliveryAfterCut() -> UInt64 { receipts.count(within: .milliseconds(1500)) }

  /// Verdict on everything so far.
  func report() throws -> AuditReport {
    for errors in [field.errors, central.errors] where !errors.isEmpty {
      throw TestFailure("no MQTT: \(errors)")
    }
    return ledger.report()
  }
}

/// When how many events came to the centre.
private final class ReceiptClock: Sendable {
  private let receipts = Mutex<[(time: MonotonicTime, count: UInt64)]>([])

  func received(_ count: UInt64) {
    let now = Clock.monotonic()
    receipts.withLock { receipts in
      receipts.append((now, count))
      if receipts.count > 100_000 { receipts.removeFirst(50_000) }
    }
  }

  func count(within span: Duration) -> UInt64 {
    let now = Clock.monotonic()
    return receipts.withLock { receipts in
      receipts.reversed().prefix { now.since($0.time) <= span }.reduce(0) { $0 + $1.count }
    }
  }
}
