import Batching
import GatewayCore
import Mosquitto
import Platform
import Upstream

/// What a replay came to, for people and for programs.
struct ReplayReport {
  let journal: JournalID
  let sink: SinkOptions
  let isRehearsal: Bool
  /// Found in the journal.
  var recordCount = 0
  var leftOutCount: UInt64 = 0
  /// Asked for and not sent: commands that expired, letters that are not whole, records whose topic
  /// has no counterpart.
  var expiredCount: UInt64 = 0
  var cutCount: UInt64 = 0
  var unmappedCount: UInt64 = 0
  var gapCount: UInt64 = 0
  var absentCount: UInt64 = 0
  /// Made of it.
  var messageCount = 0
  var byteCount = 0
  /// What the broker took.
  var accepted = ReplayAccepted()
  /// Nil: everything that was asked for is accepted.
  var end: ReplayEnd?

  func printText() {
    let records = Figures.count(recordCount, "record")
    if isRehearsal {
      Console.line(
        "would publish \(records) in \(Figures.count(messageCount, "message")), "
          + "\(Figures.bytes(byteCount)), to \(destination)")
    } else {
      Console.line(
        "\(Figures.count(accepted.recordCount, "record")) in "
          + "\(Figures.count(accepted.messageCount, "message")) accepted by \(destination)")
    }
    if accepted.through > .none {
      Console.line("last accepted sequence: \(accepted.through)")
    }
    for (count, why) in [
      (expiredCount, "expired commands, not sent without --expired"),
      (cutCount, "not whole in the file, not sent"),
      (unmappedCount, "of topics that topic_map maps to nothing, not sent"),
    ] where count > 0 {
      Console.line("left out: \(Figures.count(count, "record")), \(why)")
    }
    if gapCount > 0 { Console.line("gaps among them: \(Figures.count(gapCount, "record")) lost") }
    if absentCount > 0 {
      Console.line(
        "not in the file any more, and not replayed: \(Figures.count(absentCount, "record"))")
    }
  }

  func printJSON() {
    Console.line(
      JSONObject {
        $0.put("journal", journal.description)
        $0.put("dry_run", isRehearsal)
        $0.put("format", sink.batch.format == .raw ? "raw" : "envelope")
        $0.put("topic", sink.batch.format == .raw ? nil : sink.topic)
        $0.put("records", recordCount)
        $0.put("messages", messageCount)
        $0.put("bytes", byteCount)
        $0.put("left_out_records", leftOutCount)
        $0.put("expired_records", expiredCount)
        $0.put("cut_records", cutCount)
        $0.put("unmapped_records", unmappedCount)
        $0.put("gap_records", gapCount)
        $0.put("absent_records", absentCount)
        $0.put("accepted_records", accepted.recordCount)
        $0.put("accepted_messages", accepted.messageCount)
        $0.put("accepted_through", accepted.through > .none ? accepted.through.rawValue : nil)
        $0.put("complete", end == nil && !isRehearsal)
        if case .refused(let sequences, let reason) = end {
          $0.put(
            "refused",
            JSONObject {
              $0.put("first", sequences.first.rawValue)
              $0.put("last", sequences.last.rawValue)
              $0.put("reason", "\(reason)")
              $0.put("code", reason.rawValue)
            })
        }
      }.line)
  }

  /// Why it is not whole, and how to go on; nil when it is.
  func failure(broker: String, from first: Sequence) -> String? {
    guard let end else { return nil }
    let next = max(accepted.through.next, first)
    let advice =
      accepted.through == .none
      ? "Nothing was accepted."
      : "What was asked for before \(next) is accepted: go on with --from \(next)."
    switch end {
    case .interrupted: return "interrupted. \(advice)"
    case .broker(let error): return "\(error) \(advice)"
    case .refused(let sequences, let reason):
      let which = sequences.count == 1 ? "\(sequences.first)" : "\(sequences)"
      return "\(broker) refuses \(which): \(reason). \(hint(reason)) \(advice)"
    }
  }

  private func hint(_ reason: ReasonCode) -> String {
    switch reason {
    case .noMatchingSubscribers: "Subscribe a consumer, or give --accept-no-subscriber."
    case .packetTooLarge: "One record is larger than it takes; --from behind it passes it over."
    default: "Check its access rules and limits."
    }
  }

  private var destination: String {
    let broker = sink.connection.endpoints.map { "\($0)" }.joined(separator: " or ")
    guard sink.batch.format == .raw else { return "\(broker), topic \(sink.topic)" }
    guard sink.topicMap.rules.isEmpty else { return "\(broker), topics as topic_map says" }
    let prefix = sink.topicMap.addPrefix
    return prefix.isEmpty ? "\(broker), topics as they were" : "\(broker), topics \(prefix)…"
  }
}
