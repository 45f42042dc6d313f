import CoreMetrics
import Deduplication
package import GatewayCore
package import Logging
package import Mosquitto
package import Platform
package import RingJournal

/// Broker → journal, for one route, on one thread of its own.
///
/// ## Invariants
/// 1. A PUBACK leaves only for a message whose record is on disk, or for a duplicate of such a
///    one: `releaseAcknowledgements` is called only while the journal has nothing uncommitted.
/// 2. Nothing is written to the connection while a message is held: libmosquitto has one queue and
///    one flush, and the PUBACKs stand in it before our code has seen the message.
/// 3. When the journal fails, the connection is dropped without a flush and the thread ends: the
///    broker keeps what was not acknowledged.
/// 4. Whatever ends a connection, what was read is committed; the redelivery meets the window.
///
/// ## One turn
///
///     poll → read until dry, or window or group full → (dedup and append happen in the reads)
///          → one commit → release PUBACKs → keepalive
package struct IngestLoop<Connection: InboundConnection & ~Copyable>: ~Copyable {
  /// Why a connection ended.
  enum End {
    case lost(MosquittoError)
    /// Recalled: another connection follows at once.
    case recalled
    case ringFull
    case quiesced
    /// The session holds nothing for us and has no subscription any more.
    case emptied
    case sessionEnded
  }

  /// How long a pause or a healthy wait lasts before the watchdog hears from us again.
  static var idleTurn: Duration { .seconds(1) }
  /// A connection that lasted so long was a good one: the next failure starts from a short pause.
  private static var stableAfter: Duration { .seconds(10) }
  /// Reads before the loop looks at its clock again, whatever they bring.
  private static var readsPerTurnMax: Int { 4096 }
  static var subscribeTimeout: Duration { .seconds(30) }

  let options: IngestOptions
  let intake: Intake
  let control: IngestControl
  let wakeUp: WakeUp
  let stage: StageName
  let status: any StatusReporting
  let metrics: IngestMetrics
  let logger: Logger
  private let sabotage: Sabotage
  let recall: Recall?
  private let makeConnection: MakeInboundConnection<Connection>
  private let makeCleanConnection: MakeInboundConnection<Connection>?
  /// This connection's new session has been told of.
  private var isSessionNoted = false
  /// How far `endSession` has come.
  var sessionEnd = SessionEnd.open
  var subscriptions: SubscriptionMemory
  private var groupClose: GroupClose
  private var backoff: Backoff
  private var takeover = TakeoverGuard()
  private var attempt = 0
  /// The session expiry of the last connection.
  private var expiryGranted: Duration?
  /// The endpoint of this connection.
  var endpoint = 0
  /// Since when this connection is to end for another one.
  var recalledSince: MonotonicTime?
  /// When this connection began to be made: from then on it has read its files.
  var begunAt = MonotonicTime(nanoseconds: 0)
  var lastReceipt = MonotonicTime(nanoseconds: 0)
  private var lastReported: MosquittoError.Code?
  /// Since when this connection has its subscription.
  var liveSince: MonotonicTime?
  /// When the last commit of this loop began.
  private var lastCommit: MonotonicTime?
  var lastMisc = MonotonicTime(nanoseconds: 0)
  private var lastGauges = MonotonicTime(nanoseconds: 0)
  private var reports: IngestReports
  #if PENSTOCK_SABOTAGE
    private var lastSabotagedCommit = Clock.monotonic()
  #endif

  /// - Parameters:
  ///   - intake: owns the journal's writer; used by this thread alone from now on.
  ///   - backoff: the pauses before another connection.
  ///   - makeCleanConnection: one that asks for a clean session, where nothing else ends a session
  ///     (MQTT 3.1.1).
  ///   - recall: of the broker.
  ///   - makeConnection: a fresh handle that delivers to the intake; called for each connection.
  package init(
    options: IngestOptions, intake: Intake, control: IngestControl, wakeUp: WakeUp,
    subscriptions: SubscriptionMemory, stage: StageName, status: any StatusReporting,
    metrics: IngestMetrics, logger: Logger, sabotage: Sabotage = .none,
    backoff: Backoff = Backoff(), recall: Recall? = nil,
    makeCleanConnection: MakeInboundConnection<Connection>? = nil,
    makeConnection: @escaping MakeInboundConnection<Connection>
  ) {
    self.makeCleanConnection = makeCleanConnection
    self.options = options
    self.intake = intake
    self.control = control
    self.wakeUp = wakeUp
    self.subscriptions = subscriptions
    self.stage = stage
    self.status = status
    self.metrics = metrics
    self.logger = logger
    reports = IngestReports(logger: logger)
    self.sabotage = sabotage
    self.backoff = backoff
    self.recall = recall
    self.makeConnection = makeConnection
    intake.metrics = metrics
    let connection = options.connection
    groupClose = GroupClose(
      windowMax: connection.protocolVersion == .v5 ? Int(connection.receiveMaximum) : .max,
      byteCountMax: intake.commitByteCountMax, delayMin: options.commitDelayMin,
      delayMax: options.commitDelayMax)
  }

  /// Runs until the control says `close`, then closes the journal cleanly. A broker that is away
  /// never ends it.
  /// - Throws: when the journal fails. It is poisoned then; nothing was acknowledged after.
  package mutating func run() throws(JournalError) {
    metrics.capacityBytes.record(intake.capacity.rawValue)
    while control.phase == .run || (control.phase == .endSession && sessionEnd != .ended) {
      intake.refreshRoom()
      if !intake.hasRoom || intake.wasRefusedRoom { try pause() }
      guard control.phase < .quiesce else { break }
      try connectAndServe()
    }
    status.report(stage, control.farewell)
    // What the aggregates have is delivered before the end, whatever the next start is told to sum
    // up. Without room they stay what they are: readings in the ring.
    if intake.hasRoom { try intake.closeAggregates(now: Clock.monotonic(), all: true) }
    try commitOpenGroup()
    control.didQuiesce()
    while control.phase < .close { try idle(for: Self.idleTurn) }
    try intake.close()
    publishGauges(now: Clock.monotonic())
    status.report(stage, StageState(.stopped))
  }

  // MARK: - Connections

  private mutating func connectAndServe() throws(JournalError) {
    let endpoints = options.connection.endpoints
    endpoint = attempt % endpoints.count
    attempt += 1
    status.report(stage, StageState(.connecting, "\(endpoints[endpoint])"))
    liveSince = nil
    isSessionNoted = false
    recalledSince = nil
    begunAt = Clock.monotonic()
    intake.beginConnection()
    var end: End
    do throws(MosquittoError) {
      var connection = try makeNextConnection()
      try connection.connect(endpoint: endpoint)
      end = try serveReportingJournal(&connection)
      // Dropping the handle here frees what is still queued without writing it: invariant 2.
    } catch {
      end = .lost(error.naming(endpoints[endpoint]))
    }
    metrics.connected.record(0)
    intake.left(at: Clock.monotonic())
    if liveSince != nil { recall?.left(endpoint: endpoint) }
    if let failure = intake.failure { throw failure }
    try commitOpenGroup()
    let lived = liveSince.map { Clock.monotonic().since($0) }
    if let lived, lived >= Self.stableAfter {
      backoff.succeeded()
      lastReported = nil
    }
    switch end {
    case .quiesced: logger.info("left the field broker, session kept")
    case .ringFull, .recalled: attempt = 0
    case .emptied:
      sessionEnd = .emptied
      remember([])
    case .sessionEnded: didEndSession()
    case .lost(let error):
      if let pause = takeover.ended(error, lived: lived) {
        try stayAway(for: pause, after: error)
      } else {
        try waitAfter(error)
      }
    }
  }

  /// Another client has our session: coming back at once would throw it out, and it us.
  private mutating func stayAway(
    for pause: Duration, after error: MosquittoError
  ) throws(JournalError) {
    metrics.takeovers.increment()
    metrics.reconnects.increment()
    lastReported = error.code
    let clientID = options.connection.clientID
    logger.error(
      "another client has taken over our session; are there two gateways with one id?",
      metadata: [
        "mqtt.client_id": "\(clientID)", "broker.error": "\(error)",
        "retry.seconds": "\(pause.seconds)",
      ])
    try wait(for: pause, "another client uses the client id \(clientID): \(error)")
  }

  private func makeNextConnection() throws(MosquittoError) -> Connection {
    if sessionEnd == .emptied, let makeCleanConnection { return try makeCleanConnection(intake) }
    return try makeConnection(intake)
  }

  /// `serve`, with a journal failure parked in the intake, so that one typed throw is enough here.
  private mutating func serveReportingJournal(
    _ connection: inout Connection
  ) throws(MosquittoError) -> End {
    do {
      return try serve(&connection)
    } catch let error as MosquittoError {
      throw error
    } catch let error as JournalError {
      intake.fail(error)
      return .quiesced
    } catch {
      preconditionFailure("the serving loop throws two kinds of errors")
    }
  }

  private mutating func waitAfter(_ error: MosquittoError) throws(JournalError) {
    let isCut = liveSince != nil && error.isEndByPeer
    let pause = backoff.next(spread: isCut ? options.connection.reconnectSpread : .zero)
    metrics.reconnects.increment()
    let metadata: Logger.Metadata = [
      "broker.error": "\(error)", "retry.seconds": "\(pause.seconds)",
    ]
    // The first of a kind speaks up; the same again and again would only fill a small disk.
    if lastReported != error.code {
      logger.warning("field broker lost or unavailable, trying again", metadata: metadata)
    } else {
      logger.debug("field broker still unavailable", metadata: metadata)
    }
    lastReported = error.code
    try wait(for: pause, "\(error)")
  }

  private mutating func wait(for pause: Duration, _ why: String) throws(JournalError) {
    status.report(stage, StageState(.reconnecting, why))
    let until = Clock.monotonic() + pause
    let phase = control.phase
    // The phase may have changed already, while a connect was blocking.
    while control.phase == phase, phase < .quiesce, Clock.monotonic() < until {
      try idle(for: min(Self.idleTurn, until.since(Clock.monotonic())))
    }
  }

  /// `when_full: block`: the session is kept at the broker and we are not there. Merely not reading
  /// would end in a keepalive cut again and again.
  private mutating func pause() throws(JournalError) {
    logger.warning(
      "ring full, paused: the broker keeps messages up to its own queue limit",
      metadata: ["journal.free": "\(intake.freeFraction)"])
    status.report(stage, StageState(.paused, "ring full; waiting for deliveries to free space"))
    metrics.paused.record(1)
    // At least one turn: a ring that refused a record although a tenth of it was free (a large
    // record before the end of the region) must not be tried in a tight loop.
    repeat {
      try idle(for: Self.idleTurn)
    } while control.phase < .quiesce && !intake.hasRoomToResume
    metrics.paused.record(0)
    logger.notice("ring has room again, resuming")
  }

  /// A turn without a connection: the journal's chores, the watchdog, a bounded wait.
  private mutating func idle(for duration: Duration) throws(JournalError) {
    let now = Clock.monotonic()
    if control.phase == .run, try closeAggregates(now: now) { try commitOpenGroup() }
    let chores = try intake.maintain(now: now)
    publishGauges(now: now)
    status.progress(stage)
    let ready = Poll.wait(
      socket: nil, wakeUp: wakeUp, timeout: min(duration, chores ?? duration))
    if ready.wokenUp { wakeUp.clear() }
  }

  /// Aggregates that are due although nothing comes.
  /// - Returns: whether some were journalled; they wait for a commit.
  private mutating func closeAggregates(now: MonotonicTime) throws(JournalError) -> Bool {
    guard intake.aggregatesAreDue() else { return false }
    intake.refreshRoom()
    guard intake.hasRoom else { return false }
    try intake.closeAggregates(now: now)
    return true
  }

  // MARK: - One connection

  private mutating func serve(_ connection: inout Connection) throws -> End {
    var session = Session()
    var drySince: MonotonicTime?
    var readFirst = false
    lastMisc = Clock.monotonic()
    while true {
      let now = Clock.monotonic()
      intake.refreshRoom()
      if control.phase == .endSession { return try endSession(&connection) }
      if control.phase > .run { return try quiesce(&connection) }
      if try closeAggregates(now: now), intake.wasRefusedRoom { return .ringFull }
      let held = connection.heldAcknowledgements
      var timeout = Self.idleTurn
      // A QoS 0 message holds no PUBACK and wants its commit all the same.
      let pending = max(held, intake.openRecordCount)
      if pending > 0 {
        let age = now.since(intake.oldestHeld ?? now)
        guard intake.hasRoom else {
          // Nothing more can be taken: settle what was, then leave in good order.
          try commitAndRelease(&connection)
          drySince = nil
          continue
        }
        switch groupClose.decide(
          held: pending, byteCount: intake.openByteCount, age: age,
          dry: readFirst ? nil : drySince.map { now.since($0) },
          sinceCommit: intake.openRecordCount > 0 ? lastCommit.map { now.since($0) } : nil)
        {
        case .close:
          try commitAndRelease(&connection)
          drySince = nil
          continue
        case .wait(let duration): timeout = duration
        }
      } else {
        try advance(&session, &connection, now: now)
        if connection.wantsWrite { try connection.flush() }
        if !intake.hasRoom { return try leaveFull(&connection) }
        if isRecalled(now: now) {
          try connection.disconnect()
          return .recalled
        }
        let chores = try intake.maintain(now: now)
        timeout = min(timeout, chores ?? timeout)
        publishGauges(now: now)
        status.progress(stage)
      }
      if now.since(lastMisc) >= .seconds(1) {
        lastMisc = now
        try connection.misc()
      }
      guard let socket = connection.socket else { throw connectionGone() }
      if !readFirst {
        let ready = Poll.wait(
          socket: socket, forWriting: pending == 0 && connection.wantsWrite, wakeUp: wakeUp,
          timeout: timeout)
        if ready.wokenUp { wakeUp.clear() }
        guard ready.socketReadable else {
          if pending > 0 && drySince == nil { drySince = now }
          continue
        }
      }
      let receivedCount = intake.receivedCount
      readFirst = try readUntilDry(&connection)
      if recalledSince != nil, intake.receivedCount != receivedCount {
        lastReceipt = Clock.monotonic()
      }
      drySince = readFirst ? nil : Clock.monotonic()
      if intake.wasRefusedRoom { return .ringFull }
    }
  }

  /// Reads until a turn brings no message. That last, empty turn is not waste: over TLS it is what
  /// finds messages that OpenSSL has decrypted and `poll` cannot see.
  /// - Returns: whether reading stopped at a limit, so that more may be waiting inside the library.
  mutating func readUntilDry(_ connection: inout Connection) throws -> Bool {
    for _ in 0..<Self.readsPerTurnMax {
      let before = intake.receivedCount
      try connection.read()
      if let failure = intake.failure { throw failure }
      if connection.socket == nil { throw connectionGone() }
      if intake.receivedCount == before { return false }
      if intake.wasRefusedRoom { return true }
      if connection.heldAcknowledgements >= groupClose.windowMax
        || intake.openByteCount >= groupClose.byteCountMax || !intake.hasRoom
      {
        return true
      }
    }
    return true
  }

  /// Commit first, then release: the one place where PUBACKs leave.
  mutating func commitAndRelease(_ connection: inout Connection) throws {
    let held = connection.heldAcknowledgements
    let oldest = intake.oldestHeld
    #if PENSTOCK_SABOTAGE
      if sabotage == .acknowledgeBeforeCommit {
        try connection.releaseAcknowledgements(committed: held)
        intake.released()
        guard Clock.monotonic().since(lastSabotagedCommit) >= .milliseconds(500) else { return }
        lastSabotagedCommit = Clock.monotonic()
        return try commitOpenGroup()
      }
    #endif
    try commitOpenGroup()
    precondition(intake.openRecordCount == 0, "a PUBACK leaves only after the commit")
    Failpoint.ingestBeforeRelease.reach()
    try connection.releaseAcknowledgements(committed: held)
    intake.released()
    Failpoint.ingestAfterRelease.reach()
    let now = Clock.monotonic()
    if let oldest { metrics.pubackDelay.recordNanoseconds(now.since(oldest).nanoseconds) }
    publishGauges(now: now)
    status.progress(stage)
  }

  private mutating func commitOpenGroup() throws(JournalError) {
    if intake.openRecordCount > 0 {
      lastCommit = Clock.monotonic()
      let receipt = try intake.commit()
      groupClose.synced(in: receipt.syncDuration)
      if receipt.syncDuration >= .seconds(1) {
        logger.warning(
          "the disk took long to sync",
          metadata: ["journal.sync.seconds": "\(receipt.syncDuration.seconds)"])
      }
    }
    intake.publishCounts(to: metrics)
  }

  mutating func quiesce(_ connection: inout Connection) throws -> End {
    try commitAndRelease(&connection)
    try connection.disconnect()
    return .quiesced
  }

  mutating func leaveFull(_ connection: inout Connection) throws -> End {
    try connection.disconnect()
    return .ringFull
  }

  // MARK: - Session

  /// Where the subscription of this connection stands.
  private struct Session {
    enum State {
      case awaitingConnect
      case subscribing(mid: Int32, deadline: MonotonicTime)
      case unsubscribing(mid: Int32, deadline: MonotonicTime)
      case live
    }
    var state = State.awaitingConnect
    /// What the session is to hold.
    var wanted: [Subscription] = []
    /// What has to be subscribed to still, packet by packet.
    var unsent: ArraySlice<[Subscription]> = []
    var subscribing: [String] = []
  }

  /// SUBSCRIBE waits until nothing is held, like every other write.
  private mutating func advance(
    _ session: inout Session, _ connection: inout Connection, now: MonotonicTime
  ) throws {
    switch session.state {
    case .live: return
    case .awaitingConnect:
      guard let acknowledgement = intake.connectAcknowledgement else { return }
      try begin(&session, &connection, acknowledgement, now: now)
    case .subscribing(let mid, let deadline):
      guard let answer = intake.subscribeAnswer, answer.mid == mid else {
        return try check(deadline, of: "SUBACK", now: now)
      }
      try check(granted: answer.granted, for: session.subscribing)
      try subscribe(&session, &connection, now: now)
    case .unsubscribing(let mid, let deadline):
      guard intake.unsubscribeAnswer == mid else {
        return try check(deadline, of: "UNSUBACK", now: now)
      }
      try subscribe(&session, &connection, now: now)
    }
  }

  func check(_ deadline: MonotonicTime, of answer: String, now: MonotonicTime) throws {
    guard now >= deadline else { return }
    throw MosquittoError(
      .timedOut, endpoint: nil, detail: "no \(answer) within \(Self.subscribeTimeout)")
  }

  private mutating func begin(
    _ session: inout Session, _ connection: inout Connection,
    _ acknowledgement: ConnectAcknowledgement, now: MonotonicTime
  ) throws {
    noteSession(acknowledgement)
    checkExpiry(acknowledgement)
    let plan = SubscriptionPlan(
      filters: options.subscriptions, canIdentify: acknowledgement.hasSubscriptionIdentifiers)
    session.wanted = plan.subscriptions
    let changes = subscriptions.changes(to: plan.subscriptions)
    session.unsent = changes.subscribe.packets[...]
    if !changes.unsubscribe.isEmpty {
      let mid = try connection.unsubscribe(changes.unsubscribe)
      session.state = .unsubscribing(mid: mid, deadline: now + Self.subscribeTimeout)
      if session.unsent.isEmpty { return try connection.flush() }
      // A SUBSCRIBE that is sent after an UNSUBSCRIBE is answered after it.
    }
    try subscribe(&session, &connection, now: now)
  }

  mutating func noteSession(_ acknowledgement: ConnectAcknowledgement) {
    guard !acknowledgement.sessionPresent, !isSessionNoted else { return }
    isSessionNoted = true
    if subscriptions.subscriptions?.isEmpty == false {
      metrics.sessionLost.increment()
      logger.error(
        "the broker has lost our session: what it held for us is gone",
        metadata: ["mqtt.client_id": "\(options.connection.clientID)"])
    }
    // The new session holds nothing. Should this connection end before the SUBACK, the next one
    // finds this very session present.
    remember([])
  }

  /// The next SUBSCRIBE, or none is left and messages flow.
  private mutating func subscribe(
    _ session: inout Session, _ connection: inout Connection, now: MonotonicTime
  ) throws {
    guard let packet = session.unsent.popFirst() else { return try becomeLive(&session) }
    let filters = packet.map(\.filter)
    intake.subscribes(to: filters, now: now)
    session.subscribing = filters
    let mid = try connection.subscribe(
      filters, quality: .atLeastOnce, identifier: packet.first?.identifier)
    try connection.flush()
    session.state = .subscribing(mid: mid, deadline: now + Self.subscribeTimeout)
  }

  /// A broker may keep the session for a shorter time than it was asked to.
  private mutating func checkExpiry(_ acknowledgement: ConnectAcknowledgement) {
    let asked = options.connection.sessionExpiry
    guard options.connection.protocolVersion == .v5 else { return }
    let granted = acknowledgement.sessionExpiry ?? asked
    metrics.sessionExpiry.record(granted.seconds)
    defer { expiryGranted = granted }
    guard granted < asked, granted != expiryGranted else { return }
    logger.warning(
      "the broker keeps our session for a shorter time than session_expiry asks for",
      metadata: [
        "mqtt.session_expiry.granted": "\(granted)", "mqtt.session_expiry.asked": "\(asked)",
      ])
  }

  private func check(granted: [ReasonCode], for filters: [String]) throws {
    guard granted.count == filters.count else {
      throw MosquittoError(
        .protocolViolation, endpoint: nil,
        detail: "a SUBACK with \(granted.count) codes for \(filters.count) filters")
    }
    for (filter, code) in zip(filters, granted) where code != .grantedQoS1 {
      throw MosquittoError(
        .brokerRefused, reason: code, endpoint: nil,
        detail: code.isFailure
          ? "subscription to \(filter) refused: \(code)"
          : "subscription to \(filter) granted at QoS \(code.rawValue), not 1: "
            + "messages could be lost; allow QoS 1 at the broker")
    }
  }

  private mutating func becomeLive(_ session: inout Session) throws {
    session.state = .live
    remember(session.wanted)
    attempt = 0
    liveSince = Clock.monotonic()
    recall?.entered(endpoint: endpoint)
    metrics.connected.record(1)
    status.report(stage, StageState(.connected))
    logger.notice(
      "receiving from the field broker",
      metadata: ["mqtt.filters": "\(session.wanted.map(\.filter).joined(separator: " "))"])
    tellWeakerVersion()
  }

  /// What the session at the broker holds from now on.
  mutating func remember(_ held: [Subscription]) {
    do throws(SystemError) {
      try subscriptions.store(held)
    } catch {
      logger.warning("cannot remember the subscriptions", metadata: ["error": "\(error)"])
    }
  }

  private mutating func publishGauges(now: MonotonicTime) {
    guard now.since(lastGauges) >= .seconds(1) else { return }
    lastGauges = now
    let lostCount = intake.publishGauges(to: metrics, now: now)
    reports.tell(of: intake, lostCount: lostCount, now: now)
  }
}
