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
      if let reason = refusal {
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

  /// A lane has got through; only the one that begins at the cursor moves it.
  private mutating func advance(_ lane: Lanes.Name, through sequence: Sequence) {
    switch lane {
    case .main:
      acknowledge(through: sequence)
      if options.acceptance == .hub { noteConsumerProgress(through: sequence) }
    case .live:
      guard let first = liveFront, first <= sequence else { return }
      liveFront = sequence.next
      // Without a place for it, it is sent once more with the backlog.
      _ = journal.accept(sink, SequenceRange(first, sequence))
      metrics.acceptedIntervals.record(journal.acceptedIntervals(sink).ranges.count)
    case .resend: return
    }
  }

  private func acknowledge(through sequence: Sequence) {
    Failpoint.upstreamBeforeCursor.reach()
    journal.acknowledge(sink, through: sequence)
    Failpoint.upstreamAfterCursor.reach()
    // What was accepted beyond it may adjoin now.
    let reached = journal.acknowledged(sink)
    metrics.acknowledgedSequence.record(Int64(clamping: reached.rawValue))
  }

  /// A record the centre refuses for good: durable here first, then passed over there.
  private mutating func store(
    _ batch: Batch, _ range: SequenceRange, of lane: Lanes.Name, reason: ReasonCode
  ) throws(JournalError) {
    var stored: Result<UInt64, JournalError>?
    let deadLetters = deadLetters
    let sinkName = options.name
    Failpoint.deadLetterBeforeStore.reach()
    let found =
      try lanes[lane].batcher?.withOnlyRecord(in: range, gaps: batch.gaps) { record, bytes in
        do throws(JournalError) {
          stored = .success(
            try deadLetters.store(record, bytes, sink: sinkName, reason: reason))
        } catch {
          stored = .failure(error)
        }
      } ?? nil
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
    case .batches: lanes[lane].batcher?.elide(found ?? range)
    // A raw route has nothing that could say "elided"; the stored dead letter is the account.
    case .topic, .notices:
      lanes[lane].batcher?.rewind(to: range.last.next)
      advance(lane, through: range.last)
    }
  }
}
