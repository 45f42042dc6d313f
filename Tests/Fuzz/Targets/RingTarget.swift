import GatewayCore

@testable import RingJournal

/// Byte 0: bit 0 opens with `drop-oldest`, bit 1 damages one superblock slot, bit 2 both. Then
/// pieces: place u8 (block), kind u8 (bit 0 repairs the checksums, bit 1 puts the piece at the end
/// of its block), length u16, bytes. A piece for a slot begins behind the identity.
///
/// Promises: opening never traps, and hands over records in ascending order, inside their bytes;
/// reading accounts for every sequence from the cursor to `committed` exactly once, as record or
/// as gap; the inspector agrees; what is appended then comes behind all that was there before, and
/// the file opens again. If nothing was forged (no checksum repaired), the next opening finds all
/// that was there before, unchanged, and the new record.
enum RingTarget {
  static func run(_ input: Span<UInt8>) throws(Violation) -> Bool {
    let (file, mode, isForged) = image(input)
    let disk = MemoryDisk([Fixed.path: file])
    var options = Fixed.options
    if mode & 1 != 0 { options.whenFull = .dropOldest }
    let clock = StillClock()
    let environment = Fixed.environment(disk, clock: clock)
    let inspected = try? JournalInspector.statistics(path: Fixed.path, environment: environment)
    var visits = Visits()
    let opened: OpenedJournal
    do throws(JournalError) {
      opened = try Journal.open(
        path: Fixed.path, options: options, environment: environment,
        recovered: { visits.note($0, $1) })
    } catch {
      return false
    }
    try visits.check()
    let state = opened.state
    let committed = state.committed
    try require(inspected?.committed == committed, "the inspector sees what the opening sees")
    let before = try Reading(state)
    // Only a forger gets there: no number is left for another record.
    guard committed < Sequence(Counting.max), opened.writer.nextNumber < Counting.max,
      opened.writer.lap < Counting.max
    else { return false }
    let added = try appendAndClose(opened)
    try require(
      added.map { $0 == committed.next } ?? true, "a new record comes behind all others")
    let again: OpenedJournal
    do throws(JournalError) {
      again = try Journal.open(path: Fixed.path, options: options, environment: environment)
    } catch {
      throw Violation("what was opened and closed does not open again: \(error)")
    }
    let after = try Reading(again.state)
    // A forger may say anything of what is to come.
    if isForged { return !before.payloads.isEmpty }
    try require(
      again.state.committed == added ?? committed,
      "what was committed stays committed: \(added ?? committed), now \(again.state.committed)")
    // `drop-oldest` gives the room of old records to the new one.
    for (sequence, payload) in before.payloads where mode & 1 == 0 {
      try require(
        after.payloads[sequence] == payload,
        "record \(sequence) is there at the next opening, unchanged")
    }
    if let added {
      try require(
        after.payloads[added.rawValue] == Array("appended".utf8), "the new record is there")
    }
    return !before.payloads.isEmpty
  }

  /// The file that the input describes.
  private static func image(_ input: Span<UInt8>) -> (file: [UInt8], mode: UInt8, isForged: Bool) {
    var reader = InputReader()
    let mode = reader.byte(input)
    var file = SeedRing.empty
    let blocks = file.count / Block.byteCount
    var isForged = false
    while !reader.isAtEnd(of: input) {
      let block = Int(reader.byte(input)) % blocks
      let kind = reader.byte(input)
      let length = reader.word(input)
      let isSlot = block == 0 || block == 2
      let start = block * Block.byteCount + (isSlot ? Identity.byteCount : 0)
      if kind & 2 != 0 {
        let piece = array(input.extracting(reader.take(min(length, 64), of: input)))
        file.put(piece, at: (block + 1) * Block.byteCount - piece.count)
        continue
      }
      let piece = array(
        input.extracting(reader.take(min(length, file.count - start), of: input)))
      file.put(piece, at: start)
      guard kind & 1 != 0 else { continue }
      isForged = true
      if isSlot {
        FixUp.superblock(&file, at: start - Identity.byteCount)
      } else if block >= 4 {
        FixUp.group(&file, at: start, offset: start)
      }
    }
    if mode & 6 != 0 { file[600] ^= 0xff }
    if mode & 4 != 0 { file[2 * Block.byteCount + 600] ^= 0xff }
    return (file, mode, isForged)
  }

  /// Appends one record and closes in order; the record's sequence, if there was room.
  private static func appendAndClose(
    _ opened: consuming OpenedJournal
  ) throws(Violation) -> Sequence? {
    var writer = opened.takeWriter()
    do throws(JournalError) {
      let draft = RecordDraft(receivedMonotonic: MonotonicTime(nanoseconds: 1))
      let payload = Array("appended".utf8)
      let result = try writer.append(
        draft, topic: payload.span, idText: Span(), properties: Span(), payload: payload.span)
      var added: Sequence?
      if case .appended(let sequence) = result {
        _ = try writer.commit()
        added = sequence
      }
      try writer.close()
      return added
    } catch {
      throw Violation("writing failed on a disk that does not fail: \(error)")
    }
  }
}

/// What an opening hands over.
struct Visits {
  private var last: UInt64 = 0
  private var broken: String?

  mutating func note(_ record: JournalRecord, _ bytes: Span<UInt8>) {
    if record.sequence.rawValue <= last { broken = "sequence \(record.sequence) after \(last)" }
    last = record.sequences.last.rawValue
    let ranges = [record.topic, record.idTextBytes, record.properties, record.payload]
    for range in ranges where range.lowerBound < 0 || range.upperBound > bytes.count {
      broken = "record \(record.sequence) leaves its bytes"
    }
  }

  func check() throws(Violation) {
    if let broken { throw Violation("recovery hands over \(broken)") }
  }
}

/// What the sink `central` finds from its cursor on.
struct Reading {
  /// By sequence.
  var payloads: [UInt64: [UInt8]] = [:]

  init(_ state: JournalState) throws(Violation) {
    let first = state.acknowledged(0).next
    do throws(JournalError) {
      var reader = try state.makeReader(sink: 0)
      var expected = first
      var broken: String?
      var payloads: [UInt64: [UInt8]] = [:]
      reading: while true {
        let outcome = try reader.read { record, bytes in
          if record.sequence != expected {
            broken = "record \(record.sequence) where \(expected) was due"
          }
          expected = record.sequences.last.next
          payloads[record.sequence.rawValue] = array(bytes.extracting(record.payload))
          return broken == nil
        }
        switch outcome {
        case .gap(let gap):
          if gap.range.first != expected { broken = "gap \(gap.range), due was \(expected)" }
          expected = gap.range.last.next
        case .caughtUp, .stopped: break reading
        }
        if broken != nil { break }
      }
      if let broken { throw JournalError(.damaged, broken) }
      guard expected == max(state.committed.next, first) else {
        throw JournalError(.damaged, "it ends before \(expected), committed \(state.committed)")
      }
      self.payloads = payloads
    } catch {
      throw Violation("reading does not account for its sequences: \(error)")
    }
  }
}
