// The acceptance: how the consumer of a gateway's batches says what it has made durable. A sink
// with `accept: hub` moves its cursor, and gives space free, by these words alone: the PUBACK of a
// broker comes from that broker's memory.
//
// ## Topic
// `<topic of the batches>/accepted`, by default `penstock/v1/<gateway>/<route>/accepted`; QoS 1,
// retained: a gateway that connects learns the last state at once, and only the last one counts.
//
// ## Format
// One JSON object, UTF-8, not compressed, at most 16 KiB:
//
//     {"journal":"<uuid>",               as in the envelope
//      "epoch":"9f3c…",                  of the envelope that `through` lies in, the one that came
//                                        last; see below
//      "through":1540,                   everything up to here is committed, except
//      "missing":[[990,1040],[1200,1200]]}   ranges to be sent once more, both ends included:
//                                        ascending, disjoint, at most 64
//
// Unknown members are to be ignored.
//
// ## What a consumer does
// 1. Subscribes to the batches at QoS 1 with a session that outlives its absence.
// 2. Per journal, keeps the ranges of sequences it has accounted for: `first…last` of each
//    envelope, whatever of it was events, gaps or elided. Commits them in the transaction that
//    stores the events, and applies `(journal, epoch, sequence)` once.
// 3. After the commit, and also after a batch that brought nothing new, publishes an acceptance.
//    Many batches may share one. What it says must be durable before it says so.
// 4. `through` is the highest sequence it has; the holes below are `missing`. With more holes than
//    64, `through` is the sequence before the 65th. Ranges beyond `through`, or of what was
//    accepted before, may be asked for, too: what the ring still holds is sent, marked as a replay
//    if it was accepted before; what it does not hold any more comes as a gap, and is then missing
//    no more.
// 5. Where to begin is its own choice: it may take the first envelope it sees as the beginning, or
//    name all before it as missing.
//
// ## The epoch
// Sequences are dense over the life of a journal and each is of one epoch, the one in its envelope.
// A gateway that was put back to an older image counts again from there, in a new epoch. So an
// acceptance speaks for records up to the last one that its epoch has numbered, as far as the
// gateway knows that epoch as one that its own ring lived through; of another it believes nothing.
// A consumer that sees an envelope of a new epoch begin at or below a sequence it knows has met
// such a life: it forgets the ranges from there on, and raises an alarm.

package import GatewayCore
import JSONScanning

/// What a consumer has committed of one journal.
package struct AcceptanceMessage: Sendable, Hashable {
  /// Ranges in one message.
  package static let missingCountMax = 64
  /// Bytes of one message: 64 ranges of the longest numbers and room for unknown members.
  package static let byteCountMax = 16_384

  package var journal: JournalID
  /// Of the envelope that `through` lies in.
  package var epoch: Epoch
  /// Everything up to here is committed, except `missing`; 0: nothing yet.
  package var through: Sequence
  /// What is to be sent once more: ascending, disjoint.
  package var missing: [SequenceRange]

  package init(
    journal: JournalID, epoch: Epoch, through: Sequence, missing: [SequenceRange] = []
  ) {
    self.journal = journal
    self.epoch = epoch
    self.through = through
    self.missing = missing
  }

  /// Where the acceptances of batches on `topic` are published.
  package static func topic(ofBatches topic: String) -> String { topic + "/accepted" }

  /// The message, in the one form that this version writes.
  package func encode() -> [UInt8] {
    var text: [UInt8] = []
    text.append(ascii: "{\"journal\":\"")
    text.append(journal)
    text.append(ascii: "\",\"epoch\":\"")
    text.append(hexadecimal: epoch.rawValue)
    text.append(ascii: "\",\"through\":")
    text.append(decimal: through.rawValue)
    text.append(ascii: ",\"missing\":[")
    for (index, range) in missing.enumerated() {
      text.append(ascii: index == 0 ? "[" : ",[")
      text.append(decimal: range.first.rawValue)
      text.append(UInt8(ascii: ","))
      text.append(decimal: range.last.rawValue)
      text.append(UInt8(ascii: "]"))
    }
    text.append(ascii: "]}")
    return text
  }

  /// Reads a message that may come from anyone.
  package static func decode(_ text: Span<UInt8>) throws(AcceptanceError) -> AcceptanceMessage {
    guard text.count <= byteCountMax else {
      throw AcceptanceError(.tooLarge, detail: "\(text.count) bytes, at most \(byteCountMax)")
    }
    var scanner = JSONScanner(pointers: [])
    if case .invalid(let offset) = scanner.scan(text) {
      throw AcceptanceError(.notJSON, detail: "at byte \(offset)")
    }
    var parser = AcceptanceParser()
    do {
      return try parser.parse(text)
    } catch let error as AcceptanceError {
      throw error
    } catch {
      throw AcceptanceError(.malformed, detail: "\(error)")
    }
  }
}

