package import Envelope
package import GatewayCore
package import RingJournal

/// Committed records → batches. Owns the journal's reader and the encoder of one sink; one thread.
///
/// ## Promise
/// Batches adjoin and account for every sequence once: event, gap or elided. Never reorders, never
/// splits a record, never mixes two epochs. A batch closes at the first of: `recordCountMax`
/// records, `byteCountMax` bytes of the final packet, `delayMax` since the commit of its oldest
/// record, a change of epoch. One record alone may exceed `byteCountMax`: it then is a batch of its
/// own.
///
/// ## Memory
/// The reader's buffer, the encoder's buffers and the batch handed out. Nothing per backlog record.
package struct Batcher: ~Copyable {
  /// What there is to do about the journal.
  package enum Step {
    case batch(Batch)
    /// These records have expired and are to be kept (`keepsExpired`): store them, then go on.
    case expired(SequenceRange, Epoch)
    /// A partial batch waits for company until then.
    case wait(until: MonotonicTime)
    /// Everything committed is batched.
    case idle
  }

  /// A batch under construction.
  struct Assembly: ~Copyable {
    var encoder: EnvelopeEncoder
    let journal: JournalID
    var first: Sequence = .none
    var last: Sequence = .none
    var epoch: Epoch
    var recordCount = 0
    var tombstoneCount = 0
    /// Nil while nothing has been taken.
    var oldest: MonotonicTime?
    var recordCountMax = 0
    var encodedByteCountMax = 0
    var gaps: [Gap] = []
    var deadLetters: [Sequence] = []
    var expiredCount: UInt64 = 0

    var isOpen: Bool { oldest != nil }
  }

  /// While a refused batch is sent again in parts: at most so many records each, up to `through`.
  private struct Parts {
    var recordCountMax: Int
    var through: Sequence
  }

  /// Expired records that one batch tells of at most: a backlog of them must not hold up the loop.
  static let expiredCountMax: UInt64 = 65_536
  /// As above, of those that are kept: each costs a sync.
  static let keptCountMax: UInt64 = 16
  /// How long a command from before a restart of the machine waits for the clock to tell its age.
  package static let uncertainWaitMax: Duration = .seconds(120)
  /// How long a batch waits that would only tell of elided records: nobody waits for it, but the
  /// cursor should not stand still for ever.
  static let elidedDelay: Duration = .seconds(60)
  /// Expansion allowed for text that is not JSON, plus the attributes of one event.
  static let eventOverheadByteCount = 512
  /// Encoded bytes may exceed the packet limit by this factor, trusting compression.
  static let expectedRatioMax = 16.0

  let options: BatchOptions
  let route: RouteIdentity
  let topicMap: @Sendable (String) -> String?
  var reader: JournalReader
  var rawProperties: RawProperties
  var assembly: Assembly
  /// A raw route's next notice: the reader met it behind the record that was just taken.
  var gapAhead: Gap?
  /// Since when a command waits because its age is not known.
  var uncertainSince: MonotonicTime?
  /// Of the journal's present opening.
  let presentEpoch: Epoch
  /// Elided records that no batch of a raw route has yet: from here to where the reader stands.
  var elidedSince: Sequence?
  private var parts: Parts?
  private var elisions: [SequenceRange] = []
  /// Smoothed encoded/packet ratio of recent batches.
  private var ratio = 1.0
  /// The smaller of the option and what the broker takes, or a part of it.
  private var packetByteCountMax: Int
  private var recordCountMax: Int

  /// - Parameters:
  ///   - previous: the journal that this one replaced, if that is known.
  ///   - epoch: of the journal's present opening; stands in a batch that holds no record.
  ///   - topicMap: a raw record's topic → its topic upstream; nil when it has none.
  package init(
    reader: consuming JournalReader, journal: JournalID, previous: PreviousJournal? = nil,
    epoch: Epoch, route: RouteIdentity, options: BatchOptions,
    topicMap: @escaping @Sendable (String) -> String? = { $0 }
  ) {
    self.options = options
    self.route = route
    self.topicMap = topicMap
    self.reader = reader
    self.presentEpoch = epoch
    self.rawProperties = RawProperties(via: Via.name(gateway: route.gateway, route: route.name))
    self.packetByteCountMax = options.byteCountMax.rawValue
    self.recordCountMax = options.recordCountMax
    self.assembly = Assembly(
      encoder: EnvelopeEncoder(
        gateway: route.gateway, site: route.site, route: route.name, previous: previous,
        compressionLevel: options.compressionLevel),
      journal: journal, epoch: epoch)
  }

  /// What the broker takes at most; smaller than the option counts, larger does not.
  /// - Parameter divisor: what the options' limits are divided by, records and bytes.
  package mutating func limitPackets(to byteCount: Int?, divisor: Int = 1) {
    packetByteCountMax = max(
      1, min(options.byteCountMax.rawValue, byteCount ?? .max) / divisor)
    recordCountMax = max(1, options.recordCountMax / divisor)
  }

  /// Reads again from `sequence`, forgetting a batch under construction.
  package mutating func rewind(to sequence: Sequence) {
    abandonAssembly()
    gapAhead = nil
    elidedSince = nil
    reader.seek(to: sequence)
  }

  /// The next batches are of `range` alone: a last one is closed as soon as the end is reached, and
  /// then there is nothing more.
  /// - Parameters:
  ///   - isReplay: they say that they are sent once more on request.
  ///   - isBacklog: they say that newer records were sent before.
  package mutating func confine(
    to range: SequenceRange, isReplay: Bool = false, isBacklog: Bool = false
  ) {
    parts = nil
    rewind(to: range.first)
    reader.limit = range.last
    assembly.encoder.isReplay = isReplay
    assembly.encoder.isBacklog = isBacklog
  }

  /// Reads on from `sequence` without an end, and says nothing special any more.
  package mutating func release(from sequence: Sequence) {
    parts = nil
    rewind(to: sequence)
    reader.limit = nil
    assembly.encoder.isReplay = false
    assembly.encoder.isBacklog = false
  }

  /// Its reader is the sink's first one from now on, or one beside it; see `JournalReader`.
  package mutating func setBeside(_ isBeside: Bool) { reader.setBeside(isBeside) }

  /// Whether all of the range that it is confined to has been read and handed out.
  package var isExhausted: Bool {
    isAtLimit && !assembly.isOpen && gapAhead == nil && elidedSince == nil
  }

  var isAtLimit: Bool { reader.limit.map { reader.position > $0 } ?? false }

  /// Reads `range` again in batches of at most `recordCountMax` records.
  package mutating func rebuild(_ range: SequenceRange, recordCountMax: Int) {
    rewind(to: range.first)
    parts = Parts(recordCountMax: max(1, recordCountMax), through: range.last)
  }

  /// These sequences were delivered elsewhere (dead letters): batches account for them as elided.
  /// Bounded by the owner, which elides one range and waits until the cursor has passed it.
  package mutating func elide(_ range: SequenceRange) {
    elisions.removeAll { $0.last < reader.position }
    elisions.append(range)
  }

  /// Lends the one record of a batch that holds a single one, besides gaps and elided sequences.
  /// Nothing under construction survives it; the next batch begins with `range` again.
  /// - Parameter gaps: what the batch tells of as lost, though some of it may still be in the ring.
  /// - Returns: the record's sequences; nil when it is no longer in the ring.
  package mutating func withOnlyRecord(
    in range: SequenceRange, gaps: [Gap] = [], _ body: (JournalRecord, Span<UInt8>) -> Void
  ) throws(JournalError) -> SequenceRange? {
    rewind(to: range.first)
    let others = elisions + gaps.map(\.range)
    var found: SequenceRange?
    var outcome = ReadOutcome.gap(Gap(range, .skipped))
    while case .gap = outcome, found == nil, reader.position <= range.last {
      outcome = try reader.read { record, bytes in
        guard found == nil, range.contains(record.sequence) else { return false }
        if record.flags.contains(.elided) { return true }
        if others.contains(where: { $0.contains(record.sequence) }) { return true }
        body(record, bytes)
        found = record.sequences
        return true
      }
    }
    rewind(to: range.first)
    return found
  }

  /// Lends the records of `range` that are still in the ring, in order; the position stays.
  package mutating func withRecords(
    in range: SequenceRange, _ body: (JournalRecord, Span<UInt8>) -> Void
  ) throws(JournalError) {
    let (position, limit) = (reader.position, reader.limit)
    // Also what lies beyond the range that it is confined to.
    reader.limit = nil
    reader.seek(to: range.first)
    var outcome = ReadOutcome.gap(Gap(range, .skipped))
    while case .gap = outcome, reader.position <= range.last {
      outcome = try reader.read { record, bytes in
        guard range.contains(record.sequence) else { return false }
        body(record, bytes)
        return true
      }
    }
    reader.limit = limit
    reader.seek(to: position)
  }

  /// The next batch, if one is due.
  /// - Parameters:
  ///   - closing: close a partial batch now (shutdown).
  /// - Throws: what the journal throws when it cannot be read.
  package mutating func next(now: MonotonicTime, closing: Bool = false) throws(JournalError) -> Step
  {
    if let parts, reader.position > parts.through, !assembly.isOpen { self.parts = nil }
    return switch options.format {
    case .cloudEventsBatch: try nextEnvelope(now: now, closing: closing)
    case .raw: try nextRaw(now: now)
    }
  }

  private mutating func nextEnvelope(
    now: MonotonicTime, closing: Bool
  ) throws(JournalError) -> Step {
    assembly.recordCountMax = min(recordCountMax, parts?.recordCountMax ?? .max)
    assembly.encodedByteCountMax = Int(Double(packetByteCountMax) * expectedRatio)
    let expiry = reader.expiry()
    while true {
      switch try Batcher.fill(
        &assembly, from: &reader, elisions: elisions, expiry: expiry, now: now)
      {
      case .gap(let gap):
        assembly.open(at: gap.range.first, oldest: now)
        assembly.append(gap)
      case .stopped:
        return .batch(try close())
      case .caughtUp:
        guard let oldest = assembly.oldest else { return .idle }
        let due = oldest + options.delayMax
        return closing || isAtLimit || now >= due
          || assembly.recordCount >= assembly.recordCountMax
          ? .batch(try close()) : .wait(until: due)
      }
    }
  }

  private static func fill(
    _ assembly: inout Assembly, from reader: inout JournalReader, elisions: [SequenceRange],
    expiry: RecordExpiry, now: MonotonicTime
  ) throws(JournalError) -> ReadOutcome {
    try reader.read { record, bytes in
      guard assembly.accepts(record) else { return false }
      let isElided = record.flags.contains(.elided)
      let committedAt = record.committedAt ?? now
      assembly.open(
        at: record.sequence, epoch: record.epoch,
        oldest: isElided ? committedAt + elidedDelay : committedAt)
      assembly.last = record.sequences.last
      if isElided || elisions.contains(record.sequence) {
        assembly.encoder.appendElided(record.sequences)
      } else if expiry.isExpired(record, bytes) {
        assembly.append(Gap(record.sequences, .expired))
        assembly.expiredCount += 1
      } else {
        if let gap = assembly.encoder.appendRecord(record, bytes) {
          assembly.gaps.append(gap)
          assembly.tombstoneCount += 1
        } else if record.kind == .deadLetter {
          assembly.deadLetters.append(record.sequence)
        }
        assembly.recordCount += 1
      }
      return true
    }
  }

  /// Encodes what is open. A packet over the limit is built again from half the records.
  private mutating func close() throws(JournalError) -> Batch {
    var packet: [UInt8] = []
    let encodedByteCount = assembly.encoder.byteCount
    let compression = assembly.encoder.finish(
      last: assembly.last, compression: options.compression, into: &packet)
    var properties: [UInt8] = []
    EnvelopeProperties.append(
      EnvelopeHeader(
        gateway: route.gateway, site: route.site, route: route.name, journal: assembly.journal,
        isReplay: assembly.encoder.isReplay, isBacklog: assembly.encoder.isBacklog,
        epoch: assembly.epoch, first: assembly.first, last: assembly.last),
      compression: compression, to: &properties)
    var batch = Batch(
      range: SequenceRange(assembly.first, assembly.last), epoch: assembly.epoch,
      recordCount: assembly.recordCount, tombstoneCount: assembly.tombstoneCount,
      destination: .batches, bytes: packet, isRetained: false, properties: properties,
      gaps: assembly.gaps)
    batch.deadLetters = assembly.deadLetters
    ratio = 0.75 * ratio + 0.25 * Double(encodedByteCount) / Double(max(packet.count, 1))
    assembly.clear()
    guard packet.count > packetByteCountMax, batch.recordCount > 1 else { return batch }
    ratio = 1
    rebuild(batch.range, recordCountMax: batch.recordCount / 2)
    guard
      case .batch(let half) = try nextEnvelope(now: MonotonicTime(nanoseconds: .max), closing: true)
    else { preconditionFailure("records that were batched once can be batched again") }
    return half
  }

  private var expectedRatio: Double {
    options.compression == .none ? 1 : min(max(1, ratio * 0.8), Batcher.expectedRatioMax)
  }

  private mutating func abandonAssembly() {
    guard assembly.isOpen else { return }
    assembly.clear()
  }
}

