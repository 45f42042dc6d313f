// Rules tried on what was recorded, before they are put to work.
//
// One event per line: a pump's reading as it came, or a CloudEvent with it in `data`; what stands
// before the first brace (a topic, as `penstock subscribe` prints it) is passed over. A line
// without an asset, a time or a number in it is no reading.

import GatewayCore
import JSONScanning

/// Runs rules over recorded lines, in their order.
package struct AlertRehearsal: ~Copyable {
  /// Assets that are followed; lines of further ones are counted as ignored.
  package static let assetsMax = 100_000

  /// What a line was.
  package enum Line: Sendable, Hashable {
    case reading
    /// Why not, in a few words.
    case ignored(String)
  }

  private let evaluator: AlertEvaluator
  private var assets: [String: AssetAlerts] = [:]
  private var scanner = JSONScanner(pointers: [])
  private var found: [(line: Int, change: AlertChange)] = []
  private var lineCount = 0
  private var end: WallTime?

  package init(rules: AlertRuleSet) { evaluator = AlertEvaluator(rules: rules) }

  /// Takes one line, without its newline.
  package mutating func take(_ line: Span<UInt8>) -> Line {
    lineCount += 1
    var start = 0
    while start < line.count, line[start] != UInt8(ascii: "{") { start += 1 }
    guard start < line.count else { return .ignored("no JSON object") }
    let json = line.extracting(start..<line.count)
    if case .invalid(let offset) = scanner.scan(json) {
      return .ignored("not JSON from column \(start + offset + 1) on")
    }
    var reading = RecordedReading(metrics: evaluator.metrics)
    do throws(JSONSyntaxError) {
      var reader = JSONReader()
      try reading.read(&reader, json, isData: false)
    } catch {
      return .ignored("not an object of a reading")
    }
    guard let asset = reading.asset ?? reading.subject else { return .ignored("no assetId") }
    guard let time = reading.received ?? reading.measured else {
      return .ignored("no time or timestamp")
    }
    guard reading.hasNumbers else { return .ignored("no number in it") }
    guard assets[asset] != nil || assets.count < Self.assetsMax else {
      return .ignored("more than \(Self.assetsMax) assets")
    }
    var alerts = assets[asset] ?? evaluator.newState(asset: asset)
    let changes = evaluator.evaluate(
      order: ReadingOrder(era: 0, sequence: UInt64(lineCount)), time: time, &alerts
    ) { reading.values[$0] }
    found += changes.map { (lineCount, $0) }
    assets[asset] = alerts
    end = max(end ?? time, time)
    return .reading
  }

  /// Every change, with the line that decided it (0: the silence at the end), by time.
  package mutating func changes() -> [(line: Int, change: AlertChange)] {
    guard let end else { return [] }
    for asset in assets.keys.sorted() {
      guard var alerts = assets[asset] else { continue }
      found += evaluator.tick(now: end, &alerts).map { (0, $0) }
      assets[asset] = alerts
    }
    return found.sorted { left, right in
      (left.change.time, left.line) < (right.change.time, right.line)
    }
  }
}

private struct RecordedReading {
  let metrics: [String]
  var values: [Double?]
  var asset: String?
  var subject: String?
  var received: WallTime?
  var measured: WallTime?
  var hasNumbers = false

  init(metrics: [String]) {
    self.metrics = metrics
    values = Array(repeating: nil, count: metrics.count)
  }

  mutating func read(
    _ reader: inout JSONReader, _ json: Span<UInt8>, isData: Bool
  ) throws(JSONSyntaxError) {
    try reader.beginObject(in: json)
    while let nameToken = try reader.nextName(in: json) {
      let name = Self.text(nameToken, json)
      if name == "data", !isData, try reader.nextKind(in: json) == .object {
        try read(&reader, json, isData: true)
        continue
      }
      let match = try reader.readValue(in: json)
      switch match.kind {
      case .string:
        let text = Self.text(match, json)
        switch name {
        case "assetId": asset = text
        case "subject": subject = text
        case "time": received = WallTime(rfc3339: Array(text.utf8).span)
        case "timestamp": measured = WallTime(rfc3339: Array(text.utf8).span)
        default: break
        }
      case .number:
        hasNumbers = true
        if let place = metrics.firstIndex(of: name) {
          values[place] = JSONDouble.value(of: json.extracting(match.token))
        }
      case .true, .false, .null, .object, .array: break
      }
    }
  }

  private static func text(_ match: JSONMatch, _ json: Span<UInt8>) -> String {
    var bytes: [UInt8] = []
    JSONString.appendUnescaped(json.extracting(match.content), to: &bytes)
    return String(decoding: bytes.span)
  }
}
