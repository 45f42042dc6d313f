import GatewayCore
import Glibc
import Platform

/// Creates a journal file so that after a crash there is either none or a whole one: temporary
/// file, zero-fill, sync, rename, sync of the directory. Zero-filled, not merely allocated: every
/// later commit is then a pure overwrite (measured on ext4: 4 KiB and one flush per 4 KiB commit,
/// against 10 KiB and two when the file grows).
enum JournalCreate {
  private static let fillByteCount = 1 << 20

  /// Removes what an interrupted creation left behind, unless another process is creating now.
  static func removeLeftover(of path: String, on disk: any Disk) throws(JournalError) {
    let temporary = path + ".creating"
    guard disk.exists(temporary) else { return }
    do throws(SystemError) {
      guard try disk.open(temporary, .existing).lock() else {
        throw SystemError("lock \(temporary)", code: alreadyLocked)
      }
      try disk.remove(temporary)
    } catch {
      if error.code == alreadyLocked {
        throw JournalError(.locked, "another process is creating \(path); stop it first")
      }
      throw JournalError(
        .createFailed, "the leftover \(temporary) cannot be removed; remove it", cause: error)
    }
  }

  // Not an errno value: marks our own finding on its way through the typed throw.
  private static let alreadyLocked: Int32 = -1

  /// First start means an empty data directory: journals of other routes with their
  /// companions may be there, anything of this route may not. The companion of a journal that is
  /// there (`<route>.dead`) is no first start: the journal proves that the right disk is mounted.
  static func checkFirstStart(
    path: String, routeName: String, disk: any Disk
  ) throws(JournalError) {
    let directory = File.directoryName(of: path)
    let names: [String]
    do throws(SystemError) {
      names = try disk.entries(ofDirectory: directory)
    } catch {
      throw JournalError(
        .openFailed, "the data directory \(directory) cannot be listed; create it or mount it",
        cause: error)
    }
    let ownPrefix = baseName(of: path) + "."
    let otherPrefixes = names.filter { $0.hasSuffix(".journal") }.map { $0.dropLast(7) }
    let isCompanion = otherPrefixes.contains { ownPrefix.hasPrefix($0) }
    let noRoute = ["lost+found", "quarantine", "links", DataDirectory.controlSocketName]
    for name in names where !noRoute.contains(name) {
      if name.hasPrefix(ownPrefix) {
        throw JournalError(
          .journalMissing,
          "\(path) is missing, but \(directory)/\(name) shows that route \(routeName) ran here; "
            + "restore the journal, or remove that file to begin a new one")
      }
      if isCompanion || name.hasSuffix(".journal.creating") { continue }
      if otherPrefixes.contains(where: { name.hasPrefix($0) }) { continue }
      throw JournalError(
        .directoryNotEmpty,
        "\(directory) holds \(name), which is none of ours, and no journal of route \(routeName); "
          + "is the right disk mounted? A first start needs an empty directory")
    }
  }

  /// The file's name without `.journal`.
  static func baseName(of path: String) -> Substring {
    let name = path[path.index(path.startIndex, offsetBy: nameOffset(of: path))...]
    return name.hasSuffix(".journal") ? name.dropLast(8) : name
  }

  private static func nameOffset(of path: String) -> Int {
    path.lastIndex(of: "/").map { path.distance(from: path.startIndex, to: $0) + 1 } ?? 0
  }

