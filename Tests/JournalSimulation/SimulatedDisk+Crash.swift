import RingJournal
import Synchronization

extension SimulatedDisk {
  /// The power goes: un-synced sectors meet their fate, all descriptors die, the power comes back.
  package func crash(_ survival: Survival, seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    let share = Double.random(in: 0...1, using: &generator)
    crash(
      keepsName: { _ in
        switch survival {
        case .nothing: false
        case .everything: true
        case .sectors, .garbled: Bool.random(using: &generator)
        }
      },
      settle: { content in
        var writes = content.pending
        if survival == .sectors || survival == .garbled { writes.shuffle(using: &generator) }
        for write in writes {
          for sector in write.sectors(of: self.sectorByteCount) {
            switch survival {
            case .nothing: continue
            case .everything: content.land(write, sector)
            case .sectors, .garbled:
              guard Double.random(in: 0..<1, using: &generator) < share else { continue }
              content.land(write, sector)
              if survival == .garbled, Int.random(in: 0..<8, using: &generator) == 0 {
                content.garble(
                  write.offset + sector.lowerBound..<write.offset + sector.upperBound,
                  &generator)
              }
            }
          }
        }
      })
  }

  /// The power goes, and of the un-synced sectors of `path`, counted over its pending writes in
  /// order, exactly those survive for which `keeps` is true; the others stay as they were, or hold
  /// noise.
  package func crash(
    _ path: String, noiseSeed: UInt64? = nil, keeps: (Int) -> Bool
  ) {
    crash(keepsName: { _ in true }) { content in
      var index = 0
      var generator = SeededGenerator(seed: noiseSeed ?? 0)
      for write in content.pending {
        for sector in write.sectors(of: self.sectorByteCount) {
          let bytes = write.offset + sector.lowerBound..<write.offset + sector.upperBound
          if keeps(index) {
            content.land(write, sector)
          } else if noiseSeed != nil {
            content.grow(to: bytes.upperBound)
            content.fill(bytes, &generator)
          }
          index += 1
        }
      }
    }
  }

  /// How many sectors of the file wait for a sync.
  package func pendingSectorCount(_ path: String) -> Int {
    state.withLock { state in
      (state.files[path]?.pending ?? []).reduce(0) {
        $0 + $1.sectors(of: sectorByteCount).count
      }
    }
  }

  private func crash(
    keepsName: (NameChange) -> Bool, settle: (inout Content) -> Void
  ) {
    state.withLock { state in
      var contents = state.orphans
      var names = state.durableNames
      for change in state.nameChanges where keepsName(change) { change.apply(to: &names) }
      var files: [String: Content] = [:]
      for (name, content) in state.files {
        contents[content.inode] = content
        if content.inode == 0 { files[name] = content }
      }
      state.files = [:]
      for (name, inode) in names {
        if let content = contents[inode] { files[name] = content }
      }
      contents = [:]
      for name in files.keys.sorted() {
        guard var content = files.removeValue(forKey: name) else { continue }
        settle(&content)
        content.pending = []
        content.current = content.durable
        content.owner = nil
        state.files[name] = content
      }
      state.durableNames = names
      state.nameChanges = []
      state.orphans = [:]
      state.life += 1
      state.operationsUntilPowerOff = nil
      state.powerOffAfterWriteAt = nil
      state.failingSyncs = []
      state.failingWrites = []
    }
  }

  /// What time does to a durable sector.
  package enum Rot: Sendable, CaseIterable {
    case bit, sector, block, unreadable
  }

  /// Damages the sector (or the block around it) at `offset`, for readers of the disk and of the
  /// cache.
  package func rot(_ path: String, at offset: Int, _ rot: Rot, seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    alter(path) { content in
      guard offset < content.durable.count else { return }
      let sector = offset / 512 * 512..<offset / 512 * 512 + 512
      let block = offset / 4096 * 4096..<offset / 4096 * 4096 + 4096
      switch rot {
      case .bit:
        content.durable[offset] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        content.origins[offset / 512] = 0
      case .sector: content.fill(sector, &generator)
      case .block: content.fill(block, &generator)
      case .unreadable:
        content.unreadable.insert(block.lowerBound)
        for index in block.lowerBound / 512..<block.upperBound / 512 { content.origins[index] = 0 }
      }
      content.forget()
    }
  }

  /// Cached pages that are clean go: reads come from the disk again.
  package func evict() {
    for path in state.withLock({ Array($0.files.keys) }) { alter(path) { $0.forget() } }
  }
}

extension SimulatedDisk.Write {
  /// Ranges of `bytes`, one for each sector of the disk that they touch.
  func sectors(of byteCount: Int) -> [Range<Int>] {
    var sectors: [Range<Int>] = []
    var start = 0
    while start < bytes.count {
      let end = min((offset + start) / byteCount * byteCount + byteCount - offset, bytes.count)
      sectors.append(start..<end)
      start = end
    }
    return sectors
  }
}

extension SimulatedDisk.Content {
  mutating func grow(to byteCount: Int) {
    guard durable.count < byteCount else { return }
    durable += [UInt8](repeating: 0, count: byteCount - durable.count)
    let count = (byteCount + 511) / 512
    origins += [UInt32](repeating: 0, count: count - origins.count)
  }

  /// Makes a part of a write durable, `shift` bytes from where it belongs.
  mutating func land(
    _ write: SimulatedDisk.Write, _ part: Range<Int>, shiftedBy shift: Int = 0
  ) {
    let start = write.offset + shift + part.lowerBound
    let end = start + part.count
    grow(to: end)
    durable.put(write.bytes.span.extracting(part), at: start)
    for index in start / 512..<(end + 511) / 512 {
      let isWhole = index * 512 >= start && index * 512 + 512 <= end
      origins[index] = isWhole && shift == 0 ? write.id : 0
      // A bad block is good again when all of it was written anew.
      let block = index * 512 / 4096 * 4096
      if start <= block && block + 4096 <= end { unreadable.remove(block) }
    }
  }

  /// Noise, or old bytes in the second half: here every byte of it turned over.
  mutating func garble(_ range: Range<Int>, _ generator: inout SeededGenerator) {
    if Bool.random(using: &generator) {
      fill(range, &generator)
    } else {
      for index in range.lowerBound + range.count / 2..<range.upperBound { durable[index] ^= 0xff }
      for index in range.lowerBound / 512..<(range.upperBound + 511) / 512 { origins[index] = 0 }
    }
  }

  mutating func fill(_ range: Range<Int>, _ generator: inout SeededGenerator) {
    let range = range.clamped(to: 0..<durable.count)
    var word: UInt64 = 0
    for (place, index) in range.enumerated() {
      if place % 8 == 0 { word = generator.next() }
      durable[index] = UInt8(truncatingIfNeeded: word >> (8 * UInt64(place % 8)))
    }
    for index in range.lowerBound / 512..<(range.upperBound + 511) / 512 { origins[index] = 0 }
  }

  /// The cache holds what the disk has and what waits for it.
  mutating func forget() {
    current = durable
    for write in pending {
      if current.count < write.offset + write.bytes.count {
        current += [UInt8](
          repeating: 0, count: write.offset + write.bytes.count - current.count)
      }
      current.put(write.bytes.span, at: write.offset)
    }
  }
}
