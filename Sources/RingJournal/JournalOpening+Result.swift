import GatewayCore
import Platform
import Synchronization

extension JournalOpening {
  func scanned(
    _ blocks: ControlBlocks, layout: JournalLayout,
    recovered: (JournalRecord, Span<UInt8>) -> Void
  ) throws(JournalError) -> (ScanResult, RecoveryPlan, CursorTable, EpochLineage) {
    let file: any DiskFile
    do throws(SystemError) {
      file = try environment.disk.open(path, .scan)
    } catch {
      throw JournalError(.openFailed, "\(path) cannot be opened for reading", cause: error)
    }
    var scan = RecoveryScan(
      file: file, blocks: blocks, layout: layout, environment: environment)
    var lineage = EpochLineage()
    scan.run { record, bytes in
      lineage.note(record.epoch, record.sequences.last)
      recovered(record, bytes)
    }
    let cursors = CursorTable(
      sinks: options.sinks, blocks: blocks, newest: scan.result.newestHeader)
    let plan = planRecovery(
      scan.result, blocks: blocks, floor: cursors.floor, layout: layout)
    scan.visitRest(of: plan.kept) { record, bytes in
      lineage.note(record.epoch, record.sequences.last)
      recovered(record, bytes)
    }
    return (scan.result, plan, cursors, lineage)
  }

  mutating func describe(
    _ scan: ScanResult, _ plan: RecoveryPlan, _ blocks: ControlBlocks, _ cursors: CursorTable
  ) {
    report.wasCleanStop = blocks.superblock?.isCleanStop ?? false
    report.keptGroupCount = plan.kept.count
    report.keptRecordCount = plan.kept.reduce(0) { $0 + UInt64($1.sequenceCount) }
    report.tornTailCount = plan.count(of: .tornTail)
    report.staleCopyCount = plan.count(of: .staleCopy)
    report.staleLapCount = plan.count(of: .staleLap)
    report.corruptGroupCount = plan.count(of: .corrupt)
    report.corruptRanges = plan.corrupt
    report.lostRecordCount = plan.corrupt.reduce(0) { sum, range in
      let from = max(range.sequences.first.rawValue, cursors.requiredFloor + 1)
      let last = range.sequences.last.rawValue
      return sum + (last >= from ? last - from + 1 : 0)
    }
    report.unreadableBlockCount = scan.unreadableBlockCount
    report.repairedBlockCount = blocks.damagedCount
    report.droppedSinks = cursors.dropped
    if !report.isCreated {
      report.newSinks = cursors.rows.filter { $0.acknowledged == nil }.map(\.sink.name)
    }
    report.scanned = ByteCount(scan.byteCount)
    if blocks.superblock == nil {
      report.warnings.append(
        "\(path): both superblocks were damaged; the whole ring was scanned, cursors come from the "
          + "newest commit group")
    }
    for range in plan.corrupt {
      let isDelivered = range.sequences.last.rawValue <= cursors.floor
      report.warnings.append(
        "\(path): records \(range.sequences) are corrupt"
          + (isDelivered ? "; they had been delivered" : " and become a gap"))
    }
  }

  mutating func copyAside(_ ranges: [CorruptRange], from file: any DiskFile) {
    do throws(SystemError) {
      report.quarantined = ByteCount(
        try Quarantine.copy(
          ranges, from: file, path: path, name: options.routeName, disk: environment.disk))
    } catch {
      report.warnings.append("corrupt ranges of \(path) could not be copied aside: \(error)")
    }
  }

  func makeState(
    _ access: JournalAccess, _ plan: RecoveryPlan, _ scan: ScanResult, _ cursors: CursorTable,
    _ superblock: Superblock?, _ lineage: EpochLineage
  ) throws(JournalError) -> JournalState {
    do throws(SystemError) {
      var sinks: [SinkState] = []
      for row in cursors.rows {
        let (cursor, intervals) = cursors.acceptance(row, plan)
        sinks.append(
          SinkState(
            name: row.sink.name, isRequired: row.sink.required, acknowledged: cursor,
            intervals: intervals,
            skippedThrough: min(row.skippedThrough, plan.committed), wakeUp: try WakeUp()))
      }
      return JournalState(
        access: access, epoch: .random(environment.random), lineage: lineage,
        index: GroupIndex(plan.kept, countMax: access.layout.dataBlockCount),
        committed: plan.committed, oldestKept: plan.oldestKept, head: plan.head, sinks: sinks,
        before: superblock ?? Superblock(headOffset: plan.head, highWater: plan.head),
        writerWakeUp: try WakeUp(), expireAfter: options.expireAfter,
        keepsExpired: options.keepsExpired,
        elapsedTime: ElapsedTime(
          newest: scan.newest, superblock: superblock, environment: environment),
        bootClocks: scan.bootClocks)
    } catch {
      throw JournalError(
        .openFailed, "no descriptors for \(path); raise LimitNOFILE", cause: error)
    }
  }

  func makeWriter(
    _ file: any DiskFile, _ state: JournalState, _ plan: RecoveryPlan, _ scan: ScanResult,
    _ blocks: ControlBlocks, groupByteCount: Int, volume: VolumeFacts, hasNewTable: Bool
  ) -> JournalWriter {
    let layout = state.access.layout
    var superblock =
      blocks.superblock ?? Superblock(headOffset: plan.head, highWater: layout.dataEnd)
    superblock.highWater = max(superblock.highWater, min(plan.head, layout.dataEnd))
    superblock.epoch = state.epoch.rawValue
    superblock.isCleanStop = false
    superblock.filesystemIdentity = volume.identity
    superblock.sinkTableVersion = max(
      superblock.sinkTableVersion, scan.newestHeader?.sinkTableVersion ?? 0)
    if hasNewTable { superblock.sinkTableVersion += 1 }
    superblock.sinks = state.sinks.map {
      Superblock.Sink(
        name: $0.name, isRequired: $0.isRequired, acknowledged: 0,
        skippedThrough: $0.skippedThrough)
    }
    let nothing = [UInt64](repeating: 0, count: state.sinks.count)
    return JournalWriter(
      state: state, options: options, access: state.access, file: file,
      clock: environment.clock, buffer: AlignedBuffer(count: groupByteCount),
      firstSequence: plan.committed + 1, head: plan.head, lap: plan.lap,
      nextNumber: plan.nextNumber,
      lastHeaderChecksum: scan.newest?.headerChecksum ?? superblock.lastHeaderChecksum,
      superblock: superblock, slotBuffer: AlignedBuffer(count: Block.byteCount),
      slotToWrite: blocks.slot.map { 1 - $0 } ?? 0,
      durable: JournalWriter.DurableCursors(
        acknowledged: nothing, oldestKept: 0, written: nothing, intervals: nothing,
        writtenIntervals: nothing))
  }
}

extension JournalWriter {
  /// The first writes of an opening: the superblock with the new epoch, and damaged copies anew.
  /// The better slot is written last, when the other one is durable.
  mutating func beginEpoch(repairing blocks: ControlBlocks) throws(JournalError) {
    try writeSuperblock(sync: true)
    guard blocks.damagedCount > 0 else { return }
    Failpoint.recoveryBetweenSlots.reach()
    try writeSuperblock(sync: true)
    let (file, identity, layout) = (self.file, access.identity, access.layout)
    try onDisk("repairing the identity copies") { () throws(SystemError) in
      for copy in 0..<2 {
        try JournalCreate.writeIdentityCopy(copy, identity, to: file, layout)
      }
    }
    _ = try sync()
  }
}
