import Envelope
import GatewayCore
import RingJournal

/// A journal's records as lines of JSON: events exactly as the envelope carries them, each with the
/// journal and epoch that make its sequence unique.
struct EventLines: ~Copyable {
  private var encoder: EnvelopeEncoder
  private let journal: JournalID

  init(_ identity: JournalIdentity, site: String?) {
    encoder = EnvelopeEncoder(
      gateway: identity.gatewayID, site: site ?? identity.gatewayID, route: identity.routeName)
    journal = identity.id
  }

  /// The line, without its end, that stands for the item.
  mutating func line(_ item: JournalItem, _ bytes: Span<UInt8>) -> [UInt8] {
    switch item {
    case .gap(let gap): return EventLines.range("gap", gap.range, gap.reason.text).bytes
    case .absent(let range): return EventLines.range("absent", range, nil).bytes
    case .record(let record):
      if let reason = record.refusal(bytes) {
        return EventLines.range(
          "gap", record.sequences, reason.text, source: bytes.extracting(record.topic)
        ).bytes
      }
      return event(record, bytes)
    }
  }

  private mutating func event(_ record: JournalRecord, _ bytes: Span<UInt8>) -> [UInt8] {
    encoder.begin(journal: journal, epoch: record.epoch, first: record.sequence)
    encoder.appendEvent(
      EventFields(
        sequence: record.sequence, kind: record.kind, reason: record.reason, flags: record.flags,
        received: record.received),
      topic: bytes.extracting(record.topic), id: bytes.extracting(record.idTextBytes),
      properties: bytes.extracting(record.properties), payload: bytes.extracting(record.payload))
    var text: [UInt8] = []
    encoder.appendEvents(to: &text)
    // Before the brace that ends the event.
    text.removeLast()
    text.append(ascii: ",\"journal\":\"")
    text.append(utf8: journal.description)
    text.append(ascii: "\",\"epoch\":\"")
    text.append(utf8: record.epoch.description)
    text.append(ascii: "\"}")
    return text
  }

  static func range(
    _ name: StaticString, _ range: SequenceRange, _ reason: String?, source: Span<UInt8> = Span()
  ) -> JSONObject {
    var inner = JSONObject()
    inner.put("first", range.first.rawValue)
    inner.put("last", range.last.rawValue)
    inner.put("count", range.count)
    if let reason { inner.put("reason", reason) }
    if !source.isEmpty { inner.put("topic", utf8: source) }
    var outer = JSONObject()
    outer.put(name, inner)
    return outer
  }
}
