import ArgumentParser
import GatewayCore
import JSONScanning
import Platform
import RingJournal

struct JournalStatsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stats",
    abstract: "Say what a journal holds and how far each sink has come.",
    discussion: """
      Reads the file without a lock and without writing: live or dead, also a copy on another \
      machine. While the gateway runs, its newest commits may be missing from the picture. Exits \
      with 65 when it is no journal or is damaged beyond use, 74 when the file cannot be read.
      """)

  @OptionGroup var argument: JournalFileArgument
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    let path = try argument.path()
    let statistics = try reportingJournalErrors { () throws(JournalError) in
      try JournalInspector.statistics(path: path)
    }
    if json { Console.line(jsonText(statistics)) } else { printTable(statistics) }
  }

  private func printTable(_ statistics: JournalStatistics) {
    let identity = statistics.identity
    Console.line("journal            \(identity.id)")
    Console.line("gateway, route     \(identity.gatewayID), \(identity.routeName)")
    Console.line("created            \(identity.createdAt)")
    Console.line("capacity           \(statistics.capacity)")
    Console.line("undelivered        \(statistics.used)\(percent(of: statistics))")
    Console.line("kept               \(statistics.kept) in \(statistics.groupCount) commit groups")
    Console.line("sequences          \(statistics.oldestKept) to \(statistics.committed)")
    let oldest = statistics.oldestUndelivered.map(\.description) ?? "none"
    Console.line("oldest undelivered \(oldest)")
    for sink in statistics.sinks {
      let behind = statistics.committed.count(since: sink.acknowledged)
      Console.line(
        "sink \(sink.name): acknowledged \(sink.acknowledged), \(behind) behind"
          + (sink.isRequired ? "" : ", best effort"))
    }
    for (reason, count) in statistics.gapRecords.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      Console.line("lost: \(count) records, \(reason.text)")
    }
  }

  private func percent(of statistics: JournalStatistics) -> String {
    let permille = statistics.used.rawValue * 1000 / max(statistics.capacity.rawValue, 1)
    return " (\(permille / 10).\(permille % 10) %)"
  }

  private func jsonText(_ statistics: JournalStatistics) -> String {
    let identity = statistics.identity
    let sinks = statistics.sinks.map {
      #"{"name":\#(quoted($0.name)),"required":\#($0.isRequired),"#
        + #""acknowledged":\#($0.acknowledged)}"#
    }
    let gaps = statistics.gapRecords.sorted { $0.key.rawValue < $1.key.rawValue }
      .map { #""\#($0.key.text)":\#($0.value)"# }
    return #"{"journal":"\#(identity.id)","gateway":\#(quoted(identity.gatewayID)),"#
      + #""route":\#(quoted(identity.routeName)),"created":"\#(identity.createdAt)","#
      + #""capacity_bytes":\#(statistics.capacity.rawValue),"#
      + #""undelivered_bytes":\#(statistics.used.rawValue),"#
      + #""kept_bytes":\#(statistics.kept.rawValue),"groups":\#(statistics.groupCount),"#
      + #""oldest_kept":\#(statistics.oldestKept),"committed":\#(statistics.committed),"#
      + #""oldest_undelivered":\#(statistics.oldestUndelivered.map { "\"\($0)\"" } ?? "null"),"#
      + #""sinks":[\#(sinks.joined(separator: ","))],"lost":{\#(gaps.joined(separator: ","))}}"#
  }

  private func quoted(_ text: String) -> String {
    var bytes: [UInt8] = []
    JSONString.append(Array(text.utf8).span, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }
}
