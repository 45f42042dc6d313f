import GatewayCore
import Upstream

extension LinkOptions {
  /// `link` of a broker.
  ///
  /// ## Configuration keys
  /// `rate_limit`, `connect_window`, `time_zone`, `data_budget`.
  mutating func read(_ section: inout SectionReader) {
    section.readRateLimit(into: &rateLimit)
    readWindow(&section)
    section.read("time_zone", .choice, into: &timeZone)
    readBudget(&section)
  }

  private mutating func readWindow(_ section: inout SectionReader) {
    let key = "connect_window"
    if let node = section.node(key), case .scalar(let scalar) = node.content,
      scalar.text == "always"
    {
      return
    }
    let spans = section.list(
      key, of: .windowSpan, count: 1...ConnectWindow.spansMax, orOne: true)
    if let spans { connectWindow = ConnectWindow(spans: spans) }
  }

  /// ## Configuration keys
  /// `data_budget`: `none`, or `bytes` (required), `per`, `resets_on`, `when_spent`.
  private mutating func readBudget(_ section: inout SectionReader) {
    let key = "data_budget"
    let isPresent = section.isPresent(key)
    section.section(
      key, orNone: "a data budget", example: "{bytes: 500MB, per: month, resets_on: 1}"
    ) { section in
      if isPresent, !section.isPresent("bytes") {
        section.reportMissing("bytes", accepted: "a size, as in 500MB")
      }
      var budget = DataBudget(byteCount: ByteCount(0))
      let bytes = section.value("bytes", .byteCount(DataBudget.byteRange))
      section.read("per", .choice, into: &budget.period)
      section.read("resets_on", .integer(DataBudget.resetDays), into: &budget.resetsOn)
      section.read("when_spent", .choice, into: &budget.whenSpent)
      if section.isPresent("resets_on"), budget.period == .day {
        section.findings.error(
          at: section.keyPath("resets_on"), "has no effect with per: day; remove it")
      }
      guard let bytes else { return }
      budget.byteCount = bytes
      dataBudget = budget
    }
  }
}

extension SectionReader {
  /// Reads a section that may be the word `none`.
  mutating func section(
    _ key: String, orNone what: String, example: String, _ body: (inout SectionReader) -> Void
  ) {
    guard let node = node(key), case .scalar(let scalar) = node.content, !scalar.isAbsent else {
      section(key, body)
      return
    }
    let kind = ScalarKind<Bool>(accepted: "none, or a section such as \(example)") {
      (text) throws(Rejection) in
      guard text == "none" else { throw Rejection("is not \(what)") }
      return true
    }
    _ = value(key, kind)
  }
}

extension ScalarKind where Value == ConnectWindow.Span {
  /// `22:00-06:00`, `mon-fri 22:00-06:00`, `sat,sun 00:00-24:00`.
  fileprivate static var windowSpan: ScalarKind {
    let accepted =
      "a time span such as \"22:00-06:00\" or \"mon-fri,sun 22:00-06:00\", in hours and minutes"
    return ScalarKind(accepted: accepted) { (text) throws(Rejection) in
      let parts = text.split(separator: " ", omittingEmptySubsequences: false)
      guard (1...2).contains(parts.count), let times = parts.last else {
        throw Rejection("is not a time span")
      }
      let ends = times.split(separator: "-", omittingEmptySubsequences: false)
      guard ends.count == 2, let opens = minute(ends[0]), let closes = minute(ends[1]) else {
        throw Rejection("is not a time span")
      }
      guard opens < 1440 else { throw Rejection("begins at 24:00, which is 00:00") }
      guard opens != closes else { throw Rejection("is empty; a whole day is 00:00-24:00") }
      let days = parts.count == 2 ? weekdays(parts[0]) : Array(0..<7)
      guard let days else {
        throw Rejection("has days that are not known: mon, tue, wed, thu, fri, sat, sun")
      }
      return ConnectWindow.Span(weekdays: days, opens: opens, closes: closes == 0 ? 1440 : closes)
    }
  }

  private static func minute(_ text: Substring) -> Int? {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2,
      parts.allSatisfy({ $0.utf8.count == 2 && $0.utf8.allSatisfy(Quantity.isDigit) }),
      let hour = Int(parts[0]), let minute = Int(parts[1]), minute < 60,
      hour * 60 + minute <= 1440
    else { return nil }
    return hour * 60 + minute
  }

  private static func weekdays(_ text: Substring) -> [Int]? {
    var found: Set<Int> = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let ends = part.split(separator: "-", omittingEmptySubsequences: false)
      guard (1...2).contains(ends.count), let first = weekday(ends[0]),
        let last = weekday(ends[ends.count - 1])
      else { return nil }
      for offset in 0...((last - first + 7) % 7) { found.insert((first + offset) % 7) }
    }
    return found.sorted()
  }

  private static func weekday(_ text: Substring) -> Int? {
    ConnectWindow.Span.weekdayNames.firstIndex(of: String(text))
  }
}

extension ConnectWindow.Span {
  static let weekdayNames = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

  /// As the file writes it.
  var text: String {
    func time(_ minute: Int) -> String {
      let (hour, rest) = (minute / 60, minute % 60)
      return (hour < 10 ? "0" : "") + "\(hour):" + (rest < 10 ? "0" : "") + "\(rest)"
    }
    let days =
      weekdays.count == 7 ? "" : weekdays.map { Self.weekdayNames[$0] }.joined(separator: ",") + " "
    return "\(days)\(time(opens))-\(time(closes))"
  }
}
