/// Where the demo talks: a line that rewrites itself on a terminal, plain lines elsewhere.
package struct DemoOutput: Sendable {
  private let isTerminal: Bool
  private let write: @Sendable (String) -> Void

  /// - Parameter write: gets text as it is, line ends included.
  package init(isTerminal: Bool, write: @escaping @Sendable (String) -> Void) {
    self.isTerminal = isTerminal
    self.write = write
  }

  /// How often to look and to show.
  var interval: Duration { isTerminal ? .milliseconds(200) : .seconds(2) }

  func line(_ text: String) { write(clear + text + "\n") }

  func heading(_ title: String, _ explanation: String) {
    let bold = isTerminal ? ("\u{1b}[1m", "\u{1b}[0m") : ("", "")
    write("\(clear)\n\(bold.0)▸ \(title)\(bold.1)\n  \(explanation)\n")
  }

  func progress(_ counts: AuditCounts) {
    let text =
      "  sent \(counts.sent)  acknowledged \(counts.acknowledged)  delivered \(counts.delivered)"
      + "  on the way \(counts.outstanding)  redelivered \(counts.redelivered)"
      + "  duplicated \(counts.duplicated)"
    write(isTerminal ? clear + text : text + "\n")
  }

  func endProgress() {
    if isTerminal { write("\n") }
  }

  private var clear: String { isTerminal ? "\r\u{1b}[K" : "" }
}
