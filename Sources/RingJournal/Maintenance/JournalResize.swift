package import GatewayCore
import Platform
import Synchronization

/// What a resize kept.
package struct ResizeReport: Sendable, Hashable {
  package let before: ByteCount
  package let after: ByteCount
  package let keptGroupCount: Int
  /// Released groups that did not fit: their ids are no longer recognised as duplicates.
  package let droppedGroupCount: Int
}

extension JournalMaintenance {
  /// Gives the journal at `path` another size: a new file beside it with the same identity and the
  /// same cursors, into which the groups are copied one behind the other with their sequences,
  /// epochs and times; then the new file takes the old one's name. All that a sink has not
  /// acknowledged is kept, and of the older groups, whose ids the deduplication still knows, the
  /// newest that fit into three quarters of the ring.
  /// - Parameter progress: called while the new file is filled with zeros.
  /// - Throws: `badOptions` when the size is too small for what must be kept (the text says what is
  ///   needed), `notEnoughSpace`, `locked`, and what `Journal.open` throws.
  package static func resize(
    path: String, capacity: ByteCount, environment: JournalEnvironment = .posix,
    progress: (CreateProgress) -> Void = { _ in }
  ) throws(JournalError) -> ResizeReport {
    var journal = try open(path: path, sinks: [], environment: environment)
    try journal.writer.close()
    let layout = JournalLayout(
      capacity: ByteCount(capacity.rawValue / Block.byteCount * Block.byteCount),
      spacing: environment.spacing)
    let copier = JournalCopier(journal.writer)
    let groups = try copier.groups(for: layout)
    let before = journal.state.identity.capacity
    let droppedCount = copier.groupCount - groups.count
    let copy = try copier.copy(groups, to: layout, progress: progress)
    // Both files stay locked until the name stands for the new one.
    withExtendedLifetime((copy, journal.state)) {}
    return ResizeReport(
      before: before, after: ByteCount(layout.capacity), keptGroupCount: groups.count,
      droppedGroupCount: droppedCount)
  }
}

/// Copies the groups of a closed journal into a new file.
struct JournalCopier {
  private let access: JournalAccess
  private let file: any DiskFile
  private let superblock: Superblock
  private let entries: [GroupEntry]
  /// The slowest sink's cursor: what is above it must come along.
  private let floor: UInt64
  private let committed: UInt64

  var groupCount: Int { entries.count }

  init(_ writer: borrowing JournalWriter) {
    access = writer.access
    file = writer.file
    superblock = writer.superblock
    entries = writer.state.index.withLock { index in (0..<index.count).map { index[$0] } }
    floor = writer.state.floor
    committed = writer.state.committed.rawValue
  }

  /// The groups that come along, oldest first.
  func groups(for layout: JournalLayout) throws(JournalError) -> ArraySlice<GroupEntry> {
    guard layout.dataBlockCount >= JournalLayout.dataBlockCountMin,
      layout.spacing != JournalLayout.standardSpacing
        || layout.capacity >= JournalOptions.capacityMin.rawValue
    else {
      throw JournalError(.badOptions, "a journal has at least \(JournalOptions.capacityMin)")
    }
    let undelivered = entries.drop { $0.last <= floor }
    let needed = undelivered.reduce(0) { $0 + $1.occupiedByteCount }
    let largest = entries.map(\.occupiedByteCount).max() ?? 0
    // A group may take an eighth, and the first new one must find room.
    let dataMin = max(needed + max(largest, needed / 7), 8 * largest)
    guard dataMin <= layout.dataByteCount else {
      let minimum = Block.roundUp(layout.dataStart + dataMin)
      throw JournalError(
        .badOptions,
        "\(ByteCount(layout.capacity)) are too small: \(ByteCount(needed)) are not delivered yet "
          + "and a commit group takes up to \(ByteCount(largest)); give at least "
          + "\(minimum) bytes, or let the gateway deliver first")
    }
    var byteCount = needed
    var start = undelivered.startIndex
    while start > entries.startIndex {
      let next = entries[start - 1]
      guard byteCount + next.occupiedByteCount <= layout.dataByteCount / 4 * 3 else { break }
      byteCount += next.occupiedByteCount
      start -= 1
    }
    return entries[start...]
  }

  /// The new file, under the journal's name and locked.
  func copy(
    _ groups: ArraySlice<GroupEntry>, to layout: JournalLayout,
    progress: (CreateProgress) -> Void
  ) throws(JournalError) -> any DiskFile {
    var identity = access.identity
    identity.capacity = layout.capacity
    var superblock = self.superblock
    let end = layout.dataStart + groups.reduce(0) { $0 + $1.occupiedByteCount }
    superblock.headOffset = end
    superblock.headLap = 0
    superblock.highWater = min(end + layout.superblockEveryByteCount, layout.dataEnd)
    superblock.oldestKept = max(superblock.oldestKept, groups.first?.first ?? 0)
    superblock.wear.writtenByteCount += JournalCreate.wear(of: layout).writtenByteCount
    superblock.wear.writtenByteCount += UInt64(end - layout.dataStart)
    superblock.wear.syncCount += JournalCreate.wear(of: layout).syncCount
    var headers = Relocation(identity: identity, offset: layout.dataStart)
    let freeByteCount: Int
    do throws(SystemError) {
      freeByteCount = try access.environment.disk.volume(of: access.path).freeByteCount
    } catch {
      throw JournalError(.openFailed, "\(access.path) cannot be reached", cause: error)
    }
    try JournalCreate.removeLeftover(of: access.path, on: access.environment.disk)
    return try JournalCreate.create(
      path: access.path, identity: identity, superblock: superblock, layout: layout,
      disk: access.environment.disk, freeByteCount: freeByteCount, progress: progress,
      isCancelled: { false }
    ) { target, superblock throws(SystemError) in
      for entry in groups { try relocate(entry, to: target, &headers) }
      superblock.lastHeaderChecksum = headers.previousChecksum
    }
  }

  private struct Relocation {
    let identity: Identity
    var offset: Int
    var previousChecksum: UInt32 = 0
  }

  private func relocate(
    _ entry: GroupEntry, to target: any DiskFile, _ place: inout Relocation
  ) throws(SystemError) {
    var buffer = AlignedBuffer(count: entry.occupiedByteCount)
    let count = try buffer.withMutableBytes(0..<entry.occupiedByteCount) {
      bytes throws(SystemError) in try file.read(into: &bytes, at: entry.offset)
    }
    let used = Int(entry.usedByteCount)
    let identity = access.identity
    let found = buffer.withBytes(0..<used) { bytes -> GroupHeader? in
      guard count == bytes.count || count >= used,
        let header = GroupHeader.decode(bytes, offset: entry.offset, identity: identity),
        header.number == entry.number, header.bodyIsIntact(bytes, seed: identity.checksumSeed)
      else { return nil }
      return header
    }
    // Opening the journal a moment ago read it: the disk is dying, and nothing has been replaced.
    guard var header = found else { throw SystemError("reading a commit group", code: 5) }
    header.offset = place.offset
    header.lap = 0
    header.previousChecksum = place.previousChecksum
    buffer.withMutableBytes(0..<used) {
      header.encode(into: &$0, seed: place.identity.checksumSeed)
    }
    try buffer.withBytes(0..<entry.occupiedByteCount) { bytes throws(SystemError) in
      try target.write(bytes, at: place.offset)
    }
    place.offset += entry.occupiedByteCount
    place.previousChecksum = header.headerChecksum
  }
}
