import GatewayCore
import Platform
import RingJournal
import Synchronization

/// A disk in memory that behaves as badly as a disk may: what was not synced is, at a crash, kept or
/// dropped per 512-byte sector, as the generator decides; operations can be made to fail; the power
/// can go after the nth operation. Renames and removals are durable at once: what it cannot show is
/// a lost directory entry.
final class SimulatedDisk: Disk {
  enum Survival: Sendable {
    case nothing
    case everything
    /// Each sector on its own.
    case sectors
    /// As `sectors`, and some of the kept ones hold noise.
    case garbled
  }

  struct Content: Sendable {
    var durable: [UInt8] = []
    var current: [UInt8] = []
    var pending: [Write] = []
    var owner: UInt64?
    var unreadable: Set<Int> = []
  }

  struct Write: Sendable {
    var offset: Int
    var bytes: [UInt8]
  }

  struct State: Sendable {
    var files: [String: Content] = [:]
    var directories: Set<String> = []
    /// Grows at each crash; descriptors of an earlier life are dead.
    var life: UInt64 = 0
    var nextHandle: UInt64 = 1
    var operationsUntilPowerOff: Int?
    var failingSyncs: [Int32] = []
    var failingWrites: [Int32] = []
    var writes: [(offset: Int, byteCount: Int)] = []
    var syncCount = 0
    var readByteCount = 0
    var filesystem = VolumeFacts.Filesystem.ordinary
    var freeByteCount = 1 << 40
    var generator = SeededGenerator(seed: 1)
  }

  let state = Mutex(State())

  static let sectorByteCount = 512

