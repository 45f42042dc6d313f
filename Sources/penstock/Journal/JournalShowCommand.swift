import ArgumentParser
import GatewayCore
import Platform
import RingJournal

struct JournalShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Show everything about one record.",
    discussion: """
      The record's header, topic, message id, MQTT 5 properties and payload (JSON indented, other \
      bytes as hexadecimal), the commit group that holds it with its epoch, boot and times, and \
      which sinks have acknowledged it. With --raw the payload's bytes alone, exactly as they \
      came. With --json one object; a payload that is JSON is in payload, any other in \
      payload_base64.

      Examples:
        penstock journal show /var/lib/penstock/telemetry.journal 1041
        penstock journal show --config penstock.yaml --route telemetry 1041 --raw | jq .

      Exit codes: 0 shown · 1 the journal does not hold this sequence; says why · 64 usage · 65 \
      not a usable journal · 74 the file cannot be read.
      """)

  @Argument(
    help: ArgumentHelp(
      "The journal file (unless --config tells it), then the sequence.",
      valueName: "file> <sequence"))
  var operands: [String]

  @OptionGroup var location: JournalLocation
  @Flag(help: "Write the payload's bytes and nothing else.") var raw = false
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    if raw && json { throw ValidationError("--raw and --json exclude each other.") }
    _ = try sequence()
    if operands.count > 2 { throw ValidationError("Give one journal and one sequence.") }
  }

  private func sequence() throws -> Sequence {
    guard let text = operands.last, let number = UInt64(text), number > 0 else {
      throw ValidationError("\(operands.last ?? "") is not a sequence, a number from 1 on.")
    }
    return Sequence(number)
  }

  func run() throws {
    let wanted = try sequence()
    let path = try location.path(file: operands.count == 2 ? operands[0] : nil)
    var observer = try reportingJournalErrors { () throws(JournalError) in
      try JournalObserver(path: path)
    }
    var (found, payload) = (nil as JournalItem?, [UInt8]())
    try reportingJournalErrors { () throws(JournalError) in
      try observer.visit(from: wanted, through: wanted) { item, bytes in
        found = item
        // The ranges of the record stay valid: the whole group is copied, a commit at most.
        payload.append(bytes)
        return false
      }
    }
    guard case .record(let record)? = found else {
      Console.error("penstock: " + Self.reason(found, wanted, observer.committed, observer.oldest))
      throw ArgumentParser.ExitCode.failure
    }
    if raw {
      var output = DataOutput()
      try output.data(payload.span.extracting(record.payload))
      return try output.flush()
    }
    let sheet = RecordSheet(
      record: record, group: observer.group(holding: wanted), sinks: observer.statistics.sinks)
    if json {
      Console.line(sheet.object(payload.span).line)
    } else {
      for line in sheet.lines(payload.span) { Console.line(line) }
    }
  }

  private static func reason(
    _ item: JournalItem?, _ wanted: Sequence, _ committed: Sequence, _ oldest: Sequence
  ) -> String {
    switch item {
    case .gap(let gap): "record \(wanted) cannot be read: \(gap.range) are \(gap.reason.text)"
    case .absent: "record \(wanted) is not in the file any more; the oldest kept is \(oldest)"
    case .record, nil:
      committed == .none
        ? "there is no record \(wanted): the journal is empty"
        : "there is no record \(wanted) yet; the newest is \(committed)"
    }
  }
}
