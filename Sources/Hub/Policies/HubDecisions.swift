package import AlertRules
package import GatewayConfiguration
import GatewayCore
package import Maintenance

/// What a hub decides by itself: the sections `alerts` and `maintenance` of its file, and the
/// policies that they come to.
package struct HubDecisions: Sendable {
  package var rules = AlertRuleSet([])
  package var maintenance = MaintenanceLimits()

  private static let waitRange = Duration.seconds(1)...Duration.seconds(86_400)

  package init() {}

  /// Reads a hub's file whole.
  package static func load(
    path: String, surroundings: Surroundings = .process
  ) throws(ConfigurationError) -> (loaded: HubSettings.Loaded, decisions: HubDecisions) {
    var decisions = HubDecisions()
    let loaded = try HubSettings.load(path: path, surroundings: surroundings) {
      decisions.read(&$0)
    }
    return (loaded, decisions)
  }

  /// Reads text. `file` is the name in diagnostics.
  package static func parse(
    _ bytes: Span<UInt8>, file: String, surroundings: Surroundings = .process
  ) throws(ConfigurationError) -> (loaded: HubSettings.Loaded, decisions: HubDecisions) {
    var decisions = HubDecisions()
    let loaded = try HubSettings.parse(bytes, file: file, surroundings: surroundings) {
      decisions.read(&$0)
    }
    return (loaded, decisions)
  }

  /// ## Configuration keys
  /// `alerts` (see `AlertRuleSet.read`), and `maintenance` with `order_timeout`,
  /// `confirmation_timeout`, `command_life` and `attempts`.
  private mutating func read(_ top: inout SectionReader) {
    rules = AlertRuleSet.read(&top)
    top.section("maintenance") { section in
      section.read("order_timeout", .duration(Self.waitRange), into: &maintenance.orderTimeout)
      section.read(
        "confirmation_timeout", .duration(Self.waitRange), into: &maintenance.confirmationTimeout)
      section.read("command_life", .wholeSeconds(Self.waitRange), into: &maintenance.commandLife)
      section.read(
        "attempts", .integer(MaintenanceLimits.attemptsRange), into: &maintenance.attemptsMax)
      if maintenance.confirmationTimeout < maintenance.commandLife {
        section.findings.error(
          at: section.keyPath("confirmation_timeout"),
          "is shorter than command_life, which is \(Quantity.text(maintenance.commandLife)): a "
            + "second command would leave while the first may still be obeyed")
      }
    }
  }

  /// Limits in force as YAML, rules by name.
  package var effectiveText: String {
    let names = rules.rules.map { rule in
      "#   \(rule.name), \(rule.severity.rawValue)"
        + (rule.startsMaintenance ? ", maintenance\n" : "\n")
    }
    return """
      maintenance:
        order_timeout: \(Quantity.text(maintenance.orderTimeout))
        confirmation_timeout: \(Quantity.text(maintenance.confirmationTimeout))
        command_life: \(Quantity.text(maintenance.commandLife))
        attempts: \(maintenance.attemptsMax)
      # alerts: \(rules.rules.count) rules
      \(names.joined())
      """
  }

  /// Makes the policies; none without rules, but those that must clear what older rules raised.
  package func makePolicies(topicPrefix: String) -> [any HubPolicy] {
    [
      AlertPolicy(rules: rules),
      MaintenancePolicy(rules: rules, limits: maintenance, topicPrefix: topicPrefix),
    ]
  }
}

/// The cases that a hub's database holds: the last one of each asset.
package enum KeptCases {
  package static func all(_ rows: [PolicyRow]) -> [MaintenanceCase] {
    rows.filter { $0.policy == MaintenancePolicy.rowsName && $0.key.hasPrefix("case/") }
      .compactMap { row in row.value.flatMap { try? MaintenanceCase(json: $0.span) } }
      .sorted { $0.cause.asset < $1.cause.asset }
  }
}
