package import GatewayCore

/// One aggregate, ready for the journal. The payload is JSON (Filtering.docc describes it):
///
///     {"from":1795413600000,"to":1795413660000,"key":"flow","readings":60,
///      "first_sequence":"1041","last_sequence":"1100",
///      "fields":{"/value":{"count":60,"min":1.5,"max":9.0,"mean":4.25,"last":4.0}}}
package struct Aggregate: Sendable, Hashable {
  package var topic: [UInt8]
  package var payload: [UInt8]
  /// Of its readings.
  package var first: Sequence
  package var last: Sequence
  /// Of its series.
  package var digest: UInt64

  init(
    _ series: Aggregator.Series, _ sums: ArraySlice<Aggregator.Sums>, _ options: AggregateOptions,
    window: Int64, isEarly: Bool
  ) {
    topic = Array(series.name[..<series.topicByteCount]) + Array(options.topicSuffix.utf8)
    first = series.first
    last = series.last
    digest = series.digest
    var text = "{"
    let every = options.every.nanoseconds / 1_000_000
    text += "\"from\":\(window * every),\"to\":\((window + 1) * every)"
    if isEarly { text += ",\"early\":true" }
    payload = Array(text.utf8)
    let key = series.name[series.topicByteCount...]
    if !key.isEmpty {
      payload.append(ascii: ",\"key\":")
      // A token of JSON, as it stood in the readings.
      payload.append(contentsOf: key)
    }
    payload.append(
      utf8: ",\"readings\":\(series.count),\"first_sequence\":\"\(series.first.rawValue)\""
        + ",\"last_sequence\":\"\(series.last.rawValue)\",\"fields\":{")
    var isFirst = true
    for (field, sums) in zip(options.fields, sums) where sums.count > 0 {
      if !isFirst { payload.append(UInt8(ascii: ",")) }
      isFirst = false
      payload.append(utf8: "\(Self.quoted(field)):")
      Self.append(sums, options.functions, to: &payload)
    }
    payload.append(ascii: "}}")
  }

  private static func append(
    _ sums: Aggregator.Sums, _ functions: [AggregateFunction], to bytes: inout [UInt8]
  ) {
    var separator = "{"
    for function in functions {
      let value =
        switch function {
        case .count: "\(sums.count)"
        case .min: number(sums.min)
        case .max: number(sums.max)
        case .mean: number(sums.sum / Double(sums.count))
        case .sum: number(sums.sum)
        case .first: number(sums.first)
        case .last: number(sums.last)
        }
      bytes.append(utf8: "\(separator)\"\(function.rawValue)\":\(value)")
      separator = ","
    }
    bytes.append(UInt8(ascii: "}"))
  }

  /// The shortest text that reads back to the same double; a sum beyond all doubles is null.
  private static func number(_ value: Double) -> String { value.isFinite ? "\(value)" : "null" }

  /// A pointer of the configuration, which has no control characters.
  private static func quoted(_ text: String) -> String {
    var quoted = "\""
    for character in text.unicodeScalars {
      if character == "\"" || character == "\\" { quoted += "\\" }
      quoted.unicodeScalars.append(character)
    }
    return quoted + "\""
  }
}
