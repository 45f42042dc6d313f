import GatewayCore

/// Whose cursor is where: the configured sinks against what the file remembers.
struct CursorTable: Sendable {
  struct Row: Sendable {
    var sink: JournalSink
    /// Nil: the file does not know the name.
    var acknowledged: UInt64?
    /// Accepted beyond the cursor. An older superblock's are a part of a newer one's, and what the
    /// cursor has passed since is left out when it is known.
    var intervals = AcceptedIntervals()
    var skippedThrough: UInt64 = 0
  }

  var rows: [Row] = []
  /// Names of the file that are no longer configured.
  var dropped: [String] = []
  /// The file's sinks were not the configured ones, in name or order.
  var hasChanged = false
  /// A slot is damaged: it may have known names that nothing else knows.
  private let isSlotLost: Bool
  /// The slowest cursor of the file's sinks, configured or not.
  private let droppedFloor: UInt64?

  /// Durable cursor = the larger of the superblock's and the newest group header's: both were
  /// written only after the sink had accepted. The header counts although its body may be damaged.
  init(sinks: [JournalSink], blocks: ControlBlocks, newest: GroupHeader?) {
    let superblock = blocks.superblock
    isSlotLost = blocks.slots.count < 2
    for sink in sinks {
      let entry = superblock?.sinks.first { $0.name == sink.name }
      let skippedThrough = entry?.skippedThrough ?? 0
      var known = entry?.acknowledged
      if let newest, let inHeader = CursorTable.acknowledged(newest, by: sink.name) {
        // Of a table older than the superblock's: the name may have been dropped and come back, and
        // then its cursor began anew. Of a younger one: the slot that knew the name is lost.
        let version = superblock?.sinkTableVersion ?? 0
        if newest.sinkTableVersion == version && known != nil || newest.sinkTableVersion > version {
          known = max(known ?? 0, inHeader)
        }
      }
      rows.append(
        Row(
          sink: sink, acknowledged: known, intervals: entry?.intervals ?? AcceptedIntervals(),
          skippedThrough: skippedThrough))
    }
    let names = superblock?.sinks.map(\.name) ?? []
    dropped = names.filter { name in !sinks.contains { $0.name == name } }
    hasChanged = names != sinks.map(\.name)
    droppedFloor =
      superblock?.sinks.map { sink in
        let inHeader = newest.flatMap { newest in
          newest.sinkTableVersion == superblock?.sinkTableVersion
            ? CursorTable.acknowledged(newest, by: sink.name) : nil
        }
        return max(sink.acknowledged, inHeader ?? 0)
      }.min()
  }

  /// For who looks at the file without a configuration: the sinks that the file names or, without a
  /// superblock, those whose cursors the newest header carries.
  init(blocks: ControlBlocks, newest: GroupHeader?) {
    let sinks = blocks.superblock?.sinks ?? []
    self.init(
      sinks: sinks.map { JournalSink(name: $0.name, required: $0.isRequired) }, blocks: blocks,
      newest: newest)
    guard blocks.superblock == nil, let newest else { return }
    rows = (0..<newest.sinkCount).map {
      Row(sink: JournalSink(name: "sink-\($0 + 1)"), acknowledged: newest.acknowledged[$0])
    }
  }

  private static func acknowledged(_ header: GroupHeader, by name: String) -> UInt64? {
    let checksum = GroupHeader.checksum(ofSinkName: name)
    return (0..<header.sinkCount).first { header.sinkNameChecksums[$0] == checksum }
      .map { header.acknowledged[$0] }
  }

  /// The slowest known cursor. When no configured name is known, that of the dropped ones: what
  /// they released may be overwritten, and is not missed.
  var floor: UInt64 { rows.compactMap(\.acknowledged).min() ?? droppedFloor ?? 0 }

  /// The slowest known cursor of a required sink.
  var requiredFloor: UInt64 {
    rows.filter { $0.sink.required }.compactMap(\.acknowledged).min() ?? floor
  }

  /// Where the sink's cursor stands once the ring is known. A name that the file does not know
  /// begins where its `start` says; with a superblock lost always at the oldest, because it may
  /// have been known after all: rather twice than not at all.
  func cursor(_ row: Row, _ plan: RecoveryPlan) -> UInt64 {
    if let known = row.acknowledged { return min(known, plan.committed) }
    if row.sink.start == .newest && !isSlotLost { return plan.committed }
    guard let first = plan.kept.first else {
      return min(max(plan.oldestKept, 1) - 1, plan.committed)
    }
    return max(first.first, plan.oldestKept) - 1
  }

  /// The same with what the sink has accepted beyond it, as far as that was committed: what adjoins
  /// the cursor moves it.
  func acceptance(
    _ row: Row, _ plan: RecoveryPlan
  ) -> (cursor: UInt64, intervals: AcceptedIntervals) {
    var intervals = row.intervals
    intervals.clamp(through: Sequence(plan.committed))
    let cursor = intervals.absorb(through: Sequence(cursor(row, plan)))
    return (cursor.rawValue, intervals)
  }
}