/// Whose records these are: what the envelope and the notice topics say.
package struct RouteIdentity: Sendable, Hashable {
  package let gateway: String
  package let site: String
  package let name: String

  package init(gateway: String, site: String, name: String) {
    self.gateway = gateway
    self.site = site
    self.name = name
  }
}

extension Batcher.Assembly {
  /// Whether `record` may join what is open.
  func accepts(_ record: JournalRecord) -> Bool {
    guard isOpen else { return true }
    let estimate =
      record.payload.count * 4 / 3 + record.topic.count * 3 + record.properties.count * 2
      + Batcher.eventOverheadByteCount
    return record.epoch == epoch && recordCount < recordCountMax
      && expiredCount < Batcher.expiredCountMax
      && encoder.byteCount + estimate <= encodedByteCountMax
  }

  /// Begins a batch unless one is open; one that only tells of elided records so far gets a time by
  /// which it must leave.
  mutating func open(at first: Sequence, epoch: Epoch? = nil, oldest: MonotonicTime) {
    if let earlier = self.oldest {
      if oldest < earlier { self.oldest = oldest }
      return
    }
    self.first = first
    self.epoch = epoch ?? self.epoch
    self.oldest = oldest
    recordCount = 0
    expiredCount = 0
    tombstoneCount = 0
    gaps.removeAll(keepingCapacity: true)
    deadLetters.removeAll(keepingCapacity: true)
    encoder.begin(journal: journal, epoch: self.epoch, first: first)
  }

