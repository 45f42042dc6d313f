// What the hub keeps of an asset's alerts, as bytes. Little-endian:
//
//   u8   version, 1
//   u8   1 when order and time follow, else 0
//   u64  era, u64 sequence, i64 time (nanoseconds since 1970)
//   u16  number of rules, then for each:
//     u8   length of the name, the name
//     u64  fingerprint of the condition
//     u16  length of the standing alert's id, 0 when none stands; the id
//     i64  since (the least number: nil)
//     u8   number of comparisons, i64 each: when it held last (the least number: nil)
//     u8   number of window pieces, each i64 index, f64 least, f64 greatest
//
// A state belongs to a rule by its name, and to this condition by its fingerprint.

package import GatewayCore

extension AssetAlerts {
  private static let version: UInt8 = 1

  /// Appends the bytes that `AlertEvaluator.state` reads.
  package func append(to bytes: inout [UInt8], _ evaluator: AlertEvaluator) {
    var writer = ByteWriter(bytes: bytes)
    writer.put(Self.version)
    if let order, let time {
      writer.put(1 as UInt8)
      writer.put(order.era)
      writer.put(order.sequence)
      writer.put(time.nanoseconds)
    } else {
      writer.put(0 as UInt8)
    }
    writer.put(UInt16(states.count))
    for (rule, state) in states {
      let rule = evaluator.rules.rules[rule]
      writer.put(UInt8(rule.name.utf8.count))
      writer.bytes += rule.name.utf8
      writer.put(rule.condition.fingerprint)
      writer.put(UInt16(state.alert?.utf8.count ?? 0))
      writer.bytes += (state.alert ?? "").utf8
      writer.put(state.since)
      writer.put(UInt8(state.lastHeld.count))
      for time in state.lastHeld { writer.put(time) }
      writer.put(UInt8(state.window.pieces.count))
      for piece in state.window.pieces {
        writer.put(piece.index)
        writer.put(piece.least.bitPattern)
        writer.put(piece.greatest.bitPattern)
      }
    }
    bytes = writer.bytes
  }
}

/// Bytes that are no state of alerts.
package struct AlertStateError: Error, Hashable, Sendable, CustomStringConvertible {
  package let description: String
}

extension AlertEvaluator {
  /// What `AssetAlerts.append` wrote, for the rules of today: a rule whose condition has changed
  /// begins anew, and what stood of it, or of a rule that is gone or no longer about this asset, is
  /// cleared as of `now`.
  package func state(
    asset: String, bytes: Span<UInt8>, now: WallTime
  ) throws(AlertStateError) -> (alerts: AssetAlerts, cleared: [AlertChange]) {
    var alerts = newState(asset: asset)
    var cleared: [AlertChange] = []
    var reader = ByteReader()
    guard try reader.integer(UInt8.self, bytes) == 1 else {
      throw AlertStateError(description: "a version of this program that is not known wrote it")
    }
    if try reader.integer(UInt8.self, bytes) == 1 {
      let era = try reader.integer(UInt64.self, bytes)
      alerts.order = ReadingOrder(era: era, sequence: try reader.integer(UInt64.self, bytes))
      alerts.time = WallTime(nanoseconds: try reader.integer(Int64.self, bytes))
    }
    for _ in 0..<(try reader.integer(UInt16.self, bytes)) {
      let name = try reader.text(Int(try reader.integer(UInt8.self, bytes)), bytes)
      let fingerprint = try reader.integer(UInt64.self, bytes)
      let state = try reader.state(bytes)
      let place = alerts.states.firstIndex { rules.rules[$0.rule].name == name }
      if let place {
        let condition = rules.rules[alerts.states[place].rule].condition
        let comparisons = alerts.states[place].state.lastHeld.count
        if condition.fingerprint == fingerprint, comparisons == state.lastHeld.count {
          alerts.states[place].state = state
          continue
        }
      }
      guard let alert = state.alert else { continue }
      let rule = rules.rules.first { $0.name == name }
      cleared.append(
        AlertChange(
          kind: .cleared, alert: alert, rule: name, asset: asset,
          severity: rule?.severity ?? .info, startsMaintenance: rule?.startsMaintenance ?? false,
          message: "the rule \(name) was \(rule == nil ? "removed" : "changed")", metric: nil,
          value: nil, limit: nil, time: now))
    }
    guard reader.position == bytes.count else {
      throw AlertStateError(description: "\(bytes.count - reader.position) bytes too many")
    }
    return (alerts, cleared)
  }
}

private struct ByteWriter {
  var bytes: [UInt8]

  mutating func put(_ value: some FixedWidthInteger) {
    for shift in stride(from: 0, to: value.bitWidth, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: value >> shift))
    }
  }

  mutating func put(_ time: WallTime?) { put(time?.nanoseconds ?? Int64.min) }
}

private struct ByteReader {
  private(set) var position = 0

  mutating func integer<Value: FixedWidthInteger>(
    _: Value.Type, _ bytes: Span<UInt8>
  ) throws(AlertStateError) -> Value {
    let count = Value.bitWidth / 8
    try need(count, bytes)
    var value: Value = 0
    for index in 0..<count {
      value |= Value(truncatingIfNeeded: bytes[position + index]) << (index * 8)
    }
    position += count
    return value
  }

  mutating func text(_ count: Int, _ bytes: Span<UInt8>) throws(AlertStateError) -> String {
    try need(count, bytes)
    defer { position += count }
    return String(decoding: bytes.extracting(position..<position + count))
  }

  mutating func time(_ bytes: Span<UInt8>) throws(AlertStateError) -> WallTime? {
    let nanoseconds = try integer(Int64.self, bytes)
    return nanoseconds == .min ? nil : WallTime(nanoseconds: nanoseconds)
  }

  mutating func state(_ bytes: Span<UInt8>) throws(AlertStateError) -> RuleState {
    var state = RuleState()
    let alertByteCount = Int(try integer(UInt16.self, bytes))
    if alertByteCount > 0 { state.alert = try text(alertByteCount, bytes) }
    state.since = try time(bytes)
    for _ in 0..<(try integer(UInt8.self, bytes)) { state.lastHeld.append(try time(bytes)) }
    for _ in 0..<(try integer(UInt8.self, bytes)) {
      let index = try integer(Int64.self, bytes)
      let least = Double(bitPattern: try integer(UInt64.self, bytes))
      let greatest = Double(bitPattern: try integer(UInt64.self, bytes))
      state.window.pieces.append(.init(index: index, least: least, greatest: greatest))
    }
    return state
  }

  private func need(_ count: Int, _ bytes: Span<UInt8>) throws(AlertStateError) {
    guard bytes.count - position >= count else {
      throw AlertStateError(description: "cut off at byte \(bytes.count)")
    }
  }
}