  /// Creates the file and returns it, locked. Removes the temporary file when it fails.
  /// - Parameter content: writes what is in it from the start, before the control blocks.
  static func create(
    path: String, identity: Identity, superblock: Superblock, layout: JournalLayout,
    disk: any Disk, freeByteCount: Int, progress: (CreateProgress) -> Void,
    isCancelled: () -> Bool,
    content: (any DiskFile, inout Superblock) throws(SystemError) -> Void = { _, _ in }
  ) throws(JournalError) -> any DiskFile {
    guard freeByteCount >= layout.capacity else {
      throw JournalError(
        .notEnoughSpace,
        "\(path) needs \(ByteCount(layout.capacity)), the filesystem has "
          + "\(ByteCount(freeByteCount)) free; lower journal.size or make room")
    }
    let temporary = path + ".creating"
    do throws(SystemError) {
      let file = try disk.open(temporary, .create)
      do throws(SystemError) {
        guard try file.lock() else { throw SystemError("flock \(temporary)") }
        try fill(file, layout: layout, progress: progress, isCancelled: isCancelled)
        var superblock = superblock
        try content(file, &superblock)
        try writeControlBlocks(file, identity, superblock, layout)
        try file.fullSync()
        Failpoint.createBeforeRename.reach()
        try disk.rename(temporary, to: path)
        Failpoint.createAfterRename.reach()
        try disk.syncDirectory(of: path)
        return file
      } catch {
        // The first failure is the news; the temporary file is removed at the next start if not
        // now.
        try? disk.remove(temporary)
        throw error
      }
    } catch {
      if error.code == ECANCELED {
        throw JournalError(.cancelled, "the creation of \(path) was cut short; start again")
      }
      throw JournalError(
        .createFailed, "\(path) could not be created; check space and permissions", cause: error)
    }
  }

  /// Synced in steps, so that progress tells the truth and no single sync takes minutes on a card.
  private static let syncEveryByteCount = 32 << 20

  private static func fill(
    _ file: any DiskFile, layout: JournalLayout, progress: (CreateProgress) -> Void,
    isCancelled: () -> Bool
  ) throws(SystemError) {
    let zeros = AlignedBuffer(count: min(fillByteCount, layout.capacity))
    var offset = 0
    var unsynced = 0
    while offset < layout.capacity {
      if isCancelled() { throw SystemError("create", code: ECANCELED) }
      let count = min(zeros.count, layout.capacity - offset)
      try zeros.withBytes(0..<count) { bytes throws(SystemError) in
        try file.write(bytes, at: offset)
      }
      offset += count
      unsynced += count
      Failpoint.createMidFill.reach()
      if unsynced >= syncEveryByteCount {
        try file.dataSync()
        unsynced = 0
      }
      progress(CreateProgress(written: ByteCount(offset), total: ByteCount(layout.capacity)))
    }
  }

  /// What the creation itself costs: the fill with its syncs, and the control blocks.
  static func wear(of layout: JournalLayout) -> JournalWear {
    var wear = JournalWear()
    wear.writtenByteCount = UInt64(layout.capacity + 4 * Block.byteCount)
    wear.syncCount = UInt64(layout.capacity / syncEveryByteCount + 1)
    return wear
  }

  private static func writeControlBlocks(
    _ file: any DiskFile, _ identity: Identity, _ superblock: Superblock, _ layout: JournalLayout
  ) throws(SystemError) {
    var block = AlignedBuffer(count: Block.byteCount)
    for slot in 0..<2 {
      var superblock = superblock
      superblock.generation += UInt64(slot + 1)
      block.withMutableBytes(0..<Block.byteCount) {
        superblock.encode(identity: identity, into: &$0)
      }
      try write(block, to: file, at: layout.slots[slot])
    }
    for copy in 0..<2 { try writeIdentityCopy(copy, identity, to: file, layout) }
  }

  static func writeIdentityCopy(
    _ copy: Int, _ identity: Identity, to file: any DiskFile, _ layout: JournalLayout
  ) throws(SystemError) {
    var block = AlignedBuffer(count: Block.byteCount)
    block.withMutableBytes(0..<Block.byteCount) { identity.encode(into: &$0) }
    try write(block, to: file, at: layout.identityCopies[copy])
  }

  private static func write(
    _ block: borrowing AlignedBuffer, to file: any DiskFile, at offset: Int
  ) throws(SystemError) {
    try block.withBytes(0..<Block.byteCount) { bytes throws(SystemError) in
      try file.write(bytes, at: offset)
    }
  }
}
