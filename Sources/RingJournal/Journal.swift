import GatewayCore
import Platform
import Synchronization

/// A journal that was opened: the writer for the ingest thread, the state that both halves share,
/// and what recovery found.
package struct OpenedJournal: ~Copyable, Sendable {
  package var writer: JournalWriter
  package let state: JournalState
  package let report: RecoveryReport

  /// Hands over the writer.
  package consuming func takeWriter() -> JournalWriter { writer }
}

/// The front door. See `RingJournal.docc` for what the ring promises.
package enum Journal {
  /// Opens the journal at `path`, creating it first when this is a first start.
  ///
  /// `progress` is called while a new file is zero-filled; `isCancelled` is asked as often, and
  /// when it answers true the unfinished file is removed and `cancelled` thrown. `recovered` is
  /// called for the records that are still in the file, in ascending sequence order, each once,
  /// before this returns; it may also get records that were released just before the stop. The
  /// bytes are lent for the call.
  ///
  /// Blocks for as long as reading the ring takes; a thread that reads ahead ends before this
  /// returns. Reads at most 1.1 × the scanned part, holds at most 8 MiB (and, when a group is
  /// larger than 1 MiB, twice that group) besides the index.
  package static func open(
    path: String, options: JournalOptions, environment: JournalEnvironment = .posix,
    progress: (CreateProgress) -> Void = { _ in }, isCancelled: () -> Bool = { false },
    recovered: (JournalRecord, Span<UInt8>) -> Void = { _, _ in }
  ) throws(JournalError) -> OpenedJournal {
    try JournalOpening(path: path, options: options, environment: environment)
      .run(progress: progress, isCancelled: isCancelled, recovered: recovered)
  }
}

/// The steps of one opening, in the order in which they must happen.
struct JournalOpening {
  let path: String
  let options: JournalOptions
  let environment: JournalEnvironment
  var report = RecoveryReport()

  init(
    path: String, options: JournalOptions, environment: JournalEnvironment
  ) throws(JournalError) {
    self.path = path
    self.options = options
    self.environment = environment
    try validate(options)
  }

  /// 1 volume, 2 create or open, 3 lock, 4 sync and forget the cache, 5 control blocks, 6 scan,
  /// 7 decide, 8 copy aside, 9 superblock of the new epoch (whose sync also settles what a volatile
  /// disk cache may still hold of the last group).
  consuming func run(
    progress: (CreateProgress) -> Void, isCancelled: () -> Bool,
    recovered: (JournalRecord, Span<UInt8>) -> Void
  ) throws(JournalError) -> OpenedJournal {
    let start = environment.clock.monotonic()
    let volume = try checkedVolume()
    let file = try openOrCreate(volume, progress: progress, isCancelled: isCancelled)
    let blocks = try ControlBlocks.read(file, path: path, environment: environment)
    let identity = blocks.identity
    try check(identity, file: file)
    let layout = JournalLayout(
      capacity: ByteCount(identity.capacity), spacing: environment.spacing)
    let counted = blocks.superblock?.nextSequence ?? 0
    var refusedCount: UInt64 = 0
    let (scan, plan, cursors, lineage) = try scanned(blocks, layout: layout) { record, bytes in
      // Refused since the last superblock: it does not know of them.
      if case .tombstone = record.kind, record.sequence.rawValue >= counted {
        refusedCount += record.sequences.count
      }
      recovered(record, bytes)
    }
    Failpoint.recoveryAfterScan.reach()
    describe(scan, plan, blocks, cursors)
    if !plan.corrupt.isEmpty { copyAside(plan.corrupt, from: file) }
    let commitMax = min(options.commitByteCountMax.rawValue, layout.groupByteCountMax)
    let groupMax = max(commitMax / Block.byteCount * Block.byteCount, Block.byteCount)
    let access = JournalAccess(
      path: path, identity: identity, layout: layout, environment: environment,
      groupByteCountMax: max(groupMax, scan.groupByteCountMax), dropReason: options.dropReason)
    let state = try makeState(access, plan, scan, cursors, blocks.superblock, lineage)
    if refusedCount > 0 { state.count(refusedCount, lostTo: .quota) }
    countLosses(plan, in: state)
    var writer = makeWriter(
      file, state, plan, scan, blocks, groupByteCount: groupMax, volume: volume,
      hasNewTable: cursors.hasChanged)
    Failpoint.recoveryBeforeEpoch.reach()
    try writer.beginEpoch(repairing: blocks)
    report.duration = environment.clock.monotonic().since(start)
    return OpenedJournal(writer: writer, state: state, report: report)
  }

