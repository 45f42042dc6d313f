import GatewayCore
import RingJournal

/// What was on the disk just before an opening.
struct DiskBefore {
  var provable: UInt64
  /// Groups; nil: what a killed process left was written by the opening itself.
  var whole: Set<UInt32>?
  /// And so had every opening since the last that was checked.
  var hadBothSlots: Bool
  /// Of the write that the newest whole superblock is from; 0: none is.
  var newestSlot: UInt32
  /// Of the opening's own first write.
  var nextWrite: UInt32
}

extension ModelRun {
  /// What an opening must have given.
  ///
  /// Without decay: every committed record, each cursor between what was durable and what was
  /// acknowledged. With decay a record may be missing if its bytes on the disk are not what was
  /// written, and then a gap must say so. The one exception: damage to the newest groups of which
  /// nothing that is left on the disk proves that they were committed (`ModelTruth.provable`); the
  /// ring then ends before them, and `unprovable` counts their records.
  mutating func check(
    _ state: JournalState, _ report: RecoveryReport,
    visited: [(sequence: UInt64, payload: UInt64)], before: DiskBefore
  ) throws {
    let (found, provable) = (state.committed.rawValue, before.provable)
    truth.trace(
      "-- opened: committed \(found) of \(truth.last), provable \(provable), oldest kept "
        + "\(state.oldestKept), corrupt \(report.corruptRanges.map(\.sequences))")
    if found < (scenario.decays ? provable : truth.last) {
      complain(
        .lost, "committed \(found) < \(truth.last), provable \(provable)",
        count: truth.last - found)
    } else if found < truth.last {
      noteUnprovable(truth.last - found)
    }
    // A last group that was written but never confirmed may be there: whole, and as it was
    // appended.
    for sequence in stride(from: truth.last + 1, through: found, by: 1)
    where truth.open[sequence] == nil && !(scenario.decays && sequence <= truth.everLast) {
      complain(.invented, "invented \(sequence)")
      return
    }
    for (sequence, payload) in visited
    where payload != truth.committed[sequence] && payload != truth.open[sequence] {
      complain(.wrong, "visited \(sequence) with wrong bytes")
    }
    if zip(visited, visited.dropFirst()).contains(where: { $0.sequence >= $1.sequence }) {
      complain(.duplicated, "visited out of order")
    }
    truth.oldestKept = max(truth.oldestKept, state.oldestKept.rawValue)
    truth.settle(found, whole: before.whole, kit.disk)
    let visitedSequences = Set(visited.map(\.sequence))
    for (index, sink) in kit.options.sinks.enumerated() {
      let cursor = state.acknowledged(index).rawValue
      checkCursor(sink, cursor, found: found, before)
      let known = truth.sinks[sink.name]
      let beyond = Set(
        state.acceptedIntervals(index).ranges.flatMap { $0.first.rawValue...$0.last.rawValue })
      checkIntervals(known, cursor, beyond, found: found)
      truth.sinks[sink.name] = ModelTruth.Sink(
        acknowledged: cursor, durable: cursor, beyond: beyond, durableBeyond: beyond,
        mayMissBelow: known?.isRequired ?? false ? known?.mayMissBelow ?? 0 : truth.oldestKept,
        isRequired: sink.required, knownSince: known?.knownSince ?? before.nextWrite)
      truth.everAcknowledged[sink.name] = max(truth.everAcknowledged[sink.name] ?? 0, cursor)
      try checkContents(state, sink: index, visited: visitedSequences)
    }
    truth.sinks = truth.sinks.filter { known in
      kit.options.sinks.contains { $0.name == known.key }
    }
    if !scenario.decays && report.lostRecordCount > 0 {
      complain(.lost, "reported lost \(report.lostRecordCount)")
    }
  }

