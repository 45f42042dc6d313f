import Envelope
import GatewayCore
import Platform
import RingJournal

/// Everything about one record, for people and as JSON.
struct RecordSheet {
  let record: JournalRecord
  /// Nil when the writer has just replaced it.
  let group: JournalGroup?
  let sinks: [JournalStatistics.Sink]

  private var delivered: [String] {
    sinks.filter { $0.acknowledged >= record.sequences.last }.map(\.name)
  }

  func object(_ bytes: Span<UInt8>) -> JSONObject {
    var object = RecordRow.object(record, bytes)
    object.put(
      "id_hash", Hexadecimal.text(record.idHash.high) + Hexadecimal.text(record.idHash.low))
    object.put("payload_digest", Hexadecimal.text(record.payloadDigest))
    object.put("received_powered_seconds", record.receivedPowered.seconds, digits: 6)
    object.put("acknowledged_by", delivered)
    object.put(
      "properties",
      RecordProperty.all(bytes.extracting(record.properties)).map { property in
        JSONObject {
          $0.put("name", property.name)
          $0.put("value", property.value)
        }
      })
    object.put("group", group.map { GroupRow.object($0) })
    let payload = bytes.extracting(record.payload)
    if record.flags.contains(.json), !payload.isEmpty {
      object.put("payload", json: payload)
    } else {
      object.put("payload_base64", Base64.text(payload))
    }
    return object
  }

  func lines(_ bytes: Span<UInt8>) -> [String] {
    var rows: [(String, String)] = []
    rows.append(("sequence", "\(record.sequence)"))
    if let reason = record.refusal(bytes) {
      rows.append(
        (
          "stands for",
          "\(Figures.count(record.sequences.count, "message")) refused: \(reason.text)"
        ))
      rows.append(("through", "\(record.sequences.last)"))
    }
    rows.append(("topic", Printable.text(bytes.extracting(record.topic))))
    let id = Printable.text(bytes.extracting(record.idTextBytes))
    switch record.idText {
    case .absent: rows.append(("message id", "none"))
    case .stored: rows.append(("message id", id))
    case .payload(let offset, _):
      rows.append(("message id", "\(id) (in the payload, from byte \(offset))"))
    }
    rows.append(("kind", record.kind.text + (record.reason.map { ", \($0.text)" } ?? "")))
    rows.append(("received", received))
    rows.append(("quality of service", "\(record.flags.qualityOfService.rawValue)"))
    rows.append(("retained", record.flags.contains(.retained) ? "yes" : "no"))
    rows.append(("epoch", "\(record.epoch)"))
    rows.append(
      ("id hash", Hexadecimal.text(record.idHash.high) + Hexadecimal.text(record.idHash.low)))
    rows.append(("payload digest", Hexadecimal.text(record.payloadDigest)))
    rows.append(
      ("acknowledged by", delivered.isEmpty ? "no sink yet" : delivered.joined(separator: ", ")))
    for property in RecordProperty.all(bytes.extracting(record.properties)) {
      rows.append(("property", Printable.text("\(property.name): \(property.value)")))
    }
    if let group { rows += Self.rows(group) }
    var lines = rows.map { RecordRow.left($0.0, 20) + $0.1 }
    let payload = bytes.extracting(record.payload)
    lines.append("payload             \(Figures.bytes(payload.count)), \(form(payload))")
    return lines + PayloadText.lines(payload, isJSON: record.flags.contains(.json))
  }

  private func form(_ payload: Span<UInt8>) -> String {
    payload.isEmpty ? "empty" : record.flags.contains(.json) ? "JSON" : "not JSON"
  }

  private var received: String {
    record.flags.contains(.clockSynchronised)
      ? "\(record.received)" : "\(record.received), by a clock that was not synchronised"
  }

  private static func rows(_ group: JournalGroup) -> [(String, String)] {
    [
      (
        "commit group",
        "\(group.number) of lap \(group.lap), sequences \(group.sequences.first) to "
          + "\(group.sequences.last)"
      ),
      (
        "in the file",
        "at byte \(group.offset), \(Figures.bytes(group.used.rawValue)) in "
          + "\(Figures.bytes(group.occupied.rawValue))"
      ),
      (
        "committed",
        "\(group.committed)\(group.isClockSynchronised ? "" : ", clock not synchronised")"
      ),
      ("boot", group.bootID.text),
    ]
  }
}

/// One MQTT 5 property, as text.
struct RecordProperty {
  let name: String
  let value: String

  static func all(_ bytes: Span<UInt8>) -> [RecordProperty] {
    var properties: [RecordProperty] = []
    var reader = MQTTPropertyReader()
    while let property = reader.next(in: bytes) {
      let value = bytes.extracting(property.value)
      switch property.identifier {
      case .userProperty:
        properties.append(
          RecordProperty(
            name: String(decoding: bytes.extracting(property.name)),
            value: String(decoding: value)))
      case .contentType:
        properties.append(.init(name: "content-type", value: .init(decoding: value)))
      case .responseTopic:
        properties.append(.init(name: "response-topic", value: .init(decoding: value)))
      case .correlationData:
        properties.append(.init(name: "correlation-data", value: Hexadecimal.text(value)))
      case .payloadFormatIndicator:
        properties.append(.init(name: "payload-format-indicator", value: "\(property.number)"))
      case .messageExpiryInterval:
        properties.append(.init(name: "message-expiry-interval", value: "\(property.number) s"))
      default:
        properties.append(
          .init(name: "property \(property.identifier.rawValue)", value: Hexadecimal.text(value)))
      }
    }
    if reader.isMalformed {
      properties.append(
        RecordProperty(name: "malformed", value: "what follows byte \(reader.offset)"))
    }
    return properties
  }
}
