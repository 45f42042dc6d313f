import GatewayCore

// Prometheus text exposition format, version 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/): for each family a HELP and a TYPE
// line, then one line per series. In HELP, backslash and newline are escaped; in label values the
// double quote too. A histogram is `_bucket` lines with cumulative counts up to le="+Inf", then
// `_sum` and `_count`.

struct PrometheusText {
  static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  private(set) var bytes: [UInt8] = []

  mutating func append(_ family: MetricsRegistry.Family) {
    let description = family.description
    bytes.append(utf8: "# HELP \(description.name) \(Self.escapedHelp(description.help))\n")
    bytes.append(utf8: "# TYPE \(description.name) \(description.kind.rawValue)\n")
    for (labels, instrument) in family.series.sorted(by: { $0.key < $1.key }) {
      switch instrument {
      case .counter(let series): line(description.name, labels, series.value)
      case .gauge(let series): line(description.name, labels, series.value)
      case .histogram(let series): append(series, name: description.name, labels: labels)
      }
    }
  }

  private mutating func append(_ series: HistogramSeries, name: String, labels: String) {
    let reading = series.read()
    let prefix = labels.isEmpty ? "" : labels + ","
    var cumulative: UInt64 = 0
    for (count, bound) in zip(reading.counts, series.bounds + [.infinity]) {
      cumulative += count
      line("\(name)_bucket", "\(prefix)le=\"\(Self.number(bound))\"", Double(cumulative))
    }
    line("\(name)_sum", labels, reading.sum)
    line("\(name)_count", labels, Double(cumulative))
  }

  private mutating func line(_ name: String, _ labels: String, _ value: Double) {
    bytes.append(utf8: name)
    if !labels.isEmpty { bytes.append(utf8: "{\(labels)}") }
    bytes.append(UInt8(ascii: " "))
    bytes.append(utf8: Self.number(value))
    bytes.append(UInt8(ascii: "\n"))
  }

  /// Whole numbers without a fraction, `+Inf`, `-Inf`, `NaN`; all else as short as it reads back.
  static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    if value.magnitude < 9_007_199_254_740_992, value == value.rounded(.towardZero) {
      return String(Int64(value))
    }
    return value.description
  }

  static func escapedHelp(_ text: String) -> String {
    escaped(text, quote: false)
  }

  /// `a="1",b="2"`, sorted by name; of two labels with one name the first counts. A value over
  /// `valueByteCountMax` is cut at a character.
  static func labels(_ dimensions: [(String, String)], valueByteCountMax: Int) -> String {
    var seen: Set<String> = []
    var pairs: [(name: String, value: String)] = []
    for (name, value) in dimensions {
      let name = labelName(name)
      guard seen.insert(name).inserted else { continue }
      pairs.append((name, cut(value, byteCountMax: valueByteCountMax)))
    }
    pairs.sort { $0.name < $1.name }
    return pairs.map { "\($0.name)=\"\(escaped($0.value, quote: true))\"" }.joined(separator: ",")
  }

  /// `[a-zA-Z_:][a-zA-Z0-9_:]*`; whatever else becomes an underscore.
  static func metricName(_ text: String) -> String { name(text, colonAllowed: true) }

  /// `[a-zA-Z_][a-zA-Z0-9_]*`. `le` is the histogram's own.
  static func labelName(_ text: String) -> String {
    let name = name(text, colonAllowed: false)
    return name == "le" ? "exported_le" : name
  }

  private static func name(_ text: String, colonAllowed: Bool) -> String {
    var bytes: [UInt8] = []
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "_"):
        bytes.append(byte)
      case UInt8(ascii: "0")...UInt8(ascii: "9"):
        if bytes.isEmpty { bytes.append(UInt8(ascii: "_")) }
        bytes.append(byte)
      case UInt8(ascii: ":") where colonAllowed: bytes.append(byte)
      default: bytes.append(UInt8(ascii: "_"))
      }
    }
    return bytes.isEmpty ? "_" : String(decoding: bytes, as: UTF8.self)
  }

  private static func escaped(_ text: String, quote: Bool) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\"" where quote: result += "\\\""
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  private static func cut(_ text: String, byteCountMax: Int) -> String {
    guard text.utf8.count > byteCountMax else { return text }
    var result = ""
    for character in text {
      guard result.utf8.count + character.utf8.count <= byteCountMax else { break }
      result.append(character)
    }
    return result
  }
}