/// Why a message is no acceptance.
package struct AcceptanceError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    case tooLarge
    case notJSON
    /// A member is missing, twice there or of the wrong form.
    case malformed
  }

  package let code: Code
  package let detail: String

  init(_ code: Code, detail: String) {
    self.code = code
    self.detail = detail
  }

  package var description: String {
    let what =
      switch code {
      case .tooLarge: "the acceptance is too large"
      case .notJSON: "the acceptance is not JSON"
      case .malformed: "the JSON is not an acceptance"
      }
    return "\(what) (\(detail)): check that only the consumer publishes on this topic"
  }
}

private struct AcceptanceParser {
  private var reader = JSONReader()

  mutating func parse(_ text: Span<UInt8>) throws -> AcceptanceMessage {
    var (journal, epoch) = (JournalID?.none, Epoch?.none)
    var (through, missing) = (UInt64?.none, [SequenceRange]?.none)
    try reader.beginObject(in: text)
    while let name = try reader.nextName(in: text) {
      let member = text.extracting(name.content)
      if member.reads("journal") {
        try once(journal == nil, "journal")
        journal = JournalID(try readText(text))
        if journal == nil { throw malformed("\"journal\" is not a UUID") }
      } else if member.reads("epoch") {
        try once(epoch == nil, "epoch")
        epoch = Epoch(try readText(text))
        if epoch == nil { throw malformed("\"epoch\" is not 16 hexadecimal digits") }
      } else if member.reads("through") {
        try once(through == nil, "through")
        through = try reader.readUInt64(in: text)
      } else if member.reads("missing") {
        try once(missing == nil, "missing")
        missing = try readRanges(text)
      } else {
        _ = try reader.readValue(in: text)
      }
    }
    guard let journal else { throw malformed("no member \"journal\"") }
    guard let epoch else { throw malformed("no member \"epoch\"") }
    guard let through else { throw malformed("no member \"through\"") }
    guard let missing else { throw malformed("no member \"missing\"") }
    // The last of all is never a sequence, so that counting on can neither wrap nor trap.
    guard through < .max else { throw malformed("\"through\" is no sequence") }
    return AcceptanceMessage(
      journal: journal, epoch: epoch, through: Sequence(through), missing: missing)
  }

  /// None of ours needs an escape; one that has some is not equal to any.
  private mutating func readText(_ text: Span<UInt8>) throws -> String {
    String(decoding: text.extracting(try reader.readString(in: text).content))
  }

  private mutating func readRanges(_ text: Span<UInt8>) throws -> [SequenceRange] {
    var ranges: [SequenceRange] = []
    try reader.beginArray(in: text)
    while try reader.nextElement(in: text) {
      guard ranges.count < AcceptanceMessage.missingCountMax else {
        throw malformed("more than \(AcceptanceMessage.missingCountMax) ranges in \"missing\"")
      }
      var ends: [UInt64] = []
      try reader.beginArray(in: text)
      while try reader.nextElement(in: text) {
        guard ends.count < 2 else { throw malformed("a range has two ends") }
        ends.append(try reader.readUInt64(in: text))
      }
      guard ends.count == 2 else { throw malformed("a range has two ends") }
      guard ends[0] >= 1, ends[0] <= ends[1], ends[1] < .max,
        ranges.last.map({ $0.last.rawValue < ends[0] }) ?? true
      else { throw malformed("the ranges of \"missing\" do not ascend") }
      ranges.append(SequenceRange(Sequence(ends[0]), Sequence(ends[1])))
    }
    return ranges
  }

  private func once(_ isFirst: Bool, _ member: String) throws(AcceptanceError) {
    guard isFirst else { throw malformed("\"\(member)\" comes twice") }
  }

  private func malformed(_ detail: String) -> AcceptanceError {
    AcceptanceError(.malformed, detail: detail)
  }
}
