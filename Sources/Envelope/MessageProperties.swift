// The MQTT 5 properties of what leaves: of an envelope, and of a record that leaves on its own
// (`format: raw`). Appended in wire encoding (see MQTTProperties.swift) to a caller's buffer.

package import GatewayCore

/// The properties of a message that carries an envelope. Everything in them stands in the envelope
/// as well: they are there for brokers and rules that route without reading payloads.
package enum EnvelopeProperties {
  package static func contentType(_ compression: Compression) -> String {
    switch compression {
    case .none: "application/vnd.penstock+json"
    case .zstd: "application/vnd.penstock+zstd"
    }
  }

  /// Appends the content type, for plain JSON the payload format, and the user properties that say
  /// what it is:
  ///
  ///     penstock-via       <gateway>/<route>
  ///     penstock-position  <journal>/<first>-<last>, as they stand in the envelope
  ///     penstock-site      only when it is not the gateway's id
  ///     penstock-replay    "true", or absent
  ///     penstock-backlog   "true", or absent
  ///
  /// Few and short, because they can cost more than the records of a small batch.
  package static func append(
    _ header: EnvelopeHeader, compression: Compression, to properties: inout [UInt8]
  ) {
    MQTTPropertyWriter.append(
      .contentType, value: contentType(compression).utf8.span, to: &properties)
    if compression == .none {
      MQTTPropertyWriter.append(.payloadFormatIndicator, number: 1, to: &properties)
    }
    if header.site != header.gateway { append("penstock-site", header.site, to: &properties) }
    append(
      "penstock-position", "\(header.journal)/\(header.first)-\(header.last)", to: &properties)
    if header.isReplay { append("penstock-replay", "true", to: &properties) }
    if header.isBacklog { append("penstock-backlog", "true", to: &properties) }
    append(
      Via.propertyName, Via.name(gateway: header.gateway, route: header.route), to: &properties)
  }

  private static func append(_ name: String, _ value: String, to properties: inout [UInt8]) {
    MQTTPropertyWriter.appendUserProperty(
      name: name.utf8.span, value: value.utf8.span, to: &properties)
  }
}

/// The properties of a record that leaves as a message of its own: those it came with, and user
/// properties that say which record it is and when it was received:
///
///     penstock-via        the way it has come, one for each route: <gateway>/<route>, ours last
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
/// left out: each hop says where *it* keeps the record. The way it has come stays.
///
/// Keeps its scratch between calls: no allocation per record once that has grown. One owner at a
/// time.
package struct RawProperties {
  private var value: [UInt8] = []
  private let via: [UInt8]

  /// - Parameter via: the route's name in the way a message has come; empty: it leaves no trace.
  package init(via: String = "") { self.via = Array(via.utf8) }

  /// Appends the properties of one record.
  ///
  /// - Parameters:
  ///   - id: the message id in UTF-8, cut at 65,535 bytes; empty for a record without one.
  ///   - received: when the record was received, and whether that clock was right.
  ///   - kept: the properties the record came with. What is malformed in them ends them.
  ///   - dwell: how long the record was in the journal. Subtracted from the Message Expiry Interval
  ///     in whole seconds, rounded down; never below 1, as to expire it is the caller's choice.
  ///   - lifeLeft: the most that the Message Expiry Interval may say; a record without one gets it.
  ///     Nil: nobody asked for a bound.
  ///   - isReplay: it is sent once more on request.
  ///   - isBacklog: newer records were sent before.
  /// - Returns: where in `properties` the four bytes of the Message Expiry Interval stand, which
  ///   the caller may overwrite when the message has waited; nil when it has none.
  @discardableResult
  package mutating func append(
    id: Span<UInt8>, journal: JournalID, epoch: Epoch, sequence: Sequence,
    received: (time: WallTime, clockSync: ClockSync), kept: Span<UInt8>, dwell: Duration,
    lifeLeft: Duration? = nil, isReplay: Bool = false, isBacklog: Bool = false,
    to properties: inout [UInt8]
  ) -> Int? {
    var interval = appendKept(kept, dwell, lifeLeft, to: &properties)
    if interval == nil, let lifeLeft {
      interval = RawProperties.appendInterval(
        UInt64(UInt32.max), lifeLeft, to: &properties)
    }
    if !via.isEmpty {
      MQTTPropertyWriter.appendUserProperty(
        name: Via.propertyName.utf8.span, value: via.span, to: &properties)
    }
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
    if isReplay || isBacklog {
      value.removeAll(keepingCapacity: true)
      value.append(ascii: "true")
      if isReplay { append("penstock-replay", to: &properties) }
      if isBacklog { append("penstock-backlog", to: &properties) }
    }
    return interval
  }

  private func append(_ name: String, to properties: inout [UInt8]) {
    MQTTPropertyWriter.appendUserProperty(
      name: name.utf8.span, value: value.span, to: &properties)
  }

  /// - Returns: where the Message Expiry Interval's number stands, if there is one.
  private func appendKept(
    _ kept: Span<UInt8>, _ dwell: Duration, _ lifeLeft: Duration?, to properties: inout [UInt8]
  ) -> Int? {
    var reader = MQTTPropertyReader()
    var start = reader.offset
    var interval: Int?
    while let property = reader.next(in: kept) {
      defer { start = reader.offset }
      switch property.identifier {
      case .messageExpiryInterval:
        let passed = UInt64(max(0, dwell.components.seconds))
        let left = UInt64(property.number) > passed ? UInt64(property.number) - passed : 1
        interval = RawProperties.appendInterval(left, lifeLeft, to: &properties)
      case .userProperty where RawProperties.isOurs(kept.extracting(property.name)): break
      // Both are of one hop, and a publisher may not send the first.
      case .subscriptionIdentifier, .topicAlias: break
      default: properties.append(kept.extracting(start..<reader.offset))
      }
    }
    return interval
  }

  /// - Returns: where the number stands.
  private static func appendInterval(
    _ seconds: UInt64, _ lifeLeft: Duration?, to properties: inout [UInt8]
  ) -> Int {
    let bound = lifeLeft.map { UInt64(max(1, $0.components.seconds)) } ?? .max
    MQTTPropertyWriter.append(
      .messageExpiryInterval, number: UInt32(min(seconds, bound)), to: &properties)
    return properties.count - 4
  }

  private static func isOurs(_ name: Span<UInt8>) -> Bool {
    name.reads("penstock-id") || name.reads("penstock-journal") || name.reads("penstock-epoch")
      || name.reads("penstock-sequence") || name.reads("penstock-time")
      || name.reads("penstock-clocksync") || name.reads("penstock-replay")
      || name.reads("penstock-backlog")
  }
}
