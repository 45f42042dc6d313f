// "Have we journalled this id?" for the last N ids, in fixed memory.
//
// Two arrays, both allocated when the window is made and never again:
//
//   entries   a ring of N × 24 bytes: hash 16, payload digest 8, in order of insertion. The oldest
//             is overwritten by the newest, so eviction is first in, first out, exactly.
//   slots     ⌈1.5 N⌉ × 4 bytes: an open-addressing index over the entries. A slot is 0 when free,
//             else `tag << indexBits | (entry index + 1)`; the tag is as many bits of the hash as
//             are left, so that nearly every look-up of an unknown id ends without touching an
//             entry.
//
// 30 bytes per id altogether. A hash's home slot is the high half of `low × slot count` (no
// division); collisions go to the next slot; removal shifts the rest of the run back, so there are
// no tombstones and the load stays at two thirds for ever. The hashes are keyed, so nobody can aim
// at one run.
//
// A position is the number of insertions before an entry's. Positions only grow; three of them
// divide the ring:
//
//   oldest ≤ live ≤ end, and committed ≤ end
//
//   oldest ..< live   expired by time: still in the index, never answered with
//   live ..< end      remembered; what is below `committed` is on disk

package import GatewayCore

/// The window of remembered message ids of one route. One owner, one thread.
package struct DeduplicationWindow: ~Copyable {
  /// What the window knows about an id.
  package enum Answer: Hashable, Sendable {
    case new
    /// The same id and payload are remembered. `committed` false: the record is not on disk yet,
    /// and this copy may be acknowledged only together with that commit.
    case duplicate(committed: Bool)
    /// The same id is remembered with another payload.
    case conflict
  }

  /// How many ids are remembered at most.
  package let capacity: Int
  /// Ids forgotten because newer ones needed their place; those forgotten by age are not counted.
  package private(set) var evictedCount: UInt64 = 0

  private var entries: [Entry] = []
  private var slots: [UInt32]
  private let indexBits: UInt32
  private let indexMask: UInt32

  /// Where the entry of position `oldest` stands in `entries`.
  private var oldestIndex = 0
  private var oldest: UInt64 = 0
  private var live: UInt64 = 0
  private var committed: UInt64 = 0
  private var end: UInt64 = 0
  private var timeline: Timeline?
  /// What `index` read ahead: kept, or the compiler would leave out the reading.
  private var fetched: UInt32 = 0

  private struct Entry {
    let hash: MessageIDHash
    let digest: UInt64
  }

  /// Takes all the memory it will ever use: `byteCount(capacity:)`.
  ///
  /// - Parameters:
  ///   - capacity: 1 ... `DeduplicationOptions.windowMax`.
  ///   - within: for ids that are the content itself: forget an id at this age at the latest, and
  ///     at most a sixteenth of the time (or of a second) sooner.
  package init(capacity: Int, within: Duration? = nil) {
    precondition(
      (1...DeduplicationOptions.windowMax).contains(capacity), "the configuration bounds the window"
    )
    self.capacity = capacity
    indexBits = UInt32(UInt32.bitWidth - UInt32(capacity).leadingZeroBitCount)
    indexMask = (1 << indexBits) - 1
    slots = [UInt32](repeating: 0, count: DeduplicationWindow.slotCount(capacity))
    entries.reserveCapacity(capacity)
    timeline = within.map { Timeline(within: $0) }
  }

  /// The memory of a window, in bytes: at most 32 per id from 8 ids on.
  package static func byteCount(capacity: Int) -> Int {
    capacity * MemoryLayout<Entry>.stride + slotCount(capacity) * MemoryLayout<UInt32>.stride
  }

  /// What the arrays really take; the tests see that it never changes.
  var allocatedByteCount: Int {
    entries.capacity * MemoryLayout<Entry>.stride + slots.capacity * MemoryLayout<UInt32>.stride
  }

  /// How many ids are remembered.
  package var count: Int { Int(end - live) }

  /// What is known about this id. `.absent` is always new. Changes nothing: a duplicate does not
  /// make an id younger.
  package borrowing func check(_ hash: MessageIDHash, digest: UInt64) -> Answer {
    var answer = Answer.new
    let slots = slots.span
    let entries = entries.span
    let tag = tag(of: hash)
    var slot = home(of: hash)
    while slots[slot] != 0 {
      let value = slots[slot]
      if value & ~indexMask == tag {
        let index = Int(value & indexMask) - 1
        let position = position(ofIndex: index)
        if entries[index].hash == hash && position >= live {
          if entries[index].digest == digest { return .duplicate(committed: position < committed) }
          answer = .conflict
        }
      }
      slot = slot + 1 == slots.count ? 0 : slot + 1
    }
    return answer
  }

  /// Remembers an id whose record was appended to the journal, forgetting the oldest when full. An
  /// id is inserted after `check` said `.new`, or, when the window is rebuilt, in order of
  /// sequence. `.absent` is not remembered.
  ///
  /// - Parameter time: when it was received; matters only to a window made `within` a time. A time
  ///   that goes back counts as the time of the last insertion.
  package mutating func insert(
    _ hash: MessageIDHash, digest: UInt64, at time: MonotonicTime = MonotonicTime(nanoseconds: 0)
  ) {
    if hash == .absent { return }
    expire(now: time)
    timeline?.record(position: end, at: time)
    // Two at a time, so that a burst that has expired is swept without a pause.
    for _ in 0..<2 where oldest < live { removeOldest() }
    if Int(end - oldest) == capacity {
      if oldest >= live {
        live = oldest + 1
        evictedCount += 1
      }
      removeOldest()
    }
    let index = place(Entry(hash: hash, digest: digest))
    var slot = home(of: hash)
    while slots[slot] != 0 { slot = slot + 1 == slots.count ? 0 : slot + 1 }
    slots[slot] = tag(of: hash) | UInt32(index + 1)
  }

  /// Remembers an id like `insert` and leaves the index for later: nothing may be asked before
  /// `index` was called. While a window is rebuilt most ids only pass through it; those never cost
  /// a place in the index.
  mutating func insertUnindexed(
    _ hash: MessageIDHash, digest: UInt64, at time: MonotonicTime
  ) {
    if timeline != nil {
      expire(now: time)
      timeline?.record(position: end, at: time)
    }
    if Int(end - oldest) == capacity {
      if oldest >= live {
        live = oldest + 1
        evictedCount += 1
      }
      passOldest()
    }
    _ = place(Entry(hash: hash, digest: digest))
  }

  /// Puts an entry behind the newest, where there is room for one; where it is now.
  @inline(__always)
  private mutating func place(_ entry: Entry) -> Int {
    var index = oldestIndex + Int(end - oldest)
    if index >= capacity { index -= capacity }
    if index == entries.count { entries.append(entry) } else { entries[index] = entry }
    end += 1
    return index
  }

  /// Puts all that `insertUnindexed` remembered into the index, which must be empty. The places lie
  /// anywhere in it: those of a few dozen ids are read together, side by side, before any is
  /// written, or the processor would wait for memory at each.
  mutating func index() {
    while oldest < live { passOldest() }
    var next = oldestIndex
    var left = Int(end - oldest)
    var homes: [32 of Int] = .init(repeating: 0)
    while left > 0 {
      let count = min(left, homes.count)
      var place = next
      var sum: UInt32 = 0
      for number in 0..<count {
        homes[number] = home(of: entries[place].hash)
        sum ^= slots[homes[number]]
        place = place + 1 == capacity ? 0 : place + 1
      }
      fetched = sum
      for number in 0..<count {
        var slot = homes[number]
        while slots[slot] != 0 { slot = slot + 1 == slots.count ? 0 : slot + 1 }
        slots[slot] = tag(of: entries[next].hash) | UInt32(next + 1)
        next = next + 1 == capacity ? 0 : next + 1
      }
      left -= count
    }
  }

  /// All inserted so far are on disk.
  package mutating func commit() { committed = end }

  /// Forgets what has reached the age of a window made `within` a time; else does nothing. Call it
  /// before `check`, with the time at which the message was received.
  package mutating func expire(now: MonotonicTime) {
    if let position = timeline?.expire(now: now) { live = max(live, position) }
  }

  // MARK: - The index

  private static func slotCount(_ capacity: Int) -> Int { capacity + (capacity + 1) / 2 + 1 }

  private borrowing func home(of hash: MessageIDHash) -> Int {
    Int(hash.low.multipliedFullWidth(by: UInt64(slots.count)).high)
  }

  private borrowing func tag(of hash: MessageIDHash) -> UInt32 {
    UInt32(truncatingIfNeeded: hash.high) & ~indexMask
  }

  private borrowing func position(ofIndex index: Int) -> UInt64 {
    oldest + UInt64(index >= oldestIndex ? index - oldestIndex : index + capacity - oldestIndex)
  }

  /// Takes the oldest entry out of the index and closes the hole: whatever of the run behind it may
  /// stand in the hole moves there, leaving a new hole, up to the end of the run.
  private mutating func removeOldest() {
    let hash = entries[oldestIndex].hash
    let value = tag(of: hash) | UInt32(oldestIndex + 1)
    var hole = home(of: hash)
    while slots[hole] != value {
      precondition(slots[hole] != 0, "every entry of the ring stands in the index")
      hole = hole + 1 == slots.count ? 0 : hole + 1
    }
    var next = hole
    while true {
      next = next + 1 == slots.count ? 0 : next + 1
      let value = slots[next]
      if value == 0 { break }
      let home = home(of: entries[Int(value & indexMask) - 1].hash)
      // How far `next` is from its home, and from the hole, walking round the end.
      let fromHome = next >= home ? next - home : next + slots.count - home
      let fromHole = next >= hole ? next - hole : next + slots.count - hole
      if fromHome >= fromHole {
        slots[hole] = value
        hole = next
      }
    }
    slots[hole] = 0
    passOldest()
  }

  private mutating func passOldest() {
    oldest += 1
    oldestIndex = oldestIndex + 1 == capacity ? 0 : oldestIndex + 1
  }
}
