// The section `alerts` of the hub's YAML:
//
//   alerts:
//     - name: motor-hot                # letters, digits, _ and -; an alert's name for good
//       severity: critical             # info | warning | critical; default: warning
//       message: "{asset}: motor at {value} °C"     # also {rule} {metric} {limit} {change}
//       assets: [ND01, "west-*"]       # ids, or beginnings with *; default: all
//       maintenance: true              # begin a maintenance case; default: false
//       threshold: {metric: temperature, above: 110, clear: 100, for: 30s}
//     - name: pressure-falls
//       rate_of_change: {metric: pressure, falls: 2000, within: 5m, clear: 500}
//     - name: current-off
//       dead_band: {metric: current, low: 30, high: 60, hysteresis: 2}
//     - name: silent
//       stale: {after: 5m}
//     - name: gas-lock                 # each comparison has held within the time
//       combination:
//         within: 2m
//         at_least: 2                  # default: all of them
//         of:
//           - {metric: current, below: 30}
//           - {metric: flowRate, below: 100}

package import GatewayConfiguration
import GatewayCore

extension AlertRuleSet {
  static let withinRange = Duration.seconds(1)...Duration.seconds(30 * 86_400)
  static let holdingRange = Duration.milliseconds(1)...Duration.seconds(30 * 86_400)
  static let metricByteCountMax = 64

  /// Reads the section from the top of a configuration. What is wrong goes to its findings, and the
  /// result is then not to be used.
  ///
  /// ## Configuration keys
  /// `alerts`: a list of sections with `name` (required), `severity`, `message`, `assets`,
  /// `maintenance`, and one of `threshold`, `rate_of_change`, `dead_band`, `stale`, `combination`.
  package static func read(_ top: inout SectionReader) -> AlertRuleSet {
    var rules: [AlertRule] = []
    var names: Set<String> = []
    let isThere = top.optionalSections("alerts", count: 1...countMax) { _, section in
      guard let rule = AlertRule(&section) else { return }
      if !names.insert(rule.name).inserted {
        section.findings.error(
          at: section.keyPath("name"),
          "\(Findings.quoted(rule.name)) is the name of a rule above; a name is one rule's alone")
      } else {
        rules.append(rule)
      }
    }
    return AlertRuleSet(isThere ? rules : [])
  }

  /// Reads a file that has the section and nothing else.
  package static func parse(
    _ bytes: Span<UInt8>, file: String, surroundings: Surroundings = .process
  ) throws(ConfigurationError) -> AlertRuleSet {
    let findings = Findings(file: file)
    var rules = AlertRuleSet([])
    if var root = YAMLDocument.read(bytes, into: findings, needs: "alerts") {
      Substitution(gatewayID: nil, surroundings: surroundings, findings: findings).resolve(&root)
      SectionReader.read(root, path: "", findings: findings) { rules = read(&$0) }
    }
    guard findings.errors.isEmpty else { throw ConfigurationError(findings.errors) }
    return rules
  }
}

extension AlertRule {
  private static let conditionKeys = [
    "threshold", "rate_of_change", "dead_band", "stale", "combination",
  ]

  /// Nil when it was reported.
  fileprivate init?(_ section: inout SectionReader) {
    let name = section.required("name", .identifier(byteCountMax: Self.nameByteCountMax))
    var severity = AlertSeverity.warning
    section.read("severity", .choice, into: &severity)
    var message = AlertMessage.standard
    section.read("message", .alertMessage, into: &message)
    let patterns = section.list(
      "assets", of: .assetPattern, count: 1...AssetSelector.patternsMax, orWord: "all")
    var startsMaintenance = false
    section.read("maintenance", .boolean, into: &startsMaintenance)
    let found = Self.conditionKeys.filter { section.isPresent($0) }
    let conditions = [
      Self.threshold(&section), Self.rateOfChange(&section), Self.deadBand(&section),
      Self.stale(&section), Self.combination(&section),
    ].compactMap(\.self)
    if found.count != 1 {
      let accepted = Self.conditionKeys.joined(separator: ", ")
      let what = found.isEmpty ? "has no condition" : "has \(found.joined(separator: " and "))"
      section.findings.error(at: section.path, "\(what); accepted: one of \(accepted)")
    }
    guard let name, found.count == 1, let condition = conditions.first else { return nil }
    self.init(
      name: name, severity: severity, message: message,
      assets: AssetSelector(patterns: patterns ?? []), startsMaintenance: startsMaintenance,
      condition: condition)
  }

  private static func threshold(_ rule: inout SectionReader) -> AlertCondition? {
    var condition: AlertCondition?
    rule.section("threshold") { section in
      let comparison = Comparison(&section)
      let clear = section.value("clear", .number)
      var holding = Duration.zero
      section.read("for", .duration(AlertRuleSet.holdingRange), into: &holding)
      guard let comparison else { return }
      if let clear, comparison.side == .above ? clear > comparison.limit : clear < comparison.limit
      {
        let bound = comparison.side == .above ? "at most" : "at least"
        section.findings.error(
          at: section.keyPath("clear"),
          "is on the wrong side of the limit; accepted: \(bound) \(text(comparison.limit))")
      }
      condition = .threshold(comparison, clear: clear ?? comparison.limit, holding: holding)
    }
    return condition
  }

