import Batching
import CoreMetrics
import Envelope
import GatewayCore
import Logging
import Mosquitto
import Platform
import RingJournal

// One connection, from CONNACK to its end: fill, send, read the answers.

extension SinkLoop where Connection: ~Copyable {
  /// How long the broker may take for its SUBACK.
  private static var subscribeTimeout: Duration { .seconds(30) }

  /// Where a connection stands.
  private enum Session {
    case connecting
    /// `accept: hub`: nothing is sent before the consumer can be heard.
    case subscribing(mid: Int32, deadline: MonotonicTime)
    case live

    var isLive: Bool { if case .live = self { true } else { false } }
  }

  mutating func serve(_ connection: inout Connection) throws -> End {
    var session = Session.connecting
    lastMisc = Clock.monotonic()
    while isWanted {
      var timeout = turn
      try advance(&session, &connection)
      if isRecalled() {
        if isSettled { return .recalled }
      } else if session.isLive, !isHandingOver {
        timeout = min(timeout, try fillAndSend(&connection))
      }
      if connection.wantsWrite { try connection.flush() }
      let now = Clock.monotonic()
      shaper.turned(
        socket: connection.socket, wantsWrite: connection.wantsWrite,
        committed: journal.committed, now: now)
      if shaper.mustLeave(outstandingCount: outstandingCount, now: now) { break }
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
    guard let recall, liveSince != nil, let reason = recall.reason(at: endpoint, since: begunAt)
    else { return false }
    recalledSince = Clock.monotonic()
    logger.notice(
      "\(reason.text)", metadata: ["broker.endpoint": "\(options.connection.endpoints[0])"])
    return true
  }

  /// Whether nothing is in flight any more, or was for too long.
  private var isSettled: Bool {
    outstandingCount == 0
      || recalledSince.map { Clock.monotonic().since($0) > Self.recallPatience } ?? true
  }

  private mutating func advance(
    _ session: inout Session, _ connection: inout Connection
  ) throws {
    guard let acknowledgement = inbox.connectAcknowledgement else { return }
    switch session {
    case .live: return
    case .connecting:
      guard acknowledgement.maximumQualityOfService >= .atLeastOnce else {
        throw MosquittoError(
          .brokerRefused, reason: .qualityOfServiceNotSupported, endpoint: nil,
          detail: "the broker takes QoS 0 only, which acknowledges nothing")
      }
      guard options.acceptance == .hub else { break }
      let mid = try connection.subscribe(
        [acceptanceTopic], quality: .atLeastOnce, identifier: nil)
      session = .subscribing(mid: mid, deadline: Clock.monotonic() + Self.subscribeTimeout)
      return
    case .subscribing(let mid, let deadline):
      guard let answer = inbox.subscribeAnswer, answer.mid == mid else {
        guard Clock.monotonic() < deadline else {
          throw MosquittoError(
            .timedOut, endpoint: nil, detail: "no SUBACK within \(Self.subscribeTimeout)")
        }
        return
      }
      try check(granted: answer.granted)
    }
    session = .live
    shaper.connected(
      socket: connection.socket, committed: journal.committed, now: Clock.monotonic())
    try becomeLive(acknowledgement)
  }

  /// A slow link is not a silent broker: as long as bytes leave, answers may still be on their way.
  private mutating func noteProgress(of socket: Int32, now: MonotonicTime) {
    guard lanes.outstandingCount > 0 else { return }
    // Not the length of the send queue: it is filled up again before anybody looks.
    let delivered = SocketTraffic.acknowledgedByteCount(of: socket)
    if delivered != deliveredByteCount { lanes.progressed(at: now) }
    deliveredByteCount = delivered
  }

  private mutating func becomeLive(_ acknowledgement: ConnectAcknowledgement) throws {
    attempt = 0
    liveSince = Clock.monotonic()
    recall?.entered(endpoint: endpoint)
    outstandingMax = max(1, Int(acknowledgement.receiveMaximum))
    for lane in Lanes.Name.allCases {
      lanes[lane].window.connected(outstandingMax: outstandingMax)
    }
    let told = acknowledgement.maximumPacketByteCount.map { Int($0) }
    let limit = [told, options.packetByteCountMax?.rawValue].compactMap { $0 }.min()
    if limit != packetByteCountMax {
      packetByteCountMax = limit
      rebuildToLimits()
    }
    try arrangeLanes()
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

  /// What was encoded to other limits is built again.
  private mutating func rebuildToLimits() {
    let (byteCountMax, divisor) = (batchByteCountMax, pace.divisor)
    for lane in Lanes.Name.allCases {
      lanes[lane].batcher?.limitPackets(to: byteCountMax, divisor: divisor)
      if let first = lanes[lane].window.forget() { lanes[lane].batcher?.rewind(to: first) }
    }
  }

  /// The link turned out not to carry what was sent: smaller batches, fewer at a time.
  mutating func applyPace() {
    rebuildToLimits()
    metrics.batchDivisor.record(pace.divisor)
    logger.notice(
      "the connection ended before a batch was accepted, smaller ones are tried",
      metadata: ["batch.divisor": "\(pace.divisor)"])
  }

  /// The link carries it: the next batches may be larger.
  mutating func quicken() {
    guard pace.accepted() else { return }
    let (byteCountMax, divisor) = (batchByteCountMax, pace.divisor)
    for lane in Lanes.Name.allCases {
      lanes[lane].batcher?.limitPackets(to: byteCountMax, divisor: divisor)
    }
    metrics.batchDivisor.record(divisor)
  }

  /// What may be outstanding in all lanes together. Two that share are no more than one; and on a
  /// link that does not carry so much it is less.
  private var publishMax: Int {
    guard liveFront != nil || pace.divisor > 1 else { return outstandingMax }
    return max(1, min(outstandingMax, options.inFlightMax) / pace.divisor)
  }

  /// What a batch may have of a packet, whose topic and properties take room, too.
  var batchByteCountMax: Int? {
    packetByteCountMax.map { max(1, $0 - options.topic.utf8.count - 512) }
  }

  /// Publishes that have no answer, letters included.
  var outstandingCount: Int { lanes.outstandingCount + post.outstandingCount }

  /// Publishes the dead letters that may leave now.
  private mutating func publishLetters(_ connection: inout Connection) throws {
    try post.publish(
      over: &connection, from: &lanes.main.batcher, shaper: &shaper,
      limits: DeadLetterPost.Limits(
        packetByteCountMax: packetByteCountMax,
        outstandingMax: max(0, outstandingMax - lanes.outstandingCount),
        committed: journal.committed),
      now: Clock.monotonic())
    // A letter that came to nothing holds back nothing.
    tellAccepted()
  }

  /// Performs the windows' steps until all of them wait.
  /// - Returns: how long at most until they want to be asked again.
  private mutating func fillAndSend(_ connection: inout Connection) throws -> Duration {
    try publishLetters(&connection)
    var wake = try fillAndSendInTurn(&connection)
    if options.acceptance == .hub {
      wake.append(try resend(&connection))
      wake.append(askConsumer())
    }
    // Those that have turned up in between.
    try publishLetters(&connection)
    wake.append(post.wakeUp)
    wake.append(lanes.answerDeadline)
    guard let next = wake.compactMap({ $0 }).min() else { return Self.idleTurn }
    return max(.zero, min(Self.idleTurn, next.since(Clock.monotonic())))
  }

  /// Performs one window's steps until it waits.
  /// - Returns: until when, if it is not for an answer or for records.
  mutating func fillAndSend(
    from lane: Lanes.Name, _ connection: inout Connection
  ) throws -> MonotonicTime? {
    let closing = isDraining
    while true {
      let now = Clock.monotonic()
      switch lanes[lane].window.nextStep(now: now) {
      case .fill where post.isFull: return post.wakeUp
      case .fill:
        switch try lanes[lane].batcher?.next(now: now, closing: closing) ?? .idle {
        case .batch(let batch): try add(batch, to: lane)
        case .expired(let range, let epoch): try keep(range, epoch, of: lane)
        case .wait(let until): return until
        case .idle: return nil
        }
      case .send(let index):
        if try settleUnsent(index, of: lane, now: now) { continue }
        // The other lanes' publishes count as well.
        guard outstandingCount < publishMax else { return nil }
        let batch = lanes[lane].window[index]
        if let until = shaper.hold(
          batch, topic: topic(of: batch), committed: journal.committed, now: now)
        {
          // It may expire while it is held.
          return batch.deadline.map { min($0, until) } ?? until
        }
        try send(index, of: lane, &connection, now: now)
      case .wait(let until): return until
      case .reconnect:
        throw MosquittoError(
          .timedOut, endpoint: nil,
          detail: "a publish stayed without PUBACK for \(options.answerTimeout)")
      }
    }
  }

  /// What waits at `index` may be of a kind that is not sent, or not any more.
  /// - Returns: whether that was so; then the window is to be asked again.
  private mutating func settleUnsent(
    _ index: Int, of lane: Lanes.Name, now: MonotonicTime
  ) throws(JournalError) -> Bool {
    let batch = lanes[lane].window[index]
    switch batch.destination {
    case .kept: try handle(lanes[lane].window.resolve(index, by: batch), of: lane)
    case .unmapped(let topic):
      logger.error(
        "topic_map has no topic for a record",
        metadata: ["mqtt.topic": "\(topic)", "journal.sequence": "\(batch.range.last)"])
      try handle(
        lanes[lane].window.undeliverable(index, .topicNameInvalid, now: now), of: lane)
    case .batches, .topic, .notices:
      guard let deadline = batch.deadline, now >= deadline else { return false }
      try expire(index, of: lane)
    }
    return true
  }

  private mutating func send(
    _ index: Int, of lane: Lanes.Name, _ connection: inout Connection, now: MonotonicTime
  ) throws {
    let batch = lanes[lane].window[index]
    let topic = topic(of: batch)
    if let packetByteCountMax,
      batch.bytes.count + topic.utf8.count + batch.properties.count
        + Self.packetOverheadByteCount > packetByteCountMax
    {
      return try handle(lanes[lane].window.tooLarge(index, now: now), of: lane)
    }
    let mid: Int32
    do throws(MosquittoError) {
      mid = try publish(batch, topic, &connection, now: now)
    } catch {
      // The library refused this one message and the connection stands: sending it again would be
      // refused again.
      guard connection.socket != nil else { throw error }
      if error.code == .packetTooLarge {
        return try handle(lanes[lane].window.tooLarge(index, now: now), of: lane)
      }
      guard error.code == .invalidArgument else { throw error }
      logger.error(
        "a message cannot be published as it is",
        metadata: [
          "broker.error": "\(error)", "mqtt.topic": "\(topic)",
          "journal.sequence": "\(batch.range.first)",
        ])
      return try handle(
        lanes[lane].window.undeliverable(index, .topicNameInvalid, now: now), of: lane)
    }
    Failpoint.upstreamAfterPublish.reach()
    lanes[lane].window.sent(index, mid: mid, at: now)
    if batch.range.last <= lanes[lane].sentThrough { metrics.resent.increment() }
    lanes[lane].sentThrough = max(lanes[lane].sentThrough, batch.range.last)
    sentThrough = max(sentThrough, batch.range.last)
    metrics.inFlight.record(lanes.outstandingCount)
  }

  /// A broker without retained messages gets them as ordinary ones: that is less, but not nothing.
  private func publish(
    _ batch: Batch, _ topic: String, _ connection: inout Connection, now: MonotonicTime
  ) throws(MosquittoError) -> Int32 {
    let properties = PublishProperties(wireEncoding: batch.properties(at: now))
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
    case .notices(.deadLetter) where options.deadLetterTopic != nil: options.deadLetterTopic ?? ""
    case .notices(let notice): "penstock/v1/\(route.gateway)/\(route.name)/\(notice.rawValue)"
    case .kept, .unmapped: preconditionFailure("this is not published")
    }
  }

  private mutating func readAnswers(_ connection: inout Connection) throws {
    // Answers that came before the connection broke count: what they accept is not sent again.
    var lost: MosquittoError?
    do throws(MosquittoError) {
      while true {
        let before = inbox.eventCount
        try connection.read()
        if inbox.eventCount == before { break }
      }
      // What a consumer says it says again, and the broker keeps its last word.
      try connection.releaseReceived()
    } catch {
      lost = error
    }
    let now = Clock.monotonic()
    for answer in inbox.answers {
      if post.answered(mid: answer.mid, reason: answer.reason, now: now) {
        tellAccepted()
        continue
      }
      let reason = reasonThatCounts(answer.reason, mid: answer.mid)
      if case .refused = PublishVerdict(reason, acceptsNoSubscriber: options.acceptsNoSubscriber) {
        metrics.refused(reason)
      } else {
        quicken()
      }
      for lane in Lanes.Name.allCases where lanes[lane].window.awaitsAnswer(mid: answer.mid) {
        let outcome = lanes[lane].window.answered(mid: answer.mid, reason: reason, now: now)
        try handle(outcome, of: lane)
      }
    }
    inbox.answers.removeAll(keepingCapacity: true)
    try hearConsumer(now: now)
    if let lost { throw lost }
    if connection.socket == nil { throw connectionGone() }
  }

  /// "No subscriber" is no refusal of a retained message, which the broker keeps for whoever comes,
  /// nor of a notice: what it tells is counted and logged here, and records must not wait until
  /// somebody listens to it.
  private func reasonThatCounts(_ reason: ReasonCode, mid: Int32) -> ReasonCode {
    guard reason == .noMatchingSubscribers, let batch = lanes.item(sentAs: mid) else {
      return reason
    }
    if case .notices = batch.destination {
      logger.notice(
        "nobody subscribes to the notices of this route",
        metadata: ["mqtt.topic": "\(topic(of: batch))", "journal.sequences": "\(batch.range)"])
      return .success
    }
    return batch.isRetained ? .success : reason
  }

  private func connectionGone() -> MosquittoError {
    MosquittoError(
      inbox.disconnectReason == nil ? .connectionLost : .disconnectedByBroker,
      reason: inbox.disconnectReason, endpoint: nil,
      detail: inbox.disconnectReason.map { "the broker disconnected: \($0)" }
        ?? "connection lost")
  }
}
