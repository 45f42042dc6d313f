import ArgumentParser
import Envelope
import GatewayCore
import Platform
import RingJournal

/// Which records of a journal a command is about.
struct RecordSelection: ParsableArguments {
  @Option(
    help: ArgumentHelp("Begin with this sequence; default: the oldest kept.", valueName: "n"))
  var from: UInt64?

  @Option(help: ArgumentHelp("End with this sequence; default: the newest.", valueName: "n"))
  var to: UInt64?

  @Option(
    help: ArgumentHelp(
      "Only records of topics that match this filter, with + and #.", valueName: "filter"),
    transform: RecordSelection.filter)
  var source: TopicFilter?

  @Option(
    help: ArgumentHelp(
      "Only records received at or after this time: 2026-11-23T06:00:00Z, or 2h for two hours ago.",
      valueName: "time"),
    transform: RecordSelection.time)
  var since: WallTime?

  @Option(
    help: ArgumentHelp("Only records received before this time, as --since.", valueName: "time"),
    transform: RecordSelection.time)
  var until: WallTime?

  @Option(
    help: ArgumentHelp(
      "Only dead letters: missing-id, conflict, too-large, refused, expired, or any.",
      valueName: "reason"),
    transform: DeadLetterFilter.init)
  var reason: DeadLetterFilter?

  func validate() throws {
    if from == 0 { throw ValidationError("Sequences begin at 1.") }
    if let from, let to, to < from { throw ValidationError("--to lies before --from.") }
    if let since, let until, until < since { throw ValidationError("--until lies before --since.") }
  }

  /// Nothing was said.
  var isEverything: Bool {
    from == nil && to == nil && since == nil && until == nil && source == nil && reason == nil
  }

  /// Whether a record within `from` and `to` is asked for. A wrong clock may make times go back, so
  /// that a time never ends a search.
  func includes(_ record: JournalRecord, _ bytes: Span<UInt8>) -> Bool {
    if let since, record.received < since { return false }
    if let until, record.received >= until { return false }
    if let reason, !reason.includes(record) { return false }
    return source?.matches(bytes.extracting(record.topic)) ?? true
  }

  static func filter(_ text: String) throws -> TopicFilter {
    guard let filter = TopicFilter(text) else {
      throw ValidationError(
        "\(text) is not a topic filter: + stands alone between slashes, # alone at the end.")
    }
    return filter
  }

  static func time(_ text: String) throws -> WallTime {
    if let time = WallTime(rfc3339: Array(text.utf8).span) { return time }
    if let ago = try? age(text) {
      return WallTime(nanoseconds: Clock.wall().nanoseconds - ago.nanoseconds)
    }
    throw ValidationError(
      "\(text) is not a time: write 2026-11-23T06:00:00Z, or 90s, 30m, 2h, 7d for so long ago.")
  }

  private static func age(_ text: String) throws -> Duration {
    guard text.hasSuffix("d") else { return try BrokerArguments.duration(text) }
    guard let days = Int64(text.dropLast()), (1...36_500).contains(days) else {
      throw ValidationError("\(text) is not a number of days.")
    }
    return .seconds(days * 86_400)
  }
}

/// Which dead letters of a journal are asked for.
enum DeadLetterFilter: Equatable {
  case any
  case reason(DeadLetterReason)

  init(_ text: String) throws {
    if text == "any" {
      self = .any
    } else if let reason = DeadLetterReason.allCases.first(where: { $0.text == text }) {
      self = .reason(reason)
    } else {
      let reasons = DeadLetterReason.allCases.map(\.text).joined(separator: ", ")
      throw ValidationError("\(text) is not a reason: write \(reasons), or any.")
    }
  }

  func includes(_ record: JournalRecord) -> Bool {
    switch self {
    case .any: record.kind == .deadLetter
    case .reason(let reason): record.kind == .deadLetter && record.reason == reason
    }
  }
}
