import Control
import GatewayCore
import Observability

/// What the stages count, read back from the registry.
struct StageReadings: Sendable {
  let registry: MetricsRegistry

  func count(_ name: String, route: String, sink: String? = nil) -> UInt64? {
    registry.value(of: name, labels(route, sink)).flatMap { UInt64(exactly: max(0, $0.rounded())) }
  }

  func total(_ name: String, route: String) -> DurationTotal? {
    registry.total(of: name, labels(route, nil)).map {
      DurationTotal(count: $0.count, total: .nanoseconds(Int64(max(0, min($0.sum, 9e9)) * 1e9)))
    }
  }

  /// Records told to a sink as gaps, by reason; without the reasons that had none.
  func gaps(route: String, sink: String) -> [String: UInt64] {
    var counts: [String: UInt64] = [:]
    for reason in GapReason.allCases {
      let value = registry.value(
        of: "penstock_gap_records_total", labels(route, sink) + [("reason", reason.text)])
      if let value, value > 0 { counts[reason.text] = UInt64(value) }
    }
    return counts
  }

  private func labels(_ route: String, _ sink: String?) -> [(String, String)] {
    [("route", route)] + (sink.map { [("sink", $0)] } ?? [])
  }
}
