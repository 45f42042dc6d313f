/// The names of all objects that are open at one moment, as 64-bit hashes, to notice an equal pair
/// in one object. Fixed memory, no allocation after `init`.
///
/// An entry is the hash of (object, unescaped name) under a random key per table. Equal hashes are
/// called a duplicate without comparing names: a false alarm has a chance of about 2⁻⁶⁴ per pair
/// and costs one record its readable form, never its content; a true duplicate is never missed.
///
/// Objects close in the reverse order of their opening, so entries leave in the reverse order of
/// their coming, and clearing a slot can never cut another entry's probe path: no tombstones.
struct JSONKeyTable: ~Copyable {
  /// Names in open objects. Half the slots: probe paths stay short.
  static let countMax = 1024
  private static let slotMask = 2 * countMax - 1

  enum Insertion { case new, duplicate, full }

  /// 0 is an empty slot.
  private var slots: [UInt64]
  /// Slots in the order they were filled.
  private var filled: [UInt16]
  private(set) var count = 0
  private let key: UInt64

  init() {
    slots = Array(repeating: 0, count: JSONKeyTable.slotMask + 1)
    filled = Array(repeating: 0, count: JSONKeyTable.countMax)
    key = UInt64.random(in: .min ... .max)
  }

  /// Adds a name of the object with number `object`.
  mutating func insert(_ name: Span<UInt8>, object: UInt64) -> Insertion {
    guard count < JSONKeyTable.countMax else { return .full }
    var hash = key ^ (object &* 0x9E37_79B9_7F4A_7C15)
    hash = JSONKeyTable.mix(hash ^ UInt64(truncatingIfNeeded: name.count))
    var position = 0
    while name.count - position >= 8 {
      hash = JSONKeyTable.mix(hash ^ name.littleEndianWord(at: position))
      position += 8
    }
    if position < name.count {
      var rest: UInt64 = 0
      while position < name.count {
        rest = rest << 8 | UInt64(name[position])
        position += 1
      }
      hash = JSONKeyTable.mix(hash ^ rest)
    }
    if hash == 0 { hash = 1 }
    var slot = Int(truncatingIfNeeded: hash >> 32) & JSONKeyTable.slotMask
    while slots[slot] != 0 {
      if slots[slot] == hash { return .duplicate }
      slot = (slot + 1) & JSONKeyTable.slotMask
    }
    slots[slot] = hash
    filled[count] = UInt16(slot)
    count += 1
    return .new
  }

  /// Takes the names out that came after the first `newCount`.
  mutating func cut(to newCount: Int) {
    while count > newCount {
      count -= 1
      slots[Int(filled[count])] = 0
    }
  }

  /// One round of the folded multiply that wyhash is made of: both halves of the product count.
  @inline(__always)
  private static func mix(_ value: UInt64) -> UInt64 {
    let (high, low) = (value ^ 0xA076_1D64_78BD_642F).multipliedFullWidth(
      by: 0xE703_7ED1_A0B4_28DB)
    return high ^ low
  }
}
