package import GatewayCore

/// What an observer holds for a run of sequences.
package enum JournalItem: Sendable {
  /// Its ranges index the bytes that are lent with it.
  case record(JournalRecord)
  /// Committed, and cannot be read.
  case gap(Gap)
  /// Not in the file any more: released or given up, and overwritten.
  case absent(SequenceRange)

  package var sequences: SequenceRange {
    switch self {
    case .record(let record): record.sequences
    case .gap(let gap): gap.range
    case .absent(let range): range
    }
  }
}

extension JournalObserver {
  /// Hands over what stands for the sequences `first` to `last` in ascending order, each once: none
  /// is passed over in silence. Without `first` from the oldest that is kept, without `last` up to
  /// the newest that is known. `body` answers false to end it.
  package mutating func visit(
    from first: Sequence? = nil, through last: Sequence? = nil,
    _ body: (JournalItem, Span<UInt8>) -> Bool
  ) throws(JournalError) {
    let last = last ?? Sequence(.max)
    var position = max(first ?? oldest, .first)
    var retries = 0
    while position <= last {
      if position < oldest {
        let gone = range(SequenceRange(position, oldest.previous), through: last)
        guard body(.absent(gone), Span()) else { return }
        position = oldest
        continue
      }
      var reader = try JournalReader(
        state: view.state, sink: nil, position: position, skippedThrough: 0)
      var isEnded = false
      let outcome = try reader.read { record, bytes in
        guard record.sequence <= last, body(.record(record), bytes) else {
          isEnded = true
          return false
        }
        return true
      }
      guard !isEnded, case .gap(let found) = outcome, found.range.first <= last else { return }
      if found.range.first > position { retries = 0 }
      position = found.range.first
      let item: JournalItem
      if found.reason == .corrupt {
        if retries < JournalObserver.scanAttemptsMax, !isKnownDamage(found.range) {
          retries += 1
          // Not what it was when it was scanned: overwritten, most likely.
          if try !follow() || retries > 1 { try reload() }
          continue
        }
        item = .gap(Gap(range(found.range, through: last), .corrupt))
      } else {
        item = .absent(range(found.range, through: last))
      }
      guard body(item, Span()) else { return }
      position = found.range.last.next
    }
  }

  private func range(_ range: SequenceRange, through last: Sequence) -> SequenceRange {
    SequenceRange(range.first, min(range.last, last))
  }

  private func isKnownDamage(_ range: SequenceRange) -> Bool {
    view.plan.corrupt.contains {
      $0.sequences.first <= range.last && range.first <= $0.sequences.last
    }
  }
}
