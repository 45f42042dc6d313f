import Deduplication
import Filtering
import GatewayCore
import Logging
import Platform
import RingJournal
import Synchronization

@testable import Ingest
@testable import Mosquitto

/// A message that the scripted broker sends.
struct Sent {
  var payload: [UInt8]
  var topic = Array("pumps/1/metrics".utf8)
  var properties: [UInt8] = []
  var quality = QualityOfService.atLeastOnce
  var isRetained = false
  /// The subscription that this is the copy for.
  var subscription: UInt32 = 0

  init(_ payload: String, quality: QualityOfService = .atLeastOnce) {
    self.payload = Array(payload.utf8)
    self.quality = quality
  }

  init(bytes: [UInt8]) { payload = bytes }

  /// Telemetry with a message id.
  static func id(_ id: Int, value: Int = 0, quality: QualityOfService = .atLeastOnce) -> Sent {
    Sent(#"{"messageId":"m\#(id)","value":\#(value)}"#, quality: quality)
  }
}

extension Intake {
  func receive(_ message: Sent) {
    received(
      MessageHeader(
        mid: 1, qualityOfService: message.quality, isRetained: message.isRetained,
        subscriptionIdentifier: message.subscription),
      topic: message.topic.span, payload: message.payload.span,
      properties: message.properties.span)
  }
}

/// What one turn of reading brings.
enum Turn {
  case accept(sessionPresent: Bool)
  case acknowledge(ConnectAcknowledgement)
  case grant([ReasonCode])
  /// UNSUBACK.
  case confirm
  case messages([Sent])
  /// Nothing; while something is pending the socket then stays silent until it is dealt with.
  case dry
  /// The socket is gone.
  case cut
  /// The broker's DISCONNECT, and the socket is gone.
  case cutFor(ReasonCode)
  case run(() -> Void)
}

/// What the loop did, with the journal's committed sequence at that moment.
struct Call: Equatable {
  enum Kind: Equatable {
    case connect(Int)
    case read(messages: Int)
    case release(Int)
    case subscribe([String], held: Int)
    /// A SUBSCRIBE with an identifier.
    case identify(String)
    case unsubscribe([String])
    case flush(held: Int)
    case disconnect
    case endSession
    /// The next connection asks for a clean session.
    case clean
    /// The handle was let go with so many messages un-acknowledged.
    case drop(held: Int)
    case quiesced
  }
  let kind: Kind
  let committed: UInt64

  init(_ kind: Kind, _ committed: UInt64) {
    self.kind = kind
    self.committed = committed
  }
}

/// The broker's side of a test: one script per connection, and the record of all calls. One thread:
/// the loop runs on the test's own. When the scripts are used up, the loop is told to end.
final class FieldBroker {
  var scripts: [[Turn]]
  var calls: [Call] = []
  var onExhausted: () -> Void = {}
  private let journal: JournalState
  let signal: WakeUp
  var held = 0
  var isConnected = false
  var lastMid: Int32 = 0
  weak var intake: Intake?

  init(_ scripts: [[Turn]], journal: JournalState) throws {
    self.scripts = scripts
    self.journal = journal
    signal = try WakeUp()
  }

  func record(_ kind: Call.Kind) { calls.append(Call(kind, journal.committed.rawValue)) }

  var kinds: [Call.Kind] { calls.map(\.kind) }

  func nextTurn() -> Turn {
    if scripts.first?.isEmpty ?? true {
      onExhausted()
      return .dry
    }
    return scripts[0].removeFirst()
  }
}

struct ScriptedInbound: ~Copyable, InboundConnection {
  let broker: FieldBroker
  let intake: Intake

  var socket: Int32? { broker.isConnected ? broker.signal.pollDescriptor : nil }
  var wantsWrite: Bool { false }
  var heldAcknowledgements: Int { broker.held }

  mutating func connect(endpoint: Int) throws(MosquittoError) {
    broker.held = 0
    broker.isConnected = true
    broker.record(.connect(endpoint))
    broker.signal.signal()
  }

