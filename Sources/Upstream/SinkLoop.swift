package import Batching
import CoreMetrics
package import GatewayCore
package import Logging
package import Mosquitto
import Platform
package import RingJournal

/// Makes another batcher over a sink's records, with a reader beside the first one.
package typealias MakeBesideBatcher = () throws(JournalError) -> Batcher

/// Journal → one destination, on one thread of its own.
///
/// ## Invariants
/// 1. The sink's cursor moves only over a contiguous run of accepted batches.
/// 2. Every connection is a fresh handle with a clean session: what libmosquitto or the broker
///    would resend by themselves and what we resend can therefore never both be sent.
/// 3. Resending starts at the cursor and keeps the order. With `drain: live-first` what is new goes
///    ahead of a backlog, each of the two in order.
/// 4. Memory: `inFlightMax` encoded batches, one reader's buffer for each lane; nothing per backlog
///    record.
package struct SinkLoop<Connection: OutboundConnection & ~Copyable>: ~Copyable {
  /// Why a connection ended.
  enum End {
    case lost(MosquittoError)
    /// Recalled: another connection follows at once.
    case recalled
    case finished
  }

  static var idleTurn: Duration { .seconds(1) }
  /// A connection that lasted so long was a good one: the next failure starts from a short pause.
  private static var stableAfter: Duration { .seconds(10) }
  /// How long a recalled connection waits for answers; what has none is sent again by the next.
  static var recallPatience: Duration { .seconds(10) }
  /// Seconds. Two clients with one id put each other out for ever: whoever is put out stays away so
  /// long, at random, so that the two do not keep step.
  private static var takeoverPause: ClosedRange<Int64> { 30...60 }
  /// Bytes of an MQTT PUBLISH besides topic, properties and payload, rounded up.
  static var packetOverheadByteCount: Int { 16 }

  let options: SinkOptions
  let route: RouteIdentity
  let sink: Int
  let journal: JournalState
  let control: SinkControl
  let wakeUp: WakeUp
  let deadLetters: DeadLetterStore
  let stage: StageName
  let status: any StatusReporting
  let metrics: UpstreamMetrics
  let logger: Logger
  let inbox: SinkInbox
  let recall: Recall?
  let makeConnection: MakeOutboundConnection<Connection>
  let makeBatcher: MakeBesideBatcher
  var lanes: Lanes
  /// The cursor waits for its letters, too.
  var post: DeadLetterPost
  /// `accept: hub`.
  var consumer: ConsumerState
  /// What the live lane has not got accepted yet begins here. Nil: there is no live lane.
  var liveFront: Sequence?
  var shaper: SinkShaper
  var backoff: Backoff
  var attempt = 0
  /// The endpoint of this connection.
  var endpoint = 0
  /// Since when this connection is to end for another one.
  var recalledSince: MonotonicTime?
  /// When this connection began to be made: from then on it has read its files.
  var begunAt = MonotonicTime(nanoseconds: 0)
  var lastReported: MosquittoError.Code?
  /// Since when this connection is accepted.
  var liveSince: MonotonicTime?
  /// What the broker says to everything at the moment.
  var refusal: ReasonCode?
  /// What the peer's TCP had acknowledged when last looked at: another number means that the link
  /// moves.
  var deliveredByteCount: Int?
  var packetByteCountMax: Int?
  /// How large batches may be on this link.
  var pace = BatchPace()
  /// Publishes the broker lets us have outstanding; from its CONNACK.
  var outstandingMax = 1
  /// Nothing beyond this has been sent.
  var sentThrough: Sequence
  /// Between the first and the last that was sent ahead of a backlog and is a part of it now.
  var sentAhead: SequenceRange?
  /// Beyond the cursor: expired and in the dead letter file already, should it be read again.
  var keptAhead: [SequenceRange] = []
  var lastMisc = MonotonicTime(nanoseconds: 0)

  /// - Parameters:
  ///   - sink: which of the journal's cursors is ours.
  ///   - link: shared with the other sinks that deliver to the same broker.
  ///   - backoff: the pauses before another connection, and after a refusal.
  ///   - recall: of the broker.
  ///   - makeBatcher: another batcher of the same records, for what is sent out of turn.
  ///   - makeConnection: a fresh handle that delivers to the inbox; called for each connection.
  package init(
    options: SinkOptions, route: RouteIdentity, sink: Int, journal: JournalState,
    batcher: consuming Batcher, control: SinkControl, deadLetters: DeadLetterStore,
    stage: StageName, status: any StatusReporting, metrics: UpstreamMetrics, logger: Logger,
    link: BrokerLink = .unlimited(), backoff: Backoff = Backoff(), recall: Recall? = nil,
    makeBatcher: @escaping MakeBesideBatcher,
    makeConnection: @escaping MakeOutboundConnection<Connection>
  ) {
    self.options = options
    self.route = route
    self.sink = sink
    self.journal = journal
    self.control = control
    self.wakeUp = journal.wakeUp(sink: sink)
    self.deadLetters = deadLetters
    self.stage = stage
    self.status = status
    self.metrics = metrics
    self.logger = logger
    self.inbox = SinkInbox()
    self.recall = recall
    self.makeConnection = makeConnection
    self.makeBatcher = makeBatcher
    self.backoff = backoff
    self.sentThrough = journal.acknowledged(sink)
    shaper = SinkShaper(
      options: options, link: link, committed: journal.committed, wakeUp: wakeUp, metrics: metrics)
    consumer = ConsumerState(options: options)
    post = DeadLetterPost(
      topic: options.deadLetterTopic, sink: options.name, route: route,
      journal: journal.identity.id, metrics: metrics, logger: logger)
    lanes = Lanes(
      main: batcher, cursor: journal.acknowledged(sink), options: options, backoff: backoff)
  }

  /// Runs until told to stop or to hand over, or until it has drained. A broker that is away never
  /// ends it.
  /// - Throws: when the journal cannot be read, or a dead letter cannot be stored.
  package mutating func run() throws(JournalError) {
    while isWanted {
      if let closure = shaper.closure(now: Clock.monotonic()) {
        if isDraining { break }
        try rest(closure)
      } else {
        try connectAndServe()
      }
    }
    status.report(stage, StageState(.stopped))
  }

  var isWanted: Bool {
    switch control.phase {
    case .run: true
    case .handOver(let until): outstandingCount > 0 && Clock.monotonic() < until
    case .drain(let until): Clock.monotonic() < until && !isDrained
    case .stop: false
    }
  }

  /// How long at most one wait lasts.
  var turn: Duration {
    guard case .drain(let until) = control.phase else { return Self.idleTurn }
    return max(.zero, min(Self.idleTurn, until.since(Clock.monotonic())))
  }

  private var isDrained: Bool { journal.acknowledged(sink) >= journal.committed }

  var isDraining: Bool { control.phase != .run }

  var isHandingOver: Bool { if case .handOver = control.phase { true } else { false } }

  // MARK: - Connections

  private mutating func connectAndServe() throws(JournalError) {
    let endpoints = options.connection.endpoints
    endpoint = attempt % endpoints.count
    attempt += 1
    status.report(stage, StageState(.connecting, "\(endpoints[endpoint])"))
    liveSince = nil
    recalledSince = nil
    begunAt = Clock.monotonic()
    inbox.beginConnection()
    shaper.connecting()
    var end: End
    do throws(MosquittoError) {
      var connection = try makeConnection(inbox)
      try connection.connect(endpoint: endpoint)
      end = try serveParkingJournalFailure(&connection)
      if case .lost = end {} else { try connection.disconnect() }
    } catch {
      end = .lost(error.naming(endpoints[endpoint]))
    }
    metrics.connected.record(0)
    post.connectionLost()
    shaper.disconnected(now: Clock.monotonic())
    if liveSince != nil { recall?.left(endpoint: endpoint) }
    if let failure { throw failure }
    try noteLostConnection()
    if let liveSince, Clock.monotonic().since(liveSince) >= Self.stableAfter {
      backoff.succeeded()
      lastReported = nil
    }
    if case .lost(let error) = end { try waitAfter(error) }
  }

  /// Of all that is out, only the largest can have been too large.
  private mutating func noteLostConnection() throws(JournalError) {
    let now = Clock.monotonic()
    let culprit = lanes.largestOutstanding
    let hadSent = culprit != nil
    for lane in Lanes.Name.allCases {
      let reason = lane == culprit ? inbox.disconnectReason : nil
      try handle(lanes[lane].window.connectionLost(reason, now: now), of: lane)
    }
    forgetResend()
    if pace.connectionEnded(hadSent: hadSent) { applyPace() }
  }

  /// A journal failure met while a connection was open; thrown once it is dropped.
  private var failure: JournalError?

  private mutating func serveParkingJournalFailure(
    _ connection: inout Connection
  ) throws(MosquittoError) -> End {
    do {
      return try serve(&connection)
    } catch let error as MosquittoError {
      throw error
    } catch let error as JournalError {
      failure = error
      return .finished
    } catch {
      preconditionFailure("the serving loop throws two kinds of errors")
    }
  }

  private mutating func waitAfter(_ error: MosquittoError) throws(JournalError) {
    let isCut = liveSince != nil && error.isEndByPeer
    var pause = backoff.next(spread: isCut ? options.connection.reconnectSpread : .zero)
    if error.reason == .sessionTakenOver {
      pause = max(pause, .seconds(Int64.random(in: Self.takeoverPause)))
      logger.error(
        "another client has taken our place at the centre; are there two gateways with one id?",
        metadata: ["mqtt.client_id": "\(options.connection.clientID)"])
    }
    metrics.reconnects.increment()
    let metadata: Logger.Metadata = [
      "broker.error": "\(error)", "retry.seconds": "\(pause.seconds)",
    ]
    if lastReported != error.code {
      logger.warning("upstream broker lost or unavailable, trying again", metadata: metadata)
    } else {
      logger.debug("upstream broker still unavailable", metadata: metadata)
    }
    lastReported = error.code
    status.report(stage, StageState(.reconnecting, "\(error)"))
    let until = Clock.monotonic() + pause
    while isWanted, Clock.monotonic() < until {
      try turnWithoutConnection(atMost: until.since(Clock.monotonic()))
    }
  }

  /// Stays disconnected until the link is open. What was encoded is let go, because it may expire;
  /// what the broker has and the consumer has not accepted yet stays known.
  private mutating func rest(_ closure: LinkClosure) throws(JournalError) {
    if options.acceptance == .broker {
      for lane in Lanes.Name.allCases {
        if let first = lanes[lane].window.forget() { lanes[lane].batcher?.rewind(to: first) }
      }
    }
    logger.notice("the link is closed", metadata: ["link.reason": "\(closure.state.detail)"])
    var told: LinkClosure?
    while !isDraining, isWanted, let now = shaper.closure(now: Clock.monotonic()) {
      if now != told { status.report(stage, now.state) }
      if now.reason != told?.reason { metrics.closed(now.reason) }
      told = now
      try turnWithoutConnection(atMost: turn)
    }
    metrics.closed(nil)
  }

  private mutating func turnWithoutConnection(atMost limit: Duration) throws(JournalError) {
    let ready = Poll.wait(socket: nil, wakeUp: wakeUp, timeout: min(turn, limit))
    if ready.wokenUp { wakeUp.clear() }
    status.progress(stage)
    try keepExpired()
  }
}
