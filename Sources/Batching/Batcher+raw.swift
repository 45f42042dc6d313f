package import Envelope
import GatewayCore
package import RingJournal

extension Batcher {
  /// One record, one message: payload untouched, on its mapped topic. Gaps and dead letters, which
  /// a raw message cannot express, travel as envelopes on the notice topics.
  mutating func nextRaw(now: MonotonicTime) throws(JournalError) -> Step {
    if let gap = gapAhead {
      gapAhead = nil
      return .batch(notice(of: gap))
    }
    let expiry = reader.expiry()
    if let gap = try passElided() { return .batch(notice(of: gap)) }
    if isAtLimit, let first = elidedSince {
      return .batch(notice(ofElided: SequenceRange(first, reader.position.previous)))
    }
    var outcome: ReadOutcome
    var taken: Batch?
    if options.keepsExpired {
      switch try nextKept(expiry, now: now) {
      case .none: outcome = .stopped
      case .step(let step): return step
      case .read(let read): outcome = read
      }
    } else {
      var expired: Gap?
      outcome = try Batcher.passExpired(in: &reader, expiry, into: &expired)
      taken = expired.map { notice(of: $0) }
    }
    if taken == nil, case .stopped = outcome {
      let making = RawMaking(
        journal: assembly.journal, route: route, topicMap: topicMap, expiry: expiry, now: now,
        isBounded: options.keepsExpired, isReplay: assembly.encoder.isReplay,
        isBacklog: assembly.encoder.isBacklog)
      outcome = try Batcher.takeOne(
        from: &reader, making, &assembly.encoder, &rawProperties, &elidedSince, into: &taken)
    }
    guard case .gap(let gap) = outcome else { return taken.map { .batch($0) } ?? .idle }
    guard let taken else { return .batch(notice(of: gap)) }
    // The reader went on behind the record and met a gap, which it tells once.
    gapAhead = gap
    return .batch(taken)
  }

  /// What there is to do about expired records that are kept.
  private enum Kept {
    /// The next record is to be delivered.
    case none
    case step(Step)
    /// There is no record to look at.
    case read(ReadOutcome)
  }

  /// Reads over a run of expired records. A record whose age nobody knows, because the machine was
  /// off and its clock is not synchronised, waits for the clock, and counts as expired when that
  /// takes too long: late is worse than never.
  private mutating func nextKept(
    _ expiry: RecordExpiry, now: MonotonicTime
  ) throws(JournalError) -> Kept {
    let hasWaited = uncertainSince.map { now.since($0) >= Batcher.uncertainWaitMax } ?? false
    let present = presentEpoch
    var run: (range: SequenceRange, epoch: Epoch)?
    var waits = false
    let outcome = try reader.read { record, bytes in
      let isCertain =
        record.epoch == present || record.kind == .tombstone || expiry.isAgeCertain(of: record)
      if !expiry.isExpired(record, bytes), isCertain || !hasWaited {
        waits = !isCertain
        return false
      }
      if let run, run.epoch != record.epoch || run.range.count >= Batcher.keptCountMax {
        return false
      }
      run = (
        SequenceRange(run?.range.first ?? record.sequences.first, record.sequences.last),
        record.epoch
      )
      return true
    }
    if let run {
      if case .gap(let gap) = outcome { gapAhead = gap }
      defer { elidedSince = nil }
      return .step(
        .expired(SequenceRange(elidedSince ?? run.range.first, run.range.last), run.epoch))
    }
    guard waits else {
      if case .stopped = outcome {
        uncertainSince = nil
        return .none
      }
      return .read(outcome)
    }
    uncertainSince = uncertainSince ?? now
    return .step(.wait(until: now + .seconds(1)))
  }

  /// Reads over a run of elided records. The next batch begins with them: a raw message says
  /// nothing of them, and the cursor passes them with it.
  /// - Returns: a gap that the reader has met behind them.
  private mutating func passElided() throws(JournalError) -> Gap? {
    var first = elidedSince
    let outcome = try reader.read { record, _ in
      guard record.flags.contains(.elided) else { return false }
      first = first ?? record.sequences.first
      return true
    }
    elidedSince = first
    if case .gap(let gap) = outcome { return gap }
    return nil
  }

  /// Reads over a run of expired records; stops before one that is not.
  private static func passExpired(
    in reader: inout JournalReader, _ expiry: RecordExpiry, into expired: inout Gap?
  ) throws(JournalError) -> ReadOutcome {
    try reader.read { record, bytes in
      guard !record.flags.contains(.elided), expiry.isExpired(record, bytes) else { return false }
      let first = expired?.range.first ?? record.sequences.first
      let range = SequenceRange(first, record.sequences.last)
      guard range.count <= expiredCountMax else { return false }
      expired = Gap(range, .expired)
      return true
    }
  }

  /// What tells of records that expired after they had been read.
  package mutating func noticeOfExpired(_ batch: Batch) -> Batch {
    // What the reader has passed since belongs to the batch after.
    let elidedLater = elidedSince
    elidedSince = nil
    defer { elidedSince = elidedLater }
    return notice(of: Gap(batch.range, .expired), epoch: batch.epoch)
  }

