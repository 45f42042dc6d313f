import Envelope
import GatewayCore
import RingJournal

extension Batcher {
  /// The names of the user properties that a raw message carries beside its own.
  private enum PropertyName {
    static let id = "penstock-id"
    static let journal = "penstock-journal"
    static let epoch = "penstock-epoch"
    static let sequence = "penstock-sequence"
  }

  /// One record, one message: payload untouched, on its mapped topic. Gaps and dead letters, which a
  /// raw message cannot express, travel as envelopes on the notice topics.
  mutating func nextRaw() throws(JournalError) -> Step {
    var taken: Batch?
    let outcome = try Batcher.takeOne(
      from: &reader, journal: assembly.journal, topicMap: topicMap, encoder: &assembly.encoder,
      into: &taken)
    if let taken { return .batch(taken) }
    guard case .gap(let gap) = outcome else { return .idle }
    assembly.encoder.begin(journal: assembly.journal, epoch: assembly.epoch, first: gap.range.first)
    assembly.encoder.appendGap(gap)
    return .batch(
      Batcher.notice(
        .gaps, range: gap.range, epoch: assembly.epoch, recordCount: 0, encoder: &assembly.encoder))
  }

  private static func takeOne(
    from reader: inout JournalReader, journal: JournalID,
    topicMap: @Sendable (String) -> String, encoder: inout EnvelopeEncoder, into taken: inout Batch?
  ) throws(JournalError) -> ReadOutcome {
    try reader.read { record, bytes in
      guard taken == nil else { return false }
      let range = SequenceRange(record.sequence, record.sequence)
      guard record.kind == .data else {
        encoder.begin(journal: journal, epoch: record.epoch, first: record.sequence)
        encoder.appendRecord(record, bytes)
        taken = notice(
          record.kind == .tombstone ? .gaps : .deadLetter, range: range, epoch: record.epoch,
          recordCount: 1, encoder: &encoder)
        return true
      }
      var payload: [UInt8] = []
      payload.append(bytes.extracting(record.payload))
      taken = Batch(
        range: range, epoch: record.epoch, recordCount: 1,
        destination: .topic(topicMap(String(decoding: bytes.extracting(record.topic)))),
        bytes: payload, isRetained: record.flags.contains(.retained),
        properties: properties(of: record, bytes, journal: journal))
      return true
    }
  }

  private static func notice(
    _ notice: Batch.Notice, range: SequenceRange, epoch: Epoch, recordCount: Int,
    encoder: inout EnvelopeEncoder
  ) -> Batch {
    var packet: [UInt8] = []
    encoder.finish(last: range.last, compression: .none, into: &packet)
    return Batch(
      range: range, epoch: epoch, recordCount: recordCount, destination: .notices(notice),
      bytes: packet, isRetained: false, properties: [])
  }

  /// The record's own properties, then what lets a consumer detect duplicates.
  private static func properties(
    of record: JournalRecord, _ bytes: Span<UInt8>, journal: JournalID
  ) -> [UInt8] {
    var properties: [UInt8] = []
    properties.append(bytes.extracting(record.properties))
    if record.idText != .absent {
      MQTTPropertyWriter.appendUserProperty(
        name: PropertyName.id.utf8.span, value: bytes.extracting(record.idTextBytes), to: &properties)
    }
    for (name, value) in [
      (PropertyName.journal, journal.description),
      (PropertyName.epoch, record.epoch.description),
      (PropertyName.sequence, record.sequence.description),
    ] {
      MQTTPropertyWriter.appendUserProperty(
        name: name.utf8.span, value: value.utf8.span, to: &properties)
    }
    return properties
  }
}
