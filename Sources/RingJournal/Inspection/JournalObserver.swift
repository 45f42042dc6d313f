package import GatewayCore
import Glibc
import Platform

/// A journal file as it stands: looked at without a lock and without writing a byte, live or dead,
/// also a copy on another machine. The same scan, decision table and reader that the gateway uses.
///
/// On a live file it begins as a picture of the moment; `follow` adds what was committed since. A
/// writer that moves on while we read is no damage: what does not fit is read again before it is
/// believed.
///
/// Memory: the scan's buffers (at most 8 MiB) while it opens, the index (48 bytes per commit group)
/// and a reader's buffer. One thread; blocks in the disk.
package struct JournalObserver: ~Copyable {
  package let path: String
  let environment: JournalEnvironment
  let file: any DiskFile
  var view: View
  var probe: GroupProbe
  /// Something was committed, or a cursor written, since the file was opened.
  package internal(set) var isLive = false

  /// What one pass over the file came to.
  struct View: Sendable {
    let state: JournalState
    var blocks: ControlBlocks
    var plan: RecoveryPlan
    let readableFrom: UInt64
    var unreadableBlockCount: Int
    var fileByteCount: Int
  }

  /// A file may change under the scan this often before its damage counts as damage.
  static let scanAttemptsMax = 4

  /// Reads and checks the whole file.
  ///
  /// - Parameters:
  ///   - bypassingCache: read what is on the medium, not what the page cache remembers of it.
  ///   - progress: how much of the scan is done, 0 to 1; called now and then.
  /// - Throws: `openFailed`, `foreign`, `zeros`, `truncated`, `newerVersion`, `damaged`.
  package init(
    path: String, environment: JournalEnvironment = .posix, bypassingCache: Bool = false,
    progress: (Double) -> Void = { _ in }
  ) throws(JournalError) {
    let file = try JournalObserver.open(path, environment, bypassingCache: bypassingCache)
    let view = try JournalObserver.view(
      of: file, path: path, environment: environment, progress: progress)
    self.path = path
    self.environment = environment
    self.file = file
    self.view = view
    probe = GroupProbe(file: file, identity: view.blocks.identity, layout: view.state.access.layout)
    settle(progress: progress)
  }

  /// The sequences that can be asked for: the oldest that is kept to the newest that is committed.
  package var oldest: Sequence { max(view.state.oldestKept, Sequence(view.readableFrom)) }
  package var committed: Sequence { view.state.committed }

  /// Reads the file anew, when the picture can no longer be continued.
  mutating func reload() throws(JournalError) {
    view = try JournalObserver.view(
      of: file, path: path, environment: environment, progress: { _ in })
    settle(progress: { _ in })
  }

  /// Believes in damage only when nothing moves any more, and goes on to what is newest.
  private mutating func settle(progress: (Double) -> Void) {
    for _ in 1..<JournalObserver.scanAttemptsMax {
      let before = view.blocks.superblock?.generation
      if !view.plan.corrupt.isEmpty { heal() }
      _ = learn()
      if view.plan.corrupt.isEmpty { return }
      let now = try? ControlBlocks.read(file, path: path, environment: environment)
      guard isLive || now?.superblock?.generation != before,
        let again = try? JournalObserver.view(
          of: file, path: path, environment: environment, progress: progress)
      else { return }
      isLive = true
      view = again
    }
  }

  private static func open(
    _ path: String, _ environment: JournalEnvironment, bypassingCache: Bool
  ) throws(JournalError) -> any DiskFile {
    let file: any DiskFile
    do throws(SystemError) {
      file = try environment.disk.open(path, bypassingCache ? .scan : .readOnly)
      // Refuses what is no file.
      _ = try file.byteCount()
    } catch {
      throw unopened(path, error, environment.disk)
    }
    if bypassingCache { file.dropCache() }
    return file
  }

  private static func unopened(
    _ path: String, _ error: SystemError, _ disk: any Disk
  ) -> JournalError {
    switch error.code {
    case ENOENT: return JournalError(.openFailed, "\(path) does not exist")
    case EISDIR:
      let journals = ((try? disk.entries(ofDirectory: path)) ?? [])
        .filter { $0.hasSuffix(".journal") || $0.hasSuffix(".dead") }.sorted()
      let advice =
        journals.isEmpty
        ? "name a journal file" : "it holds \(journals.joined(separator: ", ")): name one of them"
      return JournalError(.openFailed, "\(path) is not a file; \(advice)")
    case EACCES:
      return JournalError(
        .openFailed, "\(path) may not be read by this user; run as the gateway's user or as root")
    default:
      return JournalError(.openFailed, "\(path) cannot be opened for reading", cause: error)
    }
  }
}

