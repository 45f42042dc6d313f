package import GatewayCore
import Platform

/// What a repair found and did.
package struct RepairReport: Sendable {
  /// Where the file was copied before anything was changed; nil: no copy was asked for.
  package let copy: String?
  /// Bytes of zeros put where the end of the file was missing.
  package let extendedBy: ByteCount
  /// What the recovery found and did.
  package let recovery: RecoveryReport

  /// The file was as it should be.
  package var wasIntact: Bool {
    extendedBy == ByteCount(0) && recovery.repairedBlockCount == 0
      && recovery.corruptRanges.isEmpty && recovery.tornTailCount == 0
      && recovery.unreadableBlockCount == 0
  }
}

extension JournalMaintenance {
  /// Brings a damaged file into a state that a gateway starts with, and cuts nothing that can be
  /// read: lost control blocks are written anew from the others and from the commit groups, a file
  /// that was cut short gets its length back, committed records that cannot be read become a gap
  /// and their bytes are copied to `quarantine/`, an unfinished last write is cut off.
  /// - Parameters:
  ///   - copyPath: the whole file is copied there first, synced; must not exist.
  ///   - sinks: names of the destinations, for a file whose superblocks are both lost.
  /// - Throws: `damaged`, `zeros`, `foreign` when nothing says what the file is: beyond repair;
  ///   `notEnoughSpace` for the copy; `sinksUnknown`; and what `Journal.open` throws.
  package static func repair(
    path: String, copyPath: String?, sinks: [JournalSink] = [],
    environment: JournalEnvironment = .posix, progress: (CreateProgress) -> Void = { _ in }
  ) throws(JournalError) -> RepairReport {
    // Nothing is copied or changed of a file that is beyond repair or in use.
    let options = try options(of: path, sinks: sinks, environment: environment)
    let extended = try extend(
      path: path, to: options.capacity.rawValue, copyPath: copyPath, environment: environment,
      progress: progress)
    var journal = try Journal.open(path: path, options: options, environment: environment)
    let report = journal.report
    try journal.writer.close()
    return RepairReport(copy: copyPath, extendedBy: ByteCount(extended), recovery: report)
  }

  /// Locks the file, copies it aside and gives it its length.
  private static func extend(
    path: String, to capacity: Int, copyPath: String?, environment: JournalEnvironment,
    progress: (CreateProgress) -> Void
  ) throws(JournalError) -> Int {
    let disk = environment.disk
    let byteCount: Int
    var isLocked = false
    do throws(SystemError) {
      let file = try disk.open(path, .existing)
      guard try file.lock() else {
        isLocked = true
        throw SystemError("flock \(path)", code: 11)
      }
      byteCount = try file.byteCount()
      if let copyPath {
        try copyAside(file, byteCount: byteCount, to: copyPath, disk: disk, progress: progress)
      }
      if byteCount < capacity {
        try fill(file, byteCount..<capacity)
        try file.fullSync()
      }
    } catch {
      if isLocked {
        throw JournalError(
          .locked, "\(path) is in use by another process; stop it first, nothing was touched")
      }
      throw JournalError(.writeFailed, "\(path) could not be copied aside or written", cause: error)
    }
    return max(0, capacity - byteCount)
  }

  private static func copyAside(
    _ file: any DiskFile, byteCount: Int, to path: String, disk: any Disk,
    progress: (CreateProgress) -> Void
  ) throws(SystemError) {
    guard try disk.volume(of: path).freeByteCount >= byteCount else {
      throw SystemError("no room for a copy of \(ByteCount(byteCount)) at \(path)", code: 28)
    }
    let target = try disk.open(path, .create)
    var buffer = AlignedBuffer(count: 1 << 20)
    do throws(SystemError) {
      for offset in stride(from: 0, to: byteCount, by: buffer.count) {
        let range = offset..<min(offset + buffer.count, byteCount)
        // Blocks that the disk refuses are zeros in the copy.
        _ = ScanRead.read(range, of: file, into: &buffer, at: 0)
        try buffer.withBytes(0..<range.count) { bytes throws(SystemError) in
          try target.write(bytes, at: offset)
        }
        progress(
          CreateProgress(written: ByteCount(range.upperBound), total: ByteCount(byteCount)))
      }
      try target.fullSync()
      try disk.syncDirectory(of: path)
    } catch {
      try? disk.remove(path)
      throw error
    }
  }

  private static func fill(_ file: any DiskFile, _ range: Range<Int>) throws(SystemError) {
    let zeros = AlignedBuffer(count: 1 << 20)
    for offset in stride(from: range.lowerBound, to: range.upperBound, by: zeros.count) {
      let count = min(zeros.count, range.upperBound - offset)
      try zeros.withBytes(0..<count) { bytes throws(SystemError) in
        try file.write(bytes, at: offset)
      }
    }
  }
}
