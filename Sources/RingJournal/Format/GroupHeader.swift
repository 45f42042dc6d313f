import GatewayCore
import Platform

/// The head of a commit group: the unit of durability, one block-aligned write and one sync.
///
/// ## On disk, format version 1. Little-endian. 256 bytes, then the records, then zeros to the end
/// of the last block.
///
///     offset bytes
///        0     8  magic "PNSTGRUP"
///        8     4  CRC-32C of bytes 12 ..< 256, from the secret seed
///       12     4  CRC-32C of bytes 256 ..< byte count, from the secret seed
///       16     8  group number: 1, 2, 3 … per write, over all laps
///       24     8  lap: how often the ring had turned
///       32     8  own file offset: a misdirected write fails here
///       40     8  journal id, low half: another journal's group fails here
///       48     8  epoch of the opening that wrote it
///       56     8  first sequence; a record takes one, a tombstone as many as it stands for
///       64     4  number of sequences, ≥ 1
///       68     4  byte count: this header and all records, without the padding
///       72     4  header checksum (offset 8) of the group written before this one
///       76     2  flags, bit 0: the wall clock was synchronised at the monotonic base
///       78     1  number of sinks            79  1  zero
///       80     8  sink table version
///       88    64  8 acknowledged sequences: durable cursors at no cost
///      152     8  oldest kept sequence
///      160    16  boot id, high and low half
///      176     8  monotonic base: record times are relative to it
///      184     8  wall base: the wall clock at the monotonic base
///      192     8  elapsed base: elapsed time at the monotonic base, see `ElapsedTime`
///      200     8  monotonic time of the commit
///      208    32  8 × CRC-32C of the sinks' names: cursors find their owner without a superblock
///      240    16  zero
///
/// A group is valid if and only if (1) the magic matches, (2) the header checksum matches, (3) own
/// offset and journal id are right, (4) the byte count lies within 257 ... what the ring allows and
/// the region has, the count is at least 1 and no counter is above 2^62, (5) the body checksum
/// matches.
struct GroupHeader: Sendable {
  static let byteCount = 256
  /// "PNSTGRUP", little endian.
  static let magicWord: UInt64 = 0x5055_5247_5453_4e50

  var number: UInt64 = 0
  var lap: UInt64 = 0
  var offset = 0
  var journalLow: UInt64 = 0
  var epoch: UInt64 = 0
  var first: UInt64 = 0
  var sequenceCount: UInt32 = 0
  var usedByteCount: UInt32 = 0
  var previousChecksum: UInt32 = 0
  var isClockSynchronised = false
  var sinkCount = 0
  var sinkTableVersion: UInt64 = 0
  var acknowledged: [8 of UInt64] = .init(repeating: 0)
  var sinkNameChecksums: [8 of UInt32] = .init(repeating: 0)
  var oldestKept: UInt64 = 0
  var bootID: BootID = .unknown
  var monotonicBase: Int64 = 0
  var wallBase: Int64 = 0
  var elapsedBase: Int64 = 0
  var committedAt: Int64 = 0
  /// Filled by `decode`; `encode` computes them.
  var headerChecksum: UInt32 = 0
  var bodyChecksum: UInt32 = 0

  var last: UInt64 { first + UInt64(sequenceCount) - 1 }
  var occupiedByteCount: Int { Block.roundUp(Int(usedByteCount)) }

  /// Writes the header into the first 256 bytes of `bytes`, whose remaining bytes are the body.
  mutating func encode(into bytes: inout MutableSpan<UInt8>, seed: UInt32) {
    precondition(bytes.count == Int(usedByteCount), "the span is the group without its padding")
    precondition(sequenceCount >= 1 && bytes.count > GroupHeader.byteCount, "a group has records")
    bodyChecksum = Checksum.crc32c(
      bytes.span.extracting(GroupHeader.byteCount..<bytes.count), seed: seed)
    bytes.store(GroupHeader.magicWord, at: 0)
    bytes.store(bodyChecksum, at: 12)
    bytes.store(number, at: 16)
    bytes.store(lap, at: 24)
    bytes.store(UInt64(offset), at: 32)
    bytes.store(journalLow, at: 40)
    bytes.store(epoch, at: 48)
    bytes.store(first, at: 56)
    bytes.store(sequenceCount, at: 64)
    bytes.store(usedByteCount, at: 68)
    bytes.store(previousChecksum, at: 72)
    bytes.store(UInt16(isClockSynchronised ? 1 : 0), at: 76)
    bytes.store(UInt16(sinkCount), at: 78)
    bytes.store(sinkTableVersion, at: 80)
    for index in 0..<8 {
      bytes.store(acknowledged[index], at: 88 + 8 * index)
      bytes.store(sinkNameChecksums[index], at: 208 + 4 * index)
    }
    bytes.store(oldestKept, at: 152)
    bytes.store(bootID.high, at: 160)
    bytes.store(bootID.low, at: 168)
    bytes.store(monotonicBase, at: 176)
    bytes.store(wallBase, at: 184)
    bytes.store(elapsedBase, at: 192)
    bytes.store(committedAt, at: 200)
    bytes.store(UInt64(0), at: 240)
    bytes.store(UInt64(0), at: 248)
    headerChecksum = Checksum.crc32c(
      bytes.span.extracting(12..<GroupHeader.byteCount), seed: seed)
    bytes.store(headerChecksum, at: 8)
  }

