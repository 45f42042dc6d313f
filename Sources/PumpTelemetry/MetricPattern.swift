// What a pump's metrics do beside normal operation.
//
//   normal   noise of the depth, instead of the metric's own
//   drop     the process falls by the depth, over the ramp, and comes back over it at the end
//   rise     the same upwards
//   spike    single readings are off by the depth: the first, and every `every`-th after it
//   stuck    the sensor shows what it showed last, whatever the pump does
//   drift    the sensor goes off, slowly, by the depth until the ramp is over
//
// drop, rise and normal are of the process, so that a stopped pump shows nothing of them; spike,
// stuck and drift are of the sensor. Several patterns of one metric add up.
//
// Start, duration and ramp count a pump's readings (a plain number) or its time (with ms, s, m or
// h). Pump time goes on by the interval between two readings as it was set, not by a clock, so that
// a pattern too is the same in every run.

/// How far a pump is in its story.
package struct PumpPosition: Sendable, Hashable {
  package var readings: UInt64
  package var time: Duration
}

/// A number of readings or a time of the pump.
package enum PumpExtent: Sendable, Hashable, CustomStringConvertible {
  package static let readingsMax: UInt64 = 1_000_000_000
  package static let timeMax = Duration.seconds(1_000 * 3600)

  case readings(UInt64)
  case time(Duration)

  package static let accepted =
    "a number of readings, or a time with ms, s, m or h, as in 90s, of at most 1000h"

  /// `120` or `90s`; nil for anything else.
  package init?(_ text: String) {
    let digits = text.utf8.prefix { $0 &- UInt8(ascii: "0") < 10 }
    guard let number = UInt64(Substring(digits)), number <= Self.readingsMax else { return nil }
    switch text.dropFirst(digits.count) {
    case "": self = .readings(number)
    case "ms": self = .time(.milliseconds(number))
    case "s": self = .time(.seconds(number))
    case "m": self = .time(.seconds(number * 60))
    case "h": self = .time(.seconds(number * 3600))
    default: return nil
    }
    if case .time(let time) = self, time > Self.timeMax { return nil }
  }

  package var isTime: Bool { if case .time = self { true } else { false } }

  package var description: String {
    switch self {
    case .readings(let count): "\(count) readings"
    case .time(let time): "\(time)"
    }
  }

  /// How much of it has passed between two positions; 1 and more is all of it. Counted in readings,
  /// the reading at its beginning is the first.
  func part(from start: PumpPosition, to end: PumpPosition) -> Double {
    switch self {
    case .readings(let count):
      count == 0 ? 1 : Double(end.readings - start.readings + 1) / Double(count)
    case .time(let time): time == .zero ? 1 : (end.time - start.time) / time
    }
  }

  /// Whether it has passed.
  func isOver(from start: PumpPosition, to end: PumpPosition) -> Bool {
    switch self {
    case .readings(let count): end.readings - start.readings >= count
    case .time(let time): end.time - start.time >= time
    }
  }
}

/// How far a pattern goes from normal operation.
package enum PatternDepth: Sendable, Hashable {
  package static let shareMax = 10.0
  package static let amountMax = 1_000_000.0

  /// Of the pump's own level of the metric.
  case share(Double)
  /// In the metric's unit.
  case amount(Double)

  package static let accepted =
    "a share of the normal value, as in 20%, or a number in the metric's unit, as in 15"

  /// `20%` or `15`; nil for anything else.
  package init?(_ text: String) {
    let isShare = text.hasSuffix("%")
    let digits = isShare ? text.dropLast() : text[...]
    // Nothing but digits and a point: no exponent, no sign, no name of a number.
    guard digits.utf8.allSatisfy({ $0 &- UInt8(ascii: "0") < 10 || $0 == UInt8(ascii: ".") }),
      let number = Double(digits)
    else { return nil }
    self.init(isShare ? .share(number / 100) : .amount(number))
  }

  /// Nil outside the limits.
  package init?(_ depth: PatternDepth) {
    switch depth {
    case .share(let share): guard share >= 0, share <= Self.shareMax else { return nil }
    case .amount(let amount): guard amount >= 0, amount <= Self.amountMax else { return nil }
    }
    self = depth
  }

  func amount(at level: Double) -> Double {
    switch self {
    case .share(let share): share * level
    case .amount(let amount): amount
    }
  }
}

/// One pattern of one metric of one pump.
package struct MetricPattern: Sendable, Hashable {
  package enum Shape: String, Sendable, CaseIterable {
    case normal, drop, rise, spike, stuck, drift

    package static var accepted: String {
      allCases.map(\.rawValue).joined(separator: ", ")
    }
  }

  package static let everyMax: UInt64 = 1_000_000

  package let metric: Metric
  package let shape: Shape
  package var start = PumpExtent.readings(0)
  /// nil: to the end of the run.
  package var duration: PumpExtent?
  package var depth: PatternDepth
  /// drop, rise, drift only.
  package var ramp: PumpExtent?
  /// spike only: readings from one to the next; nil: one only.
  package var every: UInt64?

  package init(metric: Metric, shape: Shape) {
    self.metric = metric
    self.shape = shape
    depth =
      switch shape {
      case .normal: .share(0.01)
      case .drop, .rise: .share(0.3)
      case .spike: .share(0.5)
      case .drift: .share(0.1)
      case .stuck: .share(0)
      }
    ramp = shape == .drop || shape == .rise ? .readings(10) : nil
  }

  /// Whether it counts time, and so needs pumps that measure at a rate.
  package var countsTime: Bool {
    start.isTime || duration?.isTime == true || ramp?.isTime == true
  }

  /// What a drift without a ramp takes when it has no end.
  fileprivate static let driftRamp = PumpExtent.readings(500)
}

/// One pattern on its way.
struct PatternRun: Sendable {
  let pattern: MetricPattern
  /// How much of the depth applies: 0 ... 1.
  private(set) var height = 0.0
  private var begin: PumpPosition?
  private var end: (position: PumpPosition, height: Double)?

  init(_ pattern: MetricPattern) { self.pattern = pattern }

  /// Goes on to the reading at this position.
  mutating func advance(to position: PumpPosition) {
    guard let begin = begin ?? start(position) else { return }
    self.begin = begin
    if end == nil, let duration = pattern.duration, duration.isOver(from: begin, to: position) {
      end = (position, height)
    }
    if let end {
      height = falling(from: end, to: position)
    } else {
      height = rising(from: begin, to: position)
    }
  }

  private func start(_ position: PumpPosition) -> PumpPosition? {
    let origin = PumpPosition(readings: 0, time: .zero)
    return pattern.start.isOver(from: origin, to: position) ? position : nil
  }

  private func rising(from begin: PumpPosition, to position: PumpPosition) -> Double {
    switch pattern.shape {
    case .normal, .stuck: return 1
    case .spike:
      let since = position.readings - begin.readings
      return since == 0 || pattern.every.map { since.isMultiple(of: $0) } ?? false ? 1 : 0
    case .drop, .rise: return min(pattern.ramp?.part(from: begin, to: position) ?? 1, 1)
    case .drift:
      let ramp = pattern.ramp ?? pattern.duration ?? MetricPattern.driftRamp
      return min(ramp.part(from: begin, to: position), 1)
    }
  }

  /// The process comes back as it went; a sensor is mended at once.
  private func falling(
    from end: (position: PumpPosition, height: Double), to position: PumpPosition
  ) -> Double {
    guard pattern.shape == .drop || pattern.shape == .rise else { return 0 }
    return max(end.height - (pattern.ramp?.part(from: end.position, to: position) ?? 1), 0)
  }
}
