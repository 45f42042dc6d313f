package import Platform
package import RingJournal
package import Synchronization

/// A disk in memory that behaves as badly as a disk may, decided by seeds alone.
///
/// - What was not synced is, at a crash, kept, dropped or garbled sector by sector, in any order:
///   an older write of a sector may survive a newer one (see `crash`).
/// - Names are durable only after a sync of their directory; before that a creation, a renaming or
///   a removal may be undone by a crash, each on its own. Directories themselves are durable at
///   once.
/// - Calls fail, fall short or are interrupted, by script or by probability (`DiskFaults`). A sync
///   that fails drops the pages and marks them clean: the next one succeeds, and reads show the
///   lost bytes until the cache is dropped.
/// - A sync that succeeds may still lie: writes get lost or land elsewhere in the file.
/// - Durable sectors rot or become unreadable (`rot`).
/// - The power goes after the nth operation, whatever that is: creating, recovering, committing.
///
/// It remembers which write each durable sector came from, so that a model can tell intact from
/// damaged without reading the format.
package final class SimulatedDisk: Disk {
  /// What becomes of un-synced sectors.
  package enum Survival: Sendable {
    case nothing
    case everything
    /// Each sector on its own, writes in any order.
    case sectors
    /// As `sectors`, and some of the kept ones hold noise, or half old and half new.
    case garbled
  }

  package struct Content: Sendable {
    package var durable: [UInt8] = []
    /// What reads through the cache see.
    package var current: [UInt8] = []
    package var pending: [Write] = []
    package var owner: UInt64?
    /// Offsets of blocks that the disk refuses to read; a write makes one readable again.
    package var unreadable: Set<Int> = []
    /// For each 512 durable bytes the write they are whole from; 0: never written or damaged.
    package var origins: [UInt32] = []
    /// 0: put here by a test, its name is durable.
    var inode: UInt64 = 0

    package init() {}
  }

  package struct Write: Sendable {
    package var id: UInt32
    package var offset: Int
    package var bytes: [UInt8]
  }

  /// One call of `write`, whatever came of it.
  package struct LoggedWrite: Sendable {
    package var id: UInt32
    package var path: String
    package var offset: Int
    package var bytes: [UInt8]
    package var byteCount: Int { bytes.count }
  }

  enum NameChange: Sendable {
    case create(String, UInt64)
    case rename(String, to: String, UInt64)
    case remove(String)
  }

  package struct State: Sendable {
    package var files: [String: Content] = [:]
    package var directories: Set<String> = []
    var durableNames: [String: UInt64] = [:]
    var nameChanges: [NameChange] = []
    /// Without a name now, perhaps not after a crash.
    var orphans: [UInt64: Content] = [:]
    /// Grows at each crash; descriptors of an earlier life are dead.
    package var life: UInt64 = 0
    var nextHandle: UInt64 = 1
    var nextInode: UInt64 = 1
    var nextWriteID: UInt32 = 1
    package var operationsUntilPowerOff: Int?
    /// The power goes right after the next write at this offset.
    package var powerOffAfterWriteAt: Int?
    /// Codes of the next calls; 0: that one succeeds.
    package var failingSyncs: [Int32] = []
    package var failingWrites: [Int32] = []
    package var faults = DiskFaults()
    package var writes: [LoggedWrite] = []
    /// What happened to writes on the way to the disk, in words.
    package var strays: [String] = []
    package var syncCount = 0
    package var readByteCount = 0
    package var filesystem = VolumeFacts.Filesystem.ordinary
    package var freeByteCount = 1 << 40
    /// Decides the faults that have a probability.
    package var generator = SeededGenerator(seed: 1)

    package init() {}

    /// One more operation; after the last one the power is gone.
    mutating func spend() throws(SystemError) {
      guard let left = operationsUntilPowerOff else { return }
      if left <= 0 { throw SystemError("power off", code: 5) }
      operationsUntilPowerOff = left - 1
    }

    mutating func happens(_ probability: Double) -> Bool {
      probability > 0 && Double.random(in: 0..<1, using: &generator) < probability
    }
  }

  /// What `origins` counts in.
  package static let originByteCount = 512

  package let state: Mutex<State>
  /// A crash keeps or drops this much as one: 512 or 4096.
  package let sectorByteCount: Int

  package init(_ state: State = State(), sectorByteCount: Int = 512) {
    self.state = Mutex(state)
    self.sectorByteCount = sectorByteCount
  }

  /// The process dies, the machine does not: everything written stays, descriptors close.
  package func kill() {
    state.withLock { state in
      state.life += 1
      state.operationsUntilPowerOff = nil
      for path in state.files.keys { state.files[path]?.owner = nil }
    }
  }

  /// Changes durable bytes behind everybody's back.
  package func damage(_ path: String, _ change: (inout [UInt8]) -> Void) {
    alter(path) { content in
      change(&content.durable)
      content.current = content.durable
    }
  }

  package func bytes(_ path: String) -> [UInt8] { state.withLock { $0.files[path]?.durable ?? [] } }

  /// Changes a file while its arrays are uniquely referenced.
  func alter(_ path: String, _ body: (inout Content) -> Void) {
    state.withLock { state in
      guard var content = state.files[path] else { return }
      state.files[path] = nil
      body(&content)
      state.files[path] = content
    }
  }

  // MARK: Disk

  package func open(_ path: String, _ mode: DiskOpenMode) throws(SystemError) -> any DiskFile {
    try state.withLock { state throws(SystemError) in
      switch mode {
      case .create:
        if state.files[path] != nil { throw SystemError("open \(path)", code: 17) }
        try state.spend()
        var content = Content()
        content.inode = state.nextInode
        state.nextInode += 1
        state.nameChanges.append(.create(path, content.inode))
        state.files[path] = content
      case .existing, .readOnly, .scan:
        if state.files[path] == nil { throw SystemError("open \(path)", code: 2) }
      }
      state.nextHandle += 1
      return SimulatedFile(
        disk: self, path: path, inode: state.files[path]?.inode ?? 0, handle: state.nextHandle,
        life: state.life, isDirect: mode == .scan)
    }
  }

  package func exists(_ path: String) -> Bool { state.withLock { $0.files[path] != nil } }

  package func entries(ofDirectory path: String) throws(SystemError) -> [String] {
    state.withLock { state in
      let names = state.files.keys.filter { File.directoryName(of: $0) == path }
      let folders = state.directories.filter { File.directoryName(of: $0) == path }
      return (names + folders).map { String($0.dropFirst(path.count + 1)) }.sorted()
    }
  }

  package func createDirectory(_ path: String) throws(SystemError) {
    state.withLock { _ = $0.directories.insert(path) }
  }

  package func rename(_ path: String, to newPath: String) throws(SystemError) {
    try state.withLock { state throws(SystemError) in
      try state.spend()
      guard let content = state.files.removeValue(forKey: path) else {
        throw SystemError("rename \(path)", code: 2)
      }
      if let old = state.files[newPath] { state.orphans[old.inode] = old }
      state.nameChanges.append(.rename(path, to: newPath, content.inode))
      state.files[newPath] = content
    }
  }

  package func remove(_ path: String) throws(SystemError) {
    try state.withLock { state throws(SystemError) in
      try state.spend()
      guard let content = state.files.removeValue(forKey: path) else {
        throw SystemError("unlink \(path)", code: 2)
      }
      state.nameChanges.append(.remove(path))
      state.orphans[content.inode] = content
    }
  }

  package func syncDirectory(of path: String) throws(SystemError) {
    let directory = File.directoryName(of: path)
    try state.withLock { state throws(SystemError) in
      try state.spend()
      if state.happens(state.faults.failingSync) { throw SystemError("fsync", code: 5) }
      var later: [NameChange] = []
      for change in state.nameChanges {
        if change.directory == directory {
          change.apply(to: &state.durableNames)
        } else {
          later.append(change)
        }
      }
      state.nameChanges = later
    }
  }

  package func volume(of path: String) throws(SystemError) -> VolumeFacts {
    state.withLock {
      VolumeFacts(filesystem: $0.filesystem, freeByteCount: $0.freeByteCount, identity: 7)
    }
  }
}

extension SimulatedDisk.NameChange {
  var directory: String {
    switch self {
    case .create(let name, _), .rename(_, to: let name, _), .remove(let name):
      File.directoryName(of: name)
    }
  }

  /// A renaming is atomic: both names change, or none.
  func apply(to names: inout [String: UInt64]) {
    switch self {
    case .create(let name, let inode): names[name] = inode
    case .rename(let old, to: let new, let inode):
      if names[old] == inode { names[old] = nil }
      names[new] = inode
    case .remove(let name): names[name] = nil
    }
  }
}
