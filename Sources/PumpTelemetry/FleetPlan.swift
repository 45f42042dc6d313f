/// What one pump is to do.
package struct PumpPlan: Sendable, Hashable {
  package static let idByteCountMax = 64
  package static let patternsMax = 16
  /// Readings per second of one pump.
  package static let rateRange = 0.001...1000.0

  package let id: String
  /// Facts that are not to be made up from the seed.
  package var facts = PumpFacts()
  /// Readings per second; nil: an equal part of what the run sends.
  package var rate: Double?
  /// Readings after which it falls silent; nil: none.
  package var count: UInt64?
  package var patterns: [MetricPattern] = []

  /// Letters, digits, `_` and `-`, 1 ... `idByteCountMax`; nil for any other id.
  package init?(id: String) {
    guard (1...Self.idByteCountMax).contains(id.utf8.count), id.utf8.allSatisfy(Self.isIDByte)
    else { return nil }
    self.id = id
  }

  package static let acceptedID = "1 to 64 letters, digits, _ and -"

  init(number: Int) {
    let digits = String(number)
    id = "ND" + String(repeating: "0", count: max(0, 2 - digits.utf8.count)) + digits
  }

  /// `ND07` is 7; nil for ids that no number gives.
  var number: Int? {
    guard id.hasPrefix("ND"), let number = Int(id.dropFirst(2)), (1...Int(Int32.max)) ~= number,
      PumpPlan(number: number).id == id
    else { return nil }
    return number
  }

  /// Which of the seed's streams the pump is made of: the same pump whatever stands beside it.
  var stream: UInt64 {
    if let number { return UInt64(number) }
    // FNV-1a; the upper bit keeps it apart from the numbers.
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in id.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    return hash | 1 << 63
  }

  private static func isIDByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
      true
    default: false
    }
  }
}

/// Why a plan is refused, in a sentence.
package struct FleetPlanError: Error, Hashable, Sendable, CustomStringConvertible {
  package let description: String
  init(_ description: String) { self.description = description }
}

/// A pattern and whom it is for: `ND03:temperature=rise:start=60s:duration=5m:depth=20%`.
///
/// `<pump id, or * for every pump>:<metric>=<shape>`, then any of `start`, `duration`, `depth`,
/// `ramp` and `every`, each as `:name=value`.
package struct PatternAssignment: Sendable, Hashable {
  /// nil: every pump.
  package let pump: String?
  package let pattern: MetricPattern

  package init(_ text: String) throws(FleetPlanError) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard parts.count >= 2 else {
      throw FleetPlanError(
        "\(text) is not a pattern; accepted: PUMP:METRIC=SHAPE, then :start=, :duration=, "
          + ":depth=, :ramp= and :every=, as in ND03:temperature=rise:start=60s:depth=20%")
    }
    let (metricText, shapeText) = try Self.pair(parts[1])
    guard parts[0] == "*" || PumpPlan(id: parts[0]) != nil else {
      throw FleetPlanError(
        "\"\(parts[0])\" is not a pump; accepted: \(PumpPlan.acceptedID), or * for every pump")
    }
    guard let metric = Metric(field: metricText) else {
      throw FleetPlanError("\"\(metricText)\" is not a metric; accepted: \(Metric.accepted)")
    }
    guard let shape = MetricPattern.Shape(rawValue: shapeText) else {
      throw FleetPlanError(
        "\"\(shapeText)\" is not a pattern; accepted: \(MetricPattern.Shape.accepted)")
    }
    var draft = PatternDraft()
    for part in parts.dropFirst(2) {
      let (name, value) = try Self.pair(part)
      if let problem = draft.set(name, to: value) {
        throw FleetPlanError("\(name)=\(value): \(problem)")
      }
    }
    pump = parts[0] == "*" ? nil : parts[0]
    let (pattern, problem) = draft.pattern(metric: metric, shape: shape)
    if let problem { throw FleetPlanError(problem) }
    self.pattern = pattern
  }

  private static func pair(_ text: String) throws(FleetPlanError) -> (String, String) {
    guard let equals = text.firstIndex(of: "=") else {
      throw FleetPlanError("\"\(text)\" has no =; accepted: name=value")
    }
    return (String(text[..<equals]), String(text[text.index(after: equals)...]))
  }
}

/// The settings of a pattern while they are read, from a command line or a file.
struct PatternDraft {
  static let names = ["start", "duration", "depth", "ramp", "every"]

