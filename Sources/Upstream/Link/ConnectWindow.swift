package import GatewayCore

/// When a metered link may be used: spans of the week by the clock on the wall. A pure value.
///
/// A span that ends at or before its beginning ends on the next day. Spans may overlap and adjoin.
/// The wall clock decides by nature: a span that daylight saving skips does not happen on that day,
/// one that it repeats happens twice, and after a step of the clock the new time counts. In UTC
/// there is no such day.
package struct ConnectWindow: Sendable, Hashable {
  package struct Span: Sendable, Hashable {
    /// On which it begins; 0 is Monday. Not empty, ascending.
    package var weekdays: [Int]
    /// Minute of the day, 0...1439.
    package var opens: Int
    /// Minute of the day, 1...1440; at or before `opens`: of the next day.
    package var closes: Int

    package init(weekdays: [Int] = Array(0..<7), opens: Int, closes: Int) {
      precondition((0..<1440).contains(opens) && (1...1440).contains(closes), "minutes of a day")
      self.weekdays = weekdays
      self.opens = opens
      self.closes = closes
    }

    /// In seconds.
    var length: Int { (closes > opens ? closes - opens : closes + 1440 - opens) * 60 }
  }

  package var spans: [Span]

  package static let spansMax = 16

  package init(spans: [Span]) { self.spans = spans }

  package func isOpen(at time: CivilTime) -> Bool { secondsLeft(at: time.secondOfWeek) > 0 }

  /// Seconds until it opens, by a clock that runs evenly; 0 when it is open.
  func secondsUntilOpen(at time: CivilTime) -> Int {
    guard !isOpen(at: time) else { return 0 }
    return starts.map { Self.distance(from: time.secondOfWeek, to: $0.second) }.min() ?? 0
  }

  /// Of the span that is open at a second of the week and lasts longest.
  private func secondsLeft(at second: Int) -> Int {
    starts.map { $0.length - Self.distance(from: $0.second, to: second) }.max() ?? 0
  }

  private var starts: [(second: Int, length: Int)] {
    spans.flatMap { span in
      span.weekdays.map { ($0 * CivilTime.secondsPerDay + span.opens * 60, span.length) }
    }
  }

  private static func distance(from earlier: Int, to later: Int) -> Int {
    let week = CivilTime.secondsPerWeek
    return ((later - earlier) % week + week) % week
  }
}
