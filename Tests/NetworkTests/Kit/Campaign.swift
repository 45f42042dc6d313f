import Audit
import GatewayCore
import Platform

/// How long the campaigns are, and the line that each leaves behind.
enum Campaign {
  /// The value of an environment variable, or what `make test` takes.
  static func number(_ name: String, _ small: Int) -> Int {
    Environment.value(of: name).flatMap { Int($0) } ?? small
  }

  /// One line to standard output, for the log of every run.
  static func tell(_ name: String, runs: String, _ counts: AuditCounts) {
    Console.line(
      "campaign \(name): \(runs), sent \(counts.sent), acknowledged \(counts.acknowledged), "
        + "lost \(counts.lost), invented \(counts.invented), wrong \(counts.corrupt), "
        + "duplicated \(counts.duplicated), redelivered \(counts.redelivered)")
  }

  static func tell(_ name: String, _ text: String) { Console.line("campaign \(name): \(text)") }
}