  private var start: PumpExtent?
  private var duration: PumpExtent?
  private var ramp: PumpExtent?
  private var depth: PatternDepth?
  private var every: UInt64?

  /// What is wrong with a setting; nil when nothing is.
  mutating func set(_ name: String, to text: String) -> String? {
    switch name {
    case "start", "duration", "ramp":
      guard let extent = PumpExtent(text) else {
        return "\"\(text)\" is not accepted; accepted: \(PumpExtent.accepted)"
      }
      switch name {
      case "start": start = extent
      case "duration": duration = extent
      default: ramp = extent
      }
    case "depth":
      guard let depth = PatternDepth(text) else {
        return "\"\(text)\" is not accepted; accepted: \(PatternDepth.accepted)"
      }
      self.depth = depth
    case "every":
      guard let number = UInt64(text), (1...MetricPattern.everyMax).contains(number) else {
        return "\"\(text)\" is not accepted; accepted: readings, 1 to \(MetricPattern.everyMax)"
      }
      every = number
    default:
      return "is not a setting of a pattern; accepted: \(Self.names.joined(separator: ", "))"
    }
    return nil
  }

  /// The pattern, and what is wrong with the settings taken together.
  func pattern(
    metric: Metric, shape: MetricPattern.Shape
  ) -> (pattern: MetricPattern, problem: String?) {
    var pattern = MetricPattern(metric: metric, shape: shape)
    if let start { pattern.start = start }
    pattern.duration = duration
    if let depth { pattern.depth = depth }
    if let ramp { pattern.ramp = ramp }
    pattern.every = every
    var problem: String?
    if every != nil, shape != .spike { problem = "every is of spike only; remove it" }
    if ramp != nil, ![.drop, .rise, .drift].contains(shape) {
      problem = "ramp is of drop, rise and drift only; remove it"
    }
    if depth != nil, shape == .stuck { problem = "stuck has no depth; remove it" }
    return (pattern, problem)
  }
}

/// The pumps of a run and what each is to do.
package struct FleetPlan: Sendable, Hashable {
  package private(set) var pumps: [PumpPlan]

  /// ND01, ND02, … without patterns. Limits: 1 ... `PumpFleet.countMax`.
  package init(count: Int) {
    precondition((1...PumpFleet.countMax).contains(count), "the command bounds the number of pumps")
    pumps = (1...count).map(PumpPlan.init)
  }

  /// These pumps; throws when there are none, too many, or two with one id.
  package init(_ pumps: [PumpPlan]) throws(FleetPlanError) {
    guard (1...PumpFleet.countMax).contains(pumps.count) else {
      throw FleetPlanError("\(pumps.count) pumps; accepted: 1 to \(PumpFleet.countMax)")
    }
    var ids: Set<String> = []
    for pump in pumps where !ids.insert(pump.id).inserted {
      throw FleetPlanError("two pumps have the id \(pump.id); an id is one pump's alone")
    }
    self.pumps = pumps
  }

  /// Gives pumps more patterns.
  package mutating func add(_ assignments: [PatternAssignment]) throws(FleetPlanError) {
    var places: [String: Int] = [:]
    for (index, pump) in pumps.enumerated() { places[pump.id] = index }
    for assignment in assignments {
      var range = pumps.indices
      if let id = assignment.pump {
        guard let index = places[id] else {
          let last = pumps.count == 1 ? "" : " … \(pumps[pumps.count - 1].id)"
          throw FleetPlanError(
            "there is no pump \(id) to give a pattern to; accepted: \(pumps[0].id)\(last), or *")
        }
        range = index..<index + 1
      }
      for index in range {
        guard pumps[index].patterns.count < PumpPlan.patternsMax else {
          throw FleetPlanError(
            "pump \(pumps[index].id) has more than \(PumpPlan.patternsMax) patterns")
        }
        pumps[index].patterns.append(assignment.pattern)
      }
    }
  }

  /// The pumps of one of several connections, in their order.
  package func part(_ index: Int, of count: Int) -> FleetPlan {
    var part = self
    part.pumps = stride(from: index, to: pumps.count, by: count).map { pumps[$0] }
    return part
  }

  /// A pump whose patterns count time although it measures as fast as it goes; nil when none does.
  package func pumpWithoutTime(hasRate: Bool) -> String? {
    hasRate
      ? nil : pumps.first { $0.rate == nil && $0.patterns.contains(where: \.countsTime) }?.id
  }
}
