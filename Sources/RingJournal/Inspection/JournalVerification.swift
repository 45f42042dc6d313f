package import GatewayCore

/// What reading all of a journal found.
package struct JournalVerification: Sendable {
  package internal(set) var groupCount = 0
  package internal(set) var recordCount: UInt64 = 0
  package internal(set) var deadLetterCount: UInt64 = 0
  /// Runs of refused messages, and how many sequences they stand for.
  package internal(set) var tombstoneCount: UInt64 = 0
  package internal(set) var refusedCount: UInt64 = 0
  /// Topic and payload bytes of records and dead letters.
  package internal(set) var recordByteCount: UInt64 = 0
  /// Committed sequences that cannot be read.
  package internal(set) var corrupt: [SequenceRange] = []
  /// Overwritten while we read; no damage.
  package internal(set) var overtaken: [SequenceRange] = []
  /// Sentences about groups that contradict each other although each is intact in itself.
  package internal(set) var contradictions: [String] = []

  package var corruptRecordCount: UInt64 { corrupt.reduce(0) { $0 + $1.count } }
  package var isIntact: Bool { corrupt.isEmpty && contradictions.isEmpty }

  /// More sentences than this say nothing new.
  static let contradictionsMax = 100

  mutating func contradict(_ text: String) {
    if contradictions.count < JournalVerification.contradictionsMax { contradictions.append(text) }
  }
}

extension JournalObserver {
  /// Reads every group and every record again, in sequence order: what the scan found is there, the
  /// numbering is dense, group follows group.
  /// - Parameter progress: how much is done, 0 to 1; called now and then.
  package mutating func verify(
    progress: (Double) -> Void = { _ in }
  ) throws(JournalError) -> JournalVerification {
    var result = JournalVerification()
    verifyGroups(&result)
    let start = oldest
    var next = start
    let count = Double(max(committed.count(since: start.previous), 1))
    try visit { item, _ in
      let range: SequenceRange
      switch item {
      case .gap(let gap):
        range = gap.range
        result.corrupt.append(range)
      case .absent(let absent):
        range = absent
        result.overtaken.append(range)
      case .record(let record):
        range = record.sequences
        result.count(record)
      }
      if range.first != next {
        result.contradict("after sequence \(next.previous) comes \(range.first)")
      }
      next = range.last.next
      if next.rawValue % 4096 == 0 { progress(Double(next.count(since: start)) / count) }
      return true
    }
    return result
  }

  private mutating func verifyGroups(_ result: inout JournalVerification) {
    var groups = 0
    var before: JournalGroup?
    visitGroups { group in
      groups += 1
      if let before {
        if group.number == before.number + 1, group.previousChecksum != before.headerChecksum {
          result.contradict(
            "group \(group.number) at offset \(group.offset) does not follow group "
              + "\(before.number): it was written after another one")
        }
        if group.sequences.first <= before.sequences.last {
          result.contradict(
            "groups \(before.number) and \(group.number) hold the same sequences, "
              + "\(group.sequences.first) and on")
        }
        if group.lap < before.lap || group.lap == before.lap && group.offset <= before.offset {
          result.contradict(
            "group \(group.number) of lap \(group.lap) stands before group \(before.number) of "
              + "lap \(before.lap)")
        }
      }
      before = group
      return true
    }
    result.groupCount = groups
  }
}

extension JournalVerification {
  fileprivate mutating func count(_ record: JournalRecord) {
    switch record.kind {
    case .data: recordCount += 1
    case .deadLetter: deadLetterCount += 1
    case .tombstone:
      tombstoneCount += 1
      refusedCount += record.sequences.count
      return
    }
    recordByteCount += UInt64(record.topic.count + record.payload.count)
  }
}
