package import Platform
package import RingJournal
package import Synchronization

/// A disk in memory that behaves as badly as a disk may: what was not synced is, at a crash, kept
/// or dropped per 512-byte sector, as the generator decides; operations can be made to fail; the
/// power can go after the nth operation. Renames and removals are durable at once: what it cannot
/// show is a lost directory entry.
package final class SimulatedDisk: Disk {
  package enum Survival: Sendable {
    case nothing
    case everything
    /// Each sector on its own.
    case sectors
    /// As `sectors`, and some of the kept ones hold noise.
    case garbled
  }

  package struct Content: Sendable {
    package var durable: [UInt8] = []
    package var current: [UInt8] = []
    package var pending: [Write] = []
    package var owner: UInt64?
    package var unreadable: Set<Int> = []

    package init() {}
  }

  package struct Write: Sendable {
    package var offset: Int
    package var bytes: [UInt8]
  }

  package struct State: Sendable {
    package var files: [String: Content] = [:]
    package var directories: Set<String> = []
    /// Grows at each crash; descriptors of an earlier life are dead.
    package var life: UInt64 = 0
    package var nextHandle: UInt64 = 1
    package var operationsUntilPowerOff: Int?
    package var failingSyncs: [Int32] = []
    package var failingWrites: [Int32] = []
    package var writes: [(offset: Int, byteCount: Int)] = []
    package var syncCount = 0
    package var readByteCount = 0
    package var filesystem = VolumeFacts.Filesystem.ordinary
    package var freeByteCount = 1 << 40
    package var generator = SeededGenerator(seed: 1)
  }

  package let state = Mutex(State())

  package init() {}

  package static let sectorByteCount = 512

  /// The power goes: un-synced sectors meet their fate, all descriptors die, the power comes back.
  package func crash(_ survival: Survival, seed: UInt64) {
    state.withLock { state in
      var generator = SeededGenerator(seed: seed)
      for path in state.files.keys.sorted() {
        guard var content = state.files[path] else { continue }
        let share = Double.random(in: 0...1, using: &generator)
        for write in content.pending {
          var write = write
          if survival == .garbled {
            for start in stride(from: 0, to: write.bytes.count, by: SimulatedDisk.sectorByteCount)
            where Int.random(in: 0..<8, using: &generator) == 0 {
              for index in start..<min(start + SimulatedDisk.sectorByteCount, write.bytes.count) {
                write.bytes[index] = UInt8.random(in: 0...255, using: &generator)
              }
            }
          }
          SimulatedDisk.land(write, in: &content.durable) {
            switch survival {
            case .nothing: false
            case .everything: true
            case .sectors, .garbled: Double.random(in: 0...1, using: &generator) < share
            }
          }
        }
        content.pending = []
        content.current = content.durable
        content.owner = nil
        state.files[path] = content
      }
      state.life += 1
      state.operationsUntilPowerOff = nil
      state.failingSyncs = []
      state.failingWrites = []
    }
  }

  /// The process dies, the machine does not: everything written stays, descriptors close.
  package func kill() {
    state.withLock { state in
      state.life += 1
      state.operationsUntilPowerOff = nil
      for path in state.files.keys { state.files[path]?.owner = nil }
    }
  }

  private static func land(_ write: Write, in bytes: inout [UInt8], _ keeps: () -> Bool) {
    if bytes.count < write.offset + write.bytes.count {
      bytes += [UInt8](repeating: 0, count: write.offset + write.bytes.count - bytes.count)
    }
    for start in stride(from: 0, to: write.bytes.count, by: sectorByteCount) where keeps() {
      let end = min(start + sectorByteCount, write.bytes.count)
      bytes.put(write.bytes.span.extracting(start..<end), at: write.offset + start)
    }
  }

  /// Changes durable bytes behind everybody's back: bit rot, a stale or misdirected sector.
  package func damage(_ path: String, _ change: (inout [UInt8]) -> Void) {
    state.withLock { state in
      guard var content = state.files[path] else { return }
      state.files[path] = nil
      change(&content.durable)
      content.current = content.durable
      state.files[path] = content
    }
  }

  package func bytes(_ path: String) -> [UInt8] { state.withLock { $0.files[path]?.durable ?? [] } }

  // MARK: Disk

  package func open(_ path: String, _ mode: DiskOpenMode) throws(SystemError) -> any DiskFile {
    try state.withLock { state throws(SystemError) in
      switch mode {
      case .create:
        if state.files[path] != nil { throw SystemError("open \(path)", code: 17) }
        state.files[path] = Content()
      case .existing, .readOnly, .scan:
        if state.files[path] == nil { throw SystemError("open \(path)", code: 2) }
      }
      state.nextHandle += 1
      return SimulatedFile(disk: self, path: path, handle: state.nextHandle, life: state.life)
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
    state.withLock { state in
      state.files[newPath] = state.files[path]
      state.files[path] = nil
    }
  }

  package func remove(_ path: String) throws(SystemError) {
    state.withLock { $0.files[path] = nil }
  }

  package func syncDirectory(of path: String) throws(SystemError) {}

  package func volume(of path: String) throws(SystemError) -> VolumeFacts {
    state.withLock {
      VolumeFacts(filesystem: $0.filesystem, freeByteCount: $0.freeByteCount, identity: 7)
    }
  }
}
