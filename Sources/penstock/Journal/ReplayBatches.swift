import Batching
import Envelope
import GatewayCore
import RingJournal
import Upstream

/// One MQTT message of a replay, and which sequences it is about.
struct ReplayMessage {
  let topic: String
  let payload: [UInt8]
  /// MQTT 5 properties in wire encoding.
  let properties: [UInt8]
  let sequences: SequenceRange
  /// Records in it; gaps are none.
  let recordCount: Int
}

/// What a journal holds → the messages of a replay, in the shape in which a sink would have sent
/// them and marked as a replay.
///
/// The sequences between two records of one envelope that were not asked for are elided there, so
/// that an envelope accounts for each; what is not in the file any more ends an envelope, because
/// nobody can say any more what became of it.
struct ReplayBatches: ~Copyable {
  /// The envelope under construction.
  private struct Envelope {
    let first: Sequence
    var last: Sequence
    let epoch: Epoch
    var recordCount = 0
  }

  private let sink: SinkOptions
  private let identity: JournalIdentity
  private let site: String
  private var encoder: EnvelopeEncoder
  private var rawProperties: RawProperties
  private var envelope: Envelope?
  /// Passed over since the envelope's last record.
  private var passedOver: SequenceRange?
  /// Of the record before; a gap has none of its own.
  private var epoch: Epoch
  private var recordCountMax: Int
  private var byteCountMax: Int

  /// - Parameters:
  ///   - sink: whose format, topics and limits these are.
  ///   - site: what the gateway's configuration calls so; nil: the gateway's id.
  ///   - epoch: stands with gaps that come before any record.
  init(
    _ identity: JournalIdentity, sink: SinkOptions, site: String?, epoch: Epoch, rate: ReplayRate?
  ) {
    self.sink = sink
    self.identity = identity
    self.site = site ?? identity.gatewayID
    self.epoch = epoch
    recordCountMax = sink.batch.recordCountMax
    byteCountMax = min(
      sink.batch.byteCountMax.rawValue, sink.packetByteCountMax?.rawValue ?? .max)
    rate?.limit(&recordCountMax, &byteCountMax)
    rawProperties = RawProperties(
      via: Via.name(gateway: identity.gatewayID, route: identity.routeName))
    encoder = EnvelopeEncoder(
      gateway: identity.gatewayID, site: self.site, route: identity.routeName,
      previous: identity.previous, isReplay: true)
  }

  /// What the broker takes at most; a larger limit than ours changes nothing.
  mutating func limitPackets(to byteCount: UInt32?) {
    guard let byteCount else { return }
    byteCountMax = min(byteCountMax, max(1, Int(byteCount) - sink.topic.utf8.count - 512))
  }

  /// Takes the next item and answers the messages that are complete now.
  mutating func add(
    _ item: JournalItem, _ bytes: Span<UInt8>, isWanted: Bool
  ) -> [ReplayMessage] {
    if case .record(let record) = item {
      // What was not delivered the first time is in an aggregate.
      guard isWanted, !record.flags.contains(.elided) else {
        passOver(record.sequences)
        return []
      }
      epoch = record.epoch
    }
    return switch sink.batch.format {
    case .cloudEventsBatch: addToEnvelope(item, bytes)
    case .raw: raw(item, bytes).map { [$0] } ?? []
    }
  }

  /// The message that is not full yet.
  mutating func finish() -> ReplayMessage? {
    guard let done = envelope else { return nil }
    envelope = nil
    passedOver = nil
    return message(done, topic: sink.topic, compression: sink.batch.compression)
  }

  private mutating func passOver(_ sequences: SequenceRange) {
    guard envelope != nil else { return }
    passedOver = SequenceRange(passedOver?.first ?? sequences.first, sequences.last)
  }

  // MARK: - Envelopes

  private mutating func addToEnvelope(
    _ item: JournalItem, _ bytes: Span<UInt8>
  ) -> [ReplayMessage] {
    var messages: [ReplayMessage] = []
    if !hasRoom(for: item), let full = finish() { messages.append(full) }
    if case .absent = item { return messages }
    begin(at: item.sequences.first)
    if let passedOver { encoder.appendElided(passedOver) }
    passedOver = nil
    append(item, bytes)
    return messages
  }

