// Goal: the section says what it means, and every mistake in it is named with its place and what is
// accepted. Method: the documented example, and one broken file for each mistake. Cannot show: that
// the sentences help.

import GatewayConfiguration
import GatewayCore
import Testing

@testable import AlertRules

@Suite("Alert rules in YAML")
struct AlertRulesYAMLTests {
  private func parse(_ text: String) throws(ConfigurationError) -> AlertRuleSet {
    try AlertRuleSet.parse(Array(text.utf8).span, file: "hub.yaml")
  }

  private func errors(_ text: String) -> [String] {
    do throws(ConfigurationError) {
      _ = try parse(text)
      return []
    } catch {
      return error.description.split(separator: "\n").map(String.init)
    }
  }

  @Test("everything that can be written is read")
  func complete() throws {
    let rules = try parse(
      """
      alerts:
        - name: motor-hot
          severity: critical
          message: "{asset}: motor at {value} °C"
          assets: [ND01, "west-*"]
          maintenance: true
          threshold: {metric: temperature, above: 110, clear: 100.5, for: 30s}
        - name: flow
          threshold: {metric: flowRate, below: -3}
        - name: pressure-falls
          assets: all
          rate_of_change: {metric: pressure, falls: 2000, within: 5m, clear: 500}
        - name: current-off
          severity: info
          dead_band: {metric: current, low: 30, high: 60, hysteresis: 2}
        - name: silent
          stale: {after: 5m}
        - name: gas-lock
          combination:
            within: 2m
            at_least: 2
            of:
              - {metric: current, below: 30}
              - {metric: flowRate, below: 100}
              - {metric: temperature, above: 100}
      """
    ).rules
    #expect(
      rules.map(\.name) == [
        "motor-hot", "flow", "pressure-falls", "current-off", "silent", "gas-lock",
      ])
    #expect(rules[0].severity == .critical && rules[0].startsMaintenance)
    #expect(rules[0].assets.patterns == ["ND01", "west-*"])
    #expect(rules[0].message.text == "{asset}: motor at {value} °C")
    #expect(
      rules.map(\.condition) == [
        .threshold(
          Comparison(metric: "temperature", side: .above, limit: 110), clear: 100.5,
          holding: .seconds(30)),
        .threshold(
          Comparison(metric: "flowRate", side: .below, limit: -3), clear: -3, holding: .zero),
        .rateOfChange(
          metric: "pressure", rises: false, amount: 2000, within: .seconds(300), clear: 500),
        .deadBand(metric: "current", low: 30, high: 60, hysteresis: 2),
        .stale(after: .seconds(300)),
        .combination(
          [
            Comparison(metric: "current", side: .below, limit: 30),
            Comparison(metric: "flowRate", side: .below, limit: 100),
            Comparison(metric: "temperature", side: .above, limit: 100),
          ], atLeast: 2, within: .seconds(120)),
      ])
    #expect(rules[1].severity == .warning && rules[1].assets == .all && !rules[1].startsMaintenance)
  }

  @Test("no rules are no rules", arguments: ["alerts: none", "{}"])
  func none(text: String) throws { #expect(try parse(text).rules.isEmpty) }

  @Test(
    "a mistake is named with its place and what is accepted",
    arguments: [
      ("", "hub.yaml:1:1: the file is empty; it needs alerts"),
      ("alerts: 7", "hub.yaml:1:9: alerts: is not a list"),
      ("alrts: []", "hub.yaml:1:1: alrts: is not a known key; did you mean alerts?"),
      ("alerts: [{name: a}]", "alerts[0]: has no condition; accepted: one of threshold, rate_of"),
      (
        "alerts: [{stale: {after: 5m}}]",
        "hub.yaml:1:10: alerts[0].name: is required; accepted: 1 to 64"
      ),
      (
        "alerts:\n  - name: a\n    stale: {after: 5m}\n    threshold: {metric: t, above: 1}",
        "hub.yaml:2:5: alerts[0]: has threshold and stale; accepted: one of threshold"
      ),
      (
        "alerts:\n- {name: a, stale: {after: 5m}}\n- {name: a, stale: {after: 6m}}",
        "hub.yaml:3:10: alerts[1].name: \"a\" is the name of a rule above"
      ),
      (
        "alerts: [{name: a b, stale: {after: 5m}}]",
        "hub.yaml:1:17: alerts[0].name: \"a b\" has characters that are not accepted"
      ),
      (
        "alerts: [{name: a, severity: high, stale: {after: 5m}}]",
        "hub.yaml:1:30: alerts[0].severity: \"high\" is not known; accepted: info, warning, "
          + "critical"
      ),
      (
        "alerts: [{name: a, message: \"{volume}\", stale: {after: 5m}}]",
        "hub.yaml:1:29: alerts[0].message: \"{volume}\" has {volume that stands for nothing; "
          + "accepted: a sentence"
      ),
      (
        "alerts: [{name: a, assets: [\"*1\"], stale: {after: 5m}}]",
        "hub.yaml:1:29: alerts[0].assets[0]: \"*1\" has a * that is not at its end"
      ),
      ("alerts: [{name: a, stale: {after: 5}}]", "alerts[0].stale.after: \"5\" needs a unit"),
      (
        "alerts: [{name: a, stale: {}}]", "alerts[0].stale.after: is required; accepted: a duration"
      ),
      (
        "alerts: [{name: a, threshold: {metric: t}}]",
        "alerts[0].threshold: needs a limit; accepted: one of above and below"
      ),
      (
        "alerts: [{name: a, threshold: {metric: t, above: 1, below: 2}}]",
        "alerts[0].threshold: needs a limit; accepted: one of above and below"
      ),
      (
        "alerts: [{name: a, threshold: {metric: t, above: much}}]",
        "hub.yaml:1:50: alerts[0].threshold.above: \"much\" is not a number; accepted: a number"
      ),
      (
        "alerts: [{name: a, threshold: {metric: t, above: 1e3}}]",
        "alerts[0].threshold.above: \"1e3\" is not a number"
      ),
      (
        "alerts: [{name: a, threshold: {metric: t, above: 10, clear: 11}}]",
        "alerts[0].threshold.clear: is on the wrong side of the limit; accepted: at most 10"
      ),
      (
        "alerts: [{name: a, rate_of_change: {metric: t, within: 1m}}]",
        "alerts[0].rate_of_change: needs a change; accepted: one of rises and falls"
      ),
      (
        "alerts: [{name: a, rate_of_change: {metric: t, rises: 0, within: 1m}}]",
        "alerts[0].rate_of_change.rises: \"0\" is too small"
      ),
      (
        "alerts: [{name: a, rate_of_change: {metric: t, rises: 5, within: 1m, clear: 6}}]",
        "alerts[0].rate_of_change.clear: is more than the change that raises the alert"
      ),
      (
        "alerts: [{name: a, dead_band: {metric: t, low: 5, high: 5}}]",
        "alerts[0].dead_band.low: is not below high, which is 5"
      ),
      (
        "alerts: [{name: a, dead_band: {metric: t, low: 5, high: 9, hysteresis: 2.5}}]",
        "alerts[0].dead_band.hysteresis: leaves nothing of the band; accepted: at most 2"
      ),
      (
        "alerts: [{name: a, combination: {within: 1m, of: [{metric: t, above: 1}]}}]",
        "alerts[0].combination.of: has 1 entries; accepted: 2 to 8"
      ),
      (
        "alerts: [{name: a, combination: {within: 1m, at_least: 3, "
          + "of: [{metric: t, above: 1}, {metric: p, below: 1}]}}]",
        "alerts[0].combination.at_least: is more than there are; accepted: 1 to 2"
      ),
      (
        "alerts: [{name: a, stale: {after: 5m, before: 3}}]",
        "alerts[0].stale.before: is not a known key; accepted: after"
      ),
    ])
  func broken(text: String, message: String) {
    let errors = errors(text)
    #expect(errors.contains { $0.contains(message) }, "\(errors)")
    #expect(errors.allSatisfy { $0.hasPrefix("hub.yaml:") })
  }

  @Test("all mistakes are named at once")
  func all() {
    let errors = errors(
      """
      alerts:
        - name: a
          severity: x
          threshold: {metric: t, above: y}
        - name: b
          stale: {after: z}
      """)
    #expect(errors.count == 3, "\(errors)")
  }
}
