// The MQTT 5 properties of what leaves: of an envelope, and of a record that leaves on its own
// (`format: raw`). Appended in wire encoding (see MQTTProperties.swift) to a caller's buffer.

package import GatewayCore

/// The properties of a message that carries an envelope. Everything in them stands in the envelope
/// as well: they are there for brokers and rules that route without reading payloads.
package enum EnvelopeProperties {
  /// Also of a compressed envelope, which says `content-encoding: zstd` beside it.
  package static let contentType = "application/vnd.penstock.envelope+json"

  /// Appends content type and payload format, and the user properties `penstock-gateway`,
  /// `penstock-site`, `penstock-route`, `penstock-journal`, `penstock-epoch`, `penstock-first`,
  /// `penstock-last` and, when compressed, `content-encoding`.
  package static func append(
    _ header: EnvelopeHeader, compression: Compression, to properties: inout [UInt8]
  ) {
    MQTTPropertyWriter.append(.contentType, value: contentType.utf8.span, to: &properties)
    switch compression {
    case .none: MQTTPropertyWriter.append(.payloadFormatIndicator, number: 1, to: &properties)
    case .zstd: append("content-encoding", "zstd", to: &properties)
    }
    append("penstock-gateway", header.gateway, to: &properties)
    append("penstock-site", header.site, to: &properties)
    append("penstock-route", header.route, to: &properties)
    append("penstock-journal", header.journal.description, to: &properties)
    append("penstock-epoch", header.epoch.description, to: &properties)
    append("penstock-first", header.first.description, to: &properties)
    append("penstock-last", header.last.description, to: &properties)
    if header.isReplay { append("penstock-replay", "true", to: &properties) }
    if header.isBacklog { append("penstock-backlog", "true", to: &properties) }
  }

  private static func append(_ name: String, _ value: String, to properties: inout [UInt8]) {
    MQTTPropertyWriter.appendUserProperty(
      name: name.utf8.span, value: value.utf8.span, to: &properties)
  }
}

/// The properties of a record that leaves as a message of its own: those it came with, and user
/// properties that say which record it is and when it was received:
///
///     penstock-id         the message id; <journal>-<epoch>-<sequence> for a record without one
///     penstock-journal    the journal's UUID
///     penstock-epoch      16 hexadecimal digits
///     penstock-sequence   decimal
///     penstock-time       receive time, as an event's `time`
///     penstock-clocksync  as an event's `clocksync`: "corrected", "false", or absent
///     penstock-replay     "true" when the record is sent once more on request, or absent
///     penstock-backlog    "true" when newer records were sent before this one, or absent
///
/// Properties of these names that the record came with, from a gateway before this one, are
/// left out: each hop says where *it* keeps the record.
///
/// Keeps its scratch between calls: no allocation per record once that has grown. One owner at a
/// time.
package struct RawProperties {
  private var value: [UInt8] = []

  package init() {}

  /// Appends the properties of one record.
  ///
  /// - Parameters:
  ///   - id: the message id in UTF-8, cut at 65,535 bytes; empty for a record without one.
  ///   - received: when the record was received, and whether that clock was right.
  ///   - kept: the properties the record came with. What is malformed in them ends them.
  ///   - dwell: how long the record was in the journal. Subtracted from the Message Expiry Interval
  ///     in whole seconds, rounded down; never below 1, as to expire it is the caller's choice.
  ///   - isReplay: it is sent once more on request.
  ///   - isBacklog: newer records were sent before.
  package mutating func append(
    id: Span<UInt8>, journal: JournalID, epoch: Epoch, sequence: Sequence,
    received: (time: WallTime, clockSync: ClockSync), kept: Span<UInt8>, dwell: Duration,
    isReplay: Bool = false, isBacklog: Bool = false, to properties: inout [UInt8]
  ) {
    appendKept(kept, dwell, to: &properties)
    if id.isEmpty {
      value.removeAll(keepingCapacity: true)
      value.append(journal)
      value.append(UInt8(ascii: "-"))
      value.append(hexadecimal: epoch.rawValue)
      value.append(UInt8(ascii: "-"))
      value.append(decimal: sequence.rawValue)
      append("penstock-id", to: &properties)
    } else {
      let count = min(id.count, MQTTPropertyWriter.valueByteCountMax)
      MQTTPropertyWriter.appendUserProperty(
        name: "penstock-id".utf8.span, value: id.extracting(first: count), to: &properties)
    }
    value.removeAll(keepingCapacity: true)
    value.append(journal)
    append("penstock-journal", to: &properties)
    value.removeAll(keepingCapacity: true)
    value.append(hexadecimal: epoch.rawValue)
    append("penstock-epoch", to: &properties)
    value.removeAll(keepingCapacity: true)
    value.append(decimal: sequence.rawValue)
    append("penstock-sequence", to: &properties)
    value.removeAll(keepingCapacity: true)
    received.time.appendRFC3339(to: &value)
    append("penstock-time", to: &properties)
    if received.clockSync != .synchronised {
      value.removeAll(keepingCapacity: true)
      value.append(utf8: received.clockSync.rawValue)
      append("penstock-clocksync", to: &properties)
    }
    guard isReplay || isBacklog else { return }
    value.removeAll(keepingCapacity: true)
    value.append(ascii: "true")
    if isReplay { append("penstock-replay", to: &properties) }
    if isBacklog { append("penstock-backlog", to: &properties) }
  }

  private func append(_ name: String, to properties: inout [UInt8]) {
    MQTTPropertyWriter.appendUserProperty(
      name: name.utf8.span, value: value.span, to: &properties)
  }

  private func appendKept(
    _ kept: Span<UInt8>, _ dwell: Duration, to properties: inout [UInt8]
  ) {
    var reader = MQTTPropertyReader()
    var start = reader.offset
    while let property = reader.next(in: kept) {
      defer { start = reader.offset }
      switch property.identifier {
      case .messageExpiryInterval:
        let passed = UInt64(max(0, dwell.components.seconds))
        let left = UInt64(property.number) > passed ? UInt64(property.number) - passed : 1
        MQTTPropertyWriter.append(property.identifier, number: UInt32(left), to: &properties)
      case .userProperty where RawProperties.isOurs(kept.extracting(property.name)): break
      // Both are of one hop, and a publisher may not send the first.
      case .subscriptionIdentifier, .topicAlias: break
      default: properties.append(kept.extracting(start..<reader.offset))
      }
    }
  }

  private static func isOurs(_ name: Span<UInt8>) -> Bool {
    name.reads("penstock-id") || name.reads("penstock-journal") || name.reads("penstock-epoch")
      || name.reads("penstock-sequence") || name.reads("penstock-time")
      || name.reads("penstock-clocksync") || name.reads("penstock-replay")
      || name.reads("penstock-backlog")
  }
}
