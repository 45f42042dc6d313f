/// What a pump measures: field, unit, the value in normal operation, how far pumps differ from each
/// other and how far one pump's readings wander. This table is the only place where they are
/// stated.
///
///   field            unit   normal   pump ± %   drift %   noise %   what it is
///   rotation         rpm      3500          2       0.3      0.05   motor shaft, two poles at 60
///   Hz
///   current          A          45         10       1.0      0.4    motor current, per phase
///   intakePressure   kPa      4100         15       0.8      0.15   at the pump's intake
///   pressure         kPa     14500          8       0.5      0.15   at the pump's discharge
///   flowRate         m³/d      320         12       1.0      0.5    liquid at the surface
///   temperature      °C         82          6       0.6      0.1    motor winding
///
/// The values are those of an electrical submersible pump of middle size in an oil well. Once it is
/// stopped:
///
///   rotation, current, flowRate   0 at once: the check valve holds the column
///   pressure                      falls to the intake's, by 30 % of the difference each reading
///   intakePressure                rises by a quarter, towards the reservoir's, 2 % each reading
///   temperature                   falls by a fifth, towards the well's, 5 % each reading
///
/// A started pump comes back the same way, its motor at once.
package enum Metric: Int, CaseIterable, Sendable {
  case rotation
  case current
  case intakePressure
  case pressure
  case flowRate
  case temperature

  /// The metric that events name so; nil for any other name.
  package init?(field: String) {
    guard let metric = Metric.allCases.first(where: { $0.field == field }) else { return nil }
    self = metric
  }

  package var field: String { properties.field.description }

  /// All fields, for messages that say what is accepted.
  package static var accepted: String { allCases.map(\.field).joined(separator: ", ") }

  package struct Properties: Sendable {
    package let field: StaticString
    package let unit: StaticString
    package let normal: Double
    /// Parts of the normal value.
    package let spread: Double
    package let drift: Double
    package let noise: Double
    /// Digits after the point in an event.
    package let decimals: Int
  }

  package var properties: Properties {
    switch self {
    case .rotation: .init("rotation", "rpm", 3500, 0.02, 0.003, 0.0005, decimals: 1)
    case .current: .init("current", "A", 45, 0.10, 0.010, 0.004, decimals: 2)
    case .intakePressure: .init("intakePressure", "kPa", 4100, 0.15, 0.008, 0.0015, decimals: 1)
    case .pressure: .init("pressure", "kPa", 14_500, 0.08, 0.005, 0.0015, decimals: 1)
    case .flowRate: .init("flowRate", "m³/d", 320, 0.12, 0.010, 0.005, decimals: 2)
    case .temperature: .init("temperature", "°C", 82, 0.06, 0.006, 0.001, decimals: 2)
    }
  }
}

extension Metric.Properties {
  fileprivate init(
    _ field: StaticString, _ unit: StaticString, _ normal: Double, _ spread: Double,
    _ drift: Double, _ noise: Double, decimals: Int
  ) {
    self.init(
      field: field, unit: unit, normal: normal, spread: spread, drift: drift, noise: noise,
      decimals: decimals)
  }
}
