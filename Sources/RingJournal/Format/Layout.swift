package import GatewayCore

/// The unit of every write: 4 KiB, aligned.
package enum Block {
  package static let byteCount = 4096

  package static func roundUp(_ byteCount: Int) -> Int {
    (byteCount + (Block.byteCount - 1)) & ~(Block.byteCount - 1)
  }
}

/// Where things are in the file. Format 1 has one layout, `standard`; tests use a compact one to
/// turn the ring often in little memory.
///
///     slot A           0 × spacing    superblock, 4096 bytes
///     identity copy    1 × spacing    identity, 4096 bytes
///     slot B           2 × spacing
///     identity copy    3 × spacing
///     data region      4 × spacing ..< capacity
package struct JournalLayout: Sendable, Hashable {
  let spacing: Int
  package let capacity: Int

  /// 2 MiB apart: slots A and B are a typical SD card's 4 MiB erase block apart from each other and
  /// from the data, so that one damaged erase block cannot take both.
  package static let standardSpacing = 2 << 20
  /// The smallest data region: 16 blocks, of which one group may take an eighth.
  static let dataBlockCountMin = 16

  package init(capacity: ByteCount, spacing: Int = JournalLayout.standardSpacing) {
    precondition(
      spacing % Block.byteCount == 0 && capacity.rawValue % Block.byteCount == 0,
      "slots and data begin at block boundaries")
    self.spacing = spacing
    self.capacity = capacity.rawValue
  }

  /// Offsets of slot A and slot B.
  var slots: [2 of Int] { [0, 2 * spacing] }
  var identityCopies: [2 of Int] { [spacing, 3 * spacing] }
  package var dataStart: Int { 4 * spacing }
  package var dataEnd: Int { capacity }
  package var dataByteCount: Int { dataEnd - dataStart }
  package var dataBlockCount: Int { dataByteCount / Block.byteCount }
  /// Bytes from `start` forward round the ring to the head. Both at one place: the ring is full.
  func distance(from start: Int, to head: Int) -> Int {
    start < head ? head - start : dataByteCount - (start - head)
  }
  /// No group is larger, whatever the options say.
  package var groupByteCountMax: Int { dataByteCount / 8 / Block.byteCount * Block.byteCount }
  /// The head may run this far ahead of the last synced superblock; also the step of the high
  /// water.
  var superblockEveryByteCount: Int {
    max(dataByteCount / 16 / Block.byteCount, 1) * Block.byteCount
  }
}
