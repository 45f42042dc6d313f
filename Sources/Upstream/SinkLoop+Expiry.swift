import Batching
import GatewayCore
import Platform
import RingJournal

// What expires before it is sent: told as a gap, or, of a route that carries commands, kept.

extension SinkLoop where Connection: ~Copyable {
  /// While the broker is away commands expire all the same: they are kept at once, so that somebody
  /// sees it, and their space is free.
  mutating func keepExpired() throws(JournalError) {
    guard options.batch.keepsExpired else { return }
    try keepExpired(of: .main)
    if liveFront != nil { try keepExpired(of: .live) }
  }

  private mutating func keepExpired(of lane: Lanes.Name) throws(JournalError) {
    let now = Clock.monotonic()
    var index = 0
    while index < lanes[lane].window.slotCount {
      let slotCount = lanes[lane].window.slotCount
      if let deadline = lanes[lane].window[index].deadline, now >= deadline {
        try expire(index, of: lane)
      }
      index = lanes[lane].window.slotCount < slotCount ? 0 : index + 1
    }
    let closing = isDraining
    while lanes[lane].window.hasRoom, !post.isFull {
      switch try lanes[lane].batcher?.next(now: now, closing: closing) ?? .idle {
      case .batch(let batch): try add(batch, to: lane)
      case .expired(let range, let epoch): try keep(range, epoch, of: lane)
      case .wait, .idle: return
      }
    }
  }

  /// The record that waits at `index` has expired since it was read.
  mutating func expire(_ index: Int, of lane: Lanes.Name) throws(JournalError) {
    let batch = lanes[lane].window[index]
    guard options.batch.keepsExpired else {
      guard let notice = lanes[lane].batcher?.noticeOfExpired(batch) else { return }
      return lanes[lane].window.replace(index, by: notice)
    }
    try storeExpired(batch.range, of: lane)
    let kept = Batch.kept(batch.range, epoch: batch.epoch)
    try handle(lanes[lane].window.resolve(index, by: kept), of: lane)
  }

  /// Expired records that were not sent at all: the cursor passes them in their turn.
  mutating func keep(
    _ range: SequenceRange, _ epoch: Epoch, of lane: Lanes.Name
  ) throws(JournalError) {
    try storeExpired(range, of: lane)
    let kept = Batch.kept(range, epoch: epoch)
    try add(kept, to: lane)
    let index = lanes[lane].window.slotCount - 1
    try handle(lanes[lane].window.resolve(index, by: kept), of: lane)
  }

  private mutating func storeExpired(
    _ range: SequenceRange, of lane: Lanes.Name
  ) throws(JournalError) {
    var stored = DeadLetterRun(cause: .expired, sink: options.name, journal: journal)
    stored.sentThrough = lanes[lane].sentThrough
    stored.sentAhead = sentAhead
    stored.stored = keptAhead
    let deadLetters = deadLetters
    Failpoint.deadLetterBeforeStore.reach()
    try lanes[lane].batcher?.withRecords(in: range) { record, bytes in
      stored.store(record, bytes, in: deadLetters)
    }
    try report(stored)
    noteKept(range)
    // Nothing is left to keep of what the ring has given up meanwhile.
    if stored.seenCount < range.count { journal.countExpired(range, sink: sink) }
  }

  /// As many as are not passed at once: no more than the windows have slots.
  private mutating func noteKept(_ range: SequenceRange) {
    if let last = keptAhead.last, last.last.next == range.first {
      keptAhead[keptAhead.count - 1] = SequenceRange(last.first, range.last)
    } else if keptAhead.count < SinkOptions.inFlightLimit {
      keptAhead.append(range)
    }
  }
}
