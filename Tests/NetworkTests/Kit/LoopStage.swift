import Audit
import Batching
import Deduplication
import GatewayCore
import Ingest
import Logging
import Mosquitto
import Platform
import RingJournal
import Synchronization
import TestSupport
import Upstream

/// The two loops of a route with libmosquitto, real sockets and a journal on the disk, in this
/// process, between two scripted brokers: what `penstock run` does, with pauses that a test may
/// choose, so that hundreds of lost connections fit into it.
///
///     field (S, A) ──▶ IngestLoop ▸ journal ▸ SinkLoop ──▶ centre (D)
///         └────────▶ audit: A − D, D − S, payloads, order ◀────┘
final class LoopStage {
  struct Options {
    var version = ProtocolVersion.v5
    var backoff = Backoff(minimum: .milliseconds(1), maximum: .milliseconds(5))
    var answerTimeout = Duration.seconds(30)
    var batchRecordCountMax = 50
    var inFlightMax = 16
    var acceptsNoSubscriber = false
    var sabotage = Sabotage.none
  }

  let field: MQTTPeer<FieldRole>
  let central: MQTTPeer<CentralRole>
  let ledger = AuditLedger()
  let journal: JournalState
  private let ingest: IngestControl
  private let sink: SinkControl
  private let errors: Failures
  private let threads: Threads
  private let directory: TemporaryDirectory

  /// Nothing is sent until `send`. `field` and `central` may be changed before and while they run.
  init(_ options: Options = Options()) throws {
    let ledger = ledger
    var role = FieldRole(Load.message)
    role.windowMax = 50
    role.observer.sent = { number, message in
      ledger.sent(topic: message.topic, id: Load.id(number), payload: message.payload.span)
    }
    role.observer.acknowledged = { number, _ in
      ledger.acknowledged(topic: Load.message(number).topic, id: Load.id(number))
    }
    let record = EnvelopeRecorder.record(into: ledger)
    field = try MQTTPeer(role)
    central = try MQTTPeer(
      CentralRole { record(Array($0.topic.utf8).span, $0.payload.span) })
    directory = try TemporaryDirectory(prefix: "penstock-loops")
    let errors = Failures()
    self.errors = errors

    var journalOptions = JournalOptions(
      gatewayID: "gw-1", routeName: "telemetry", sinks: [JournalSink(name: "central")])
    journalOptions.capacity = JournalOptions.capacityMin
    let opened = try Journal.open(
      path: "\(directory.path)/telemetry.journal", options: journalOptions)
    let journal = opened.state
    self.journal = journal
    let ingest = IngestControl(wakeUp: journal.writerWakeUp)
    let sink = SinkControl(wakeUp: journal.wakeUp(sink: 0))
    self.ingest = ingest
    self.sink = sink

    let intake = try Self.makeIntake(opened.takeWriter(), port: field.port, options)
    let paths = directory.path
    let out = LoopStage.sinkOptions(port: central.port, options)
    let inbound = try JoinedThread(name: "in") {
      errors.note { try intake.run(control: ingest, subscriptionPath: paths + "/subscriptions") }
    }
    let outbound = try JoinedThread(name: "out") {
      errors.note {
        try deliver(
          journal, out, options, control: sink, deadLetterPath: paths + "/telemetry.dead")
      }
    }
    threads = Threads(inbound: inbound, outbound: outbound)
  }

  deinit {
    sink.advance(to: .stop)
    ingest.advance(to: .close)
  }

  private static func makeIntake(
    _ writer: consuming JournalWriter, port: UInt16, _ options: Options
  ) throws -> SentIntake {
    var connection = ConnectionOptions(
      endpoints: [BrokerEndpoint(host: "127.0.0.1", port: port)], clientID: "gw-1-in")
    connection.protocolVersion = options.version
    connection.receiveMaximum = 900
    let ingest = IngestOptions(
      connection: connection, subscriptions: ["pumps/+/metrics"],
      deduplication: DeduplicationOptions(selector: .json(pointers: ["/messageId"])))
    return SentIntake(
      options: ingest, backoff: options.backoff, sabotage: options.sabotage,
      writer: WriterBox(writer))
  }

  private static func sinkOptions(port: UInt16, _ options: Options) -> SinkOptions {
    var connection = ConnectionOptions(
      endpoints: [BrokerEndpoint(host: "127.0.0.1", port: port)], clientID: "gw-1-out")
    connection.protocolVersion = options.version
    connection.cleanStart = true
    connection.sessionExpiry = .zero
    var sink = SinkOptions(
      name: "central", connection: connection, topic: "penstock/v1/gw-1/telemetry")
    sink.batch.recordCountMax = options.batchRecordCountMax
    sink.batch.delayMax = .milliseconds(20)
    sink.inFlightMax = options.inFlightMax
    sink.acceptsNoSubscriber = options.acceptsNoSubscriber
    if options.version == .v311 { sink.packetByteCountMax = .kibibytes(256) }
    return sink
  }

  // MARK: - Load

  /// Lets so many more messages leave.
  func send(_ count: Int) { field.withRole { $0.limit = $0.sentCount + count } }