  private mutating func notice(of gap: Gap, epoch: Epoch? = nil) -> Batch {
    let epoch = epoch ?? assembly.epoch
    let range = Batcher.begin(
      &assembly.encoder, gap.range, elidedSince: &elidedSince, journal: assembly.journal,
      epoch: epoch)
    assembly.encoder.appendGap(gap)
    return Batcher.notice(
      .gaps, range: range, epoch: epoch, recordCount: 0, gaps: [gap],
      journal: assembly.journal, route: route, encoder: &assembly.encoder)
  }

  /// At the end of what it is confined to there is no next batch that could begin with them.
  private mutating func notice(ofElided range: SequenceRange) -> Batch {
    elidedSince = nil
    assembly.encoder.begin(journal: assembly.journal, epoch: assembly.epoch, first: range.first)
    assembly.encoder.appendElided(range)
    return Batcher.notice(
      .gaps, range: range, epoch: assembly.epoch, recordCount: 0, gaps: [],
      journal: assembly.journal, route: route, encoder: &assembly.encoder)
  }

  /// Begins an envelope for `range`, with the elided records before it.
  /// - Returns: what the envelope accounts for.
  private static func begin(
    _ encoder: inout EnvelopeEncoder, _ range: SequenceRange, elidedSince: inout Sequence?,
    journal: JournalID, epoch: Epoch
  ) -> SequenceRange {
    let first = elidedSince ?? range.first
    encoder.begin(journal: journal, epoch: epoch, first: first)
    if first < range.first { encoder.appendElided(SequenceRange(first, range.first.previous)) }
    elidedSince = nil
    return SequenceRange(first, range.last)
  }

  /// What does not change from record to record.
  private struct RawMaking {
    let journal: JournalID
    let route: RouteIdentity
    let topicMap: @Sendable (String) -> String?
    let expiry: RecordExpiry
    let now: MonotonicTime
    /// Every message gets a Message Expiry Interval.
    let isBounded: Bool
    let isReplay: Bool
    let isBacklog: Bool
  }

  private static func takeOne(
    from reader: inout JournalReader, _ making: RawMaking, _ encoder: inout EnvelopeEncoder,
    _ rawProperties: inout RawProperties, _ elidedSince: inout Sequence?, into taken: inout Batch?
  ) throws(JournalError) -> ReadOutcome {
    try reader.read { record, bytes in
      guard taken == nil else { return false }
      guard record.kind == .data else {
        let range = begin(
          &encoder, record.sequences, elidedSince: &elidedSince, journal: making.journal,
          epoch: record.epoch)
        let gap = encoder.appendRecord(record, bytes)
        taken = notice(
          gap == nil ? .deadLetter : .gaps, range: range, epoch: record.epoch, recordCount: 1,
          gaps: gap.map { [$0] } ?? [], journal: making.journal, route: making.route,
          encoder: &encoder)
        if gap != nil { taken?.tombstoneCount = 1 }
        return true
      }
      var payload: [UInt8] = []
      payload.append(bytes.extracting(record.payload))
      var properties: [UInt8] = []
      let timeLeft = making.expiry.timeLeft(of: record, bytes)
      let intervalOffset = rawProperties.append(
        id: bytes.extracting(record.idTextBytes), journal: making.journal, epoch: record.epoch,
        sequence: record.sequence, received: (record.received, record.clockSync),
        kept: bytes.extracting(record.properties), dwell: making.expiry.age(of: record),
        lifeLeft: making.isBounded ? timeLeft : nil, isReplay: making.isReplay,
        isBacklog: making.isBacklog, to: &properties)
      let topic = String(decoding: bytes.extracting(record.topic))
      var batch = Batch(
        range: SequenceRange(elidedSince ?? record.sequences.first, record.sequences.last),
        epoch: record.epoch, recordCount: 1,
        destination: making.topicMap(topic).map { .topic($0) } ?? .unmapped(topic),
        bytes: payload, isRetained: record.flags.contains(.retained), properties: properties)
      batch.deadline = timeLeft.map { making.now + $0 }
      let intervalLeft =
        making.isBounded ? timeLeft : making.expiry.intervalLeft(of: record, bytes)
      if let intervalOffset, let intervalLeft {
        batch.interval = Batch.Interval(offset: intervalOffset, end: making.now + intervalLeft)
      }
      taken = batch
      elidedSince = nil
      return true
    }
  }

  private static func notice(
    _ notice: Batch.Notice, range: SequenceRange, epoch: Epoch, recordCount: Int,
    gaps: [Gap], journal: JournalID, route: RouteIdentity, encoder: inout EnvelopeEncoder
  ) -> Batch {
    var packet: [UInt8] = []
    encoder.finish(last: range.last, compression: .none, into: &packet)
    var properties: [UInt8] = []
    EnvelopeProperties.append(
      EnvelopeHeader(
        gateway: route.gateway, site: route.site, route: route.name, journal: journal,
        isReplay: encoder.isReplay, isBacklog: encoder.isBacklog, epoch: epoch,
        first: range.first, last: range.last),
      compression: .none, to: &properties)
    return Batch(
      range: range, epoch: epoch, recordCount: recordCount, destination: .notices(notice),
      bytes: packet, isRetained: false, properties: properties, gaps: gaps)
  }
}

extension JournalRecord {
  /// How far `received` can be trusted.
  package var clockSync: ClockSync {
    if flags.contains(.clockSynchronised) { return .synchronised }
    return isReceivedCorrected ? .corrected : .unsynchronised
  }
}
