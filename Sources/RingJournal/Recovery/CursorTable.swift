import GatewayCore

/// Whose cursor is where: the configured sinks against what the file remembers.
struct CursorTable: Sendable {
  struct Row: Sendable {
    var sink: JournalSink
    /// Nil: the file does not know the name.
    var acknowledged: UInt64?
    var skippedThrough: UInt64 = 0
  }

  var rows: [Row] = []
  /// Names of the file that are no longer configured.
  var dropped: [String] = []
  /// The file's sinks were not the configured ones, in name or order.
  var hasChanged = false
  var isSuperblockLost = false

  /// Durable cursor = the larger of the superblock's and the newest intact group's: both were
  /// written only after the sink had accepted.
  init(sinks: [JournalSink], superblock: Superblock?, newest: GroupHeader?) {
    isSuperblockLost = superblock == nil
    for sink in sinks {
      var known: UInt64?
      var skippedThrough: UInt64 = 0
      if let entry = superblock?.sinks.first(where: { $0.name == sink.name }) {
        known = entry.acknowledged
        skippedThrough = entry.skippedThrough
      }
      if let newest {
        let checksum = GroupHeader.checksum(ofSinkName: sink.name)
        for index in 0..<newest.sinkCount where newest.sinkNameChecksums[index] == checksum {
          // A name that was dropped and comes back begins anew: only the superblock's table, which
          // is younger than any older group, says who is in it.
          if superblock == nil || known != nil {
            known = max(known ?? 0, newest.acknowledged[index])
          }
        }
      }
      rows.append(Row(sink: sink, acknowledged: known, skippedThrough: skippedThrough))
    }
    let names = superblock?.sinks.map(\.name) ?? []
    dropped = names.filter { name in !sinks.contains { $0.name == name } }
    hasChanged = names != sinks.map(\.name)
  }

  /// The slowest known cursor.
  var floor: UInt64 { rows.compactMap(\.acknowledged).min() ?? 0 }

  /// The slowest known cursor of a required sink.
  var requiredFloor: UInt64 {
    rows.filter { $0.sink.required }.compactMap(\.acknowledged).min() ?? floor
  }

  /// Where the sink's cursor stands once the ring is known. A name that the file does not know
  /// begins where its `start` says; without a superblock always at the oldest, because it may be
  /// known after all: rather twice than not at all.
  func cursor(_ row: Row, _ plan: RecoveryPlan) -> UInt64 {
    if let known = row.acknowledged { return min(known, plan.committed) }
    if row.sink.start == .newest && !isSuperblockLost { return plan.committed }
    guard let first = plan.kept.first else { return plan.committed }
    return max(first.first, plan.oldestKept) - 1
  }
}
