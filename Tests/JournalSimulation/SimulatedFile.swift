import Platform
import RingJournal
import Synchronization

/// A descriptor: it keeps its file through renaming and removal.
final class SimulatedFile: DiskFile {
  private let disk: SimulatedDisk
  private let path: Mutex<String>
  private let inode: UInt64
  private let handle: UInt64
  private let life: UInt64
  private let isDirect: Bool

  init(
    disk: SimulatedDisk, path: String, inode: UInt64, handle: UInt64, life: UInt64, isDirect: Bool
  ) {
    self.disk = disk
    self.path = Mutex(path)
    self.inode = inode
    self.handle = handle
    self.life = life
    self.isDirect = isDirect
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
        if state.files[name]?.inode != inode {
          name = state.files.first { $0.value.inode == inode }?.key ?? name
        }
        return name
      }
      // Taken out while it changes: that keeps its arrays uniquely referenced.
      if state.files[name]?.inode == inode, var content = state.files.removeValue(forKey: name) {
        defer { state.files[name] = content }
        return try body(&state, &content)
      }
      guard var content = state.orphans.removeValue(forKey: inode) else {
        throw SystemError("gone", code: 2)
      }
      defer { state.orphans[inode] = content }
      return try body(&state, &content)
    }
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
    try Transfer.read(into: &bytes) { part, done throws(SystemError) in
      try readOnce(into: &part, at: offset + done)
    }
  }

  private func readOnce(
    into bytes: inout MutableSpan<UInt8>, at offset: Int
  ) throws(SystemError) -> Int {
    let wanted = bytes.count
    let copy = try use { state, content throws(SystemError) -> [UInt8] in
      if state.happens(state.faults.interruption) { throw SystemError("pread", code: 4) }
      // A direct read sees the disk, and what waits was written there before.
      let isFromDisk = isDirect && content.pending.isEmpty
      let count = isFromDisk ? content.durable.count : content.current.count
      var end = min(count, offset + wanted)
      guard offset < end else { return [] }
      if state.happens(state.faults.shortCall) {
        // Direct reads end at a block.
        end = offset + max((end - offset) / 2 / 4096 * 4096, min(4096, end - offset))
      }
      for block in content.unreadable where block < end && block + 4096 > offset {
        throw SystemError("pread", code: 5)
      }
      state.readByteCount += end - offset
      return Array((isFromDisk ? content.durable : content.current)[offset..<end])
    }
    bytes.put(copy.span)
    return copy.count
  }

  func write(_ bytes: Span<UInt8>, at offset: Int) throws(SystemError) {
    var copy = [UInt8](repeating: 0, count: bytes.count)
    copy.put(bytes, at: 0)
    let id = try use { state, content throws(SystemError) -> UInt32 in
      let name = path.withLock { $0 }
      let id = state.nextWriteID
      state.nextWriteID += 1
      state.writes.append(
        SimulatedDisk.LoggedWrite(id: id, path: name, offset: offset, bytes: copy))
      return id
    }
    try Transfer.write(bytes) { part, done throws(SystemError) in
      try writeOnce(part, at: offset + done, id: id)
    }
  }

  private func writeOnce(
    _ bytes: Span<UInt8>, at offset: Int, id: UInt32
  ) throws(SystemError) -> Int {
    try use { state, content throws(SystemError) in
      if let left = state.operationsUntilPowerOff, left <= 0 { throw SystemError("off", code: 5) }
      if !state.failingWrites.isEmpty {
        let code = state.failingWrites.removeFirst()
        if code != 0 { throw SystemError("pwrite", code: code) }
      }
      if state.happens(state.faults.interruption) { throw SystemError("pwrite", code: 4) }
      let isFailing = state.happens(state.faults.failingWrite)
      var count = bytes.count
      if isFailing || state.happens(state.faults.shortCall) {
        count = Int.random(in: isFailing ? 0...count : 1...count, using: &state.generator)
      }
      content.take(bytes.extracting(0..<count), at: offset, id: id)
      if isFailing {
        throw SystemError("pwrite", code: Bool.random(using: &state.generator) ? 5 : 28)
      }
      // The last write before the power goes is pending, too: it may have reached the disk.
      if state.powerOffAfterWriteAt == offset { state.operationsUntilPowerOff = 1 }
      if count == bytes.count { try state.spend() }
      return count
    }
  }

  func dataSync() throws(SystemError) { try fullSync() }

  func fullSync() throws(SystemError) {
    try use { state, content throws(SystemError) in
      try state.spend()
      if !state.failingSyncs.isEmpty {
        let code = state.failingSyncs.removeFirst()
        if code != 0 {
          // As Linux does it: the pages are dropped and marked clean.
          content.pending = []
          throw SystemError("fdatasync", code: code)
        }
      }
      let pending = content.pending
      content.pending = []
      if state.happens(state.faults.failingSync) {
        for write in pending {
          for sector in write.sectors(of: disk.sectorByteCount)
          where Bool.random(using: &state.generator) {
            content.land(write, sector)
          }
        }
        throw SystemError("fdatasync", code: 5)
      }
      state.syncCount += 1
      for write in pending { land(write, &state, &content) }
    }
  }

  /// A write reaches the disk, or the disk only says so.
  private func land(
    _ write: SimulatedDisk.Write, _ state: inout SimulatedDisk.State,
    _ content: inout SimulatedDisk.Content
  ) {
    let whole = 0..<write.bytes.count
    content.grow(to: write.offset + write.bytes.count)
    // Only a few blocks at once go astray, not the zeros of a creation.
    let mayStray = write.bytes.count <= 64 << 10 && write.bytes.count % 4096 == 0
    if mayStray && state.happens(state.faults.lostWrite) {
      let lost =
        Bool.random(using: &state.generator)
        ? whole : SimulatedFile.block(of: write, &state.generator)
      state.strays.append("lost \(lost) of write \(write.id)")
      content.land(write, 0..<lost.lowerBound)
      content.land(write, lost.upperBound..<write.bytes.count)
    } else if mayStray && state.happens(state.faults.misdirectedWrite) {
      let places = (content.durable.count - write.bytes.count) / 4096
      let place = Int.random(in: 0...places, using: &state.generator) * 4096
      state.strays.append("write \(write.id) went to \(place)")
      content.land(write, whole, shiftedBy: place - write.offset)
    } else {
      content.land(write, whole)
    }
  }

  private static func block(
    of write: SimulatedDisk.Write, _ generator: inout SeededGenerator
  ) -> Range<Int> {
    let start = Int.random(in: 0..<write.bytes.count / 4096, using: &generator) * 4096
    return start..<start + 4096
  }

  func dropCache() {
    try? use { _, content throws(SystemError) in content.forget() }
  }
}

extension SimulatedDisk.Content {
  /// Bytes come into the cache. The parts of one write are one write to the disk.
  mutating func take(_ bytes: Span<UInt8>, at offset: Int, id: UInt32) {
    guard !bytes.isEmpty else { return }
    let end = offset + bytes.count
    if let last = pending.indices.last, pending[last].id == id {
      var grown = pending[last].bytes
      pending[last].bytes = []
      grown += [UInt8](repeating: 0, count: bytes.count)
      grown.put(bytes, at: grown.count - bytes.count)
      pending[last].bytes = grown
    } else {
      var copy = [UInt8](repeating: 0, count: bytes.count)
      copy.put(bytes, at: 0)
      pending.append(SimulatedDisk.Write(id: id, offset: offset, bytes: copy))
    }
    if current.count < end {
      current += [UInt8](repeating: 0, count: end - current.count)
    }
    current.put(bytes, at: offset)
  }
}
