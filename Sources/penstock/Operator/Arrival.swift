import Control
import GatewayCore

/// "Did everything arrive?": the answer to an operator's first question.
struct Arrival {
  enum Kind: String {
    /// Every required destination has accepted every record.
    case all
    /// But for records so young that they are on their way.
    case underWay = "under-way"
    case outstanding
    /// Nothing can be said: a journal is not open, or cannot be read.
    case unknown
  }

  let kind: Kind
  /// One sentence or two.
  let sentence: String
  /// Not accepted by some required destination.
  let outstanding: UInt64

  /// - Parameter grace: records of at most this age are on their way.
  init(_ status: GatewayStatus, grace: Duration) {
    var outstanding: UInt64 = 0
    var accepted: UInt64 = 0
    var oldest: Duration = .zero
    var late: [String] = []
    for route in status.routes {
      for sink in route.sinks where sink.isRequired && sink.outstanding > 0 {
        let age = sink.oldestAge ?? .zero
        oldest = max(oldest, age)
        if age > grace || status.source == .journals {
          late.append(Self.reason(route, sink))
        }
      }
      let required = route.sinks.filter(\.isRequired)
      outstanding += required.map(\.outstanding).max() ?? 0
      accepted += required.map(\.acknowledged.rawValue).min() ?? 0
    }
    self.outstanding = outstanding
    let count = Figures.count(outstanding, "record")
    let unknown = status.routes.filter { $0.journal == nil }
    if !unknown.isEmpty {
      kind = .unknown
      let names = unknown.map(\.name).joined(separator: ", ")
      sentence = "It cannot be said whether everything has arrived: no journal is open of \(names)."
    } else if outstanding == 0 {
      kind = .all
      sentence =
        "Everything has arrived: \(Figures.count(accepted, "record")) accepted"
        + Self.losses(status) + "."
    } else if late.isEmpty {
      kind = .underWay
      sentence =
        "Everything has arrived but \(count) of the last \(Figures.duration(oldest)), on the way"
        + Self.losses(status) + "."
    } else {
      kind = .outstanding
      let age = oldest > .zero ? "; the oldest is \(Figures.duration(oldest)) old" : ""
      sentence =
        "\(count) \(outstanding == 1 ? "has" : "have") not arrived\(age)" + Self.losses(status)
        + ". " + late.joined(separator: " ")
    }
  }

  /// What holds one destination up.
  private static func reason(_ route: RouteStatus, _ sink: SinkStatus) -> String {
    let name = "\(route.name) to \(sink.name)"
    guard let stage = sink.stage else {
      return "\(name): \(Figures.count(sink.outstanding, "record"))."
    }
    let detail = stage.detail.isEmpty ? "" : ": \(Printable.text(stage.detail))"
    let text = "\(name) is \(stage.state) for \(Figures.duration(stage.inState))\(detail)"
    return text.hasSuffix(".") ? text : text + "."
  }

  private static func losses(_ status: GatewayStatus) -> String {
    let lost = status.routes.reduce(0 as UInt64) { sum, route in
      sum + (route.journal?.lost.values.reduce(0, +) ?? 0)
    }
    return lost == 0 ? "" : "; \(Figures.count(lost, "record")) lost before and told as gaps"
  }
}
