import CoreMetrics
import Envelope
package import GatewayCore
package import Logging
import Mosquitto
import Platform

/// Broker → store, on one thread of its own.
///
/// ## Invariants
/// 1. A PUBACK leaves only after the transaction that holds what it acknowledges was committed, or
///    found to hold it already.
/// 2. An acceptance is published only after that commit, and says what was committed.
/// 3. When the store fails, the connection is dropped without a flush: the broker keeps the session
///    and sends again what was not acknowledged. What was decided since the last commit is
///    forgotten with its engine.
///
/// ## One turn
///
///     poll → read until dry, or a group is full → decode → decide → one transaction
///          → release PUBACKs → acceptances → wake the relay
package struct ConsumerLoop<Store: HubStore>: ~Copyable {
  private enum End {
    case stopped
    /// The outbox has no room.
    case full
  }

  package static var stage: StageName { StageName(route: "hub", part: .ingest) }
  private static var idleTurn: Duration { .seconds(1) }
  private static var stableAfter: Duration { .seconds(10) }
  private static var answerTimeout: Duration { .seconds(30) }
  /// The outbox must be so empty before batches are taken again.
  private static var resumeFraction: Double { 0.9 }

  private let options: HubOptions
  private let store: Store
  private let control: HubControl
  private let status: any StatusReporting
  private let metrics: HubMetrics
  private let logger: Logger
  private let sabotage: HubSabotage
  private let makePolicies: MakePolicies
  private var policies: [any HubPolicy] = []
  private let handler: BatchHandler
  private var reader: BatchReader
  private var backoff = Backoff()
  /// A database comes back without a crowd that waits for it.
  private var databaseBackoff = Backoff(minimum: .milliseconds(250), maximum: .seconds(5))
  private var attempt = 0
  private var liveSince: MonotonicTime?
  private var lastTick = MonotonicTime(nanoseconds: 0)
  private var lastReported = ""
  private var lastSnapshot: UInt64 = 0

  package init(
    options: HubOptions, store: Store, control: HubControl, status: any StatusReporting,
    metrics: HubMetrics, logger: Logger, sabotage: HubSabotage = .none,
    makePolicies: @escaping MakePolicies
  ) {
    self.options = options
    self.store = store
    self.control = control
    self.status = status
    self.metrics = metrics
    self.logger = logger
    self.sabotage = sabotage
    self.makePolicies = makePolicies
    handler = BatchHandler(byteCountMax: options.consumer.envelopeByteCountMax.rawValue)
    reader = BatchReader(byteCountMax: options.consumer.envelopeByteCountMax)
  }

  /// Runs until the control says stop. Neither a broker nor a database that is away ends it.
  package mutating func run() {
    policies = makePolicies()
    while !control.isStopping {
      do {
        var engine = try makeEngine()
        let backlog = try store.outboxBacklog()
        control.setOutboxRows(backlog.count)
        try serveAll(&engine)
      } catch {
        metrics.connected.record(0)
        metrics.commitFailures.increment()
        wait(
          databaseBackoff.next(), after: "\(error)",
          "the database failed; batches stay with the broker, trying again")
      }
    }
    status.report(Self.stage, StageState(.stopped))
  }

  private func makeEngine() throws -> HubEngine {
    try HubEngine(
      rules: options.rules, store: store, policies: policies, clock: Clock.monotonic(),
      ignoresInbox: sabotage == .noInbox)
  }

  /// One connection after another, as long as the engine is what the store has: a connection ends
  /// before something is decided or after it was committed.
  private mutating func serveAll(_ engine: inout HubEngine) throws {
    while !control.isStopping {
      // What gateways are told first is what is there now, whoever has written it.
      if try !store.isCurrent(engine.revision) { engine = try makeEngine() }
      do {
        try connectAndServe(&engine)
      } catch let error as MosquittoError {
        metrics.connected.record(0)
        if let liveSince, Clock.monotonic().since(liveSince) >= Self.stableAfter {
          backoff.succeeded()
        }
        liveSince = nil
        wait(
          backoff.next(), after: "\(error)", "central broker lost or unavailable, trying again")
      }
      metrics.connected.record(0)
    }
  }

  private mutating func wait(
    _ pause: Duration, after reason: String, _ message: Logger.Message
  ) {
    let metadata: Logger.Metadata = ["reason": "\(reason)", "retry.seconds": "\(pause.seconds)"]
    if lastReported != reason {
      logger.warning(message, metadata: metadata)
    } else {
      logger.debug(message, metadata: metadata)
    }
    lastReported = reason
    status.report(Self.stage, StageState(.reconnecting, reason))
    let until = Clock.monotonic() + pause
    while !control.isStopping, Clock.monotonic() < until {
      idle(for: min(Self.idleTurn, until.since(Clock.monotonic())))
    }
  }

  private func idle(for duration: Duration) {
    status.progress(Self.stage)
    if Poll.wait(socket: nil, wakeUp: control.consumerWakeUp, timeout: duration).wokenUp {
      control.consumerWakeUp.clear()
    }
  }

  // MARK: - One connection

  private mutating func connectAndServe(_ engine: inout HubEngine) throws {
    try pauseWhileFull(&engine)
    guard !control.isStopping else { return }
    var connection = options.connection
    connection.clientID += "-in"
    let endpoints = connection.endpoints
    let endpoint = attempt % endpoints.count
    attempt += 1
    status.report(Self.stage, StageState(.connecting, "\(endpoints[endpoint])"))
    handler.forget()
    var client = MosquittoClient(options: connection, handler: handler, logger: logger)
    try client.connect(endpoint: endpoint)
    try subscribe(&client, &engine)
    let end = try serve(&client, &engine)
    try client.disconnect()
    if case .full = end {
      logger.warning(
        "the outbox is full: no batches are taken until some of it has left",
        metadata: ["outbox.rows": "\(control.outboxRows)"])
    }
  }

  /// What must go out has no room: batches are left with the broker.
  private mutating func pauseWhileFull(_ engine: inout HubEngine) throws {
    let limit = options.relay.rowsMax
    guard control.outboxRows >= limit else { return }
    status.report(Self.stage, StageState(.paused, "outbox full; waiting for the relay"))
    while !control.isStopping,
      Double(control.outboxRows) > Self.resumeFraction * Double(limit)
    {
      idle(for: Self.idleTurn)
    }
  }

  /// Waits for CONNACK and SUBACK. The session may bring batches before that: they are taken by the
  /// first turn.
  private mutating func subscribe(
    _ client: inout MosquittoClient<BatchHandler>, _ engine: inout HubEngine
  ) throws {
    let deadline = Clock.monotonic() + Self.answerTimeout
    while handler.acknowledgement == nil { try turn(&client, until: deadline, "CONNACK") }
    // A SUBSCRIBE flushes, so nothing may be held then.
    try settle(&client, &engine)
    let filters = options.consumer.subscriptions
    let mid = try client.subscribe(filters, quality: .atLeastOnce)
    try client.flush()
    while handler.subscribeAnswer?.mid != mid {
      try turn(&client, until: deadline, "SUBACK")
      try settle(&client, &engine)
    }
    let granted = handler.subscribeAnswer?.granted ?? []
    guard granted.count == filters.count, granted.allSatisfy({ $0 == .grantedQoS1 }) else {
      throw MosquittoError(
        .brokerRefused, reason: granted.first { $0 != .grantedQoS1 }, endpoint: nil,
        detail: "subscription to \(filters.joined(separator: " ")) refused or not at QoS 1")
    }
    attempt = 0
    liveSince = Clock.monotonic()
    metrics.connected.record(1)
    lastReported = ""
    status.report(Self.stage, StageState(.connected))
    logger.notice(
      "receiving batches", metadata: ["mqtt.filters": "\(filters.joined(separator: " "))"])
    // A crash between a commit and its acceptance leaves the gateways waiting.
    try publish(engine.allAcceptances, &client)
  }

  private mutating func turn(
    _ client: inout MosquittoClient<BatchHandler>, until deadline: MonotonicTime, _ what: String
  ) throws {
    guard let socket = client.socket else { throw client.gone() }
    guard Clock.monotonic() < deadline, !control.isStopping else {
      throw MosquittoError(
        .timedOut, endpoint: nil, detail: "no \(what) within \(Self.answerTimeout)")
    }
    status.progress(Self.stage)
    let wantsWrite = client.wantsWrite && client.heldAcknowledgements == 0
    let ready = Poll.wait(
      socket: socket, forWriting: wantsWrite, wakeUp: control.consumerWakeUp,
      timeout: .milliseconds(200))
    if ready.wokenUp { control.consumerWakeUp.clear() }
    if ready.socketReadable { _ = try client.readUntilDry(limit: options.consumer.groupBatchesMax) }
    if wantsWrite { try client.flush() }
    try client.misc()
  }

  private mutating func serve(
    _ client: inout MosquittoClient<BatchHandler>, _ engine: inout HubEngine
  ) throws -> End {
    var lastMisc = Clock.monotonic()
    var mayHaveMore = false
    while !control.isStopping {
      if control.outboxRows >= options.relay.rowsMax { return .full }
      if !mayHaveMore {
        guard let socket = client.socket else { throw client.gone() }
        let ready = Poll.wait(
          socket: socket, forWriting: client.wantsWrite, wakeUp: control.consumerWakeUp,
          timeout: Self.idleTurn)
        if ready.wokenUp { control.consumerWakeUp.clear() }
        if ready.socketWritable, client.wantsWrite { try client.flush() }
      }
      mayHaveMore = try readGroup(&client)
      try settle(&client, &engine)
      status.progress(Self.stage)
      let now = Clock.monotonic()
      if now.since(lastMisc) >= .seconds(1) {
        lastMisc = now
        try client.misc()
      }
    }
    return .stopped
  }

  /// Reads until dry or the group is full.
  /// - Returns: whether more may wait inside the library.
  private mutating func readGroup(
    _ client: inout MosquittoClient<BatchHandler>
  ) throws(MosquittoError) -> Bool {
    while handler.messages.count < options.consumer.groupBatchesMax,
      handler.byteCount < options.consumer.groupByteCountMax.rawValue
    {
      if try !client.readUntilDry(limit: 16) { return false }
    }
    return true
  }

  /// One transaction for what was read, then everything that may be said about it: the one place
  /// where PUBACKs leave.
  private mutating func settle(
    _ client: inout MosquittoClient<BatchHandler>, _ engine: inout HubEngine
  ) throws {
    let clock = Clock.monotonic()
    let held = client.heldAcknowledgements
    guard held > 0 || !handler.messages.isEmpty || clock.since(lastTick) >= .seconds(1) else {
      return
    }
    lastTick = clock
    let now = Clock.wall()
    var received: [Received] = []
    for message in handler.take() {
      if let one = reader.read(message, now: now) { received.append(one) }
    }
    #if PENSTOCK_SABOTAGE
      if sabotage == .acknowledgeBeforeCommit, held > 0 {
        try client.releaseAcknowledgements(committed: held)
        _ = Poll.wait(socket: nil, wakeUp: try WakeUp(), timeout: .milliseconds(300))
      }
    #endif
    var changes = engine.decide(received, now: now, clock: clock)
    if !changes.isEmpty, try !commit(changes) {
      // Another hub was faster: the same is decided once more, on what that one has left.
      try store.takeTurn()
      defer { store.endTurn() }
      try engine.overtaken(by: store, clock: clock)
      changes = engine.decide(received, now: now, clock: clock)
      if !changes.isEmpty, try !commit(changes) {
        throw HubStoreError(.conflict, "overtaken twice")
      }
    }
    if client.heldAcknowledgements > 0 {
      try client.releaseAcknowledgements(committed: client.heldAcknowledgements)
      Failpoint.hubAfterRelease.reach()
    }
    metrics.add(engine.counts, letters: changes.deadLetters)
    report(changes.deadLetters, engine.counts)
    if engine.counts.batches > 0 {
      try publish(engine.acceptances, &client)
      Failpoint.hubAfterAcceptance.reach()
    }
    control.addedToOutbox(changes.outbox.count)
    publishGauges(engine)
    try keepSnapshot(engine, now: now)
  }

  /// - Returns: false when another hub has written what the changes were not decided on.
  private mutating func commit(_ changes: HubChanges) throws -> Bool {
    let start = Clock.monotonic()
    do throws(HubStoreError) {
      try store.commit(changes)
    } catch {
      guard error.code == .conflict else { throw error }
      metrics.overtaken.increment()
      return false
    }
    databaseBackoff.succeeded()
    metrics.commits.increment()
    metrics.commitDuration.record(Clock.monotonic().since(start).seconds)
    return true
  }

  private func publish(
    _ acceptances: [(topic: String, message: AcceptanceMessage)],
    _ client: inout MosquittoClient<BatchHandler>
  ) throws(MosquittoError) {
    for (topic, message) in acceptances {
      _ = try client.publish(
        topic: topic, payload: message.encode().span, quality: .atLeastOnce, retain: true)
    }
    if client.wantsWrite { try client.flush() }
  }

  private func report(_ letters: [HubDeadLetter], _ counts: EngineCounts) {
    for letter in letters.prefix(8) {
      logger.warning(
        "cannot be used, kept as a dead letter",
        metadata: [
          "mqtt.topic": "\(letter.topic)", "reason": "\(letter.reason)",
          "detail": "\(letter.detail)",
        ])
    }
    if counts.overlaps > 0 {
      logger.error(
        "a journal numbers again what it had numbered: was a gateway put back to an older image?")
    }
  }

  private func publishGauges(_ engine: borrowing HubEngine) {
    metrics.position.record(Int64(clamping: engine.position))
    metrics.assets.record(engine.book.assets.count)
    metrics.missing.record(
      Int64(
        clamping: engine.inboxes.inboxes.reduce(UInt64(0)) { sum, inbox in
          let last = inbox.accounted.last?.rawValue ?? 0
          let (total, isOver) = sum.addingReportingOverflow(last - inbox.accounted.count)
          return isOver ? .max : total
        }))
    metrics.waiting.record(engine.waitingCount)
  }

  private mutating func keepSnapshot(_ engine: borrowing HubEngine, now: WallTime) throws {
    guard let every = options.snapshotEvery else { return }
    if lastSnapshot == 0 { lastSnapshot = max(1, engine.position) }
    guard engine.position >= lastSnapshot + UInt64(every) else { return }
    lastSnapshot = engine.position
    try store.save(
      Snapshot(
        position: engine.position, time: now,
        assets: engine.book.assets.filter { $0.version > 0 }))
  }
}

extension MosquittoClient {
  func gone() -> MosquittoError {
    MosquittoError(.connectionLost, endpoint: nil, detail: "the connection is gone")
  }
}
