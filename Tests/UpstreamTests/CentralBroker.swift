import Batching
import Envelope
import GatewayCore
import Logging
import Platform
import RingJournal

@testable import Mosquitto
@testable import Upstream

/// One publish as the scripted broker saw it.
struct Published {
  let connection: Int
  let topic: String
  let bytes: [UInt8]

  func envelope() throws -> Envelope { try EnvelopeDecoder.decode(bytes.span) }
}

/// The central broker's side of a test. One thread: the loop runs on the test's own.
final class CentralBroker {
  enum Answer {
    case code(ReasonCode)
    case silence
    /// The connection ends now; with a reason when the broker says one.
    case cut(ReasonCode?)
    /// The client library finds the packet larger than the broker said it takes.
    case tooLarge
    /// The client library does not take the message; the connection stands.
    case refusedByLibrary(MosquittoError.Code)
  }

  /// Decides about each publish. The topic of dead letters is `letters`.
  var answer: (Published) -> Answer = { _ in .code(.success) }
  var acknowledgement = ConnectAcknowledgement(reason: .success, sessionPresent: false)
  /// How often the loop reads before it gets an answer that is there.
  var readsBeforeAnswer = 0
  var acceptsConnections = true
  var onConnect: (Int) -> Void = { _ in }
  private(set) var published: [Published] = []
  private(set) var connectionCount = 0
  private(set) var outstandingMax = 0
  /// The cursor at each publish.
  private(set) var cursors: [UInt64] = []
  fileprivate var isConnected = false
  fileprivate var isAnnounced = false
  fileprivate var answers: [(mid: Int32, reason: ReasonCode)] = []
  /// What the broker says to a subscription.
  var grant = ReasonCode.grantedQoS1
  /// What is retained for a subscriber, and filters that were subscribed to.
  var retained: [UInt8]?
  private(set) var subscriptions: [String] = []
  fileprivate var grants: [(mid: Int32, reason: ReasonCode)] = []
  fileprivate var messages: [[UInt8]] = []
  /// Received and not acknowledged.
  fileprivate(set) var heldCount = 0
  fileprivate var lastMid: Int32 = 0
  fileprivate let signal: WakeUp
  private let journal: JournalState

  init(journal: JournalState) throws {
    signal = try WakeUp()
    self.journal = journal
  }

  /// The socket is gone; nobody has been told.
  func drop() { isConnected = false }

  /// Publishes to the sink, retained, as its consumer does.
  func tell(_ message: AcceptanceMessage) { tell(bytes: message.encode()) }

  func tell(bytes: [UInt8]) {
    retained = bytes
    messages.append(bytes)
    signal.signal()
  }

  fileprivate func subscribe(_ filters: [String]) -> Int32 {
    subscriptions += filters
    lastMid += 1
    grants.append((lastMid, grant))
    if let retained { messages = [retained] }
    signal.signal()
    return lastMid
  }

  fileprivate func connect() throws(MosquittoError) {
    connectionCount += 1
    onConnect(connectionCount)
    guard acceptsConnections else {
      throw MosquittoError(.portClosed, endpoint: nil, detail: "nobody is there")
    }
    (isConnected, isAnnounced, answers) = (true, false, [])
    (grants, messages, heldCount) = ([], [], 0)
    signal.signal()
  }

  fileprivate func publish(
    _ topic: String, _ payload: Span<UInt8>, _ inbox: SinkInbox
  ) throws(MosquittoError) -> Int32 {
    var bytes: [UInt8] = []
    bytes.append(payload)
    let publish = Published(connection: connectionCount, topic: topic, bytes: bytes)
    let answer = answer(publish)
    if case .tooLarge = answer {
      throw MosquittoError(.packetTooLarge, endpoint: nil, detail: "too large")
    }
    if case .refusedByLibrary(let code) = answer {
      throw MosquittoError(code, endpoint: nil, detail: "not a message")
    }
    lastMid += 1
    published.append(publish)
    cursors.append(journal.acknowledged(0).rawValue)
    switch answer {
    case .code(let reason): answers.append((lastMid, reason))
    case .cut(let reason):
      isConnected = false
      inbox.disconnected(reason)
    case .silence, .tooLarge, .refusedByLibrary: break
    }
    outstandingMax = max(outstandingMax, answers.count)
    signal.signal()
    return lastMid
  }
}

struct ScriptedOutbound: ~Copyable, OutboundConnection {
  let broker: CentralBroker
  let inbox: SinkInbox

  var socket: Int32? { broker.isConnected ? broker.signal.pollDescriptor : nil }
  var wantsWrite: Bool { false }

  mutating func connect(endpoint: Int) throws(MosquittoError) { try broker.connect() }

  mutating func read() throws(MosquittoError) {
    broker.signal.clear()
    if !broker.isAnnounced {
      broker.isAnnounced = true
      inbox.connected(broker.acknowledgement)
    }
    for grant in broker.grants { inbox.subscribed(mid: grant.mid, granted: [grant.reason]) }
    broker.grants = []
    if !broker.answers.isEmpty, broker.readsBeforeAnswer > 0 {
      broker.readsBeforeAnswer -= 1
      broker.signal.signal()
      return
    }
    for answer in broker.answers { inbox.published(mid: answer.mid, reason: answer.reason) }
    broker.answers = []
    let none: [UInt8] = []
    for message in broker.messages {
      broker.heldCount += 1
      let header = MessageHeader(mid: 1, qualityOfService: .atLeastOnce, isRetained: true)
      inbox.received(
        header, topic: none.span, payload: message.span, properties: none.span)
    }
    broker.messages = []
  }

  mutating func subscribe(
    _ filters: [String], quality: QualityOfService, identifier: UInt32?
  ) throws(MosquittoError) -> Int32 { broker.subscribe(filters) }

