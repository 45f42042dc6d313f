package import GatewayCore

/// What is left of an asset's readings of one metric in one interval once they are gone.
package struct MetricSummary: Sendable, Hashable {
  package var asset: String
  package var metric: String
  /// The interval, by the readings' own times.
  package var start: WallTime
  package var width: Duration
  package var count: UInt64
  package var minimum: Double
  package var maximum: Double
  package var sum: Double
  /// The value with the latest time.
  package var last: Double
  package var lastTime: WallTime

  package var mean: Double { count == 0 ? 0 : sum / Double(count) }

  package init(
    asset: String, metric: String, start: WallTime, width: Duration, value: Double, time: WallTime
  ) {
    self.asset = asset
    self.metric = metric
    self.start = start
    self.width = width
    count = 1
    minimum = value
    maximum = value
    sum = value
    last = value
    lastTime = time
  }

  /// As it stands in a database.
  package init(
    asset: String, metric: String, start: WallTime, width: Duration, count: UInt64,
    minimum: Double, maximum: Double, sum: Double, last: Double, lastTime: WallTime
  ) {
    self.asset = asset
    self.metric = metric
    self.start = start
    self.width = width
    self.count = count
    self.minimum = minimum
    self.maximum = maximum
    self.sum = sum
    self.last = last
    self.lastTime = lastTime
  }

  fileprivate mutating func add(_ value: Double, _ time: WallTime) {
    count += 1
    minimum = min(minimum, value)
    maximum = max(maximum, value)
    sum += value
    if time >= lastTime { (last, lastTime) = (value, time) }
  }
}

/// Readings that go at once: one transaction of a store.
package struct Retirement: Sendable, Hashable {
  /// Readings beyond `after` through `through` go.
  package var after: UInt64
  package var through: UInt64
  package var readingCount: Int
  /// To be merged with what is kept of the same intervals; sorted.
  package var summaries: [MetricSummary]

  /// Sums up readings. `width` nil: nothing is kept of them.
  package init(after: UInt64, through: UInt64, readings: [HubEvent], width: Duration?) {
    self.after = after
    self.through = through
    readingCount = readings.count
    summaries = []
    guard let width else { return }
    var found: [Key: MetricSummary] = [:]
    for event in readings {
      var values: [Reading] = []
      values.merge(event.payload)
      let start = Self.start(of: event.time, width)
      for reading in values where reading.value.isFinite {
        let key = Key(asset: event.asset, metric: reading.name, start: start)
        if found[key]?.add(reading.value, event.time) == nil {
          found[key] = MetricSummary(
            asset: event.asset, metric: reading.name, start: start, width: width,
            value: reading.value, time: event.time)
        }
      }
    }
    summaries = found.values.sorted {
      ($0.asset, $0.metric, $0.start.nanoseconds) < ($1.asset, $1.metric, $1.start.nanoseconds)
    }
  }

  private struct Key: Hashable {
    let asset: String
    let metric: String
    let start: WallTime
  }

  /// The beginning of the interval that a time lies in; intervals begin at multiples of their width
  /// since 1970, before it, too.
  static func start(of time: WallTime, _ width: Duration) -> WallTime {
    let (nanoseconds, width) = (time.nanoseconds, width.nanoseconds)
    let rest = nanoseconds % width
    return WallTime(nanoseconds: nanoseconds - (rest < 0 ? rest + width : rest))
  }
}
