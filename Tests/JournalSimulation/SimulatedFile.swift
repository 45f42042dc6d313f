import Platform
import RingJournal
import Synchronization

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
