/// One pump's readings: a level of its own, on it a drift that comes back to it (each reading keeps
/// 99 % of the last one's) and noise; then what the patterns make of it, and whether the pump runs.
/// The next reading depends on the last, never on the clock, so a pump tells the same story
/// whatever the rate. Every reading draws as many random numbers, so patterns and commands change
/// nothing but what they are about.
struct Readings: Sendable {
  private static let persistence = 0.99
  /// A metric this near to where it goes has arrived.
  private static let arrived = 0.001

  private var generator: SplitMix64
  private var levels = InlineArray<6, Double>(repeating: 0)
  private var drifts = InlineArray<6, Double>(repeating: 0)
  /// How much of each metric is that of the running pump; the rest is that of the stopped one.
  private var shares = InlineArray<6, Double>(repeating: 1)
  /// What each sensor showed last.
  private(set) var shown = InlineArray<6, Double>(repeating: 0)
  private var patterns: [PatternRun]
  private(set) var position = PumpPosition(readings: 0, time: .zero)
  var isRunning = true

  init(generator: SplitMix64, patterns: [MetricPattern] = []) {
    self.generator = generator
    self.patterns = patterns.map(PatternRun.init)
    for metric in Metric.allCases {
      let properties = metric.properties
      let offset = properties.spread * (2 * self.generator.unit() - 1)
      levels[metric.rawValue] = properties.normal * (1 + offset)
      drifts[metric.rawValue] = self.generator.normal()
    }
  }

  /// Goes on to the next reading of all metrics; it is in `shown` then.
  /// - Parameter interval: pump time from this reading to the next.
  mutating func advance(interval: Duration) {
    for index in patterns.indices { patterns[index].advance(to: position) }
    for metric in Metric.allCases {
      let measured = sensed(mixed(process(metric), of: metric), of: metric)
      // A pump's temperature may be below zero, nothing else of it.
      shown[metric.rawValue] = metric == .temperature ? measured : max(measured, 0)
    }
    position.readings += 1
    position.time += interval
  }

  /// The metric of a running pump.
  private mutating func process(_ metric: Metric) -> Double {
    let properties = metric.properties
    let level = levels[metric.rawValue]
    let drift =
      drifts[metric.rawValue] * Readings.persistence
      + generator.normal() * (1 - Readings.persistence * Readings.persistence).squareRoot()
    drifts[metric.rawValue] = drift
    var noise = properties.noise
    var change = 0.0
    for run in patterns where run.pattern.metric == metric && run.height > 0 {
      switch run.pattern.shape {
      case .normal: noise = run.pattern.depth.amount(at: level) / level
      case .drop: change -= run.height * run.pattern.depth.amount(at: level)
      case .rise: change += run.height * run.pattern.depth.amount(at: level)
      case .spike, .stuck, .drift: break
      }
    }
    return level * (1 + properties.drift * drift + noise * generator.normal()) + change
  }

  /// What becomes of a running pump's metric when the pump is stopped, or on the way there.
  private mutating func mixed(_ running: Double, of metric: Metric) -> Double {
    let goal = isRunning ? 1.0 : 0.0
    var share = shares[metric.rawValue]
    share += (goal - share) * metric.response
    if abs(goal - share) < Readings.arrived { share = goal }
    shares[metric.rawValue] = share
    if share == 1 { return running }
    let stopped: Double =
      switch metric {
      case .rotation, .current, .flowRate: 0
      // Comes after the intake's in the order of the metrics.
      case .pressure: shown[Metric.intakePressure.rawValue]
      case .intakePressure: running * 1.25
      case .temperature: running * 0.8
      }
    return stopped + (running - stopped) * share
  }

  /// What the metric's sensor makes of it.
  private func sensed(_ value: Double, of metric: Metric) -> Double {
    var value = value
    let level = levels[metric.rawValue]
    for run in patterns where run.pattern.metric == metric && run.height > 0 {
      switch run.pattern.shape {
      case .spike, .drift: value += run.height * run.pattern.depth.amount(at: level)
      case .stuck: if position.readings > 0 { value = shown[metric.rawValue] }
      case .normal, .drop, .rise: break
      }
    }
    return value
  }
}

extension Metric {
  /// The part of the way to another state that one reading goes.
  fileprivate var response: Double {
    switch self {
    case .rotation, .current, .flowRate: 1
    case .pressure: 0.3
    case .temperature: 0.05
    case .intakePressure: 0.02
    }
  }
}
