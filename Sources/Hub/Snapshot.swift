package import GatewayCore
import JSONScanning

// A snapshot as bytes: one line per asset, JSON, so that it can be read with common tools.
//
//     {"number":1,"id":"ND01","version":7,"position":912,"registered":true,"retired":false,
//      "facts":{…},"readings":{…},"inbox":1,"sequence":88,"time":1764310000000000000,
//      "alerts":["hot"],"maintenance":"stopping"}

extension Snapshot {
  package func encode() -> [UInt8] {
    var text: [UInt8] = []
    for asset in assets { asset.append(to: &text) }
    return text
  }

  /// Nil for what `encode` never wrote.
  package init?(position: UInt64, time: WallTime, encoded: [UInt8]) {
    var assets: [AssetState] = []
    for line in encoded.split(separator: UInt8(ascii: "\n")) {
      guard let asset = AssetState(line: Array(line)) else { return nil }
      assets.append(asset)
    }
    self.init(position: position, time: time, assets: assets)
  }
}

extension AssetState {
  func append(to text: inout [UInt8]) {
    text.append(utf8: "{\"number\":\(number),\"id\":")
    JSONString.append(id, to: &text)
    text.append(
      utf8: ",\"version\":\(version),\"position\":\(position),\"registered\":\(isRegistered)"
        + ",\"retired\":\(isRetired),\"facts\":")
    text.append(contentsOf: facts.isEmpty ? Array("null".utf8) : facts)
    text.append(ascii: ",\"readings\":")
    text.append(contentsOf: readingsJSON)
    if let readingOrigin {
      text.append(
        utf8: ",\"inbox\":\(readingOrigin.inbox),\"sequence\":\(readingOrigin.sequence)")
    }
    if let readingTime { text.append(utf8: ",\"time\":\(readingTime.nanoseconds)") }
    text.append(ascii: ",\"alerts\":")
    JSONString.append(alertsText, to: &text)
    if let maintenance {
      text.append(ascii: ",\"maintenance\":")
      JSONString.append(maintenance, to: &text)
    }
    text.append(ascii: "}\n")
  }

  init?(line: [UInt8]) {
    func number(_ name: String) -> Int64? {
      Payload.value(name, in: line).flatMap { Int64(String(decoding: $0, as: UTF8.self)) }
    }
    guard let own = number("number"), let id = Payload.text("id", in: line),
      let version = number("version"), let position = number("position")
    else { return nil }
    self.init(number: own, id: id)
    self.version = UInt64(bitPattern: version)
    self.position = UInt64(bitPattern: position)
    isRegistered = Payload.value("registered", in: line) == Array("true".utf8)
    isRetired = Payload.value("retired", in: line) == Array("true".utf8)
    let facts = Payload.value("facts", in: line) ?? []
    self.facts = facts == Array("null".utf8) ? [] : facts
    setReadings(json: Payload.value("readings", in: line) ?? [])
    if let inbox = number("inbox"), let sequence = number("sequence") {
      readingOrigin = ReadingOrigin(
        inbox: inbox, sequence: Sequence(UInt64(bitPattern: sequence)))
    }
    readingTime = number("time").map(WallTime.init(nanoseconds:))
    setAlerts(text: Payload.text("alerts", in: line) ?? "")
    maintenance = Payload.text("maintenance", in: line)
  }
}
