import GatewayCore
import Platform

/// A journal that is only read, because its disk can no longer be written: nothing on the disk
/// changes, and the sinks' cursors move in memory, from where the file has them. What a sink gets
/// it gets again when the journal is opened to be written the next time.
package struct ReadOnlyJournal: Sendable {
  package let state: JournalState
  package let report: RecoveryReport
  /// Holds the lock, where there is one.
  private let file: any DiskFile

  init(state: JournalState, report: RecoveryReport, file: any DiskFile) {
    self.state = state
    self.report = report
    self.file = file
  }
}

extension Journal {
  /// Opens the journal at `path` without writing a byte: no creation, no repair, no new epoch on
  /// the disk. Holds the writer's lock, so that nobody else writes meanwhile; a filesystem that has
  /// no locks any more is read without one, and the report says so.
  ///
  /// Blocks for as long as reading the ring takes.
  ///
  /// - Throws: `locked` while another process has the journal open, `journalMissing`, and what
  ///   `open` throws of a file that is no journal of this gateway and route.
  package static func openReadOnly(
    path: String, options: JournalOptions, environment: JournalEnvironment = .posix
  ) throws(JournalError) -> ReadOnlyJournal {
    try JournalOpening(path: path, options: options, environment: environment).runReadOnly()
  }
}

extension JournalOpening {
  consuming func runReadOnly() throws(JournalError) -> ReadOnlyJournal {
    let start = environment.clock.monotonic()
    let file = try openLocked()
    let blocks = try ControlBlocks.read(file, path: path, environment: environment)
    let identity = blocks.identity
    try check(identity, file: file)
    let layout = JournalLayout(
      capacity: ByteCount(identity.capacity), spacing: environment.spacing)
    let (scan, plan, cursors, lineage) = try scanned(blocks, layout: layout) { _, _ in }
    describe(scan, plan, blocks, cursors)
    let access = JournalAccess(
      path: path, identity: identity, layout: layout, environment: environment,
      groupByteCountMax: max(scan.groupByteCountMax, Block.byteCount),
      dropReason: options.dropReason)
    let state = try makeState(access, plan, scan, cursors, blocks.superblock, lineage)
    report.duration = environment.clock.monotonic().since(start)
    return ReadOnlyJournal(state: state, report: report, file: file)
  }

  private mutating func openLocked() throws(JournalError) -> any DiskFile {
    let file: any DiskFile
    do throws(SystemError) {
      file = try environment.disk.open(path, .readOnly)
    } catch {
      guard environment.disk.exists(path) else {
        throw JournalError(
          .journalMissing, "there is no journal at \(path), so there is nothing to deliver")
      }
      throw JournalError(
        .openFailed, "\(path) cannot be opened for reading; check the disk", cause: error)
    }
    var isFree = true
    do throws(SystemError) {
      isFree = try file.lock()
    } catch {
      report.warnings.append("\(path) is read without a lock: \(error)")
    }
    guard isFree else {
      throw JournalError(
        .locked, "\(path) is in use by another process; stop it first, nothing was touched")
    }
    // After a failed sync the cache may hold what the disk never got.
    file.dropCache()
    return file
  }
}
