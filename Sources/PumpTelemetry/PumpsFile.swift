// Pumps, their facts and what they are to do, from a JSON file:
//
//   {"pumps": [
//     {"id": "ND03",                     required; letters, digits, _ and -
//      "rate": 2.5,                      readings per second; default: a part of the run's rate
//      "count": 1000,                    readings, then it is silent; default: no end
//      "asset": {                        facts; what is left out is made up from id and seed
//        "type": "electrical-submersible-pump", "operatingSystem": "QNX 7.1", "version": "2.4.1",
//        "ipAddress": "10.20.0.3", "creationDate": "2024-06-19T09:10:01Z",
//        "location": {"site": "Grane", "latitude": 59.16, "longitude": 2.49}},
//      "patterns": [
//        {"metric": "temperature",       see Metric
//         "pattern": "rise",             see MetricPattern
//         "start": "60s", "duration": 300, "ramp": "30s",    readings, or a time as text
//         "depth": "20%",                of the normal value, or a number in the metric's unit
//         "every": 10}]}]}               spike only: readings from one to the next
//
// Everything that is wrong is reported, each with its line and column.

import GatewayCore
import JSONScanning

/// What is wrong at one place of a file of pumps.
package struct PumpsFileFinding: Sendable, Hashable {
  /// Both 1-based; columns count characters.
  package let line: Int
  package let column: Int
  /// `pumps[3].patterns[0].depth`; empty for the file as a whole.
  package let path: String
  package let message: String
}

/// A file of pumps that cannot be used.
package struct PumpsFileError: Error, Sendable, Hashable, CustomStringConvertible {
  package static let findingsMax = 100

  package let file: String
  /// Not empty; those beyond `findingsMax` are left out.
  package let findings: [PumpsFileFinding]

  /// One line for each finding: `file:line:column: path: message`.
  package var description: String {
    findings.map { finding in
      let path = finding.path.isEmpty ? "" : "\(finding.path): "
      return "\(file):\(finding.line):\(finding.column): \(path)\(finding.message)"
    }.joined(separator: "\n")
  }
}

package enum PumpsFile {
  /// Room for 10,000 pumps with all facts and a few patterns each.
  package static let byteCountMax = 16 << 20

  /// The plan that a file's text lays down. `file` is its name in errors.
  package static func parse(_ bytes: Span<UInt8>, file: String) throws(PumpsFileError) -> FleetPlan
  {
    var reader = PumpsFileReader()
    if bytes.count > byteCountMax {
      reader.report(0, "", "has \(bytes.count) bytes; accepted: at most \(byteCountMax)")
    } else {
      reader.readFile(bytes)
    }
    guard reader.findings.isEmpty else {
      throw PumpsFileError(
        file: file, findings: PumpsFile.located(reader.findings.sorted { $0.0 < $1.0 }, in: bytes))
    }
    do throws(FleetPlanError) {
      return try FleetPlan(reader.pumps)
    } catch {
      throw PumpsFileError(
        file: file,
        findings: [PumpsFileFinding(line: 1, column: 1, path: "pumps", message: "\(error)")])
    }
  }

  private static func located(
    _ findings: [PumpsFileReader.Finding], in bytes: Span<UInt8>
  ) -> [PumpsFileFinding] {
    var (line, column, position) = (1, 1, 0)
    return findings.prefix(PumpsFileError.findingsMax).map { offset, path, message in
      while position < min(offset, bytes.count) {
        if bytes[position] == UInt8(ascii: "\n") {
          (line, column) = (line + 1, 1)
        } else if bytes[position] & 0xC0 != 0x80 {
          column += 1
        }
        position += 1
      }
      return PumpsFileFinding(line: line, column: column, path: path, message: message)
    }
  }
}

/// Walks the text once, members in any order. What is wrong is noted and passed over.
private struct PumpsFileReader {
  typealias Finding = (offset: Int, path: String, message: String)

  private(set) var findings: [Finding] = []
  private(set) var pumps: [PumpPlan] = []
  private var ids: Set<String> = []
  private var json = JSONReader()

  mutating func report(_ offset: Int, _ path: String, _ message: String) {
    findings.append((offset, path, message))
  }

  mutating func readFile(_ bytes: Span<UInt8>) {
    var scanner = JSONScanner(pointers: [])
    switch scanner.scan(bytes) {
    case .invalid(let offset): report(offset, "", "is not JSON from here on")
    case .hazardous(.depth): report(0, "", "is nested too deeply")
    case .valid, .hazardous:
      do throws(JSONSyntaxError) {
        try read(bytes)
      } catch {
        // The scanner has passed the text, so this is about a shape alone.
        report(error.offset, "", "is not what stands here; accepted: \(error.expected.rawValue)")
      }
    }
  }

  private mutating func read(_ bytes: Span<UInt8>) throws(JSONSyntaxError) {
    var hasPumps = false
    try object(bytes, "", ["pumps"]) { (reader, _, path) throws(JSONSyntaxError) in
      hasPumps = true
      try reader.array(bytes, path) { (reader, path) throws(JSONSyntaxError) in
        try reader.readPump(bytes, path)
      }
    }
    if findings.isEmpty && !hasPumps {
      report(0, "", "has no pumps; accepted: {\"pumps\": [{\"id\": \"ND01\"}, …]}")
    }
  }

