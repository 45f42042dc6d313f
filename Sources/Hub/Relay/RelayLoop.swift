import CoreMetrics
package import GatewayCore
package import Logging
import Mosquitto
import Platform

/// Outbox → broker, on one thread of its own, over a connection of its own. Where messages come
/// from, the table or the log, is the source's matter.
///
/// ## Invariants
/// 1. A row is forgotten only after the PUBACK of it and of all before it.
/// 2. Rows are handed to one connection in the order of their numbers, and after a refusal or a
///    loss again from the first that is not forgotten: per key the last copy of each is in order.
///    A receiver sees a message at least once and knows it again by its id.
package struct RelayLoop<Store: HubStore>: ~Copyable {
  package static var stage: StageName { StageName(route: "hub", part: .upstream(sink: "outbox")) }
  private static var idleTurn: Duration { .seconds(1) }
  private static var stableAfter: Duration { .seconds(10) }
  /// A PUBACK that takes longer ends the connection.
  private static var answerTimeout: Duration { .seconds(30) }

  private let options: HubOptions
  private let store: Store
  private let source: any OutboxSource
  private let control: HubControl
  private let status: any StatusReporting
  private let metrics: HubMetrics
  private let logger: Logger
  private let sabotage: HubSabotage
  private let handler = RelayHandler()
  private var backoff = Backoff()
  /// A database comes back without a crowd that waits for it.
  private var databaseBackoff = Backoff(minimum: .milliseconds(250), maximum: .seconds(5))
  private var attempt = 0
  private var liveSince: MonotonicTime?
  private var lastReported = ""
  private var lastLag = MonotonicTime(nanoseconds: 0)
  /// Sent, in order, and whether the PUBACK came.
  private var window: [Sent] = []
  /// Of the last row that has left with all before it; not forgotten yet.
  private var leftThrough: UInt64?
  private var leftCount = 0
  private var leftSince = MonotonicTime(nanoseconds: 0)

  private struct Sent {
    let mid: Int32
    let number: UInt64
    let time: MonotonicTime
    var isAcknowledged = false
  }

  package init(
    options: HubOptions, store: Store, control: HubControl, status: any StatusReporting,
    metrics: HubMetrics, logger: Logger, sabotage: HubSabotage = .none
  ) {
    self.options = options
    self.store = store
    source = store.outboxSource(readsLog: options.relay.readsLog)
    self.control = control
    self.status = status
    self.metrics = metrics
    self.logger = logger
    self.sabotage = sabotage
  }

  /// Runs until the control says stop.
  package mutating func run() {
    while !control.isStopping {
      do {
        try connectAndServe()
      } catch let error as HubStoreError {
        wait(databaseBackoff.next(), after: "\(error)")
      } catch {
        if let liveSince, Clock.monotonic().since(liveSince) >= Self.stableAfter {
          backoff.succeeded()
        }
        wait(backoff.next(), after: "\(error)")
      }
      metrics.relayConnected.record(0)
    }
    try? mark()
    status.report(Self.stage, StageState(.stopped))
  }

  private mutating func wait(_ pause: Duration, after reason: String) {
    liveSince = nil
    if lastReported != reason {
      logger.warning(
        "the outbox cannot be emptied, trying again",
        metadata: ["reason": "\(reason)", "retry.seconds": "\(pause.seconds)"])
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
    try? source.tick()
    if Poll.wait(socket: nil, wakeUp: control.relayWakeUp, timeout: duration).wokenUp {
      control.relayWakeUp.clear()
    }
  }

  /// Another hub publishes; this one looks now and then whether it still does.
  private mutating func standBy() throws {
    lastReported = ""
    status.report(Self.stage, StageState(.connected, "another hub publishes the outbox"))
    logger.info("another hub publishes the outbox; standing by")
    while !control.isStopping, try !source.begin() {
      reportLag(Clock.monotonic())
      idle(for: Self.idleTurn)
    }
  }

  private mutating func connectAndServe() throws {
    // What had left is forgotten first; what had not is read again.
    try mark()
    window = []
    if try !source.begin() { try standBy() }
    databaseBackoff.succeeded()
    guard !control.isStopping else { return }
    var connection = options.connection
    connection.clientID += "-out"
    connection.cleanStart = true
    connection.sessionExpiry = .zero
    let endpoint = attempt % connection.endpoints.count
    attempt += 1
    status.report(Self.stage, StageState(.connecting, "\(connection.endpoints[endpoint])"))
    handler.forget()
    var client = MosquittoClient(options: connection, handler: handler, logger: logger)
    try client.connect(endpoint: endpoint)
    try serve(&client)
    try client.disconnect()
  }

  private mutating func serve(_ client: inout MosquittoClient<RelayHandler>) throws {
    var lastMisc = Clock.monotonic()
    while !control.isStopping {
      let now = Clock.monotonic()
      var windowMax = 0
      if let acknowledgement = handler.acknowledgement {
        becomeLive()
        windowMax = min(options.relay.inFlightMax, Int(acknowledgement.receiveMaximum))
        try publish(&client, windowMax: windowMax)
      }
      guard let socket = client.socket else { throw client.gone() }
      var timeout = Self.idleTurn
      if leftThrough != nil { timeout = min(timeout, options.relay.markInterval) }
      var interests = [Poll.Interest(socket, forWriting: client.wantsWrite)]
      // A source that has more than the window takes waits, too.
      if let news = source.socket, window.count < windowMax { interests.append(.init(news)) }
      if Poll.wait(&interests, wakeUp: control.relayWakeUp, timeout: timeout) {
        control.relayWakeUp.clear()
      }
      if interests[0].isReady {
        _ = try client.readUntilDry(limit: 1_000)
        if client.socket != nil, client.wantsWrite { try client.flush() }
      }
      try takeAnswers()
      try markIfDue()
      reportLag(now)
      if let oldest = window.first, now.since(oldest.time) > Self.answerTimeout {
        throw MosquittoError(
          .timedOut, endpoint: nil, detail: "no PUBACK within \(Self.answerTimeout)")
      }
      if now.since(lastMisc) >= .seconds(1) {
        lastMisc = now
        try client.misc()
        try source.tick()
        status.progress(Self.stage)
      }
    }
    try takeAnswers()
  }

  private mutating func becomeLive() {
    guard liveSince == nil else { return }
    liveSince = Clock.monotonic()
    attempt = 0
    lastReported = ""
    metrics.relayConnected.record(1)
    status.report(Self.stage, StageState(.connected))
    logger.info("the outbox is being published")
  }

  private mutating func publish(
    _ client: inout MosquittoClient<RelayHandler>, windowMax: Int
  ) throws {
    while window.count < windowMax {
      guard let row = try source.next() else { break }
      var properties: [UInt8] = []
      if let expiry = row.expiry {
        MQTTPropertyWriter.append(.messageExpiryInterval, number: expiry, to: &properties)
      }
      #if PENSTOCK_SABOTAGE
        if sabotage == .markBeforePublish { try source.forget(through: row.number) }
      #endif
      let mid = try client.publish(
        topic: row.topic, payload: row.payload.span,
        properties: PublishProperties(wireEncoding: properties))
      window.append(Sent(mid: mid, number: row.number, time: Clock.monotonic()))
      Failpoint.relayAfterPublish.reach()
    }
    if client.wantsWrite { try client.flush() }
  }

  private mutating func takeAnswers() throws {
    guard !handler.answers.isEmpty else { return }
    for (mid, reason) in handler.answers {
      if reason.isFailure {
        handler.answers = []
        throw MosquittoError(
          .brokerRefused, reason: reason, endpoint: nil,
          detail: "the broker refuses a message of the outbox: \(reason)")
      }
      guard let index = window.firstIndex(where: { $0.mid == mid && !$0.isAcknowledged }) else {
        continue
      }
      window[index].isAcknowledged = true
    }
    handler.answers = []
    let done = window.prefix { $0.isAcknowledged }
    guard let last = done.last else { return }
    if leftThrough == nil { leftSince = Clock.monotonic() }
    leftThrough = last.number
    leftCount += done.count
    metrics.published.increment(by: done.count)
    window.removeFirst(done.count)
  }

  private mutating func markIfDue() throws {
    guard leftThrough != nil else { return }
    guard
      leftCount >= options.relay.markRowsMax
        || Clock.monotonic().since(leftSince) >= options.relay.markInterval
    else { return }
    try mark()
  }

  private mutating func mark() throws {
    guard let through = leftThrough else { return }
    Failpoint.relayBeforeMark.reach()
    try source.forget(through: through)
    Failpoint.relayAfterMark.reach()
    control.removedFromOutbox(leftCount)
    leftThrough = nil
    leftCount = 0
  }

  private mutating func reportLag(_ now: MonotonicTime) {
    guard now.since(lastLag) >= .seconds(1) else { return }
    lastLag = now
    guard let backlog = try? store.outboxBacklog() else { return }
    control.setOutboxRows(backlog.count)
    metrics.outboxRows.record(backlog.count)
    let age = backlog.oldest.map { Double(Clock.wall().nanoseconds - $0.nanoseconds) / 1e9 } ?? 0
    metrics.outboxLag.record(max(0, age))
    if let bytes = try? source.logLag() { metrics.logLag.record(bytes) }
  }
}

/// One thread.
final class RelayHandler: MosquittoHandler {
  var acknowledgement: ConnectAcknowledgement?
  var answers: [(mid: Int32, reason: ReasonCode)] = []

  func forget() {
    acknowledgement = nil
    answers = []
  }

  func connected(_ acknowledgement: ConnectAcknowledgement) {
    if !acknowledgement.reason.isFailure { self.acknowledgement = acknowledgement }
  }
  func disconnected(_ reason: ReasonCode?) {}
  func received(
    _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
  ) {}
  func subscribed(mid: Int32, granted: [ReasonCode]) {}
  func unsubscribed(mid: Int32) {}
  func published(mid: Int32, reason: ReasonCode) { answers.append((mid, reason)) }
}
