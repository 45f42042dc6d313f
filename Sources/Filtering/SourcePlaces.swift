/// Gives sources, known by a keyed hash of 64 bits, a place in a table of fixed size: an
/// open-addressing index over the places, nothing more. The owner keeps what it knows of each
/// source in arrays by place.
///
/// ## Memory
/// At most 23 bytes a place, taken at the start. Nothing is allocated after that.
package struct SourcePlaces: Sendable {
  /// Places at most: their numbers have 16 bits.
  package static let capacityLimit = 65_534
  /// What the tables of this program hold unless a test wants fewer.
  package static let capacityDefault = 10_000

  package let capacity: Int
  private var hashes: [UInt64]
  /// Place + 1 by the low bits of the hash and what follows; 0: free. At least three times the
  /// places, a power of two: probing stays short.
  private var slots: [UInt16]
  private var freePlaces: [UInt16]
  private var isTaken: [Bool]

  package init(capacity: Int = SourcePlaces.capacityDefault) {
    precondition((1...Self.capacityLimit).contains(capacity), "a place has a number of 16 bits")
    self.capacity = capacity
    hashes = [UInt64](repeating: 0, count: capacity)
    var slotCount = 4
    while slotCount < 3 * capacity { slotCount *= 2 }
    slots = [UInt16](repeating: 0, count: slotCount)
    freePlaces = (0..<UInt16(capacity)).reversed()
    isTaken = [Bool](repeating: false, count: capacity)
  }

  /// Sources that have a place.
  package var count: Int { capacity - freePlaces.count }

  /// The place of a source that has one.
  package func find(_ hash: UInt64) -> Int? {
    var slot = home(of: hash)
    while slots[slot] != 0 {
      let place = Int(slots[slot]) - 1
      if hashes[place] == hash { return place }
      slot = (slot + 1) & (slots.count - 1)
    }
    return nil
  }

  /// The source's place, a new one if need be. Nil: all are taken.
  package mutating func place(of hash: UInt64) -> (place: Int, isNew: Bool)? {
    var slot = home(of: hash)
    while slots[slot] != 0 {
      let place = Int(slots[slot]) - 1
      if hashes[place] == hash { return (place, false) }
      slot = (slot + 1) & (slots.count - 1)
    }
    guard let place = freePlaces.popLast() else { return nil }
    hashes[Int(place)] = hash
    isTaken[Int(place)] = true
    slots[slot] = place + 1
    return (Int(place), true)
  }

  /// Takes their places from the sources for which `isFree` says so. Visits all: call it when there
  /// is something to gain.
  package mutating func reclaim(where isFree: (_ place: Int) -> Bool) {
    for slot in slots.indices { slots[slot] = 0 }
    for place in 0..<capacity where isTaken[place] {
      if isFree(place) {
        isTaken[place] = false
        freePlaces.append(UInt16(place))
      } else {
        var slot = home(of: hashes[place])
        while slots[slot] != 0 { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = UInt16(place) + 1
      }
    }
  }

  private func home(of hash: UInt64) -> Int {
    Int(truncatingIfNeeded: hash) & (slots.count - 1)
  }
}