  private mutating func readPump(
    _ bytes: Span<UInt8>, _ path: String
  ) throws(JSONSyntaxError) {
    let start = offset(bytes)
    var plan: PumpPlan?
    var (rate, count): (Double?, UInt64?)
    var facts = PumpFacts()
    var patterns: [MetricPattern] = []
    let names = ["id", "rate", "count", "asset", "patterns"]
    let isObject = try object(bytes, path, names) { (reader, name, path) throws(JSONSyntaxError) in
      let place = reader.offset(bytes)
      switch name {
      case "id":
        let text = try reader.text(bytes, path, accepted: PumpPlan.acceptedID)
        plan = text.flatMap { PumpPlan(id: $0) }
        if let text, plan == nil {
          reader.refuse(text, place, path, PumpPlan.acceptedID)
        } else if let text, !reader.ids.insert(text).inserted {
          reader.report(place, path, "another pump has the id \(text); an id is one pump's alone")
        }
      case "rate":
        rate = try reader.number(
          bytes, path, PumpPlan.rateRange, "readings per second, 0.001 to 1000")
      case "count":
        count = try reader.number(bytes, path, 1...1e15, "a whole number of readings")
          .map { UInt64($0) }
      case "asset": try reader.readFacts(bytes, path, &facts)
      default:
        try reader.array(bytes, path) { (reader, path) throws(JSONSyntaxError) in
          if let pattern = try reader.readPattern(bytes, path) { patterns.append(pattern) }
        }
        if patterns.count > PumpPlan.patternsMax {
          reader.report(place, path, "has \(patterns.count) patterns; accepted: at most 16")
        }
      }
    }
    if isObject, plan == nil, !findings.contains(where: { $0.path == "\(path).id" }) {
      report(start, "\(path).id", "is required; accepted: \(PumpPlan.acceptedID)")
    }
    if pumps.count == PumpFleet.countMax {
      report(start, path, "is one too many; accepted: at most \(PumpFleet.countMax) pumps")
    }
    guard var plan else { return }
    (plan.facts, plan.rate, plan.count, plan.patterns) = (facts, rate, count, patterns)
    pumps.append(plan)
  }

  private mutating func readFacts(
    _ bytes: Span<UInt8>, _ path: String, _ facts: inout PumpFacts
  ) throws(JSONSyntaxError) {
    var read = facts
    let names = ["type", "operatingSystem", "version", "ipAddress", "creationDate", "location"]
    try object(bytes, path, names) { (reader, name, path) throws(JSONSyntaxError) in
      switch name {
      case "type": read.type = try reader.fact(bytes, path)
      case "operatingSystem": read.operatingSystem = try reader.fact(bytes, path)
      case "version": read.version = try reader.fact(bytes, path)
      case "ipAddress": read.ipAddress = try reader.fact(bytes, path)
      case "creationDate":
        let place = reader.offset(bytes)
        let accepted = "an RFC 3339 time, as in 2024-06-19T09:10:01Z"
        guard let text = try reader.text(bytes, path, accepted: accepted) else { return }
        read.creationDate = WallTime(rfc3339: Array(text.utf8).span)
        if read.creationDate == nil { reader.refuse(text, place, path, accepted) }
      default:
        let names = ["site", "latitude", "longitude"]
        try reader.object(bytes, path, names) { (reader, name, path) throws(JSONSyntaxError) in
          switch name {
          case "site": read.site = try reader.fact(bytes, path)
          case "latitude":
            read.latitude = try reader.number(bytes, path, -90...90, "degrees, -90 to 90")
          default:
            read.longitude = try reader.number(bytes, path, -180...180, "degrees, -180 to 180")
          }
        }
      }
    }
    facts = read
  }

  private mutating func readPattern(
    _ bytes: Span<UInt8>, _ path: String
  ) throws(JSONSyntaxError) -> MetricPattern? {
    let start = offset(bytes)
    let before = findings.count
    var (metric, shape): (Metric?, MetricPattern.Shape?)
    var draft = PatternDraft()
    let names = ["metric", "pattern"] + PatternDraft.names
    let isObject = try object(bytes, path, names) { (reader, name, path) throws(JSONSyntaxError) in
      let place = reader.offset(bytes)
      switch name {
      case "metric":
        guard let text = try reader.text(bytes, path, accepted: Metric.accepted) else { return }
        metric = Metric(field: text)
        if metric == nil { reader.refuse(text, place, path, Metric.accepted) }
      case "pattern":
        let accepted = MetricPattern.Shape.accepted
        guard let text = try reader.text(bytes, path, accepted: accepted) else { return }
        shape = MetricPattern.Shape(rawValue: text)
        if shape == nil { reader.refuse(text, place, path, accepted) }
      default:
        // A number stands for its text: 300 readings, 15 °C.
        let match = try reader.json.readValue(in: bytes)
        guard match.kind == .string || match.kind == .number else {
          reader.report(place, path, "is neither a number nor a text")
          return
        }
        let text = reader.decoded(bytes, match)
        if let problem = draft.set(name, to: text) { reader.report(place, path, problem) }
      }
    }
    guard isObject, findings.count == before else { return nil }
    guard let metric, let shape else {
      let name = metric == nil ? "metric" : "pattern"
      let accepted = metric == nil ? Metric.accepted : MetricPattern.Shape.accepted
      report(start, "\(path).\(name)", "is required; accepted: \(accepted)")
      return nil
    }
    let (pattern, problem) = draft.pattern(metric: metric, shape: shape)
    if let problem { report(start, path, problem) }
    return pattern
  }