  mutating func read() throws(MosquittoError) {
    switch broker.nextTurn() {
    case .accept(let sessionPresent):
      intake.connected(ConnectAcknowledgement(reason: .success, sessionPresent: sessionPresent))
    case .acknowledge(let acknowledgement): intake.connected(acknowledgement)
    case .grant(let codes): intake.subscribed(mid: broker.lastMid, granted: codes)
    case .confirm: intake.unsubscribed(mid: broker.lastMid)
    case .messages(let messages):
      for message in messages {
        if message.quality != .atMostOnce { broker.held += 1 }
        intake.receive(message)
      }
      broker.record(.read(messages: messages.count))
    case .dry: if broker.held > 0 || intake.openRecordCount > 0 { broker.signal.clear() }
    case .cut:
      broker.isConnected = false
      intake.disconnected(nil)
    case .cutFor(let reason):
      broker.isConnected = false
      intake.disconnected(reason)
    case .run(let body): body()
    }
  }

  mutating func releaseAcknowledgements(committed count: Int) throws(MosquittoError) {
    precondition(count == broker.held, "all that is held is released")
    broker.record(.release(count))
    broker.held = 0
    broker.signal.signal()
  }

  mutating func flush() throws(MosquittoError) { broker.record(.flush(held: broker.held)) }

  mutating func misc() throws(MosquittoError) {}

  mutating func subscribe(
    _ filters: [String], quality: QualityOfService, identifier: UInt32?
  ) throws(MosquittoError) -> Int32 {
    broker.record(
      identifier == nil ? .subscribe(filters, held: broker.held) : .identify(filters[0]))
    broker.lastMid += 1
    return broker.lastMid
  }

  mutating func unsubscribe(_ filters: [String]) throws(MosquittoError) -> Int32 {
    broker.record(.unsubscribe(filters))
    broker.lastMid += 1
    return broker.lastMid
  }

  mutating func disconnect() throws(MosquittoError) {
    broker.record(.disconnect)
    broker.isConnected = false
  }

  mutating func disconnectEndingSession() throws(MosquittoError) {
    broker.record(.endSession)
    broker.isConnected = false
  }

  deinit {
    if broker.scripts.count > 0 { broker.scripts.removeFirst() }
    broker.record(.drop(held: broker.held))
    broker.held = 0
  }
}

/// A route's ingest half over a real journal on a small file.
final class IngestKit {
  let directory: String
  private let temporary: TemporaryDirectory
  let disk = FailingDisk()
  var options: IngestOptions
  var journalOptions = JournalOptions(
    gatewayID: "gw-1", routeName: "telemetry", sinks: [JournalSink(name: "central")])
  var sabotage = Sabotage.none

  init(
    selector: MessageIDSelector = .json(pointers: ["/messageId"]), blocks: Int = 64
  ) throws {
    temporary = try TemporaryDirectory(prefix: "ingest")
    directory = try temporary.makeSubdirectory("data")
    let connection = ConnectionOptions(
      endpoints: [BrokerEndpoint(host: "field", port: 1883)], clientID: "gw-1-telemetry-in")
    options = IngestOptions(
      connection: connection, subscriptions: ["pumps/+/metrics"],
      deduplication: DeduplicationOptions(selector: selector))
    options.recordByteCountMax = .kibibytes(4)
    journalOptions.capacity = ByteCount((4 + blocks) * 4096)
    journalOptions.commitByteCountMax = ByteCount(min(blocks / 8, 8) * 4096)
  }

  private var environment: JournalEnvironment {
    var environment = JournalEnvironment(
      disk: disk, clock: SystemJournalClock(), bootID: .current())
    environment.allowsUnsafeFilesystem = true
    environment.spacing = 4096
    return environment
  }

  var subscriptionPath: String { "\(temporary.path)/telemetry.subscriptions" }

