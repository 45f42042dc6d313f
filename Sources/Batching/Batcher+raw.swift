import Envelope
import GatewayCore
import RingJournal

extension Batcher {
  /// One record, one message: payload untouched, on its mapped topic. Gaps and dead letters, which
  /// a raw message cannot express, travel as envelopes on the notice topics.
  mutating func nextRaw(now: MonotonicTime) throws(JournalError) -> Step {
    if let gap = gapAhead {
      gapAhead = nil
      return .batch(notice(of: gap))
    }
    var taken: Batch?
    let making = RawMaking(
      journal: assembly.journal, topicMap: topicMap, now: now, wall: wallClock())
    let outcome = try Batcher.takeOne(
      from: &reader, making, &assembly.encoder, &rawProperties, into: &taken)
    guard case .gap(let gap) = outcome else { return taken.map { .batch($0) } ?? .idle }
    guard let taken else { return .batch(notice(of: gap)) }
    // The reader went on behind the record and met a gap, which it tells once.
    gapAhead = gap
    return .batch(taken)
  }

  private mutating func notice(of gap: Gap) -> Batch {
    assembly.encoder.begin(journal: assembly.journal, epoch: assembly.epoch, first: gap.range.first)
    assembly.encoder.appendGap(gap)
    return Batcher.notice(
      .gaps, range: gap.range, epoch: assembly.epoch, recordCount: 0, gaps: [gap],
      encoder: &assembly.encoder)
  }

  /// What does not change from record to record.
  private struct RawMaking {
    let journal: JournalID
    let topicMap: @Sendable (String) -> String
    let now: MonotonicTime
    let wall: WallTime

    /// How long the record has been here; by the wall clock where the machine was off in between.
    func dwell(of record: JournalRecord) -> Duration {
      let dwell =
        record.committedAt.map { now.since($0) }
        ?? .nanoseconds(wall.nanoseconds - record.received.nanoseconds)
      return max(.zero, dwell)
    }
  }

  private static func takeOne(
    from reader: inout JournalReader, _ making: RawMaking, _ encoder: inout EnvelopeEncoder,
    _ rawProperties: inout RawProperties, into taken: inout Batch?
  ) throws(JournalError) -> ReadOutcome {
    try reader.read { record, bytes in
      guard taken == nil else { return false }
      let range = record.sequences
      guard record.kind == .data else {
        encoder.begin(journal: making.journal, epoch: record.epoch, first: record.sequence)
        let gap = encoder.appendRecord(record, bytes)
        taken = notice(
          gap == nil ? .deadLetter : .gaps, range: range, epoch: record.epoch, recordCount: 1,
          gaps: gap.map { [$0] } ?? [], encoder: &encoder)
        if gap != nil { taken?.tombstoneCount = 1 }
        return true
      }
      var payload: [UInt8] = []
      payload.append(bytes.extracting(record.payload))
      var properties: [UInt8] = []
      rawProperties.append(
        id: bytes.extracting(record.idTextBytes), journal: making.journal, epoch: record.epoch,
        sequence: record.sequence, kept: bytes.extracting(record.properties),
        dwell: making.dwell(of: record), to: &properties)
      taken = Batch(
        range: range, epoch: record.epoch, recordCount: 1,
        destination: .topic(making.topicMap(String(decoding: bytes.extracting(record.topic)))),
        bytes: payload, isRetained: record.flags.contains(.retained), properties: properties)
      return true
    }
  }

  private static func notice(
    _ notice: Batch.Notice, range: SequenceRange, epoch: Epoch, recordCount: Int,
    gaps: [Gap] = [], encoder: inout EnvelopeEncoder
  ) -> Batch {
    var packet: [UInt8] = []
    encoder.finish(last: range.last, compression: .none, into: &packet)
    return Batch(
      range: range, epoch: epoch, recordCount: recordCount, destination: .notices(notice),
      bytes: packet, isRetained: false, properties: [], gaps: gaps)
  }
}