  /// The header that begins at `bytes[0]`, when conditions 1 to 4 hold for a block read from
  /// `offset`; the body is still to be checked with `bodyIsIntact`.
  static func decode(
    _ bytes: Span<UInt8>, offset: Int, identity: Identity, verifying: Bool = true
  ) -> GroupHeader? {
    guard bytes.count >= byteCount, bytes.load(at: 0, as: UInt64.self) == magicWord else {
      return nil
    }
    var header = GroupHeader()
    header.headerChecksum = bytes.load(at: 8)
    guard
      !verifying
        || Checksum.crc32c(bytes.extracting(12..<byteCount), seed: identity.checksumSeed)
          == header.headerChecksum
    else { return nil }
    header.bodyChecksum = bytes.load(at: 12)
    header.number = bytes.load(at: 16)
    header.lap = bytes.load(at: 24)
    header.offset = Int(clamping: bytes.load(at: 32, as: UInt64.self))
    header.journalLow = bytes.load(at: 40)
    header.epoch = bytes.load(at: 48)
    header.first = bytes.load(at: 56)
    header.sequenceCount = bytes.load(at: 64)
    header.usedByteCount = bytes.load(at: 68)
    header.previousChecksum = bytes.load(at: 72)
    header.isClockSynchronised = bytes.load(at: 76, as: UInt16.self) & 1 == 1
    header.sinkCount = min(Int(bytes[78]), Limits.sinksPerRouteMax)
    header.sinkTableVersion = bytes.load(at: 80)
    for index in 0..<8 {
      header.acknowledged[index] = bytes.load(at: 88 + 8 * index)
      header.sinkNameChecksums[index] = bytes.load(at: 208 + 4 * index)
    }
    header.oldestKept = bytes.load(at: 152)
    header.bootID = BootID(high: bytes.load(at: 160), low: bytes.load(at: 168))
    header.monotonicBase = bytes.load(at: 176)
    header.wallBase = bytes.load(at: 184)
    header.elapsedBase = bytes.load(at: 192)
    header.committedAt = bytes.load(at: 200)
    let dataByteCount = identity.capacity - identity.dataStart
    guard header.offset == offset, header.journalLow == identity.id.low, header.sequenceCount >= 1,
      Int(header.usedByteCount) > byteCount, header.occupiedByteCount <= dataByteCount / 8,
      offset + header.occupiedByteCount <= identity.capacity, header.first >= 1,
      header.hasPossibleCounters
    else { return nil }
    return header
  }

  private var hasPossibleCounters: Bool {
    for index in 0..<8 where acknowledged[index] > Counting.max { return false }
    return max(number, lap, first, oldestKept, sinkTableVersion) <= Counting.max
  }

  /// When it was committed, on this boot's monotonic clock; nil from another boot.
  func committedAt(boot: BootID) -> MonotonicTime? {
    bootID == boot && boot != .unknown ? MonotonicTime(nanoseconds: committedAt) : nil
  }

  /// Condition 5. `bytes` begins with this header and holds at least its byte count.
  func bodyIsIntact(_ bytes: Span<UInt8>, seed: UInt32, verifying: Bool = true) -> Bool {
    !verifying
      || Checksum.crc32c(
        bytes.extracting(GroupHeader.byteCount..<Int(usedByteCount)), seed: seed) == bodyChecksum
  }

  /// The CRC that stands for a sink's name.
  static func checksum(ofSinkName name: String) -> UInt32 {
    Checksum.crc32c(Array(name.utf8).span)
  }
}