  /// The power goes: un-synced sectors meet their fate, all descriptors die, the power comes back.
  func crash(_ survival: Survival, seed: UInt64) {
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
  func kill() {
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
  func damage(_ path: String, _ change: (inout [UInt8]) -> Void) {
    state.withLock { state in
      guard var content = state.files[path] else { return }
      state.files[path] = nil
      change(&content.durable)
      content.current = content.durable
      state.files[path] = content
    }
  }

  func bytes(_ path: String) -> [UInt8] { state.withLock { $0.files[path]?.durable ?? [] } }

  // MARK: Disk

  func open(_ path: String, _ mode: DiskOpenMode) throws(SystemError) -> any DiskFile {
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

  func exists(_ path: String) -> Bool { state.withLock { $0.files[path] != nil } }

  func entries(ofDirectory path: String) throws(SystemError) -> [String] {
    state.withLock { state in
      let names = state.files.keys.filter { File.directoryName(of: $0) == path }
      let folders = state.directories.filter { File.directoryName(of: $0) == path }
      return (names + folders).map { String($0.dropFirst(path.count + 1)) }.sorted()
    }
  }

  func createDirectory(_ path: String) throws(SystemError) {
    state.withLock { _ = $0.directories.insert(path) }
  }

  func rename(_ path: String, to newPath: String) throws(SystemError) {
    state.withLock { state in
      state.files[newPath] = state.files[path]
      state.files[path] = nil
    }
  }

  func remove(_ path: String) throws(SystemError) { state.withLock { $0.files[path] = nil } }

  func syncDirectory(of path: String) throws(SystemError) {}

  func volume(of path: String) throws(SystemError) -> VolumeFacts {
    state.withLock {
      VolumeFacts(filesystem: $0.filesystem, freeByteCount: $0.freeByteCount, identity: 7)
    }
  }
}

/// A descriptor. The path may be renamed under it, so it finds its content by owner when it can.
final class SimulatedFile: DiskFile {
  private let disk: SimulatedDisk
  private let path: Mutex<String>
  private let handle: UInt64
  private let life: UInt64

  init(disk: SimulatedDisk, path: String, handle: UInt64, life: UInt64) {
    self.disk = disk
    self.path = Mutex(path)
    self.handle = handle
    self.life = life
  }

  deinit {
    disk.state.withLock { state in
      for (name, content) in state.files where content.owner == handle {
        state.files[name]?.owner = nil
      }
    }
  }

  private func use<Result>(
    _ body: (inout SimulatedDisk.State, inout SimulatedDisk.Content) throws(SystemError) -> Result
  ) throws(SystemError) -> Result {
    try disk.state.withLock { state throws(SystemError) in
      guard state.life == life else { throw SystemError("dead descriptor", code: 5) }
      let name = path.withLock { name in
        if state.files[name] == nil, name.hasSuffix(".creating") { name = String(name.dropLast(9)) }
        return name
      }
      guard var content = state.files[name] else { throw SystemError("gone", code: 2) }
      state.files[name] = nil  // Keeps the arrays uniquely referenced while they change.
      defer { state.files[name] = content }
      return try body(&state, &content)
    }
  }

  /// One more operation; after the last one the power is gone.
  private func spend(_ state: inout SimulatedDisk.State) throws(SystemError) {
    guard let left = state.operationsUntilPowerOff else { return }
    if left <= 0 { throw SystemError("power off", code: 5) }
    state.operationsUntilPowerOff = left - 1
  }

  func lock() throws(SystemError) -> Bool {
    try use { _, content throws(SystemError) in
      if let owner = content.owner, owner != handle { return false }
      content.owner = handle
      return true
    }
  }

  func byteCount() throws(SystemError) -> Int {
    try use { _, content throws(SystemError) in content.current.count }
  }

  func read(into bytes: inout MutableSpan<UInt8>, at offset: Int) throws(SystemError) -> Int {
    let wanted = bytes.count
    let copy = try use { state, content throws(SystemError) -> [UInt8] in
      let end = min(content.current.count, offset + wanted)
      guard offset < end else { return [] }
      for block in content.unreadable where block < end && block + 4096 > offset {
        throw SystemError("pread", code: 5)
      }
      state.readByteCount += end - offset
      return Array(content.current[offset..<end])
    }
    for index in copy.indices where copy.count < 4096 { bytes[index] = copy[index] }
    if copy.count >= 4096 { bytes.put(copy.span) }
    return copy.count
  }

  func write(_ bytes: Span<UInt8>, at offset: Int) throws(SystemError) {
    var copy = [UInt8](repeating: 0, count: bytes.count)
    copy.put(bytes, at: 0)
    try use { state, content throws(SystemError) in
      // The last write before the power goes is pending, too: it may have reached the disk.
      let write = SimulatedDisk.Write(offset: offset, bytes: copy)
      if let left = state.operationsUntilPowerOff, left <= 0 { throw SystemError("off", code: 5) }
      if !state.failingWrites.isEmpty {
        let code = state.failingWrites.removeFirst()
        if code != 0 { throw SystemError("pwrite", code: code) }
      }
      content.pending.append(write)
      state.writes.append((offset, copy.count))
      if content.current.count < offset + copy.count {
        content.current += [UInt8](
          repeating: 0, count: offset + copy.count - content.current.count)
      }
      content.current.put(copy.span, at: offset)
      try spend(&state)
    }
  }

  func dataSync() throws(SystemError) { try fullSync() }

  func fullSync() throws(SystemError) {
    try use { state, content throws(SystemError) in
      try spend(&state)
      if !state.failingSyncs.isEmpty {
        let code = state.failingSyncs.removeFirst()
        if code != 0 {
          // As Linux does it: the pages are dropped and marked clean.
          content.pending = []
          throw SystemError("fdatasync", code: code)
        }
      }
      state.syncCount += 1
      for write in content.pending {
        if content.durable.count < write.offset + write.bytes.count {
          content.durable += [UInt8](
            repeating: 0, count: write.offset + write.bytes.count - content.durable.count)
        }
        content.durable.put(write.bytes.span, at: write.offset)
      }
      content.pending = []
    }
  }

  func dropCache() {
    try? use { _, content throws(SystemError) in
      if content.pending.isEmpty { content.current = content.durable }
    }
  }
}

extension Array where Element == UInt8 {
  /// Overwrites bytes in place, with one memcpy.
  mutating func put(_ bytes: Span<UInt8>, at offset: Int) {
    precondition(offset + bytes.count <= count)
    unsafe withUnsafeMutableBytes { destination in
      unsafe bytes.withUnsafeBytes { source in
        guard let base = destination.baseAddress, let from = source.baseAddress else { return }
        unsafe (base + offset).copyMemory(from: from, byteCount: source.count)
      }
    }
  }
}

extension MutableSpan where Element == UInt8 {
  /// Overwrites the first bytes.
  mutating func put(_ bytes: Span<UInt8>) {
    precondition(bytes.count <= count)
    unsafe withUnsafeMutableBytes { destination in
      unsafe bytes.withUnsafeBytes { source in
        guard let base = destination.baseAddress, let from = source.baseAddress else { return }
        unsafe base.copyMemory(from: from, byteCount: source.count)
      }
    }
  }
}

/// SplitMix64 (Steele, Lea, Flood 2014): a seed is a reproduction.
struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var word = state
    word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
    return word ^ word >> 31
  }
}
