import GatewayCore
import Platform

/// What only a person at a terminal should see.
enum Terminal {
  enum Colour: Int {
    case red = 31
    case green = 32
    case yellow = 33
  }

  /// Coloured when standard output is a terminal and NO_COLOR (no-color.org) is not set.
  static func coloured(_ text: String, _ colour: Colour) -> String {
    guard Console.isTerminal, Environment.value(of: "NO_COLOR") ?? "" == "" else { return text }
    return "\u{1b}[\(colour.rawValue)m\(text)\u{1b}[0m"
  }
}

/// A line on standard error that is written again as the work goes on, on a terminal only and at
/// most four times a second.
struct ProgressLine {
  private let isShown = Console.isErrorTerminal
  private var lastShown: MonotonicTime?
  private let eraseLine = "\r\u{1b}[K"

  mutating func show(_ text: @autoclosure () -> String) {
    guard isShown else { return }
    let now = Clock.monotonic()
    if let lastShown, now.since(lastShown) < .milliseconds(250) { return }
    lastShown = now
    Console.errorText(eraseLine + text())
  }

  /// Leaves an empty line behind for what comes next.
  func end() {
    if lastShown != nil { Console.errorText(eraseLine) }
  }
}
