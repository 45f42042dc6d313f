import Batching
import CoreMetrics
import GatewayCore
import Logging
import Mosquitto
import Platform
import RingJournal

// What the answers lead to: the cursor moves, something is read again, a dead letter is stored.

extension SinkLoop where Connection: ~Copyable {
  /// Moves the cursor and does what the window asks for.
  mutating func handle(
    _ outcome: DeliveryWindow<Batch>.Outcome, of lane: Lanes.Name
  ) throws(JournalError) {
    if let latency = outcome.latency {
      metrics.publishSeconds.recordNanoseconds(latency.nanoseconds)
      metrics.inFlight.record(lanes.outstandingCount)
    }
    if let through = outcome.advanced {
      advance(lane, through: through)
      if let reason = refusal, outcome.accepted.contains(where: { $0.destination != .kept }) {
        refusal = nil
        logger.notice(
          "the upstream broker accepts again", metadata: ["mqtt.reason": "\(reason)"])
        status.report(stage, StageState(.connected))
      }
    }
    // What is sent once more was counted, or will be, where it was sent first.
    for batch in outcome.accepted where lane != .resend {
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
      lanes[lane].batcher?.rebuild(range, recordCountMax: recordCountMax)
    case .deadLetter(let batch, let range, let reason):
      try store(batch, range, of: lane, reason: reason)
    }
  }

  /// Gives a batch to a lane's window.
  mutating func add(_ batch: Batch, to lane: Lanes.Name) throws(JournalError) {
    // A letter was published, or waits, where its record was sent first.
    if lane != .resend { post.note(batch.deadLetters) }
    let outcome = lanes[lane].window.add(
      batch, range: batch.range, recordCount: batch.divisibleCount, byteCount: batch.byteCount)
    try handle(outcome, of: lane)
  }

  /// A lane has got through; only the one that begins at the cursor moves it.
  private mutating func advance(_ lane: Lanes.Name, through sequence: Sequence) {
    lanes[lane].acceptedThrough = max(lanes[lane].acceptedThrough, sequence)
    switch lane {
    case .main:
      acknowledge()
      if options.acceptance == .hub { noteConsumerProgress(through: sequence) }
    case .live: acceptAhead()
    case .resend: return
    }
  }

  /// Dead letters are answered: the journal is told what has waited for them.
  mutating func tellAccepted() {
    acknowledge()
    acceptAhead()
  }

  /// Moves the cursor over what the main lane has got through, up to the first unanswered letter.
  private mutating func acknowledge() {
    let accepted = lanes.main.acceptedThrough
    let sequence = min(accepted, post.floor(from: .none)?.previous ?? accepted)
    guard sequence > journal.acknowledged(sink) else { return }
    Failpoint.upstreamBeforeCursor.reach()
    journal.acknowledge(sink, through: sequence)
    Failpoint.upstreamAfterCursor.reach()
    // What was accepted beyond it may adjoin now.
    let reached = journal.acknowledged(sink)
    keptAhead.removeAll { $0.last <= reached }
    metrics.acknowledgedSequence.record(Int64(clamping: reached.rawValue))
  }

  /// Records what the live lane has got through, up to its first unanswered letter: the cursor will
  /// pass what is recorded without asking again.
  private mutating func acceptAhead() {
    guard let first = liveFront else { return }
    let accepted = lanes.live.acceptedThrough
    let sequence = min(accepted, post.floor(from: first)?.previous ?? accepted)
    guard first <= sequence else { return }
    liveFront = sequence.next
    // Without a place for it, it is sent once more with the backlog.
    _ = journal.accept(sink, SequenceRange(first, sequence))
    metrics.acceptedIntervals.record(journal.acceptedIntervals(sink).ranges.count)
  }

  /// A record the centre refuses for good: durable here first, then passed over there.
  private mutating func store(
    _ batch: Batch, _ range: SequenceRange, of lane: Lanes.Name, reason: ReasonCode
  ) throws(JournalError) {
    var stored = DeadLetterRun(cause: .refused(reason), sink: options.name, journal: journal)
    let deadLetters = deadLetters
    Failpoint.deadLetterBeforeStore.reach()
    let found =
      try lanes[lane].batcher?.withOnlyRecord(in: range, gaps: batch.gaps) { record, bytes in
        stored.store(record, bytes, in: deadLetters)
      } ?? nil
    try report(stored)
    switch batch.destination {
    // What else the batch told of, as that records expired, is told again.
    case .batches: lanes[lane].batcher?.elide(found ?? range)
    // A raw route has nothing that could say "elided"; the stored dead letter is the account.
    case .topic, .unmapped, .notices, .kept:
      lanes[lane].batcher?.rewind(to: range.last.next)
      advance(lane, through: range.last)
    }
  }

  /// Counts and tells what has been stored, and has its letters published.
  mutating func report(_ stored: DeadLetterRun) throws(JournalError) {
    if let failure = stored.failure { throw failure }
    post.note(stored.sequences, cause: stored.cause)
    Failpoint.deadLetterAfterStore.reach()
    for sequence in stored.sequences {
      metrics.deadLetter(stored.cause)
      logger.error(
        stored.cause == .expired
          ? "a command was not delivered in time, kept as a dead letter"
          : "a record is refused upstream for good, kept as a dead letter",
        metadata: ["journal.sequence": "\(sequence)", "mqtt.reason": "\(stored.cause.text)"])
    }
    if stored.overwrittenCount > 0 {
      metrics.lostDeadLetters.increment(by: Int64(clamping: stored.overwrittenCount))
      logger.error(
        "the dead letter file is full, its oldest are overwritten: look at them, or enlarge it",
        metadata: ["dead_letter.lost": "\(stored.overwrittenCount)"])
    }
  }
}
