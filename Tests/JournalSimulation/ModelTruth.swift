import Platform
import RingJournal
import Synchronization

/// What must be in the journal: plain dictionaries, and where each record was last written.
struct ModelTruth {
  /// A commit group as it was handed to the disk. Three fields of the header are read here, apart
  /// from the product's decoder.
  struct GroupWrite {
    let id: UInt32
    let offset: Int
    /// As they were handed over, without the padding, whose decay harms nobody.
    let bytes: [UInt8]
    let number: UInt64
    let first: UInt64
    let last: UInt64

    init?(_ write: SimulatedDisk.LoggedWrite) {
      guard write.byteCount % 4096 == 0, ModelTruth.word(write.bytes, 0) == 0x5055_5247_5453_4e50
      else { return nil }
      id = write.id
      offset = write.offset
      bytes = Array(write.bytes.prefix(Int(ModelTruth.word(write.bytes, 68) & 0xffff_ffff)))
      number = ModelTruth.word(write.bytes, 16)
      first = ModelTruth.word(write.bytes, 56)
      last = first + (ModelTruth.word(write.bytes, 64) & 0xffff_ffff) - 1
    }
  }

  /// A superblock, and what it says was committed.
  struct SlotWrite {
    let id: UInt32
    let offset: Int
    let committed: UInt64

    init?(_ write: SimulatedDisk.LoggedWrite) {
      guard write.byteCount == 4096, ModelTruth.word(write.bytes, 512) == 0x5250_5553_5453_4e50
      else { return nil }
      id = write.id
      offset = write.offset
      committed = ModelTruth.word(write.bytes, 536) - 1
    }
  }

  struct Sink {
    /// Accepted by the sink in this life of the journal, as far as the journal was told.
    var acknowledged: UInt64
    /// Durable for certain: a commit or a synced superblock carried it.
    var durable: UInt64
    /// Accepted beyond the cursor.
    var beyond: Set<UInt64> = []
    /// Of these, what a synced superblock carried.
    var durableBeyond: Set<UInt64> = []
    /// It may have missed records below this one while it was best effort.
    var mayMissBelow: UInt64
    var isRequired: Bool
    /// The first write that could carry its name.
    var knownSince: UInt32

    /// The sink has accepted everything through here.
    mutating func acknowledge(_ through: UInt64) {
      acknowledged = max(acknowledged, through)
      while beyond.contains(acknowledged + 1) { acknowledged += 1 }
      beyond = beyond.filter { $0 > acknowledged }
    }

    /// Everything is durable.
    mutating func settle() {
      durable = acknowledged
      durableBeyond = beyond
    }
  }

  /// Payload numbers of committed records.
  var committed: [UInt64: UInt64] = [:]
  /// Appended since the last commit that returned.
  var open: [UInt64: UInt64] = [:]
  var last: UInt64 = 0
  /// The highest `last` ever: what was lost without a proof may be proven after all, when a torn
  /// superblock repairs a rotten one, and is then missed.
  var everLast: UInt64 = 0
  /// Where recovery or a reader has to find a record: the newest copy that was synced.
  var places: [UInt64: GroupWrite] = [:]
  /// Sinks of the last opening that returned.
  var sinks: [String: Sink] = [:]
  /// The furthest that a sink of this name ever accepted.
  var everAcknowledged: [String: UInt64] = [:]
  /// The highest `oldestKept` that the journal published.
  var oldestKept: UInt64 = 1
  var isTracing = false
  private var groups: [GroupWrite] = []
  /// Groups that a later one was to be written over, wherever the disk may have put it: they had
  /// been released.
  private var replaced: Set<UInt32> = []
  private var slots: [SlotWrite] = []

  static func word(_ bytes: [UInt8], _ offset: Int) -> UInt64 {
    (0..<8).reduce(0) { $0 | UInt64(bytes[offset + $1]) << (8 * UInt64($1)) }
  }

  /// Takes over what was written since the last call.
  mutating func absorb(_ disk: SimulatedDisk) {
    let (writes, strays) = disk.takeNews()
    for write in writes {
      if let group = GroupWrite(write) {
        for older in groups
        where older.offset < group.offset + write.byteCount
          && group.offset < older.offset + older.bytes.count
        {
          replaced.insert(older.id)
        }
        groups.append(group)
        trace(
          "write \(write.id) at block \(group.offset / 4096), \(write.byteCount) bytes: group "
            + "\(group.number), \(group.first)–\(group.last)")
      } else if let slot = SlotWrite(write) {
        slots.append(slot)
        trace(
          "write \(write.id) at block \(slot.offset / 4096): superblock, committed "
            + "\(slot.committed), head \(ModelTruth.word(write.bytes, 552) / 4096), next group "
            + "\(ModelTruth.word(write.bytes, 568)), high water "
            + "\(ModelTruth.word(write.bytes, 576) / 4096)")
      }
    }
    for stray in strays { trace(stray) }
  }

  func trace(_ text: @autoclosure () -> String) {
    if isTracing { Console.error(text()) }
  }

  /// A commit returned: its records are where the last group went.
  mutating func commit(_ disk: SimulatedDisk) {
    absorb(disk)
    committed.merge(open) { $1 }
    last = max(last, open.keys.max() ?? 0)
    everLast = max(everLast, last)
    open = [:]
    guard let group = groups.last else { return }
    for sequence in group.first...max(group.last, group.first) { places[sequence] = group }
  }

