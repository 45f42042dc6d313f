/// A wall clock reading as calendar and clock show it, at one offset from UTC. No time zones: the
/// offset is the caller's to know. As wrong as the wall clock it was made from.
package struct CivilTime: Hashable, Sendable, CustomStringConvertible {
  /// Days since 1970-01-01.
  package let day: Int
  /// 0...86,399.
  package let second: Int
  /// Seconds east of UTC.
  package let utcOffset: Int

  package static let secondsPerDay = 86_400
  package static let secondsPerWeek = 7 * secondsPerDay

  package init(_ wall: WallTime, utcOffset: Int = 0) {
    let local = Self.floor(Int(wall.nanoseconds), 1_000_000_000) + utcOffset
    day = Self.floor(local, Self.secondsPerDay)
    second = local - day * Self.secondsPerDay
    self.utcOffset = utcOffset
  }

  /// Midnight at the beginning of a day.
  package init(day: Int, utcOffset: Int = 0) {
    self.day = day
    second = 0
    self.utcOffset = utcOffset
  }

  private static func floor(_ value: Int, _ divisor: Int) -> Int {
    value >= 0 ? value / divisor : -((-value + divisor - 1) / divisor)
  }

  /// 0 is Monday.
  package var weekday: Int {
    // 1970-01-01 was a Thursday.
    let days = day + 3
    return days - Self.floor(days, 7) * 7
  }

  /// Since Monday's midnight.
  package var secondOfWeek: Int { weekday * Self.secondsPerDay + second }

  package var date: (year: Int, month: Int, day: Int) { WallTime.civil(days: day) }

  /// The wall clock at this time.
  package var wall: WallTime {
    let seconds = Int64(day * Self.secondsPerDay + second - utcOffset)
    return WallTime(nanoseconds: seconds * 1_000_000_000)
  }

  /// `2026-11-29`.
  package var dateText: String { String(WallTime.midnight(day: day).description.prefix(10)) }

  /// `2026-11-29 22:00 UTC`, `2026-11-29 22:00 +02:00`.
  package var description: String {
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    let time = "\(dateText) \(two(second / 3600)):\(two(second / 60 % 60))"
    guard utcOffset != 0 else { return "\(time) UTC" }
    let minutes = abs(utcOffset) / 60
    return "\(time) \(utcOffset < 0 ? "-" : "+")\(two(minutes / 60)):\(two(minutes % 60))"
  }
}

extension WallTime {
  fileprivate static func midnight(day: Int) -> WallTime {
    WallTime(nanoseconds: Int64(day) * 86_400_000_000_000)
  }
}
