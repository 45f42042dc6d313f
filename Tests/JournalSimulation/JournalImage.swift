/// A commit group as the raw bytes of a file show it. Read here by offsets of the documented format
/// and not by the product's decoder, so that the two can be held against each other.
package struct ImageGroup: Sendable, Equatable {
  package let offset: Int
  package let number: UInt64
  package let lap: UInt64
  package let epoch: UInt64
  package let first: UInt64
  package let recordCount: Int
  package let usedByteCount: Int
  /// What the header proves beyond its own sequences: cursors and what was given up.
  package let cursorsThrough: UInt64

  package var last: UInt64 { first + UInt64(recordCount) - 1 }
  package var used: Range<Int> { offset..<offset + usedByteCount }
  package var occupied: Range<Int> {
    offset..<offset + (usedByteCount + 4095) / 4096 * 4096
  }
}

/// The bytes of a journal file with 4 KiB between its control blocks.
package enum JournalImage {
  package static let blockByteCount = 4096
  package static let dataStart = 4 * blockByteCount

  package static func word(_ image: [UInt8], _ offset: Int, byteCount: Int = 8) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<byteCount { value |= UInt64(image[offset + index]) << (8 * UInt64(index)) }
    return value
  }

  /// Every block that looks like the head of a group, in file order; checksums are not looked at.
  package static func groups(_ image: [UInt8]) -> [ImageGroup] {
    let magic = Array("PNSTGRUP".utf8)
    return stride(from: dataStart, to: image.count, by: blockByteCount).compactMap { offset in
      guard image[offset..<offset + 8].elementsEqual(magic),
        word(image, offset + 32) == UInt64(offset)
      else { return nil }
      let cursors = (0..<8).map { word(image, offset + 88 + 8 * $0) }
      return ImageGroup(
        offset: offset, number: word(image, offset + 16), lap: word(image, offset + 24),
        epoch: word(image, offset + 48), first: word(image, offset + 56),
        recordCount: Int(word(image, offset + 64, byteCount: 4)),
        usedByteCount: Int(word(image, offset + 68, byteCount: 4)),
        cursorsThrough: max(cursors.max() ?? 0, max(word(image, offset + 152), 1) - 1))
    }
  }

  /// The sequences below this one are committed, as the superblock in this slot (0 or 1) says.
  package static func nextSequence(_ image: [UInt8], slot: Int) -> UInt64 {
    word(image, slot * 2 * blockByteCount + 536)
  }
}
