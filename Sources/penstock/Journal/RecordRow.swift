import GatewayCore
import RingJournal

/// One record on one line, for people.
enum RecordRow {
  static let titles =
    "  SEQUENCE  TIME                        BYTES  KIND        FLAGS  TOPIC  ID"

  /// What the letters under FLAGS mean, for the commands' help.
  static let legend = """
    Flags: the QoS the message came with (0, 1, 2), J valid JSON, R retained, ? the gateway's \
    clock was not synchronised when it came.
    """

  static func text(_ item: JournalItem, _ bytes: Span<UInt8>) -> String {
    switch item {
    case .gap(let gap):
      return Terminal.coloured(
        "\(sequence(gap.range))  gap: \(Figures.count(gap.range.count, "record")), "
          + "\(gap.reason.text)", .red)
    case .absent(let range):
      return Terminal.coloured(
        "\(sequence(range))  \(Figures.count(range.count, "record")) not in the file any more",
        .yellow)
    case .record(let record):
      if let reason = record.refusal(bytes) {
        return Terminal.coloured(
          "\(sequence(record.sequences))  gap: \(Figures.count(record.sequences.count, "record")), "
            + "\(reason.text)  \(Printable.text(bytes.extracting(record.topic)))", .yellow)
      }
      let id = Printable.text(bytes.extracting(record.idTextBytes))
      return "\(right(record.sequence, 10))  \(record.received)  \(right(record.payload.count, 7))"
        + "  \(left(kind(record), 10))  \(left(flags(record.flags), 5))"
        + "  \(Printable.text(bytes.extracting(record.topic)))  \(id.isEmpty ? "-" : id)"
    }
  }

  static func object(_ record: JournalRecord, _ bytes: Span<UInt8>) -> JSONObject {
    JSONObject {
      $0.put("sequence", record.sequence.rawValue)
      if record.sequences.count > 1 { $0.put("last", record.sequences.last.rawValue) }
      $0.put("epoch", record.epoch.description)
      $0.put("time", record.received.description)
      $0.put("clock_synchronised", record.flags.contains(.clockSynchronised))
      $0.put("topic", utf8: bytes.extracting(record.topic))
      let id = bytes.extracting(record.idTextBytes)
      if id.isEmpty { $0.put("id", nil as String?) } else { $0.put("id", utf8: id) }
      $0.put("payload_bytes", record.payload.count)
      $0.put("kind", record.kind.text)
      if let reason = record.reason { $0.put("reason", reason.text) }
      if let reason = record.refusal(bytes) { $0.put("reason", reason.text) }
      $0.put("qos", record.flags.qualityOfService.rawValue)
      $0.put("retain", record.flags.contains(.retained))
      $0.put("json", record.flags.contains(.json))
    }
  }

  static func flags(_ flags: RecordFlags) -> String {
    "\(flags.qualityOfService.rawValue)\(flags.contains(.json) ? "J" : "")"
      + "\(flags.contains(.retained) ? "R" : "")\(flags.contains(.clockSynchronised) ? "" : "?")"
  }

  private static func kind(_ record: JournalRecord) -> String { record.reason?.text ?? "data" }

  private static func sequence(_ range: SequenceRange) -> String {
    right(range.count == 1 ? "\(range.first)" : "\(range)", 10)
  }

  static func right(_ value: some CustomStringConvertible, _ width: Int) -> String {
    let text = value.description
    return String(repeating: " ", count: max(0, width - text.count)) + text
  }

  static func left(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }
}

extension RecordKind {
  var text: String {
    switch self {
    case .data: "data"
    case .deadLetter: "dead-letter"
    case .tombstone: "tombstone"
    }
  }
}
