package import Batching
import CoreMetrics
package import GatewayCore
package import Logging
package import Mosquitto
import Platform
package import RingJournal

/// Journal → one destination, on one thread of its own.
///
/// ## Invariants
/// 1. The sink's cursor moves only over a contiguous run of accepted batches.
/// 2. Every connection is a fresh handle with a clean session: what libmosquitto or the broker
///    would resend by themselves and what we resend can therefore never both be sent.
/// 3. Resending starts at the cursor and keeps the order.
/// 4. Memory: `inFlightMax` encoded batches, one reader's buffer; nothing per backlog record.
package struct SinkLoop<Connection: OutboundConnection & ~Copyable>: ~Copyable {
  /// Why a connection ended.
  private enum End {
    case lost(MosquittoError)
    /// Recalled: another connection follows at once.
    case recalled
    case finished
  }

  private static var idleTurn: Duration { .seconds(1) }
  /// A connection that lasted so long was a good one: the next failure starts from a short pause.
  private static var stableAfter: Duration { .seconds(10) }
  /// How long a recalled connection waits for answers; what has none is sent again by the next.
  private static var recallPatience: Duration { .seconds(10) }
  /// Bytes of an MQTT PUBLISH besides topic, properties and payload, rounded up.
  private static var packetOverheadByteCount: Int { 16 }

  private let options: SinkOptions
  private let route: RouteIdentity
  private let sink: Int
  private let journal: JournalState
  private let control: SinkControl
  private let wakeUp: WakeUp
  private let deadLetters: DeadLetterStore
  private let stage: StageName
  private let status: any StatusReporting
  private let metrics: UpstreamMetrics
  private let logger: Logger
  private let inbox: SinkInbox
  private let recall: Recall?
  private let makeConnection: MakeOutboundConnection<Connection>
  private var batcher: Batcher
  private var window: DeliveryWindow<Batch>
  private var backoff: Backoff
  private var attempt = 0
  /// The endpoint of this connection.
  private var endpoint = 0
  /// Since when this connection is to end for another one.
  private var recalledSince: MonotonicTime?
  private var lastReported: MosquittoError.Code?
  /// Since when this connection is accepted.
  private var liveSince: MonotonicTime?
  /// What the broker says to everything at the moment.
  private var refusal: ReasonCode?
  /// Bytes in the socket's send queue when last looked at: fewer means that the link moves.
  private var unsentByteCount = 0
  private var packetByteCountMax: Int?
  /// Everything through here has been sent at least once: what is sent again is counted.
  private var sentThrough: Sequence
  private var lastMisc = MonotonicTime(nanoseconds: 0)

  /// - Parameters:
  ///   - sink: which of the journal's cursors is ours.
  ///   - backoff: the pauses before another connection, and after a refusal.
  ///   - answerTimeout: a publish unanswered for longer costs the connection.
  ///   - recall: of the broker.
  ///   - makeConnection: a fresh handle that delivers to the inbox; called for each connection.
  package init(
    options: SinkOptions, route: RouteIdentity, sink: Int, journal: JournalState,
    batcher: consuming Batcher, control: SinkControl, deadLetters: DeadLetterStore,
    stage: StageName, status: any StatusReporting, metrics: UpstreamMetrics, logger: Logger,
    backoff: Backoff = Backoff(), answerTimeout: Duration = .seconds(30),
    recall: Recall? = nil,
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
    self.batcher = batcher
    self.backoff = backoff
    self.sentThrough = journal.acknowledged(sink)
    window = DeliveryWindow(
      slotCountMax: options.inFlightMax, acceptance: options.acceptance,
      acceptsNoSubscriber: options.acceptsNoSubscriber, answerTimeout: answerTimeout,
      backoff: backoff)
  }

  /// Runs until told to stop, or until it has drained. A broker that is away never ends it.
  /// - Throws: when the journal cannot be read, or a dead letter cannot be stored.
  package mutating func run() throws(JournalError) {
    while isWanted { try connectAndServe() }
    status.report(stage, StageState(.stopped))
  }

  private var isWanted: Bool {
    switch control.phase {
    case .run: true
    case .drain(let until): Clock.monotonic() < until && !isDrained
    case .stop: false
    }
  }

  /// How long at most one wait lasts.
  private var turn: Duration {
    guard case .drain(let until) = control.phase else { return Self.idleTurn }
    return max(.zero, min(Self.idleTurn, until.since(Clock.monotonic())))
  }

  private var isDrained: Bool { journal.acknowledged(sink) >= journal.committed }

  private var isDraining: Bool { control.phase != .run }

  // MARK: - Connections

  private mutating func connectAndServe() throws(JournalError) {
    let endpoints = options.connection.endpoints
    endpoint = attempt % endpoints.count
    attempt += 1
    status.report(stage, StageState(.connecting, "\(endpoints[endpoint])"))
    liveSince = nil
    recalledSince = nil
    inbox.beginConnection()
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
    if liveSince != nil { recall?.left(endpoint: endpoint) }
    if let failure { throw failure }
    try handle(window.connectionLost(inbox.disconnectReason, now: Clock.monotonic()))
    if let liveSince, Clock.monotonic().since(liveSince) >= Self.stableAfter {
      backoff.succeeded()
      lastReported = nil
    }
    if case .lost(let error) = end { waitAfter(error) }
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

  private mutating func waitAfter(_ error: MosquittoError) {
    let pause = backoff.next()
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
      let rest = until.since(Clock.monotonic())
      let ready = Poll.wait(socket: nil, wakeUp: wakeUp, timeout: min(turn, rest))
      if ready.wokenUp { wakeUp.clear() }
      status.progress(stage)
    }
  }

  // MARK: - One connection

  private mutating func serve(_ connection: inout Connection) throws -> End {
    var isLive = false
    lastMisc = Clock.monotonic()
    while isWanted {
      var timeout = turn
      if let acknowledgement = inbox.connectAcknowledgement, !isLive {
        isLive = true
        try becomeLive(acknowledgement)
      }
      if isRecalled() {
        if isSettled { return .recalled }
      } else if isLive {
        timeout = min(timeout, try fillAndSend(&connection))
      }
      if connection.wantsWrite { try connection.flush() }
      let now = Clock.monotonic()
      if now.since(lastMisc) >= .seconds(1) {
        lastMisc = now
        try connection.misc()
      }
      status.progress(stage)
      guard let socket = connection.socket else { throw connectionGone() }
      noteProgress(of: socket, now: now)
      let ready = Poll.wait(
        socket: socket, forWriting: connection.wantsWrite, wakeUp: wakeUp, timeout: timeout)
      if ready.wokenUp { wakeUp.clear() }
      if ready.socketReadable { try readAnswers(&connection) }
    }
    return .finished
  }

  /// Whether this connection sends no more and makes way for another.
  private mutating func isRecalled() -> Bool {
    if recalledSince != nil { return true }
    guard let recall, let liveSince, let reason = recall.reason(at: endpoint, since: liveSince)
    else { return false }
    recalledSince = Clock.monotonic()
    logger.notice(
      "\(reason.text)", metadata: ["broker.endpoint": "\(options.connection.endpoints[0])"])
    return true
  }

  /// Whether nothing is in flight any more, or was for too long.
  private var isSettled: Bool {
    window.outstandingCount == 0
      || recalledSince.map { Clock.monotonic().since($0) > Self.recallPatience } ?? true
  }

  /// A slow link is not a silent broker: as long as bytes leave, answers may still be on their way.
  private mutating func noteProgress(of socket: Int32, now: MonotonicTime) {
    guard window.outstandingCount > 0 else { return }
    let unsent = SocketQueue.unsentByteCount(of: socket)
    if unsent < unsentByteCount { window.progressed(at: now) }
    unsentByteCount = unsent
  }

  private mutating func becomeLive(_ acknowledgement: ConnectAcknowledgement) throws {
    guard acknowledgement.maximumQualityOfService >= .atLeastOnce else {
      throw MosquittoError(
        .brokerRefused, reason: .qualityOfServiceNotSupported, endpoint: nil,
        detail: "the broker takes QoS 0 only, which acknowledges nothing")
    }
    attempt = 0
    liveSince = Clock.monotonic()
    recall?.entered(endpoint: endpoint)
    window.connected(outstandingMax: Int(acknowledgement.receiveMaximum))
    let told = acknowledgement.maximumPacketByteCount.map { Int($0) }
    let limit = [told, options.packetByteCountMax?.rawValue].compactMap { $0 }.min()
    if limit != packetByteCountMax {
      packetByteCountMax = limit
      batcher.limitPackets(to: limit.map { max(1, $0 - options.topic.utf8.count - 512) })
      // What was encoded to another limit is built again.
      if let first = window.forget() { batcher.rewind(to: first) }
    }
    metrics.connected.record(1)
    status.report(stage, StageState(.connected))
    logger.notice(
      "delivering upstream",
      metadata: [
        "journal.acknowledged": "\(journal.acknowledged(sink))",
        "journal.committed": "\(journal.committed)",
      ])
    guard options.connection.protocolVersion == .v311 else { return }
    logger.notice(
      """
      MQTT 3.1.1 is weaker: the broker cannot refuse a publish, so what its access rules or limits \
      stop, and what nobody subscribes to, counts as accepted
      """)
  }

  /// Performs the window's steps until it waits.
  /// - Returns: how long at most until it wants to be asked again.
  private mutating func fillAndSend(_ connection: inout Connection) throws -> Duration {
    while true {
      let now = Clock.monotonic()
      switch window.nextStep(now: now) {
      case .fill:
        switch try batcher.next(now: now, closing: isDraining) {
        case .batch(let batch):
          window.add(
            batch, range: batch.range, recordCount: batch.divisibleCount,
            byteCount: batch.bytes.count)
        case .wait(let until): return waiting(until: until, now: now)
        case .idle: return waiting(until: nil, now: now)
        }
      case .send(let index): try send(index, &connection, now: now)
      case .wait(let until): return waiting(until: until, now: now)
      case .reconnect:
        throw MosquittoError(
          .timedOut, endpoint: nil, detail: "a publish stayed without PUBACK for too long")
      }
    }
  }

  private func waiting(until time: MonotonicTime?, now: MonotonicTime) -> Duration {
    let deadlines = [time, window.answerDeadline].compactMap { $0 }
    guard let next = deadlines.min() else { return Self.idleTurn }
    return max(.zero, min(Self.idleTurn, next.since(now)))
  }

  private mutating func send(
    _ index: Int, _ connection: inout Connection, now: MonotonicTime
  ) throws {
    let batch = window[index]
    let topic = topic(of: batch)
    if let packetByteCountMax,
      batch.bytes.count + topic.utf8.count + batch.properties.count
        + Self.packetOverheadByteCount > packetByteCountMax
    {
      return try handle(window.tooLarge(index, now: now))
    }
    let mid: Int32
    do throws(MosquittoError) {
      mid = try publish(batch, topic, &connection)
    } catch {
      // The library refused this one message and the connection stands: sending it again would be
      // refused again.
      guard connection.socket != nil else { throw error }
      if error.code == .packetTooLarge { return try handle(window.tooLarge(index, now: now)) }
      guard error.code == .invalidArgument else { throw error }
      logger.error(
        "a message cannot be published as it is",
        metadata: [
          "broker.error": "\(error)", "mqtt.topic": "\(topic)",
          "journal.sequence": "\(batch.range.first)",
        ])
      return try handle(window.undeliverable(index, .topicNameInvalid, now: now))
    }
    Failpoint.upstreamAfterPublish.reach()
    window.sent(index, mid: mid, at: now)
    if batch.range.last <= sentThrough { metrics.resent.increment() }
    sentThrough = max(sentThrough, batch.range.last)
    metrics.inFlight.record(window.outstandingCount)
  }

  /// A broker without retained messages gets them as ordinary ones: that is less, but not nothing.
  private func publish(
    _ batch: Batch, _ topic: String, _ connection: inout Connection
  ) throws(MosquittoError) -> Int32 {
    let properties = PublishProperties(wireEncoding: batch.properties)
    do throws(MosquittoError) {
      return try connection.publish(
        topic: topic, payload: batch.bytes.span, quality: .atLeastOnce, retain: batch.isRetained,
        properties: properties)
    } catch {
      guard batch.isRetained, error.code == .unsupportedByBroker, connection.socket != nil else {
        throw error
      }
      return try connection.publish(
        topic: topic, payload: batch.bytes.span, quality: .atLeastOnce, retain: false,
        properties: properties)
    }
  }

  private func topic(of batch: Batch) -> String {
    switch batch.destination {
    case .batches: options.topic
    case .topic(let topic): topic
    case .notices(let notice): "penstock/v1/\(route.gateway)/\(route.name)/\(notice.rawValue)"
    }
  }

  private mutating func readAnswers(_ connection: inout Connection) throws {
    // Answers that came before the connection broke count: what they accept is not sent again.
    var lost: MosquittoError?
    do throws(MosquittoError) {
      while true {
        let before = inbox.answers.count
        try connection.read()
        if inbox.answers.count == before { break }
      }
    } catch {
      lost = error
    }
    let now = Clock.monotonic()
    for answer in inbox.answers {
      let verdict = window.answered(mid: answer.mid, reason: answer.reason, now: now)
      if case .refused = PublishVerdict(
        answer.reason, acceptsNoSubscriber: options.acceptsNoSubscriber)
      {
        metrics.refused(answer.reason)
      }
      try handle(verdict)
    }
    inbox.answers.removeAll(keepingCapacity: true)
    if let lost { throw lost }
    if connection.socket == nil { throw connectionGone() }
  }

  /// Moves the cursor and does what the window asks for.
  private mutating func handle(_ outcome: DeliveryWindow<Batch>.Outcome) throws(JournalError) {
    if let latency = outcome.latency {
      metrics.publishSeconds.recordNanoseconds(latency.nanoseconds)
      metrics.inFlight.record(window.outstandingCount)
    }
    if let through = outcome.advanced {
      acknowledge(through: through)
      if let reason = refusal {
        refusal = nil
        logger.notice(
          "the upstream broker accepts again", metadata: ["mqtt.reason": "\(reason)"])
        status.report(stage, StageState(.connected))
      }
    }
    for batch in outcome.accepted {
      metrics.accepted(batch)
      for gap in batch.gaps where gap.reason == .expired {
        journal.countExpired(gap.range, sink: sink)
      }
    }
    switch outcome.action {
    case .none, .unknown: return
    case .retrying(let alarm, let reason):
      let level: Logger.Level = alarm ? .error : .warning
      let advice =
        reason == .noMatchingSubscribers
        ? "subscribe a consumer, or set accept_no_subscriber" : "check the broker's access rules"
      logger.log(
        level: refusal == reason ? .debug : level,
        "the upstream broker refuses, sending again later",
        metadata: [
          "mqtt.reason": "\(reason)", "mqtt.topic": "\(options.topic)", "advice": "\(advice)",
        ])
      refusal = reason
      status.report(stage, StageState(.refused, "\(reason): \(advice)"))
    case .rebuild(let range, let recordCountMax):
      batcher.rebuild(range, recordCountMax: recordCountMax)
    case .deadLetter(let batch, let range, let reason):
      try store(batch, range, reason: reason)
    }
  }

  private func acknowledge(through sequence: Sequence) {
    Failpoint.upstreamBeforeCursor.reach()
    journal.acknowledge(sink, through: sequence)
    Failpoint.upstreamAfterCursor.reach()
    metrics.acknowledgedSequence.record(Int64(clamping: sequence.rawValue))
  }

  /// A record the centre refuses for good: durable here first, then passed over there.
  private mutating func store(
    _ batch: Batch, _ range: SequenceRange, reason: ReasonCode
  ) throws(JournalError) {
    var stored: Result<UInt64, JournalError>?
    let deadLetters = deadLetters
    let sinkName = options.name
    Failpoint.deadLetterBeforeStore.reach()
    let found = try batcher.withOnlyRecord(in: range, gaps: batch.gaps) { record, bytes in
      do throws(JournalError) {
        stored = .success(
          try deadLetters.store(record, bytes, sink: sinkName, reason: reason))
      } catch {
        stored = .failure(error)
      }
    }
    let overwrittenCount = found == nil ? 0 : try stored?.get() ?? 0
    Failpoint.deadLetterAfterStore.reach()
    metrics.deadLetters.increment()
    logger.error(
      "a record is refused upstream for good, kept as a dead letter",
      metadata: ["journal.sequence": "\(range.last)", "mqtt.reason": "\(reason)"])
    if overwrittenCount > 0 {
      metrics.lostDeadLetters.increment(by: Int64(clamping: overwrittenCount))
      logger.error(
        "the dead letter file is full, its oldest are overwritten: look at them, or enlarge it",
        metadata: ["dead_letter.lost": "\(overwrittenCount)"])
    }
    switch batch.destination {
    // What else the batch told of, as that records expired, is told again.
    case .batches: batcher.elide(found ?? range)
    // A raw route has nothing that could say "elided"; the stored dead letter is the account.
    case .topic, .notices:
      batcher.rewind(to: range.last.next)
      acknowledge(through: range.last)
    }
  }

  private func connectionGone() -> MosquittoError {
    MosquittoError(
      inbox.disconnectReason == nil ? .connectionLost : .disconnectedByBroker,
      reason: inbox.disconnectReason, endpoint: nil,
      detail: inbox.disconnectReason.map { "the broker disconnected: \($0)" }
        ?? "connection lost")
  }
}