  var sentCount: Int { field.withRole { $0.sentCount } }
  var acknowledgedCount: Int { field.withRole { $0.acknowledgedCount } }
  /// The cursor.
  var acceptedCount: Int { Int(journal.acknowledged(0).rawValue) }
  /// Sequences given: redeliveries that were recognised took none.
  var committedCount: Int { Int(journal.committed.rawValue) }

  func wait(
    for what: String, within limit: Duration = .seconds(30), until condition: () -> Bool
  ) throws {
    let deadline = Deadline(in: limit)
    let pace = try WakeUp()
    while !condition() {
      if let error = errors.first { throw TestFailure("\(error) while waiting for: \(what)") }
      if deadline.isOver {
        throw TestFailure(
          "waited \(limit) in vain for: \(what). \(sentCount) sent, \(acknowledgedCount) "
            + "acknowledged, \(committedCount) committed, \(acceptedCount) accepted")
      }
      _ = Poll.wait(socket: nil, wakeUp: pace, timeout: .milliseconds(1))
    }
  }

  /// What has not been sent until now is not sent any more.
  func stopSending() { field.withRole { $0.limit = $0.sentCount } }

  /// Waits until all that may be sent is sent, acknowledged, accepted and delivered.
  func drain(within limit: Duration = .seconds(60)) throws {
    try wait(for: "the drain", within: limit) {
      field.withRole { $0.isIdle } && ledger.counts.outstanding == 0
        && acceptedCount == committedCount
    }
  }

  /// Verdict on everything so far.
  func report() throws -> AuditReport {
    for errors in [field.errors, central.errors] where !errors.isEmpty {
      throw TestFailure("no MQTT: \(errors)")
    }
    return ledger.report()
  }
}

/// The loops' threads; they end before the journal's directory goes.
private struct Threads: ~Copyable {
  let inbound: JoinedThread
  let outbound: JoinedThread
}

/// What ended a loop that should not have ended.
final class Failures: Sendable {
  private let texts = Mutex<[String]>([])
  var first: String? { texts.withLock { $0.first } }

  func note(_ body: () throws -> Void) {
    do {
      try body()
    } catch {
      let text = "\(error)"
      texts.withLock { $0.append(text) }
    }
  }
}

/// Carries the writer to its thread.
private final class WriterBox: Sendable {
  private let writer: Mutex<JournalWriter?>

  init(_ writer: consuming sending JournalWriter) { self.writer = Mutex(consume writer) }

  func take() -> JournalWriter? { writer.withLock { $0.take() } }
}

/// What the ingest thread needs to make its intake.
private struct SentIntake: Sendable {
  let options: IngestOptions
  let backoff: Backoff
  let sabotage: Sabotage
  let writer: WriterBox

  func run(control: IngestControl, subscriptionPath: String) throws {
    guard let writer = writer.take() else { return }
    let wakeUp = writer.state.writerWakeUp
    let key = writer.identity.hashKey
    let intake = Intake(
      options: options, writer: writer, window: DeduplicationWindow(capacity: 100_000),
      extractor: try IdentityExtractor(
        selector: options.deduplication.selector, key: key),
      sabotage: sabotage)
    let connection = options.connection
    var loop = IngestLoop<MosquittoClient<Intake>>(
      options: options, intake: intake, control: control, wakeUp: wakeUp,
      subscriptions: SubscriptionMemory(path: subscriptionPath),
      stage: StageName(route: "telemetry", part: .ingest), status: DiscardedStatus(),
      metrics: IngestMetrics(route: "telemetry"), logger: silentLogger, sabotage: sabotage,
      backoff: backoff
    ) { intake in MosquittoClient(options: connection, handler: intake, logger: silentLogger) }
    try loop.run()
  }
}

/// The outbound thread.
func deliver(
  _ journal: JournalState, _ sink: SinkOptions, _ options: LoopStage.Options, index: Int = 0,
  control: SinkControl, deadLetterPath: String
) throws {
  let route = RouteIdentity(gateway: "gw-1", site: "gw-1", name: "telemetry")
  var sinkOptions = sink
  sinkOptions.answerTimeout = options.answerTimeout
  func makeBatcher(isBeside: Bool) throws(JournalError) -> Batcher {
    Batcher(
      reader: try journal.makeReader(sink: index, isBeside: isBeside),
      journal: journal.identity.id, epoch: journal.epoch, route: route, options: sink.batch)
  }
  var loop = SinkLoop<MosquittoClient<SinkInbox>>(
    options: sinkOptions, route: route, sink: index, journal: journal,
    batcher: try makeBatcher(isBeside: false), control: control,
    deadLetters: DeadLetterStore(
      path: deadLetterPath, gatewayID: "gw-1", routeName: "telemetry",
      capacity: JournalOptions.capacityMin),
    stage: StageName(route: "telemetry", part: .upstream(sink: sink.name)),
    status: DiscardedStatus(), metrics: UpstreamMetrics(route: "telemetry", sink: sink.name),
    logger: silentLogger, backoff: options.backoff,
    makeBatcher: { () throws(JournalError) in try makeBatcher(isBeside: true) },
    makeConnection: { inbox in
      MosquittoClient(options: sink.connection, handler: inbox, logger: silentLogger)
    })
  try loop.run()
}

let silentLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
