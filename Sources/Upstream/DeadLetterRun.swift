import GatewayCore
import RingJournal

/// Records that become dead letters together, and what came of it. Filled inside a read of the
/// journal, which cannot throw what the store throws.
struct DeadLetterRun {
  let cause: DeadLetterCause
  let sink: String
  let journal: JournalState
  /// What was published before, with or without an answer.
  var sentThrough = Sequence.none
  /// As well, out of turn.
  var sentAhead: SequenceRange?
  /// Stored by an earlier run, and read again.
  var stored: [SequenceRange] = []
  /// Stored.
  private(set) var sequences: [Sequence] = []
  private(set) var overwrittenCount: UInt64 = 0
  private(set) var failure: JournalError?

  init(cause: DeadLetterCause, sink: String, journal: JournalState) {
    self.cause = cause
    self.sink = sink
    self.journal = journal
  }

  /// Seen, whether stored or, as what is elided, of no interest.
  private(set) var seenCount: UInt64 = 0

  /// After a failure nothing more is stored.
  mutating func store(_ record: JournalRecord, _ bytes: Span<UInt8>, in store: DeadLetterStore) {
    seenCount += record.sequences.count
    let sequence = record.sequence
    guard failure == nil, record.kind != .tombstone, !record.flags.contains(.elided),
      !stored.contains(where: { $0.contains(sequence) })
    else { return }
    do throws(JournalError) {
      overwrittenCount += try store.store(
        record, bytes, journal: journal.identity.id, sink: sink, cause: cause,
        wasSent: sequence <= sentThrough || sentAhead?.contains(sequence) ?? false)
      sequences.append(sequence)
    } catch {
      failure = error
    }
  }
}