  private static func rateOfChange(_ rule: inout SectionReader) -> AlertCondition? {
    var condition: AlertCondition?
    rule.section("rate_of_change") { section in
      let metric = section.required("metric", .metric)
      let rises = section.value("rises", .amount)
      let falls = section.value("falls", .amount)
      let within = section.required("within", .duration(AlertRuleSet.withinRange))
      let clear = section.value("clear", .amount)
      if section.isPresent("rises") == section.isPresent("falls") {
        section.findings.error(
          at: section.path, "needs a change; accepted: one of rises and falls, as in falls: 500")
      }
      guard let metric, let amount = rises ?? falls, let within else { return }
      if let clear, clear > amount {
        section.findings.error(
          at: section.keyPath("clear"),
          "is more than the change that raises the alert; accepted: at most \(text(amount))")
      }
      condition = .rateOfChange(
        metric: metric, rises: rises != nil, amount: amount, within: within,
        clear: clear ?? amount)
    }
    return condition
  }

  private static func deadBand(_ rule: inout SectionReader) -> AlertCondition? {
    var condition: AlertCondition?
    rule.section("dead_band") { section in
      let metric = section.required("metric", .metric)
      let low = section.required("low", .number)
      let high = section.required("high", .number)
      var hysteresis = 0.0
      section.read("hysteresis", .amountOrZero, into: &hysteresis)
      guard let metric, let low, let high else { return }
      if low >= high {
        section.findings.error(
          at: section.keyPath("low"), "is not below high, which is \(text(high))")
      } else if 2 * hysteresis > high - low {
        section.findings.error(
          at: section.keyPath("hysteresis"),
          "leaves nothing of the band; accepted: at most \(text((high - low) / 2))")
      }
      condition = .deadBand(metric: metric, low: low, high: high, hysteresis: hysteresis)
    }
    return condition
  }

  private static func stale(_ rule: inout SectionReader) -> AlertCondition? {
    var condition: AlertCondition?
    rule.section("stale") { section in
      if let after = section.required("after", .duration(AlertRuleSet.withinRange)) {
        condition = .stale(after: after)
      }
    }
    return condition
  }

  private static func combination(_ rule: inout SectionReader) -> AlertCondition? {
    var condition: AlertCondition?
    rule.section("combination") { section in
      let within = section.required("within", .duration(AlertRuleSet.withinRange))
      var comparisons: [Comparison] = []
      var count = 0
      section.sections("of", count: 2...comparisonsMax, first: "metric") { _, section in
        count += 1
        if let comparison = Comparison(&section) { comparisons.append(comparison) }
      }
      var atLeast = count
      section.read("at_least", .integer(1...comparisonsMax), into: &atLeast)
      if count > 0, atLeast > count {
        section.findings.error(
          at: section.keyPath("at_least"), "is more than there are; accepted: 1 to \(count)")
      }
      guard let within, count > 0, comparisons.count == count else { return }
      condition = .combination(comparisons, atLeast: atLeast, within: within)
    }
    return condition
  }

  fileprivate static func text(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : "\(value)"
  }
}

extension Comparison {
  /// `metric` and one of `above` and `below`. Nil when it was reported.
  fileprivate init?(_ section: inout SectionReader) {
    let metric = section.required("metric", .metric)
    let above = section.value("above", .number)
    let below = section.value("below", .number)
    if section.isPresent("above") == section.isPresent("below") {
      section.findings.error(
        at: section.path, "needs a limit; accepted: one of above and below, as in above: 110")
      return nil
    }
    guard let metric, let limit = above ?? below else { return nil }
    self.init(metric: metric, side: above != nil ? .above : .below, limit: limit)
  }
}

extension ScalarKind where Value == Double {
  /// Digits with a point and a sign; no exponent, no name of a number.
  private static func number(_ accepted: String, from least: Double) -> ScalarKind {
    ScalarKind(accepted: accepted) { (text) throws(Rejection) in
      let digits = text.hasPrefix("-") ? text.dropFirst() : text[...]
      guard let first = digits.utf8.first, Quantity.isDigit(first),
        digits.utf8.allSatisfy({ Quantity.isDigit($0) || $0 == UInt8(ascii: ".") }),
        let value = Double(text), value.isFinite
      else { throw Rejection("is not a number") }
      guard abs(value) <= 1e12 else { throw Rejection("is too large") }
      guard value >= least else { throw Rejection("is too small") }
      return value
    }
  }

  fileprivate static var number: ScalarKind {
    number("a number in the metric's unit, as in 110 or -4.5", from: -.infinity)
  }

  fileprivate static var amount: ScalarKind {
    number("a number above 0 in the metric's unit, as in 500", from: .leastNonzeroMagnitude)
  }

  fileprivate static var amountOrZero: ScalarKind {
    number("a number of 0 or more in the metric's unit, as in 2", from: 0)
  }
}

extension ScalarKind where Value == String {
  fileprivate static var metric: ScalarKind {
    .text("a metric as the readings name it", byteCounts: 1...AlertRuleSet.metricByteCountMax)
  }

  fileprivate static var assetPattern: ScalarKind {
    let accepted = "an asset id, or the beginning of ids and *, as in ND01 or west-*"
    let base = text("an asset", byteCounts: 1...256)
    return ScalarKind(accepted: accepted) { (text) throws(Rejection) in
      if text.dropLast().contains("*") { throw Rejection("has a * that is not at its end") }
      return try base.read(text)
    }
  }
}

extension ScalarKind where Value == AlertMessage {
  fileprivate static var alertMessage: ScalarKind {
    let names = AlertMessage.placeholders.map { "{\($0)}" }.joined(separator: ", ")
    let base = ScalarKind<String>.text("a sentence", byteCounts: 1...AlertMessage.byteCountMax)
    return ScalarKind(accepted: "\(base.accepted), with \(names)") { (text) throws(Rejection) in
      let (message, unknown) = AlertMessage.read(try base.read(text))
      guard let message else { throw Rejection("has \(unknown ?? "{") that stands for nothing") }
      return message
    }
  }
}
