// Goal: status and risk say what the table promises. Method: states by hand. Cannot show: that a
// site weighs its alerts as we do.

import GatewayCore
import Hub
import Testing

@Suite("risk of an asset") struct AssetRiskTests {
  private let now = WallTime(nanoseconds: 1_790_000_000_000_000_000)

  private func asset(
    _ severities: [String] = [], maintenance: String? = nil, age: Int64? = 1, retired: Bool = false
  ) -> AssetState {
    var state = AssetState(number: 1, id: "ND01")
    state.standing = severities.map { StandingAlert(rule: "r-\($0)", severity: $0) }
    state.maintenance = maintenance
    state.readingTime = age.map { WallTime(nanoseconds: now.nanoseconds - $0 * 1_000_000_000) }
    state.isRetired = retired
    return state
  }

  @Test("the worst of what is known counts")
  func risk() {
    func risk(_ state: AssetState) -> AssetRisk { state.risk(now: now, staleAfter: .seconds(60)) }
    #expect(risk(asset()) == .none)
    #expect(risk(asset(age: 61)) == .low)
    #expect(risk(asset(age: nil)) == .low)
    #expect(risk(asset(["info"])) == .low)
    #expect(risk(asset(["info", "warning"])) == .medium)
    #expect(risk(asset(["unheard-of"])) == .medium)
    #expect(risk(asset(maintenance: "stopping")) == .medium)
    #expect(risk(asset(["critical", "info"], maintenance: "stopping")) == .high)
    #expect(risk(asset(["critical"], retired: true)) == .none)
  }

  @Test("standing alerts are kept as text and read back")
  func text() {
    var state = asset(["critical", "warning"])
    let text = state.alertsText
    state.setAlerts(text: "")
    #expect(state.alerts == [])
    state.setAlerts(text: text)
    #expect(state.standing == asset(["critical", "warning"]).standing)
  }
}
