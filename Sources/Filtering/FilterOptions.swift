/// What a route leaves out or sums up before it stores and sends. Off unless configured.
package struct FilterOptions: Sendable, Hashable {
  /// Only topics that one of these matches pass; empty: all.
  package var include: [String] = []
  /// Topics that one of these matches do not pass.
  package var exclude: [String] = []
  /// Readings that say nothing new do not pass.
  package var fields: [FieldRule] = []
  /// Readings that are summed up.
  package var aggregate: AggregateOptions?

  package init() {}

  /// Rules of one route: with key and value each, beside an id of eight parts and an aggregate,
  /// they fit the pointers of one scan.
  package static let fieldsMax = 8
  /// Filters of `include`, `exclude` and `topics`.
  package static let topicsMax = 64

  /// Whether everything passes.
  package var isEmpty: Bool { self == FilterOptions() }
}

/// When a reading says nothing new.
package struct FieldRule: Sendable, Hashable {
  /// The topics it is for.
  package var topics: [String] = ["#"]
  /// JSON pointer to the number.
  package var pointer: String
  /// JSON pointer to what tells the series of one topic apart, such as the name of a metric.
  package var key: String?
  /// A value this near to the last one that passed says nothing new.
  package var deadBand: DeadBand?
  /// Nor does one that comes sooner than this after it.
  package var minInterval: Duration?
  /// After this long one passes in any case.
  package var maxSilence: Duration?

  package init(pointer: String) { self.pointer = pointer }
}

package enum DeadBand: Sendable, Hashable {
  /// In the unit of the value.
  case absolute(Double)
  /// Of the magnitude of the last value that passed.
  case percent(Double)

  /// Whether `value` is within the band around `last`.
  func holds(_ value: Double, around last: Double) -> Bool {
    switch self {
    case .absolute(let width): abs(value - last) <= width
    case .percent(let share): abs(value - last) <= abs(last) * share / 100
    }
  }
}

/// Readings of one series that are summed up over a time.
package struct AggregateOptions: Sendable, Hashable {
  /// The topics it is for.
  package var topics: [String] = ["#"]
  /// The length of a window; windows begin at whole multiples of it since 1970.
  package var every: Duration
  /// JSON pointers to the numbers.
  package var fields: [String]
  /// As in `FieldRule`.
  package var key: String?
  package var functions: [AggregateFunction] = [.min, .max, .mean, .last, .count]
  /// The readings themselves are delivered as well.
  package var keepsRaw = false
  /// An aggregate's topic is that of its readings and this.
  package var topicSuffix = "/aggregate"

  package init(every: Duration, fields: [String]) {
    self.every = every
    self.fields = fields
  }

  package static let fieldsMax = 4
}

package enum AggregateFunction: String, Sendable, Hashable, CaseIterable {
  case count, min, max, mean, sum, first, last
}

/// Why a message did not pass.
package enum FilterReason: String, Sendable, Hashable, CaseIterable {
  case topic
  case deadBand = "dead-band"
  case minInterval = "min-interval"
}