  private mutating func checkCursor(
    _ sink: JournalSink, _ cursor: UInt64, found: UInt64, _ before: DiskBefore
  ) {
    let firstWhole = truth.places.keys.filter { $0 >= truth.oldestKept }.min() ?? found + 1
    guard let known = truth.sinks[sink.name] else {
      // A name that the journal does not know.
      if cursor > found { complain(.lost, "new cursor \(cursor) beyond \(found)") }
      guard !scenario.decays else { return }
      // A slot that was torn may have known the name: rather all once more than nothing.
      if sink.start == .newest && before.hadBothSlots {
        if cursor != found { complain(.other, "new cursor \(cursor) instead of \(found)") }
      } else if cursor >= firstWhole && !(sink.start == .newest && cursor == found) {
        complain(.lost, "new cursor \(cursor) passes \(firstWhole)")
      }
      return
    }
    let most = scenario.decays ? truth.everAcknowledged[sink.name] ?? 0 : known.acknowledged
    // Where the disk has lost every superblock with its name it is a new one.
    let isForgotten = scenario.decays && before.newestSlot < known.knownSince
    if isForgotten && sink.start == .newest && cursor == found { return }
    if cursor > most && !(scenario.decays && cursor < firstWhole) {
      complain(.lost, "cursor \(cursor) ahead of acknowledged \(most)", count: cursor - most)
    }
    if cursor < known.durable && !scenario.decays {
      complain(.duplicated, "cursor \(cursor) < durable \(known.durable)")
    }
  }

  /// What a sink is said to have accepted it has accepted, and what was durable of it is still
  /// known.
  private mutating func checkIntervals(
    _ known: ModelTruth.Sink?, _ cursor: UInt64, _ beyond: Set<UInt64>, found: UInt64
  ) {
    if let last = beyond.max(), last > found {
      complain(.lost, "accepted \(last), committed \(found)")
    }
    // A name that was dropped may come back with a slot that was torn.
    guard !scenario.decays, let known else { return }
    for sequence in beyond where sequence > known.acknowledged && !known.beyond.contains(sequence) {
      return complain(.lost, "\(sequence) was never accepted")
    }
    for sequence in known.durableBeyond where sequence > cursor && !beyond.contains(sequence) {
      return complain(.duplicated, "\(sequence) was accepted, and durably so")
    }
  }

  /// From the sink's cursor to the end every sequence comes once, as a record with its own bytes or
  /// within a gap that may be there.
  mutating func checkContents(
    _ state: JournalState, sink: Int, visited: Set<UInt64>? = nil
  ) throws {
    var expected = state.acknowledged(sink).rawValue + 1
    for part in try ModelContents.read(state, sink: sink).parts {
      switch part {
      case .record(let sequence, let payload):
        if sequence != expected {
          complain(
            sequence < expected ? .duplicated : .undetected, "\(sequence) instead of \(expected)")
        }
        if payload != truth.committed[sequence] {
          complain(.wrong, "wrong bytes at \(sequence)")
        }
        if let visited, !visited.contains(sequence) {
          complain(.other, "\(sequence) not visited")
        }
        expected = sequence + 1
      case .gap(let gap):
        if gap.range.first.rawValue != expected {
          complain(.undetected, "gap begins at \(gap.range.first) instead of \(expected)")
        }
        checkGap(gap, sink: kit.options.sinks[sink])
        expected = gap.range.last.rawValue + 1
      }
    }
    if expected != state.committed.rawValue + 1 {
      complain(.undetected, "contents end before \(expected), committed \(state.committed)")
    }
  }

  private mutating func checkGap(_ gap: Gap, sink: JournalSink) {
    let sequences = gap.range.first.rawValue...gap.range.last.rawValue
    switch gap.reason {
    case .ringFull:
      if gap.range.last.rawValue >= truth.oldestKept {
        complain(.lost, "gap \(gap.range) ring-full above \(truth.oldestKept)")
      }
      if !scenario.decays && scenario.whenFull == .block && sink.required
        && gap.range.last.rawValue >= truth.sinks[sink.name]?.mayMissBelow ?? 0
      {
        complain(.lost, "gap \(gap.range) although the policy is to wait")
      }
    case .corrupt:
      if !scenario.decays {
        complain(.lost, "gap \(gap.range) corrupt", count: UInt64(sequences.count))
      }
      for sequence in sequences where truth.isWhole(sequence, kit.disk) {
        complain(.lost, "gap \(gap.range), but \(sequence) is whole on the disk")
        return
      }
    default: complain(.other, "gap \(gap.range) \(gap.reason)")
    }
  }
}
