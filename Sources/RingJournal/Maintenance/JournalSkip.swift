package import GatewayCore

/// What a skip gives up.
package struct SkipReport: Sendable, Hashable {
  package struct Sink: Sendable, Hashable {
    package let name: String
    package let isRequired: Bool
    /// What it will be told of as a gap; nil when it has acknowledged all that or skipped it
    /// before.
    package let skipped: SequenceRange?
  }
  package let sinks: [Sink]
  /// Records that a required sink will not receive, each once, as they enter the losses.
  package let lostRecordCount: UInt64
}

extension JournalMaintenance {
  /// The way past records that a destination will never take: those up to `through` that it has not
  /// acknowledged become a gap, reason `skipped`, which is delivered like any other.
  /// - Parameters:
  ///   - sink: its name; nil: all of them.
  ///   - isRehearsal: only says what would be given up. The file is recovered all the same.
  /// - Throws: `badOptions` for a sequence beyond the last committed one or an unknown sink, and
  ///   what `Journal.open` throws, `locked` while a gateway runs.
  package static func skip(
    path: String, through: Sequence, sink: String? = nil, isRehearsal: Bool = false,
    environment: JournalEnvironment = .posix
  ) throws(JournalError) -> SkipReport {
    var journal = try open(path: path, sinks: [], environment: environment)
    let state = journal.state
    guard through >= .first, through <= state.committed else {
      throw JournalError(
        .badOptions,
        state.committed == .none
          ? "the journal holds no records"
          : "sequence \(through) was not committed; the last one is \(state.committed)")
    }
    guard sink.map({ name in state.sinks.contains { $0.name == name } }) ?? true else {
      let names = state.sinks.map(\.name).joined(separator: ", ")
      throw JournalError(.badOptions, "the journal has no sink \(sink ?? ""); it has \(names)")
    }
    var sinks: [SkipReport.Sink] = []
    var lost: (from: UInt64, through: UInt64)?
    for (index, known) in state.sinks.enumerated() where sink == nil || known.name == sink {
      let from = max(
        state.acknowledged(index).rawValue, known.skippedThrough, state.oldestKept.rawValue - 1)
      let range =
        from < through.rawValue ? SequenceRange(Sequence(from + 1), through) : nil
      sinks.append(
        SkipReport.Sink(name: known.name, isRequired: known.isRequired, skipped: range))
      if known.isRequired, range != nil {
        lost = (min(lost?.from ?? .max, from), through.rawValue)
      }
    }
    // Another required sink may have skipped a part of it before: that part is counted already.
    let countedThrough = state.sinks.filter(\.isRequired).map(\.skippedThrough).max() ?? 0
    let lostCount = lost.map { $0.through - min(max($0.from, countedThrough), $0.through) } ?? 0
    let report = SkipReport(sinks: sinks, lostRecordCount: lostCount)
    if !isRehearsal {
      if let lost {
        state.countLost(SequenceRange(Sequence(lost.from + 1), Sequence(lost.through)), .skipped)
      }
      journal.writer.skip(sink: sink, through: through)
    }
    try journal.writer.close()
    return report
  }
}

extension JournalWriter {
  /// Enters the skip in the superblock; the next one written makes it durable.
  mutating func skip(sink: String?, through: Sequence) {
    for index in superblock.sinks.indices
    where sink == nil || superblock.sinks[index].name == sink {
      superblock.sinks[index].skippedThrough = max(
        superblock.sinks[index].skippedThrough, through.rawValue)
    }
  }
}
