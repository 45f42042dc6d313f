import GatewayCore
import Platform

/// Looks into a journal file without a lock and without writing a byte: live or dead, also a copy
/// on another machine. On a live file the newest groups may be missing from what it sees.
package enum JournalInspector {
  package static func statistics(
    path: String, environment: JournalEnvironment = .posix
  ) throws(JournalError) -> JournalStatistics {
    let file: any DiskFile
    do throws(SystemError) {
      file = try environment.disk.open(path, .readOnly)
    } catch {
      throw JournalError(.openFailed, "\(path) cannot be opened for reading", cause: error)
    }
    let blocks = try ControlBlocks.read(file, path: path, environment: environment)
    try blocks.identity.checkSize(of: file, path: path, spacing: environment.spacing)
    let layout = JournalLayout(
      capacity: ByteCount(blocks.identity.capacity), spacing: environment.spacing)
    var scan = RecoveryScan(
      file: file, blocks: blocks, layout: layout, environment: environment)
    scan.run { _, _ in }
    let cursors = CursorTable(blocks: blocks, newest: scan.result.newestHeader)
    let plan = planRecovery(scan.result, blocks: blocks, floor: cursors.floor, layout: layout)
    return statistics(blocks, plan, cursors, layout)
  }

  private static func statistics(
    _ blocks: ControlBlocks, _ plan: RecoveryPlan, _ cursors: CursorTable, _ layout: JournalLayout
  ) -> JournalStatistics {
    let floor = cursors.rows.isEmpty ? plan.committed : cursors.requiredFloor
    let wanted = max(floor + 1, plan.oldestKept)
    let undelivered = plan.kept.filter { $0.last >= wanted }
    var gaps: [GapReason: UInt64] = [:]
    for range in plan.corrupt {
      gaps[.corrupt, default: 0] += range.sequences.last.count(
        since: max(range.sequences.first.previous, Sequence(floor)))
    }
    return JournalStatistics(
      identity: JournalIdentity(blocks.identity), capacity: ByteCount(layout.dataByteCount),
      used: ByteCount(
        undelivered.first.map { layout.distance(from: $0.offset, to: plan.head) } ?? 0),
      kept: ByteCount(plan.kept.reduce(0) { $0 + $1.occupiedByteCount }),
      committed: Sequence(plan.committed), oldestKept: Sequence(plan.oldestKept),
      sinks: cursors.rows.map {
        JournalStatistics.Sink(
          name: $0.sink.name, isRequired: $0.sink.required,
          acknowledged: Sequence($0.acknowledged ?? 0))
      },
      groupCount: plan.kept.count, gapRecords: gaps,
      lostRecords: blocks.superblock?.lost.byReason ?? [:],
      wear: blocks.superblock?.wear ?? JournalWear(),
      oldestUndelivered: undelivered.first.map {
        WallTime(nanoseconds: $0.received(from: wanted))
      })
  }
}
