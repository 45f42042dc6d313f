// Goal: hub.yaml holds rules and limits beside everything else, and mistakes in them have their
// place. Method: files as text, the sample with its examples put to work. Cannot show: that the
// examples suit a site.

import AlertRules
import GatewayConfiguration
import GatewayCore
import Hub
import Platform
import Testing

@Suite("decisions in hub.yaml") struct HubDecisionsTests {
  private let head = "hub: {id: h}\nbroker: {url: mqtt://127.0.0.1:1883}\n"

  private func parse(_ text: String) throws -> HubDecisions {
    try HubDecisions.parse(Array(text.utf8).span, file: "hub.yaml").decisions
  }

  private func errors(_ text: String) -> String {
    do {
      _ = try parse(text)
      return ""
    } catch {
      return "\(error)"
    }
  }

  @Test("without the sections there are no rules, and the limits are the defaults")
  func defaults() throws {
    let decisions = try parse(head)
    #expect(decisions.rules.rules.isEmpty)
    #expect(decisions.maintenance == HubDecisions().maintenance)
  }

  @Test("the sample with its examples is a file of rules")
  func sample() throws {
    let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let bytes = try File.readSmall("\(root)/edge-config/hub.yaml", byteCountMax: 1 << 20)
    var lines: [String] = []
    for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
      if line.hasPrefix("#e.g. ") {
        lines.append(String(line.dropFirst(6)))
      } else if line == "#maintenance:" {
        lines.append("maintenance:")
      } else if lines.last == "maintenance:" || lines.last?.hasPrefix("  order_") == true,
        line.hasPrefix("  #")
      {
        lines.append("  " + line.dropFirst(3))
      } else {
        lines.append(String(line))
      }
    }
    let decisions = try parse(lines.joined(separator: "\n"))
    #expect(
      decisions.rules.rules.map(\.name) == [
        "motor-hot", "pressure-falls", "current-off", "silent", "gas-lock",
      ])
    #expect(decisions.rules.rules[0].startsMaintenance)
  }

  @Test("mistakes are named with those of the other sections")
  func mistakes() {
    let text = errors(
      head + "alerts: [{name: a, stale: {after: x}}]\noutbox: {max_rows: 1}\n"
        + "maintenance: {confirmation_timeout: 30s, attempts: 0}\n")
    #expect(text.contains("hub.yaml:3:35: alerts[0].stale.after:"))
    #expect(text.contains("outbox.max_rows"))
    #expect(text.contains("maintenance.attempts: \"0\" is too small; accepted: a whole number"))
    #expect(text.contains("is shorter than command_life, which is 1m"))
  }
}