  mutating func releaseReceived() throws(MosquittoError) { broker.heldCount = 0 }

  mutating func flush() throws(MosquittoError) {
    precondition(broker.heldCount == 0, "a flush would acknowledge what was not looked at")
  }
  mutating func misc() throws(MosquittoError) {}

  mutating func publish(
    topic: String, payload: Span<UInt8>, quality: QualityOfService, retain: Bool,
    properties: PublishProperties
  ) throws(MosquittoError) -> Int32 {
    try broker.publish(topic, payload, inbox)
  }

  mutating func disconnect() throws(MosquittoError) { broker.isConnected = false }
}

/// A sink over a real journal on a small file.
final class SinkKit {
  private let temporary: TemporaryDirectory
  private let directory: String
  private var writer: JournalWriter?
  let journal: JournalState
  let control: SinkControl
  let broker: CentralBroker
  var options: SinkOptions

  var path: String { "\(directory)/telemetry.journal" }
  var deadLetterPath: String { "\(directory)/telemetry.dead" }

  init(blocks: Int = 512, commit: ByteCount = .kibibytes(256)) throws {
    temporary = try TemporaryDirectory(prefix: "upstream")
    directory = try temporary.makeSubdirectory("data")
    var journalOptions = JournalOptions(
      gatewayID: "gw-1", routeName: "telemetry", sinks: [JournalSink(name: "central")])
    journalOptions.capacity = ByteCount((4 + blocks) * 4096)
    journalOptions.commitByteCountMax = commit
    let opened = try Journal.open(
      path: "\(directory)/telemetry.journal", options: journalOptions,
      environment: SinkKit.environment)
    journal = opened.state
    writer = opened.takeWriter()
    control = SinkControl(wakeUp: journal.wakeUp(sink: 0))
    broker = try CentralBroker(journal: journal)
    options = SinkOptions(
      name: "central",
      connection: ConnectionOptions(
        endpoints: [BrokerEndpoint(host: "central", port: 1883)], clientID: "gw-1-out"),
      topic: "penstock/v1/gw-1/telemetry/batch")
    options.batch.compression = .none
    options.batch.recordCountMax = 2
  }

  static var environment: JournalEnvironment {
    var environment = JournalEnvironment.posix
    environment.allowsUnsafeFilesystem = true
    environment.spacing = 4096
    return environment
  }

  /// Commits one group of records of these sizes; the first byte is the record's number in it.
  func commit(_ sizes: [Int]) throws {
    let none: [UInt8] = []
    let topic = Array("pumps/1/metrics".utf8)
    for (index, size) in sizes.enumerated() {
      let payload = [UInt8](repeating: UInt8(truncatingIfNeeded: index + 1), count: size)
      _ = try writer?.append(
        RecordDraft(receivedMonotonic: Clock.monotonic()), topic: topic.span, idText: none.span,
        properties: none.span, payload: payload.span)
    }
    _ = try writer?.commit()
  }

  /// Commits a record that was a dead letter when it came.
  func commitDeadLetter(_ reason: DeadLetterReason, _ text: String) throws {
    let none: [UInt8] = []
    let (topic, payload) = (Array("pumps/1/metrics".utf8), Array(text.utf8))
    _ = try writer?.append(
      RecordDraft(kind: .deadLetter, reason: reason, receivedMonotonic: Clock.monotonic()),
      topic: topic.span, idText: none.span, properties: none.span, payload: payload.span)
    _ = try writer?.commit()
  }

  /// Runs the loop until it has drained, or until `limit`.
  func drain(_ limit: Duration = .seconds(30)) throws {
    control.advance(to: .drain(until: Clock.monotonic() + limit))
    try run()
  }

  /// Runs the loop until its control ends it.
  func run() throws {
    let route = RouteIdentity(gateway: "gw-1", site: "gw-1", name: "telemetry")
    let (broker, journal, batching) = (broker, journal, options.batch)
    func makeBatcher(isBeside: Bool) throws(JournalError) -> Batcher {
      Batcher(
        reader: try journal.makeReader(sink: 0, isBeside: isBeside),
        journal: journal.identity.id, epoch: journal.epoch, route: route, options: batching)
    }
    var loop = SinkLoop<ScriptedOutbound>(
      options: options, route: route, sink: 0, journal: journal,
      batcher: try makeBatcher(isBeside: false), control: control,
      deadLetters: DeadLetterStore(
        path: deadLetterPath, gatewayID: "gw-1", routeName: "telemetry",
        capacity: ByteCount(2052 * 4096), environment: SinkKit.environment),
      stage: StageName(route: "telemetry", part: .upstream(sink: "central")),
      status: DiscardedStatus(), metrics: UpstreamMetrics(route: "telemetry", sink: "central"),
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
      backoff: Backoff(minimum: .milliseconds(1), maximum: .milliseconds(1)),
      makeBatcher: { () throws(JournalError) in try makeBatcher(isBeside: true) },
      makeConnection: { inbox in ScriptedOutbound(broker: broker, inbox: inbox) })
    try loop.run()
  }

  var cursor: UInt64 { journal.acknowledged(0).rawValue }

  /// Payload sizes of what the dead letter file holds.
  func deadLetterSizes() throws -> [Int] {
    var options = JournalOptions(
      gatewayID: "gw-1", routeName: "telemetry",
      sinks: [JournalSink(name: "operator", required: false)])
    options.capacity = ByteCount(2052 * 4096)
    var sizes: [Int] = []
    let opened = try Journal.open(
      path: deadLetterPath, options: options, environment: SinkKit.environment,
      recovered: { record, _ in sizes.append(record.payload.count) })
    _ = opened.takeWriter()
    return sizes
  }
}
