import GatewayCore
import RingJournal

/// One damaged copy of a recorded journal: what may and what must be delivered from it, worked out
/// from the raw bytes, against what the product does.
package struct DamageCase: Sendable {
  private var recorded: RecordedJournal
  /// Where the undamaged file's cursor stands. A later acknowledgement was not durable yet.
  private let cursor: UInt64
  private let original: [ImageGroup]
  /// For each sequence, the groups of the undamaged file that hold it.
  private let holders: [UInt64: [Int]]

  package init(_ recorded: RecordedJournal) throws {
    self.recorded = recorded
    self.recorded.fixEpoch()
    cursor = try recorded.open(ImageDisk(recorded.image)).state.acknowledged(0).rawValue
    original = JournalImage.groups(recorded.image)
    var holders: [UInt64: [Int]] = [:]
    for (index, group) in original.enumerated() where group.last > cursor {
      for sequence in group.first...group.last { holders[sequence, default: []].append(index) }
    }
    self.holders = holders
  }

  /// The same with checksums ignored.
  package func withoutVerification() -> DamageCase {
    var copy = self
    copy.recorded.disableVerification()
    return copy
  }

  /// Opens the undamaged file; then this block of the data refuses to be read.
  package func playLater(unreadable block: Int) throws -> CaseResult {
    var result = CaseResult()
    let disk = ImageDisk(recorded.image)
    var journal = try recorded.open(disk)
    disk.refuseToRead(blocks: [block])
    var remains = remains(recorded.image, touched: [], unreadable: [block])
    remains.hasOlderCopies = false
    check(journal.state, remains, in: &result)
    try goOn(&journal, in: &result)
    return result
  }

  /// Opens a file whose last write, to `place`, may have been cut: the ring ends at that group or
  /// exactly at the one before, without a gap, and everything up to there is delivered.
  package func playTorn(
    _ image: [UInt8], place: Range<Int>, committedBefore: UInt64
  ) throws -> CaseResult {
    var result = CaseResult()
    let disk = ImageDisk(image)
    let inspected = Result { () throws(JournalError) in try recorded.inspect(disk) }
    var visitedThrough: UInt64 = 0
    var journal = try recorded.open(disk) { record, bytes in
      let sequence = record.sequence.rawValue
      if sequence <= visitedThrough { result.complaints.append("visited \(sequence) again") }
      visitedThrough = sequence
      count(record, bytes, in: &result)
    }
    let group = original.first { $0.offset == place.lowerBound }
    let isWhole = group.map { image[$0.used] == recorded.image[$0.used] } ?? false
    let expected = isWhole ? recorded.committed : committedBefore
    let committed = journal.state.committed.rawValue
    if committed != expected {
      if committed < expected { result.tally.lost += 1 } else { result.tally.invented += 1 }
      result.complaints.append("ends at \(committed) instead of \(expected)")
    }
    var next = journal.state.acknowledged(0).rawValue + 1
    read(journal.state, in: &result) { sequence, gap, result in
      if sequence != next || gap != nil {
        result.complaints.append(
          "\(sequence) instead of \(next), gap \(gap.map { "\($0)" } ?? "-")")
      }
      next = sequence + 1
    }
    if next != committed + 1 { result.complaints.append("reading ends before \(next)") }
    if !journal.report.corruptRanges.isEmpty {
      result.complaints.append("calls a torn write corruption: \(journal.report.warnings)")
    }
    compare(inspected, journal.state, journal.report, in: &result)
    try goOn(&journal, in: &result)
    return result
  }

  /// What the damage left.
  private struct Remains {
    var isHit: [Bool]
    /// Everything up to here is proven to have been committed: the product must know, too.
    var provenThrough: UInt64 = 0
    var hasIdentity = false
    /// The index of a running journal knows the newest copy of a tail only.
    var hasOlderCopies = true
  }

  /// Opens, reads to the end, goes on writing, reads again. `touched` are the bytes that may differ
  /// from the recorded image; `unreadable` blocks answer with an error.
  package func play(
    _ image: [UInt8], touched: [Range<Int>], unreadable: Set<Int> = []
  ) throws -> CaseResult {
    var result = CaseResult()
    let remains = remains(image, touched: touched, unreadable: unreadable)
    let disk = ImageDisk(image)
    disk.refuseToRead(blocks: unreadable)
    let inspected = Result { () throws(JournalError) in try recorded.inspect(disk) }
    var visitedThrough: UInt64 = 0
    let opened: OpenedJournal
    do throws(JournalError) {
      opened = try recorded.open(disk) { record, bytes in
        let sequence = record.sequence.rawValue
        if sequence <= visitedThrough { result.complaints.append("visited \(sequence) again") }
        visitedThrough = sequence
        count(record, bytes, in: &result)
      }
    } catch {
      // Nothing is delivered, nobody is misled; right only when no identity is left.
      if remains.hasIdentity { result.complaints.append("refused: \(error)") }
      if disk.writeCount > 0 { result.complaints.append("wrote before it refused") }
      if case .failure(let failure) = inspected, failure.code == error.code { return result }
      result.complaints.append("the inspector does not say \(error.code)")
      return result
    }
    var journal = opened
    if disk.unreadableBlockCount < unreadable.count, journal.report.repairedBlockCount == 0 {
      result.complaints.append("an unreadable control block was not reported")
    }
    check(journal.state, remains, in: &result)
    compare(inspected, journal.state, journal.report, in: &result)
    try goOn(&journal, in: &result)
    return result
  }

  // MARK: What the raw bytes say

  private func remains(
    _ image: [UInt8], touched: [Range<Int>], unreadable: Set<Int>
  ) -> Remains {
    func isWhole(_ range: Range<Int>) -> Bool {
      if unreadable.contains(where: { ($0 * 4096..<$0 * 4096 + 4096).overlaps(range) }) {
        return false
      }
      for part in touched where part.overlaps(range) {
        let common = part.clamped(to: range)
        if image.count < common.upperBound { return false }
        if image[common] != recorded.image[common] { return false }
      }
      return true
    }
    var remains = Remains(isHit: original.map { !isWhole($0.used) })
    for slot in 0..<2 where isWhole(2 * slot * 4096..<2 * slot * 4096 + 4096) {
      let next = JournalImage.nextSequence(recorded.image, slot: slot)
      remains.provenThrough = max(remains.provenThrough, next - 1)
    }
    remains.hasIdentity = (0..<4).contains { isWhole($0 * 4096..<$0 * 4096 + 512) }
    var headers: [ImageGroup] = []
    for (index, group) in original.enumerated() {
      if !remains.isHit[index] { remains.provenThrough = max(remains.provenThrough, group.last) }
      guard isWhole(group.offset..<group.offset + 256) else { continue }
      remains.provenThrough = max(
        remains.provenThrough, max(group.first - 1, group.cursorsThrough))
      headers.append(group)
    }
    headers.sort { $0.number < $1.number }
    for (before, after) in zip(headers, headers.dropFirst()) where before.epoch == after.epoch {
      remains.provenThrough = max(remains.provenThrough, before.last)
    }
    return remains
  }

  // MARK: What the product did

  private func count(_ record: JournalRecord, _ bytes: Span<UInt8>, in result: inout CaseResult) {
    let sequence = record.sequence.rawValue
    if recorded.isRight(sequence, bytes, record.payload) { return }
    if sequence > recorded.committed {
      result.tally.invented += 1
      result.complaints.append("invented \(sequence)")
    } else {
      result.tally.wrong += 1
      result.complaints.append("wrong bytes under \(sequence)")
    }
  }

  private func check(
    _ state: JournalState, _ remains: Remains, in result: inout CaseResult
  ) {
    let cursor = state.acknowledged(0).rawValue
    let committed = state.committed.rawValue
    if cursor > recorded.acknowledged { result.complaints.append("cursor ahead: \(cursor)") }
    if committed > recorded.committed { result.complaints.append("committed \(committed)") }
    if committed < remains.provenThrough {
      result.complaints.append("committed \(committed), proven \(remains.provenThrough)")
    }
    var expected = cursor + 1
    read(state, in: &result) { sequence, gap, result in
      if sequence != expected {
        if sequence < expected { result.tally.duplicated += 1 }
        result.complaints.append("\(sequence) instead of \(expected)")
      }
      expected = (gap?.last.rawValue ?? sequence) + 1
      guard let gap else { return }
      for lost in sequence...gap.last.rawValue where isThere(lost, remains) {
        result.complaints.append("gap \(gap) although \(lost) is whole")
        return
      }
    }
    if expected != committed + 1 { result.complaints.append("ends before \(expected)") }
    // Not delivered and no gap: allowed where nothing in the file could tell.
    for sequence in stride(from: committed + 1, through: recorded.committed, by: 1) {
      if sequence > remains.provenThrough && !isThere(sequence, remains) {
        result.tally.unprovable += 1
      } else {
        result.tally.undetected += 1
        result.tally.lost += 1
        result.complaints.append("lost \(sequence)")
      }
    }
  }

  /// A whole group of the file holds it; what was acknowledged may have been overwritten, but is no
  /// loss either.
  private func isThere(_ sequence: UInt64, _ remains: Remains) -> Bool {
    guard sequence > cursor else { return true }
    guard let holders = holders[sequence] else { return false }
    if remains.hasOlderCopies { return holders.contains { !remains.isHit[$0] } }
    return holders.max { original[$0].number < original[$1].number }
      .map { !remains.isHit[$0] } ?? false
  }

  private func read(
    _ state: JournalState, in result: inout CaseResult,
    _ body: (UInt64, SequenceRange?, inout CaseResult) -> Void
  ) {
    do throws(JournalError) {
      var reader = try state.makeReader(sink: 0)
      while true {
        let outcome = try reader.read { record, bytes in
          count(record, bytes, in: &result)
          body(record.sequence.rawValue, nil, &result)
          return true
        }
        guard case .gap(let gap) = outcome else { return }
        if gap.reason != .corrupt { result.complaints.append("gap \(gap.reason)") }
        body(gap.range.first.rawValue, gap.range, &result)
      }
    } catch {
      result.complaints.append("reading threw \(error)")
    }
  }

  private func compare(
    _ inspected: Result<JournalStatistics, JournalError>, _ state: JournalState,
    _ report: RecoveryReport, in result: inout CaseResult
  ) {
    switch inspected {
    case .failure(let error):
      result.complaints.append("the inspector refused: \(error)")
    case .success(let seen):
      if seen.committed != state.committed || seen.oldestKept != state.oldestKept
        || seen.groupCount != report.keptGroupCount
        || seen.gapRecords[.corrupt] ?? 0 != report.lostRecordCount
        || seen.sinks.map(\.acknowledged) != [state.acknowledged(0)]
      {
        result.complaints.append("the inspector sees \(seen)")
      }
    }
  }

  /// The journal works: a further record is committed, read, and there after another opening.
  private func goOn(
    _ journal: inout OpenedJournal, in result: inout CaseResult
  ) throws {
    let payload: [UInt8] = [1, 2, 3]
    let next = journal.state.committed.next
    if journal.writer.freeByteCount < 4 * 4096 {
      journal.state.acknowledge(0, through: journal.state.committed)
    }
    guard try journal.writer.commit(payload) == next else {
      result.complaints.append("the next record is not \(next)")
      return
    }
    let contents = try Contents.read(journal.state, from: next)
    if contents.sequences != [next.rawValue] || contents.payloads[next.rawValue] != payload {
      result.complaints.append("the next record is not read back")
    }
  }
}
