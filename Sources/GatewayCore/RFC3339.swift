extension WallTime {
  /// The time that an RFC 3339 text tells, down to nanoseconds (further digits are cut); nil when
  /// it is none, or outside the years that a WallTime holds (1677–2262). A leap second counts as
  /// the second after it.
  package init?(rfc3339 text: Span<UInt8>) {
    var reader = RFC3339Reader()
    guard let year = reader.number(4, in: text), reader.take("-", in: text),
      let month = reader.number(2, in: text), reader.take("-", in: text),
      let day = reader.number(2, in: text), reader.take("T", in: text),
      let hour = reader.number(2, in: text), reader.take(":", in: text),
      let minute = reader.number(2, in: text), reader.take(":", in: text),
      let second = reader.number(2, in: text), let fraction = reader.fraction(in: text),
      let offset = reader.offset(in: text), reader.position == text.count,
      1...12 ~= month, 1...WallTime.dayCount(year, month) ~= day, hour < 24, minute < 60,
      second <= 60
    else { return nil }
    let days = WallTime.days(year: year, month: month, day: day)
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset
    let (whole, isOver) = Int64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, isOverToo) = whole.addingReportingOverflow(Int64(fraction))
    guard !isOver, !isOverToo else { return nil }
    self.init(nanoseconds: sum)
  }

  private static func dayCount(_ year: Int, _ month: Int) -> Int {
    switch month {
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
  }

  /// Proleptic Gregorian date to days since 1970-01-01.
  /// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
  private static func days(year: Int, month: Int, day: Int) -> Int {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
  }
}

/// Writes times as `WallTime.description` prints them, and keeps the text of the second: of the
/// records of a backlog, most were received within the same one as the record before.
package struct RFC3339Writer: Sendable {
  /// `2026-11-23T06:00:00.123Z`
  package static let byteCount = 24

  private var second: Int64?
  /// `2026-11-23T06:00:00.`
  private var text: [20 of UInt8] = .init(repeating: 0)

  package init() {}

  /// Traps when there is no room for `byteCount` bytes.
  package mutating func append(_ time: WallTime, to bytes: inout OutputSpan<UInt8>) {
    let limits: ClosedRange<Int64> = -62_167_219_200_000...253_402_300_799_999
    let milliseconds = min(
      max(time.nanoseconds.flooringDivision(by: 1_000_000), limits.lowerBound), limits.upperBound)
    let second = milliseconds.flooringDivision(by: 1000)
    if second != self.second { write(second) }
    bytes.append(text.span)
    let fraction = UInt8(truncatingIfNeeded: (milliseconds - second * 1000) / 10)
    bytes.append(0x30 + fraction / 10)
    bytes.append(0x30 + fraction % 10)
    bytes.append(UInt8(truncatingIfNeeded: 0x30 + (milliseconds - second * 1000) % 10))
    bytes.append(UInt8(ascii: "Z"))
  }

  private mutating func write(_ second: Int64) {
    self.second = second
    let days = second.flooringDivision(by: 86_400)
    let inDay = Int(second - days * 86_400)
    let (year, month, day) = WallTime.civil(days: Int(days))
    write(year / 100, at: 0, "-")
    write(year % 100, at: 2, "-")
    write(month, at: 5, "-")
    write(day, at: 8, "T")
    write(inDay / 3600, at: 11, ":")
    write(inDay / 60 % 60, at: 14, ":")
    write(inDay % 60, at: 17, ".")
  }

  /// Two digits, by divisions by constants, and a mark, which what comes next may overwrite.
  private mutating func write(_ value: Int, at place: Int, _ mark: Unicode.Scalar) {
    text[place] = UInt8(truncatingIfNeeded: 0x30 + value / 10)
    text[place + 1] = UInt8(truncatingIfNeeded: 0x30 + value % 10)
    text[place + 2] = UInt8(ascii: mark)
  }
}

/// The pieces of an RFC 3339 time, left to right.
private struct RFC3339Reader {
  var position = 0

  mutating func number(_ digitCount: Int, in text: Span<UInt8>) -> Int? {
    guard text.count - position >= digitCount else { return nil }
    var value = 0
    for index in position..<position + digitCount {
      guard let digit = digit(text[index]) else { return nil }
      value = value * 10 + digit
    }
    position += digitCount
    return value
  }

  mutating func take(_ character: Unicode.Scalar, in text: Span<UInt8>) -> Bool {
    guard position < text.count else { return false }
    // RFC 3339, section 5.6: T and Z may be lower case.
    let byte = text[position]
    guard byte == UInt8(ascii: character) || (byte == 0x74 && character == "T") else {
      return false
    }
    position += 1
    return true
  }

  /// Nanoseconds; 0 when there is no fraction.
  mutating func fraction(in text: Span<UInt8>) -> Int? {
    guard position < text.count, text[position] == UInt8(ascii: ".") else { return 0 }
    position += 1
    var value = 0
    var count = 0
    while position < text.count, let digit = digit(text[position]) {
      if count < 9 { value = value * 10 + digit }
      count += 1
      position += 1
    }
    guard count > 0 else { return nil }
    for _ in min(count, 9)..<9 { value *= 10 }
    return value
  }

  /// Seconds east of UTC.
  mutating func offset(in text: Span<UInt8>) -> Int? {
    guard position < text.count else { return nil }
    let sign = text[position]
    position += 1
    if sign | 0x20 == UInt8(ascii: "z") { return 0 }
    guard sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-"), let hour = number(2, in: text),
      take(":", in: text), let minute = number(2, in: text), hour < 24, minute < 60
    else { return nil }
    return (hour * 3600 + minute * 60) * (sign == UInt8(ascii: "-") ? -1 : 1)
  }

  private func digit(_ byte: UInt8) -> Int? {
    byte &- UInt8(ascii: "0") < 10 ? Int(byte - UInt8(ascii: "0")) : nil
  }
}