  /// Counts what is known to be lost to a required sink, unless it was counted before. What the
  /// ring gave up while a sink held it in memory is lost now that the process has ended.
  private func countLosses(_ plan: RecoveryPlan, in state: JournalState) {
    let from = state.takenFloor + 1
    func count(_ first: UInt64, _ last: UInt64, _ reason: GapReason) {
      guard max(first, from) <= last else { return }
      state.countLostToRequired(
        SequenceRange(Sequence(max(first, from)), Sequence(last)), reason)
    }
    var next = from
    while next < plan.oldestKept {
      let given = state.givenUp(
        SequenceRange(Sequence(next), Sequence(plan.oldestKept - 1)))
      count(next, given.range.last.rawValue, given.reason)
      next = given.range.last.rawValue + 1
    }
    for range in plan.corrupt {
      count(range.sequences.first.rawValue, range.sequences.last.rawValue, .corrupt)
    }
  }

  private func validate(_ options: JournalOptions) throws(JournalError) {
    let names = options.sinks.map(\.name)
    func refuse(_ message: String) -> JournalError { JournalError(.badOptions, message) }
    guard (1...Limits.sinksPerRouteMax).contains(names.count) else {
      throw refuse("a route has 1 to \(Limits.sinksPerRouteMax) sinks, this one \(names.count)")
    }
    guard Set(names).count == names.count else {
      throw refuse("the names of a route's sinks must differ; rename one")
    }
    for name in names
    where name.isEmpty || name.utf8.count > Limits.sinkNameByteCountMax {
      throw refuse("a sink's name has 1 to \(Limits.sinkNameByteCountMax) bytes: \(name)")
    }
    for name in [options.gatewayID, options.routeName]
    where name.isEmpty || name.utf8.count > Limits.identifierByteCountMax {
      throw refuse(
        "the gateway's id and the route's name have 1 to \(Limits.identifierByteCountMax) bytes")
    }
    guard options.commitByteCountMax.rawValue >= Block.byteCount else {
      throw refuse("journal.commit.max_bytes is at least \(ByteCount(Block.byteCount))")
    }
  }

  private mutating func checkedVolume() throws(JournalError) -> VolumeFacts {
    let volume: VolumeFacts
    do throws(SystemError) {
      volume = try environment.disk.volume(of: path)
    } catch {
      throw JournalError(
        .openFailed, "the data directory of \(path) cannot be reached; create it or mount it",
        cause: error)
    }
    switch volume.filesystem {
    case .ordinary: break
    case .doubtful(let name):
      report.warnings.append(
        "\(path) is on \(name): whether a sync reaches the disk depends on what lies below")
    case .refused(let name):
      guard environment.allowsUnsafeFilesystem else {
        throw JournalError(
          .unsafeFilesystem,
          "\(path) is on \(name), where a sync does not survive a power cut; "
            + "put data_directory on a local ext4, XFS or Btrfs")
      }
    }
    return volume
  }

