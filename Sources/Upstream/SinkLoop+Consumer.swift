import Batching
import CoreMetrics
import Envelope
import GatewayCore
import Logging
import Mosquitto
import Platform
import RingJournal

// `accept: hub`: the consumer's own word moves the cursor, what it misses is sent once more.

/// What a sink knows about its consumer.
struct ConsumerState {
  var watch: AcceptanceWatch
  var plan: ResendPlan
  /// Said once, until something else is wrong or nothing.
  var lastComplaint: AcceptanceVerdict?

  init(options: SinkOptions) {
    watch = AcceptanceWatch(timeout: options.acceptTimeout)
    plan = ResendPlan(pause: options.acceptTimeout)
  }
}

/// What became of a consumer's message.
enum AcceptanceVerdict: String, CaseIterable {
  case applied
  /// It is about another journal: the one before this, or that of a gateway with the same name.
  case foreign
  /// It speaks of what was never sent; believed as far as that goes.
  case future
  case malformed
}

extension SinkLoop where Connection: ~Copyable {
  var acceptanceTopic: String { AcceptanceMessage.topic(ofBatches: options.topic) }

  func check(granted: [ReasonCode]) throws {
    for code in granted where code != .grantedQoS1 {
      throw MosquittoError(
        .brokerRefused, reason: code, endpoint: nil,
        detail: code.isFailure
          ? "subscription to \(acceptanceTopic) refused: \(code); allow the gateway to read it"
          : "subscription to \(acceptanceTopic) granted at QoS \(code.rawValue), not 1")
    }
  }

  /// Acts upon what has been received.
  mutating func hearConsumer(now: MonotonicTime) throws(JournalError) {
    guard options.acceptance == .hub else { return }
    let messages = inbox.received
    inbox.received.removeAll()
    for bytes in messages {
      let message: AcceptanceMessage
      do throws(AcceptanceError) {
        message = try AcceptanceMessage.decode(bytes.span)
      } catch {
        complain(.malformed, "\(error)")
        continue
      }
      try hear(message, now: now)
    }
    metrics.unaccepted.record(lanes.main.window.heldCount)
  }

  private mutating func hear(
    _ message: AcceptanceMessage, now: MonotonicTime
  ) throws(JournalError) {
    guard message.journal == journal.identity.id else {
      return complain(.foreign, "it is about journal \(message.journal)")
    }
    guard let numbered = journal.lastSequence(of: message.epoch) else {
      return complain(
        .foreign, "it speaks of epoch \(message.epoch), which this journal did not live through")
    }
    // In the present epoch, nothing can be there that was not sent.
    let limit = message.epoch == journal.epoch ? sentThrough : numbered
    let word = ConsumerWord(through: min(message.through, limit), missing: message.missing)
    if message.through > limit {
      complain(.future, "it speaks of sequence \(message.through), this journal has sent \(limit)")
    } else {
      metrics.acceptances(.applied)
      consumer.lastComplaint = nil
    }
    try handle(lanes.main.window.consumerSaid(word, now: now), of: .main)
    consumer.plan.consumerMisses(
      message.missing, held: lanes.main.window.heldRuns,
      cursor: max(journal.acknowledged(sink), lanes.main.acceptedThrough))
  }

  private mutating func complain(_ verdict: AcceptanceVerdict, _ reason: String) {
    metrics.acceptances(verdict)
    logger.log(
      level: consumer.lastComplaint == verdict ? .debug : .error,
      "what a consumer says about this route cannot be right",
      metadata: ["mqtt.topic": "\(acceptanceTopic)", "acceptance.problem": "\(reason)"])
    consumer.lastComplaint = verdict
  }

  mutating func noteConsumerProgress(through cursor: Sequence) {
    let wasOverdue = consumer.watch.isOverdue
    consumer.watch.accepted(through: cursor, now: Clock.monotonic())
    guard wasOverdue else { return }
    metrics.acceptanceOverdue.record(0)
    logger.notice("the consumer accepts again", metadata: ["journal.acknowledged": "\(cursor)"])
    status.report(stage, StageState(.connected))
  }

  /// Sends the oldest unaccepted batch once more when the consumer says nothing.
  /// - Returns: when to ask again.
  mutating func askConsumer() -> MonotonicTime? {
    let wasOverdue = consumer.watch.isOverdue
    let now = Clock.monotonic()
    switch consumer.watch.check(lanes.main.window.oldestHeld, now: now) {
    case .quiet(let until): return until
    case .overdue(let range): consumer.plan.add(range)
    case .lost(let time):
      guard let lost = lanes.main.window.frontHeld(before: time) else { break }
      consumer.plan.add(lost)
      logger.warning(
        "the broker does not have any more what it took, it is sent once more",
        metadata: ["journal.sequences": "\(lost)"])
    }
    metrics.acceptanceOverdue.record(1)
    let advice =
      "the broker has it and the consumer does not accept: is it there, and does it publish on "
      + acceptanceTopic
    logger.log(
      level: wasOverdue ? .debug : .error,
      "the consumer has accepted nothing for too long",
      metadata: [
        "limit.seconds": "\(options.acceptTimeout.seconds)", "advice": "\(advice)",
        "unaccepted.batches": "\(lanes.main.window.heldCount)",
      ])
    status.report(stage, StageState(.refused, advice))
    // What was added just now is sent in the next turn.
    return now
  }

  /// Sends what is due once more.
  /// - Returns: until when there is nothing to be done, if it is not for an answer.
  mutating func resend(_ connection: inout Connection) throws -> MonotonicTime? {
    while true {
      if consumer.plan.current == nil {
        let piece = consumer.plan.next(
          now: Clock.monotonic(), cursor: journal.acknowledged(sink))
        guard let piece else { return consumer.plan.deadline }
        try begin(piece)
      }
      let wake = try fillAndSend(from: .resend, &connection)
      guard lanes.resend.window.isEmpty, lanes.resend.batcher?.isExhausted ?? true else {
        return wake
      }
      consumer.plan.finished(now: Clock.monotonic())
    }
  }

  private mutating func begin(_ piece: ResendPlan.Piece) throws(JournalError) {
    if lanes.resend.batcher == nil {
      lanes.resend.batcher = try makeBatcher()
      let (byteCountMax, divisor) = (batchByteCountMax, pace.divisor)
      lanes.resend.batcher?.limitPackets(to: byteCountMax, divisor: divisor)
    }
    lanes.resend.batcher?.confine(to: piece.range, isReplay: piece.isReplay)
    metrics.missing.increment(by: Int64(clamping: piece.range.count))
    logger.debug(
      "sending once more",
      metadata: ["journal.sequences": "\(piece.range)", "replay": "\(piece.isReplay)"])
  }

  /// The connection is gone: what the broker has not taken is begun anew.
  mutating func forgetResend() {
    guard options.acceptance == .hub else { return }
    _ = lanes.resend.window.forget()
    consumer.plan.interrupted()
  }
}