  /// Opens the journal, with the ids of its records in the window.
  func openIntake() throws -> (Intake, JournalState) {
    var window = DeduplicationWindow(
      capacity: 1000, within: options.deduplication.contentWithin)
    var quota = SourceQuota()
    var retained = RetainedMemory()
    let pointers = try IdentityExtractor.pointers(of: options.deduplication.selector)
    var recovery: AggregateRecovery?
    if let aggregate = options.filter.aggregate {
      recovery = try AggregateRecovery(aggregate, behind: pointers)
    }
    let opened = try Journal.open(
      path: "\(directory)/telemetry.journal", options: journalOptions, environment: environment,
      recovered: { record, bytes in
        window.insert(record.idHash, digest: record.payloadDigest)
        quota.recover(record, bytes)
        retained.recover(record, bytes)
        recovery?.recover(
          flags: record.flags, sequence: record.sequence, received: record.received,
          digest: record.payloadDigest, topic: bytes.extracting(record.topic),
          payload: bytes.extracting(record.payload))
      })
    window.commit()
    let state = opened.state
    let extractor = try IdentityExtractor(
      selector: options.deduplication.selector, key: state.identity.hashKey)
    let intake = Intake(
      options: options, writer: opened.takeWriter(), window: window, extractor: extractor,
      quota: quota,
      filter: options.filter.isEmpty
        ? nil
        : try EdgeFilter(
          options.filter, behind: pointers, recovered: recovery.take()?.finish()),
      retained: retained, via: "gw-1/telemetry", sabotage: sabotage)
    return (intake, state)
  }

  /// Runs the loop through the scripts until it ends.
  func run(
    _ scripts: [[Turn]],
    closesWhenQuiesced: Bool = false,
    prepare: (FieldBroker, JournalState, IngestControl) -> Void = { _, _, _ in }
  ) throws -> FieldBroker {
    let (intake, journal) = try openIntake()
    let broker = try FieldBroker(scripts, journal: journal)
    let quiesced = Tally()
    let ingest = IngestControl(wakeUp: journal.writerWakeUp) {
      quiesced.increment()
      quiesced.control.withLock { $0 }?.advance(to: .close)
    }
    if closesWhenQuiesced { quiesced.control.withLock { $0 = ingest } }
    broker.onExhausted = { ingest.advance(to: .close) }
    prepare(broker, journal, ingest)
    var loop = IngestLoop<ScriptedInbound>(
      options: options, intake: intake, control: ingest, wakeUp: journal.writerWakeUp,
      subscriptions: SubscriptionMemory(path: subscriptionPath),
      stage: StageName(route: "telemetry", part: .ingest), status: status,
      metrics: IngestMetrics(route: "telemetry"),
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, sabotage: sabotage,
      backoff: Backoff(minimum: .milliseconds(1), maximum: .milliseconds(1)),
      makeCleanConnection: { intake in
        broker.record(.clean)
        return ScriptedInbound(broker: broker, intake: intake)
      }
    ) { intake in ScriptedInbound(broker: broker, intake: intake) }
    defer { quiescedCount = quiesced.count }
    lastBroker = broker
    try loop.run()
    return broker
  }

  let status = StatusRecord()
  private(set) var quiescedCount = 0
  private(set) var lastBroker: FieldBroker?
}

private final class Tally: Sendable {
  private let value = Atomic<Int>(0)
  /// What is closed at the first count.
  let control = Mutex<IngestControl?>(nil)
  var count: Int { value.load(ordering: .relaxed) }
  func increment() { value.add(1, ordering: .relaxed) }
}

/// Remembers which states were reported.
final class StatusRecord: StatusReporting {
  private struct Content {
    var kinds: [StageState.Kind] = []
    var onReport: @Sendable (StageState.Kind) -> Void = { _ in }
    var onProgress: @Sendable () -> Void = {}
  }
  private let content = Mutex(Content())

  var kinds: [StageState.Kind] { content.withLock { $0.kinds } }
  var onReport: @Sendable (StageState.Kind) -> Void {
    get { content.withLock { $0.onReport } }
    set { content.withLock { $0.onReport = newValue } }
  }

  func report(_ stage: StageName, _ state: StageState) {
    let onReport = content.withLock {
      $0.kinds.append(state.kind)
      return $0.onReport
    }
    onReport(state.kind)
  }

  var onProgress: @Sendable () -> Void {
    get { content.withLock { $0.onProgress } }
    set { content.withLock { $0.onProgress = newValue } }
  }

  func progress(_ stage: StageName) {
    let onProgress = content.withLock { $0.onProgress }
    onProgress()
  }
}
