import Envelope
import GatewayCore
import RingJournal

/// A dead letter of a `<route>.dead` file, taken out of its envelope again: the record as it stood
/// in the route's journal. The file's own additions (`DeadLetterStore`) are read and left away.
struct ReplayLetter {
  /// Why it cannot be sent as what it was.
  enum Unfit: Equatable {
    /// A command that expired: whoever sends it again executes it.
    case expired
    /// The file holds only a part of it.
    case cut
  }

  /// As it came, in wire encoding.
  private(set) var properties: [UInt8] = []
  private(set) var journal: JournalID?
  private(set) var epoch: Epoch?
  private(set) var sequence: Sequence?
  private(set) var received: WallTime?
  private(set) var isCut = false
  let isExpired: Bool

  /// Nil for any other record: dead letters known when they came were never anything else.
  init?(_ record: JournalRecord, _ bytes: Span<UInt8>) {
    guard record.kind == .deadLetter, record.reason == .refused || record.reason == .expired else {
      return nil
    }
    isExpired = record.reason == .expired
    let all = bytes.extracting(record.properties)
    var reader = MQTTPropertyReader()
    var start = reader.offset
    while let property = reader.next(in: all) {
      if property.identifier != .userProperty || !note(all, property) {
        properties.append(all.extracting(start..<reader.offset))
      }
      start = reader.offset
    }
  }

  func unfit(allowsExpired: Bool) -> Unfit? {
    if isCut { return .cut }
    return isExpired && !allowsExpired ? .expired : nil
  }

  /// What the record is called when it has no id of its own.
  var nameWithoutID: String? {
    guard let journal, let epoch, let sequence else { return nil }
    return "\(journal)-\(epoch)-\(sequence)"
  }

  /// Takes the value, if it is one of the file's; those of a gateway before this one come first, so
  /// that the last one counts.
  private mutating func note(_ all: Span<UInt8>, _ property: MQTTProperty) -> Bool {
    let value = all.extracting(property.value)
    switch String(decoding: all.extracting(property.name)) {
    case "penstock-journal": journal = JournalID(String(decoding: value))
    case "penstock-epoch": epoch = Epoch(String(decoding: value))
    case "penstock-sequence": sequence = UInt64(String(decoding: value)).map { Sequence($0) }
    case "penstock-received": received = WallTime(rfc3339: value)
    case "penstock-cut-properties", "penstock-cut-payload": isCut = true
    case "penstock-sink", "penstock-reason", "penstock-sent": break
    default: return false
    }
    return true
  }
}
