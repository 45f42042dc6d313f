import ArgumentParser
import GatewayCore
import Hub
import Platform

struct HistoryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "history",
    abstract: "Show what is left of an asset's readings that were summed up by age.",
    discussion: """
      One line for each metric and interval: how many readings it had, their smallest, largest \
      and mean value, and the last one. Newer readings are still there one by one: penstock-hub \
      events --asset ID --type metric.recorded.v1.
      """)

  @OptionGroup var arguments: DatabaseArguments
  @Option(help: "Only intervals that begin at or after this time, as 2026-11-28T12:00:00Z.")
  var since: String?
  @Option(help: "Only this metric.") var metric: String?
  @Option(help: "At most so many.") var count = 1_000
  @Argument(help: "The asset's id.") var asset: String

  func run() throws {
    var start = WallTime(nanoseconds: .min)
    if let since {
      guard let time = WallTime(rfc3339: Array(since.utf8).span) else {
        throw ValidationError("--since takes a time such as 2026-11-28T12:00:00Z")
      }
      start = time
    }
    var table = Table(
      "METRIC", "FROM", ">SECONDS", ">COUNT", ">MIN", ">MAX", ">MEAN", ">LAST")
    for summary in try arguments.open().summaries(of: asset, from: start, limit: count)
    where metric == nil || metric == summary.metric {
      if arguments.json {
        JSONLine { line in
          line.put("asset", summary.asset)
          line.put("metric", summary.metric)
          line.put("from", summary.start.description)
          line.put("seconds", Int(summary.width.seconds))
          line.put("count", summary.count)
          line.put("min", summary.minimum)
          line.put("max", summary.maximum)
          line.put("mean", summary.mean)
          line.put("last", summary.last)
          line.put("lastAt", summary.lastTime.description)
        }.show()
      } else {
        table.add(
          summary.metric, summary.start.description, "\(Int(summary.width.seconds))",
          "\(summary.count)", Self.text(summary.minimum), Self.text(summary.maximum),
          Self.text(summary.mean), Self.text(summary.last))
      }
    }
    if !arguments.json { table.show() }
  }

  /// Three digits after the point.
  private static func text(_ value: Double) -> String {
    "\((value * 1000).rounded() / 1000)"
  }
}