  private func hasRoom(for item: JournalItem) -> Bool {
    guard let envelope else { return true }
    switch item {
    case .absent: return false
    case .gap: return true
    case .record(let record):
      // A payload that is not JSON grows by a third, every byte of a topic may be percent-encoded.
      let estimate =
        record.payload.count * 4 / 3 + record.topic.count * 3 + record.properties.count * 2
        + ReplayBatches.eventOverheadByteCount
      return record.epoch == envelope.epoch && envelope.recordCount < recordCountMax
        && encoder.byteCount + estimate <= byteCountMax
    }
  }

  /// The attributes of an event.
  private static let eventOverheadByteCount = 512

  private mutating func begin(at first: Sequence) {
    guard envelope == nil else { return }
    envelope = Envelope(first: first, last: first, epoch: epoch)
    encoder.begin(journal: identity.id, epoch: epoch, first: first)
  }

  private mutating func append(_ item: JournalItem, _ bytes: Span<UInt8>) {
    switch item {
    case .record(let record):
      if let letter = ReplayLetter(record, bytes) {
        append(record, letter, bytes)
      } else if encoder.appendRecord(record, bytes) == nil {
        envelope?.recordCount += 1
      }
    case .gap(let gap): encoder.appendGap(gap)
    case .absent: return
    }
    envelope?.last = item.sequences.last
  }

  /// A dead letter as the data it was.
  private mutating func append(
    _ record: JournalRecord, _ letter: ReplayLetter, _ bytes: Span<UInt8>
  ) {
    let id = bytes.extracting(record.idTextBytes)
    let name = id.isEmpty ? Array((letter.nameWithoutID ?? "").utf8) : []
    encoder.appendEvent(
      EventFields(
        sequence: record.sequence, flags: record.flags,
        received: letter.received ?? record.received),
      topic: bytes.extracting(record.topic), id: id.isEmpty ? name.span : id,
      properties: letter.properties.span, payload: bytes.extracting(record.payload))
    envelope?.recordCount += 1
  }

  private mutating func message(
    _ done: Envelope, topic: String, compression: Compression
  ) -> ReplayMessage {
    var payload: [UInt8] = []
    let compression = encoder.finish(last: done.last, compression: compression, into: &payload)
    var properties: [UInt8] = []
    EnvelopeProperties.append(
      EnvelopeHeader(
        gateway: identity.gatewayID, site: site, route: identity.routeName, journal: identity.id,
        previous: identity.previous, isReplay: true, epoch: done.epoch, first: done.first,
        last: done.last),
      compression: compression, to: &properties)
    return ReplayMessage(
      topic: topic, payload: payload, properties: properties,
      sequences: SequenceRange(done.first, done.last), recordCount: done.recordCount)
  }

  // MARK: - Raw

  /// A record as it came. What cannot be said so travels as an envelope on the notice topics.
  private mutating func raw(_ item: JournalItem, _ bytes: Span<UInt8>) -> ReplayMessage? {
    if case .absent = item { return nil }
    guard case .record(let record) = item else { return notice(item, bytes) }
    let letter = ReplayLetter(record, bytes)
    guard record.kind == .data || letter != nil,
      let topic = sink.topicMap.apply(to: String(decoding: bytes.extracting(record.topic)))
    else { return notice(item, bytes) }
    var kept = letter?.properties ?? []
    if letter == nil { kept.append(bytes.extracting(record.properties)) }
    var properties: [UInt8] = []
    // The age is not taken off the Message Expiry Interval: an operator who sends an old record
    // again wants it to arrive.
    rawProperties.append(
      id: bytes.extracting(record.idTextBytes), journal: letter?.journal ?? identity.id,
      epoch: letter?.epoch ?? record.epoch, sequence: letter?.sequence ?? record.sequence,
      received: (letter?.received ?? record.received, record.clockSync), kept: kept.span,
      dwell: .zero, isReplay: true, to: &properties)
    var payload: [UInt8] = []
    payload.append(bytes.extracting(record.payload))
    return ReplayMessage(
      topic: topic, payload: payload, properties: properties, sequences: record.sequences,
      recordCount: 1)
  }

  private mutating func notice(_ item: JournalItem, _ bytes: Span<UInt8>) -> ReplayMessage? {
    begin(at: item.sequences.first)
    append(item, bytes)
    guard let done = envelope else { return nil }
    envelope = nil
    let notice: Batch.Notice = done.recordCount == 0 ? .gaps : .deadLetter
    return message(
      done, topic: "penstock/v1/\(identity.gatewayID)/\(identity.routeName)/\(notice.rawValue)",
      compression: .none)
  }
}