  /// Tells of a gap; one that adjoins the one before for the same reason makes that one longer.
  mutating func append(_ gap: Gap) {
    encoder.appendGap(gap)
    last = gap.range.last
    if let before = gaps.last, before.reason == gap.reason,
      before.range.last.next == gap.range.first
    {
      gaps[gaps.count - 1] = Gap(SequenceRange(before.range.first, last), gap.reason)
    } else {
      gaps.append(gap)
    }
  }

  mutating func clear() {
    oldest = nil
    recordCount = 0
  }
}

extension [SequenceRange] {
  fileprivate func contains(_ sequence: Sequence) -> Bool {
    !isEmpty && contains { $0.contains(sequence) }
  }
}

extension EnvelopeEncoder {
  /// One journal record as one event; a tombstone as the gap it stands for, which it answers.
  package mutating func appendRecord(_ record: JournalRecord, _ bytes: Span<UInt8>) -> Gap? {
    switch record.kind {
    case .tombstone:
      let topic = String(decoding: bytes.extracting(record.topic))
      let gap = Gap(record.sequences, .quota, topic: topic)
      appendGap(gap)
      return gap
    case .data, .deadLetter:
      appendEvent(
        EventFields(
          sequence: record.sequence, kind: record.kind, reason: record.reason,
          flags: record.flags, received: record.received,
          isReceivedCorrected: record.isReceivedCorrected),
        topic: bytes.extracting(record.topic), id: bytes.extracting(record.idTextBytes),
        properties: bytes.extracting(record.properties),
        payload: bytes.extracting(record.payload))
      return nil
    }
  }
}
