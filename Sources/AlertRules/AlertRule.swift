// What an operator wants to be told of: one rule, one condition on the readings of one asset.
//
//   threshold       a metric is above (below) a limit, for a time if one is given; ends when it is
//                   at or below (above) `clear`, which is the limit unless it is given
//   rate of change  a metric has risen (fallen) by an amount within a time; ends when the change
//                   within that time is less than `clear`
//   dead band       a metric is outside low … high; ends when it is inside by the hysteresis
//   stale           no reading has come for a time; ends with the next one
//   combination     so many of several comparisons have each held within a time; ends when not
//
// Everything is counted in the time of the readings, and decided when a reading comes; only `stale`
// needs to be told the time as well, and then it is decided as of the time it became true.

package enum AlertSeverity: String, Sendable, Hashable, CaseIterable {
  case info, warning, critical
}

/// A metric against a limit.
package struct Comparison: Sendable, Hashable {
  package enum Side: String, Sendable, Hashable, CaseIterable { case above, below }

  package var metric: String
  package var side: Side
  package var limit: Double

  package init(metric: String, side: Side, limit: Double) {
    self.metric = metric
    self.side = side
    self.limit = limit
  }

  func holds(_ value: Double) -> Bool { side == .above ? value > limit : value < limit }
}

/// When an alert is raised and when it is cleared.
package enum AlertCondition: Sendable, Hashable {
  case threshold(Comparison, clear: Double, holding: Duration)
  /// `amount` is positive; it has risen, or fallen, by so much.
  case rateOfChange(
    metric: String, rises: Bool, amount: Double, within: Duration, clear: Double)
  case deadBand(metric: String, low: Double, high: Double, hysteresis: Double)
  case stale(after: Duration)
  case combination([Comparison], atLeast: Int, within: Duration)

  /// Those it needs, in its order.
  var metrics: [String] {
    switch self {
    case .threshold(let comparison, _, _): [comparison.metric]
    case .rateOfChange(let metric, _, _, _, _), .deadBand(let metric, _, _, _): [metric]
    case .stale: []
    case .combination(let comparisons, _, _): comparisons.map(\.metric)
    }
  }

  /// Differs when another condition may come to another answer from the same state (FNV-1a).
  var fingerprint: UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in "\(self)".utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    return hash
  }
}

/// The assets a rule is about.
package struct AssetSelector: Sendable, Hashable {
  package static let patternsMax = 256
  package static let all = AssetSelector(patterns: [])

  /// Ids, or beginnings of ids with `*` behind them; empty: every asset.
  package let patterns: [String]

  package init(patterns: [String]) { self.patterns = patterns }

  package func selects(_ asset: String) -> Bool {
    patterns.isEmpty
      || patterns.contains {
        $0.hasSuffix("*") ? asset.hasPrefix($0.dropLast()) : asset == $0
      }
  }
}

/// The sentence that goes out with an alert. `{asset}`, `{rule}`, `{metric}`, `{value}`, `{limit}`
/// and `{change}` stand for what they name; `{value}` of something that has none is `?`.
package struct AlertMessage: Sendable, Hashable {
  package static let byteCountMax = 500
  package static let placeholders = ["asset", "rule", "metric", "value", "limit", "change"]
  package static let standard = AlertMessage(unchecked: "{rule} of {asset}")

  package let text: String

  private init(unchecked text: String) { self.text = text }

  /// The text, or the first `{…}` in it that stands for nothing.
  package static func read(_ text: String) -> (message: AlertMessage?, unknown: String?) {
    var rest = text[...]
    while let open = rest.firstIndex(of: "{") {
      let tail = rest[rest.index(after: open)...]
      let name = tail.prefix { $0 != "}" && $0 != "{" }
      if !Self.placeholders.contains(String(name)) || tail[name.endIndex...].first != "}" {
        return (nil, "{" + String(name.prefix(40)))
      }
      rest = tail[name.endIndex...].dropFirst()
    }
    return (AlertMessage(unchecked: text), nil)
  }

  func filled(_ value: (_ placeholder: Substring) -> String) -> String {
    var filled = ""
    var rest = text[...]
    while let open = rest.firstIndex(of: "{"), let close = rest[open...].firstIndex(of: "}") {
      filled += rest[..<open]
      filled += value(rest[rest.index(after: open)..<close])
      rest = rest[rest.index(after: close)...]
    }
    return filled + rest
  }
}

package struct AlertRule: Sendable, Hashable {
  package static let nameByteCountMax = 64
  package static let comparisonsMax = 8

  /// Unique among the rules; a part of what tells alerts apart.
  package let name: String
  package let severity: AlertSeverity
  package let message: AlertMessage
  package let assets: AssetSelector
  /// Whether an alert begins a maintenance case.
  package let startsMaintenance: Bool
  package let condition: AlertCondition

  package init(
    name: String, severity: AlertSeverity = .warning, message: AlertMessage = .standard,
    assets: AssetSelector = .all, startsMaintenance: Bool = false, condition: AlertCondition
  ) {
    self.name = name
    self.severity = severity
    self.message = message
    self.assets = assets
    self.startsMaintenance = startsMaintenance
    self.condition = condition
  }
}

/// All rules of a hub, in the order of the file.
package struct AlertRuleSet: Sendable, Hashable {
  package static let countMax = 256

  package let rules: [AlertRule]

  /// Limits: at most `countMax`, no name twice.
  package init(_ rules: [AlertRule]) {
    precondition(
      rules.count <= Self.countMax && Set(rules.map(\.name)).count == rules.count,
      "the reader of the configuration bounds the rules and their names")
    self.rules = rules
  }
}