  private mutating func openOrCreate(
    _ volume: VolumeFacts, progress: (CreateProgress) -> Void, isCancelled: () -> Bool
  ) throws(JournalError) -> any DiskFile {
    let disk = environment.disk
    guard disk.exists(path) else {
      try JournalCreate.removeLeftover(of: path, on: disk)
      try JournalCreate.checkFirstStart(
        path: path, routeName: options.routeName, disk: disk)
      report.isCreated = true
      return try create(volume, progress: progress, isCancelled: isCancelled)
    }
    var isLocked = false
    do throws(SystemError) {
      let file = try disk.open(path, .existing)
      isLocked = try !file.lock()
      if isLocked { throw SystemError("flock \(path)", code: 0) }
      try? JournalCreate.removeLeftover(of: path, on: disk)
      // What a dead process wrote but did not sync is either made durable now or reported; after
      // that the cache is forgotten, because it may hold what the disk does not: measured on ext4,
      // 7 of 30 MiB that read back fine after a failed sync were gone once the cache was dropped.
      try file.fullSync()
      try disk.syncDirectory(of: path)
      file.dropCache()
      return file
    } catch {
      if isLocked {
        throw JournalError(
          .locked, "\(path) is in use by another process; stop it first, nothing was touched")
      }
      throw JournalError(
        .openFailed, "\(path) cannot be opened; check permissions and the disk", cause: error)
    }
  }

  private func create(
    _ volume: VolumeFacts, progress: (CreateProgress) -> Void, isCancelled: () -> Bool
  ) throws(JournalError) -> any DiskFile {
    let capacity = options.capacity.rawValue / Block.byteCount * Block.byteCount
    let layout = JournalLayout(capacity: ByteCount(capacity), spacing: environment.spacing)
    let isStandard = environment.spacing == JournalLayout.standardSpacing
    guard layout.dataBlockCount >= JournalLayout.dataBlockCountMin,
      !isStandard || options.capacity >= JournalOptions.capacityMin
    else {
      throw JournalError(
        .badOptions, "journal.size is at least \(JournalOptions.capacityMin); raise it")
    }
    guard options.commitByteCountMax.rawValue <= layout.groupByteCountMax else {
      throw JournalError(
        .badOptions,
        "journal.commit.max_bytes is at most an eighth of the data region, "
          + "\(ByteCount(layout.groupByteCountMax)) for a ring of this size")
    }
    let random = environment.random
    let identity = Identity(
      id: .random(random),
      checksumSeed: max(UInt32(truncatingIfNeeded: random()), 1),
      createdAt: environment.clock.wall(), capacity: capacity,
      hashKey: .random(random), previous: options.previous, dataStart: layout.dataStart,
      gatewayID: options.gatewayID, routeName: options.routeName)
    var superblock = Superblock(
      headOffset: layout.dataStart,
      highWater: layout.dataStart + layout.superblockEveryByteCount)
    superblock.filesystemIdentity = volume.identity
    superblock.wear = JournalCreate.wear(of: layout)
    superblock.sinks = options.sinks.map {
      Superblock.Sink(name: $0.name, isRequired: $0.required, acknowledged: 0)
    }
    return try JournalCreate.create(
      path: path, identity: identity, superblock: superblock, layout: layout,
      disk: environment.disk, freeByteCount: volume.freeByteCount, progress: progress,
      isCancelled: isCancelled)
  }

  mutating func check(
    _ identity: Identity, file: any DiskFile
  ) throws(JournalError) {
    guard identity.gatewayID == options.gatewayID else {
      throw JournalError(
        .wrongGateway,
        "\(path) belongs to gateway \(identity.gatewayID), not \(options.gatewayID); set "
          + "gateway.id back, or start here with an empty data directory")
    }
    guard identity.routeName == options.routeName else {
      throw JournalError(
        .wrongRoute,
        "\(path) belongs to route \(identity.routeName), not \(options.routeName); rename the "
          + "route back, or move the file away to begin a new journal")
    }
    try identity.checkSize(of: file, path: path, spacing: environment.spacing)
    if identity.capacity != options.capacity.rawValue {
      report.warnings.append(
        "\(path) has \(ByteCount(identity.capacity)), configured are \(options.capacity): "
          + "the file's size holds; 'penstock journal resize' changes it"
      )
    }
  }
}
