import Batching
import CoreMetrics
import GatewayCore
import Logging
import Mosquitto
import Platform
import RingJournal

// `drain: live-first`: after an outage what is new goes ahead, in order from the point where the
// connection came back; the backlog fills in behind, in order from the cursor. What is accepted
// beyond the cursor are intervals in the journal, which survive a crash.
//
//     cursor │ backlog: main lane │ accepted │ backlog │ accepted │ live lane …
//            └─ confined to one hole at a time ────────┘          └ liveFront

extension SinkLoop where Connection: ~Copyable {
  /// A connection stands: decides where the lanes begin. Also without `live-first` what was
  /// accepted out of turn before is not sent again.
  mutating func arrangeLanes() throws(JournalError) {
    let intervals = journal.acceptedIntervals(sink)
    guard options.drain == .liveFirst || !intervals.isEmpty || liveFront != nil else { return }
    noteSentAhead()
    _ = lanes.main.window.forget()
    _ = lanes.live.window.forget()
    let cursor = journal.acknowledged(sink)
    let committed = journal.committed
    var front = (intervals.ranges.last?.last ?? cursor).next
    // One batch of backlog is sooner sent than told apart; and without a place for another interval
    // what has come since the last one is sent in order behind it.
    if options.drain == .liveFirst, intervals.ranges.count < AcceptedIntervals.countMax,
      committed.count(since: front.previous) > UInt64(options.batch.recordCountMax)
    {
      front = committed.next
    }
    metrics.acceptedIntervals.record(intervals.ranges.count)
    guard front > cursor.next else {
      liveFront = nil
      lanes.unshare()
      lanes.main.batcher?.release(from: cursor.next)
      return
    }
    liveFront = front
    if lanes.live.batcher == nil {
      let (byteCountMax, divisor) = (batchByteCountMax, pace.divisor)
      lanes.live.batcher = try makeBatcher()
      lanes.live.batcher?.limitPackets(to: byteCountMax, divisor: divisor)
    }
    lanes.live.batcher?.release(from: front)
    lanes.live.sentThrough = max(lanes.live.sentThrough, front.previous)
    lanes.live.acceptedThrough = front.previous
    lanes.share()
    confineBacklog()
    logger.notice(
      "what is new goes ahead, the backlog fills in behind",
      metadata: [
        "journal.live_from": "\(front)",
        "backlog.records": "\(front.previous.count(since: cursor))",
      ])
  }

  /// Performs the lanes' steps: what is new first.
  mutating func fillAndSendInTurn(
    _ connection: inout Connection
  ) throws -> [MonotonicTime?] {
    guard liveFront != nil else { return [try fillAndSend(from: .main, &connection)] }
    let live = try fillAndSend(from: .live, &connection)
    var backlog = try fillAndSend(from: .main, &connection)
    // A hole whose dead letters have no answer yet is delivered, and not to be read again.
    while let front = liveFront, lanes.main.window.isEmpty,
      lanes.main.batcher?.isExhausted ?? true,
      lanes.main.acceptedThrough <= journal.acknowledged(sink)
    {
      if journal.acknowledged(sink).next == front {
        liveFront = nil
        lanes.merge()
        metrics.acceptedIntervals.record(0)
        logger.notice(
          "the backlog is delivered", metadata: ["journal.acknowledged": "\(front.previous)"])
      } else {
        confineBacklog()
      }
      backlog = try fillAndSend(from: .main, &connection)
    }
    return [live, backlog]
  }

  /// What was sent ahead and is not accepted becomes backlog: it still counts as sent.
  private mutating func noteSentAhead() {
    guard let first = liveFront, first <= lanes.live.sentThrough else { return }
    sentAhead = SequenceRange(
      min(first, sentAhead?.first ?? first),
      max(lanes.live.sentThrough, sentAhead?.last ?? lanes.live.sentThrough))
  }

  /// The main lane works on the hole at the cursor.
  private mutating func confineBacklog() {
    guard let liveFront else { return }
    let first = journal.acknowledged(sink).next
    let end = journal.acceptedIntervals(sink).ranges.first?.first ?? liveFront
    guard first < end else { return }
    lanes.main.batcher?.confine(to: SequenceRange(first, end.previous), isBacklog: true)
  }
}