  // MARK: Pieces

  /// Where the next value begins.
  private func offset(_ bytes: Span<UInt8>) -> Int {
    var position = json.position
    while position < bytes.count, [0x20, 0x09, 0x0A, 0x0D, 0x2C].contains(bytes[position]) {
      position += 1
    }
    return position
  }

  private func decoded(_ bytes: Span<UInt8>, _ match: JSONMatch) -> String {
    var text: [UInt8] = []
    if match.kind == .string {
      JSONString.appendUnescaped(bytes.extracting(match.content), to: &text)
    } else {
      text.append(bytes.extracting(match.token))
    }
    return String(decoding: text.span)
  }

  private mutating func refuse(
    _ text: String, _ offset: Int, _ path: String, _ accepted: String
  ) {
    var quoted: [UInt8] = []
    JSONString.append(String(text.prefix(80)), to: &quoted)
    report(offset, path, "\(String(decoding: quoted.span)) is not accepted; accepted: \(accepted)")
  }

  /// Reads an object; false, with a finding, when something else stands there. The body reads the
  /// value of each known member.
  @discardableResult
  private mutating func object(
    _ bytes: Span<UInt8>, _ path: String, _ names: [String],
    _ body: (inout PumpsFileReader, _ name: String, _ path: String) throws(JSONSyntaxError) -> Void
  ) throws(JSONSyntaxError) -> Bool {
    let start = offset(bytes)
    guard try json.nextKind(in: bytes) == .object else {
      _ = try json.readValue(in: bytes)
      report(start, path, "is not an object; accepted: {…} with \(names.joined(separator: ", "))")
      return false
    }
    try json.beginObject(in: bytes)
    var seen: Set<String> = []
    while true {
      let place = offset(bytes)
      guard let match = try json.nextName(in: bytes) else { return true }
      let name = decoded(bytes, match)
      let memberPath = path.isEmpty ? name : "\(path).\(name)"
      if !names.contains(name) {
        report(
          place, memberPath, "is not known; accepted: \(names.joined(separator: ", "))")
      } else if !seen.insert(name).inserted {
        report(place, memberPath, "stands here twice; remove one of them")
      } else {
        try body(&self, name, memberPath)
        continue
      }
      _ = try json.readValue(in: bytes)
    }
  }

  private mutating func array(
    _ bytes: Span<UInt8>, _ path: String,
    _ body: (inout PumpsFileReader, _ path: String) throws(JSONSyntaxError) -> Void
  ) throws(JSONSyntaxError) {
    let start = offset(bytes)
    guard try json.nextKind(in: bytes) == .array else {
      _ = try json.readValue(in: bytes)
      report(start, path, "is not a list; accepted: […]")
      return
    }
    try json.beginArray(in: bytes)
    var index = 0
    while try json.nextElement(in: bytes) {
      try body(&self, "\(path)[\(index)]")
      index += 1
    }
  }

  private mutating func text(
    _ bytes: Span<UInt8>, _ path: String, accepted: String
  ) throws(JSONSyntaxError) -> String? {
    let start = offset(bytes)
    let match = try json.readValue(in: bytes)
    guard match.kind == .string else {
      report(start, path, "is not a text; accepted: \(accepted)")
      return nil
    }
    return decoded(bytes, match)
  }

  private mutating func fact(
    _ bytes: Span<UInt8>, _ path: String
  ) throws(JSONSyntaxError) -> String? {
    let accepted = "a text of 1 to \(PumpFacts.textByteCountMax) bytes"
    let start = offset(bytes)
    guard let text = try text(bytes, path, accepted: accepted) else { return nil }
    if (1...PumpFacts.textByteCountMax).contains(text.utf8.count) { return text }
    refuse(text, start, path, accepted)
    return nil
  }

  private mutating func number(
    _ bytes: Span<UInt8>, _ path: String, _ range: ClosedRange<Double>, _ accepted: String
  ) throws(JSONSyntaxError) -> Double? {
    let start = offset(bytes)
    let match = try json.readValue(in: bytes)
    let value =
      match.kind == .number ? JSONDouble.value(of: bytes.extracting(match.token)) : nil
    if let value, range.contains(value), !accepted.contains("whole") || value == value.rounded() {
      return value
    }
    report(start, path, "is not accepted; accepted: \(accepted)")
    return nil
  }
}