  /// The newest sequence that the disk, as it is now, proves to have been committed: an intact
  /// superblock counts its records, an intact group its own, and the intact head of a group those
  /// before it, because each commit is synced before the next write begins.
  func provable(_ disk: SimulatedDisk) -> UInt64 {
    var proven: UInt64 = 0
    for slot in slots where slot.committed > proven {
      if disk.holds(slot.id, slot.offset..<slot.offset + 4096) { proven = slot.committed }
    }
    for group in groups where group.last > proven {
      if disk.holds(group) {
        proven = group.last
      } else if group.first - 1 > proven,
        disk.holds(group.id, group.offset..<group.offset + 512)
      {
        proven = group.first - 1
      }
    }
    return min(proven, last)
  }

  /// The write that the newest whole superblock on the disk is from; 0: none is whole.
  func newestSlot(_ disk: SimulatedDisk) -> UInt32 {
    slots.lazy.filter { disk.holds($0.id, $0.offset..<$0.offset + 4096) }.map(\.id).max() ?? 0
  }

  /// Writes of groups that the disk holds now, each byte of them. To be asked before an opening:
  /// already its own writes may go astray.
  func wholeGroups(_ disk: SimulatedDisk) -> Set<UInt32> {
    Set(groups.lazy.filter { disk.holds($0) }.map(\.id))
  }

  /// After an opening that found `found` to be the newest sequence: what the disk still holds, and
  /// where.
  mutating func settle(_ found: UInt64, whole: Set<UInt32>?, _ disk: SimulatedDisk) {
    absorb(disk)
    for (sequence, payload) in open where sequence <= found { committed[sequence] = payload }
    open = [:]
    for sequence in stride(from: found + 1, through: last, by: 1) { committed[sequence] = nil }
    last = found
    everLast = max(everLast, last)
    let whole = whole ?? wholeGroups(disk)
    groups = groups.filter { whole.contains($0.id) }
    slots = slots.filter { disk.holds($0.id, $0.offset..<$0.offset + 4096) }
    places = [:]
    groups.sort { $0.number < $1.number }
    for group in groups where group.first <= found {
      for sequence in group.first...min(group.last, found) { places[sequence] = group }
    }
  }

  /// The record can be read from the disk: it lies whole where it was written last.
  func isWhole(_ sequence: UInt64, _ disk: SimulatedDisk) -> Bool {
    guard let group = places[sequence], !replaced.contains(group.id) else { return false }
    return disk.holds(group)
  }
}

extension SimulatedDisk {
  /// The writes to the journal since the last call, and which of them went astray. Not those to
  /// other files: quarantine copies blocks as they are, damaged or not.
  func takeNews() -> ([LoggedWrite], strays: [String]) {
    state.withLock { state in
      defer {
        state.writes.removeAll(keepingCapacity: true)
        state.strays = []
      }
      return (state.writes.filter { $0.path == JournalKit.path }, state.strays)
    }
  }

  /// Whether every byte of this group is on the disk, durable and readable.
  func holds(_ group: ModelTruth.GroupWrite) -> Bool {
    let bytes = group.offset..<group.offset + group.bytes.count
    return state.withLock { state in
      guard let content = state.files[JournalKit.path],
        content.durable.count >= bytes.upperBound,
        !content.unreadable.contains(where: {
          $0 < bytes.upperBound && $0 + 4096 > bytes.lowerBound
        })
      else { return false }
      // Where a sector is not whole from that write, what was harmed may be the padding behind it.
      return (bytes.lowerBound / 512..<(bytes.upperBound + 511) / 512).allSatisfy { index in
        if content.origins[index] == group.id { return true }
        let part = (index * 512..<index * 512 + 512).clamped(to: bytes)
        return content.durable[part].elementsEqual(
          group.bytes[part.lowerBound - group.offset..<part.upperBound - group.offset])
      }
    }
  }

  /// Whether these durable bytes of the journal are, all of them, from that write and readable.
  func holds(_ id: UInt32, _ bytes: Range<Int>) -> Bool {
    state.withLock { state in
      guard let content = state.files[JournalKit.path],
        content.durable.count >= bytes.upperBound
      else { return false }
      for index in bytes.lowerBound / 512..<bytes.upperBound / 512
      where content.origins[index] != id { return false }
      return !content.unreadable.contains { $0 < bytes.upperBound && $0 + 4096 > bytes.lowerBound }
    }
  }

  /// Whether both superblock slots are whole, each from one write.
  func holdsBothSlots() -> Bool {
    state.withLock { state in
      guard let content = state.files[JournalKit.path] else { return false }
      return [0, 16].allSatisfy { slot in
        content.origins.count > slot + 8 && content.origins[slot] != 0
          && content.origins[slot..<slot + 8].allSatisfy { $0 == content.origins[slot] }
      }
    }
  }

  /// Whether one of the four copies of the identity is whole.
  func holdsIdentity() -> Bool {
    state.withLock { state in
      guard let content = state.files[JournalKit.path] else { return false }
      return (0..<4).contains { copy in
        content.origins.count > copy * 8 && content.origins[copy * 8] != 0
          && ModelTruth.word(content.durable, copy * 4096) == 0x474e_4952_5453_4e50
          && !content.unreadable.contains(copy * 4096)
      }
    }
  }
}