extension JournalObserver {
  /// One pass over the file. The superblock that the scan began with says what must be there; what
  /// has been released since, the newer one says.
  private static func view(
    of file: any DiskFile, path: String, environment: JournalEnvironment,
    progress: (Double) -> Void
  ) throws(JournalError) -> View {
    var blocks = try wholeBlocks(file, path: path, environment: environment)
    let layout = JournalLayout(
      capacity: ByteCount(blocks.identity.capacity), spacing: environment.spacing)
    guard blocks.identity.dataStart == layout.dataStart else {
      throw JournalError(.foreign, "\(path) has its data region elsewhere; it is not of format 1")
    }
    var scan = RecoveryScan(
      file: file, blocks: blocks, layout: layout, environment: environment)
    let first = blocks.superblock?.oldestKept ?? 1
    let count = Double(max(blocks.superblock?.nextSequence ?? 1, first + 1) - first)
    scan.run { record, _ in
      let sequence = record.sequence.rawValue
      if sequence % 4096 == 0 { progress(Double(sequence - min(first, sequence)) / count) }
    }
    if let now = try? ControlBlocks.read(file, path: path, environment: environment),
      now.identity == blocks.identity, let newer = now.superblock
    {
      blocks.superblock?.oldestKept = newer.oldestKept
      blocks.superblock?.sinks = newer.sinks
      blocks.superblock?.lost = newer.lost
      blocks.superblock?.wear = newer.wear
      blocks.superblock?.isCleanStop = newer.isCleanStop
    }
    let cursors = CursorTable(blocks: blocks, newest: scan.result.newestHeader)
    let plan = planRecovery(scan.result, blocks: blocks, floor: cursors.floor, layout: layout)
    let access = JournalAccess(
      path: path, identity: blocks.identity, layout: layout, environment: environment,
      groupByteCountMax: max(scan.result.groupByteCountMax, Block.byteCount),
      dropReason: .ringFull)
    let state = try JournalState(
      looking: access, plan, cursors, blocks.superblock, scan.result)
    return View(
      state: state, blocks: blocks, plan: plan, readableFrom: plan.readableFrom,
      unreadableBlockCount: scan.result.unreadableBlockCount,
      fileByteCount: (try? file.byteCount()) ?? 0)
  }

  /// A block that is being written may look damaged: what is wrong is read again.
  private static func wholeBlocks(
    _ file: any DiskFile, path: String, environment: JournalEnvironment
  ) throws(JournalError) -> ControlBlocks {
    var blocks = try ControlBlocks.read(file, path: path, environment: environment)
    for _ in 1..<scanAttemptsMax where blocks.damagedCount > 0 {
      blocks = try ControlBlocks.read(file, path: path, environment: environment)
    }
    return blocks
  }
}

extension RecoveryPlan {
  /// The first record that is worth reading. A hole that is no corruption lies where a last write
  /// may have gone, over groups that had been released for it: what is before the hole was
  /// released, too.
  fileprivate var readableFrom: UInt64 {
    for (before, after) in zip(kept, kept.dropFirst()).reversed()
    where before.last + 1 < after.first {
      let lost = Sequence(before.last + 1)
      if !corrupt.contains(where: { $0.sequences.contains(lost) }) { return after.first }
    }
    return 1
  }
}

extension JournalState {
  /// The state of a journal that is only looked at.
  convenience init(
    looking access: JournalAccess, _ plan: RecoveryPlan, _ cursors: CursorTable,
    _ superblock: Superblock?, _ scan: ScanResult
  ) throws(JournalError) {
    do throws(SystemError) {
      var sinks: [SinkState] = []
      for row in cursors.rows {
        let (cursor, intervals) = cursors.acceptance(row, plan)
        sinks.append(
          SinkState(
            name: row.sink.name, isRequired: row.sink.required,
            acknowledged: cursor, intervals: intervals,
            skippedThrough: min(row.skippedThrough, plan.committed),
            wakeUp: try WakeUp()))
      }
      self.init(
        access: access, epoch: Epoch(rawValue: superblock?.epoch ?? 0),
        index: GroupIndex(plan.kept, countMax: access.layout.dataBlockCount),
        committed: plan.committed, oldestKept: plan.oldestKept, head: plan.head, sinks: sinks,
        before: superblock ?? Superblock(headOffset: plan.head, highWater: plan.head),
        writerWakeUp: try WakeUp(), expireAfter: nil, keepsExpired: false,
        elapsedTime: ElapsedTime(
          newest: scan.newest, superblock: superblock, environment: access.environment),
        bootClocks: scan.bootClocks)
    } catch {
      throw JournalError(
        .openFailed, "no descriptors for \(access.path); raise the limit of open files",
        cause: error)
    }
  }
}
