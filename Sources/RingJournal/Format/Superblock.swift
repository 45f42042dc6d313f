import GatewayCore
import Platform

/// The changing facts about the ring: one 4096-byte slot, written alternately to A and B.
///
/// ## Invariants
/// 1. No group was ever written at or beyond `highWater` while `headLap` is 0, so a young file is
///    scanned only a step further. It is durable before it is needed.
/// 2. What a durable superblock or group header does not know to be acknowledged or given up is not
///    overwritten.
/// 3. Synced writes alternate. A write without a sync goes to the slot that was not synced last, so
///    it can never damage the last promise.
///
/// ## On disk, format version 1. Little-endian.
///
///     offset bytes
///        0   512  identity, see `Identity`
///      512     8  magic "PNSTSUPR"
///      520     8  generation; of two valid slots the higher one counts
///      528     8  epoch of the opening that wrote this
///      536     8  next sequence: everything below was committed
///      544     8  oldest kept: sequences below were released or given up
///      552     8  head: file offset where the next group goes
///      560     8  lap of the head
///      568     8  number of the next group
///      576     8  high water, file offset
///      584     8  elapsed time when written, nanoseconds, see `ElapsedTime`
///      592     8  wall clock when written
///      600    16  boot id, high and low half
///      616     8  monotonic clock when written
///      624     8  sink table version; grows by 1 with every change of names
///      632     8  filesystem identity (f_fsid)
///      640     4  header checksum of the newest group; the next one repeats it
///      644     1  1: clean stop
///      645     1  number of sinks, ≤ 8
///      646     1  1: the wall clock was synchronised when written
///      647     9  zero
///      656  1408  8 sinks of 176 bytes:
///                   0   1  byte count of the name       1  1  flags, bit 0: required
///                   2   1  accepted intervals, ≤ 8 (0 in `in-order` drain)   3  5  zero
///                   8  32  name, UTF-8
///                  40   8  acknowledged sequence
///                  48 128  8 accepted intervals beyond it: first u64, last u64
///     2064    64  8 × skipped through, one per sink: the operator gave up what is not above it
///     2128    64  8 × records lost so far, by reason: place 0 is `GapReason` 1, place 7 zero
///     2192     8  bytes written to this file so far, filling and superblocks included
///     2200     8  syncs of this file so far
///     2208     8  records committed so far, each once however often the tail was written
///     2216     8  topic and payload bytes of these
///     2224   512  32 × sequences that were counted as lost and can be met again: first u64, last
///                 u64; 0: none
///     2736     8  the newest synchronised moment: wall clock
///     2744     8  the same: elapsed time
///     2752    16  the same: boot id, high and low half; both 0: none known
///     2768   512  32 × expired sequences that some sink can still meet: first u64, last u64;
///                 0: none
///     3280   384  16 × time off that was added late, see `ElapsedTime.TimeOff`: after i64, through
///                 i64, amount i64; 0: none
///     3664   428  zero
///     4092     4  CRC-32C of bytes 0 ..< 4092, from the secret seed
///
/// A superblock is valid if and only if (1) the magic matches, (2) the identity in front of it is
/// valid and this journal's, (3) the checksum matches, (4) head and high water are blocks of the
/// region, there are at most 8 sinks, their names are UTF-8, and no counter is above 2^62.
struct Superblock: Sendable, Equatable {
  static let magic: StaticString = "PNSTSUPR"
  static let sinksOffset = 656
  static let sinkByteCount = 176
  static let skippedOffset = 2064
  static let lostOffset = 2128
  static let wearOffset = 2192
  static let lossesOffset = 2224
  static let anchorOffset = 2736
  static let expiryOffset = 2768
  static let timesOffOffset = 3280

  struct Sink: Sendable, Equatable {
    var name: String
    var isRequired: Bool
    var acknowledged: UInt64
    var intervals = AcceptedIntervals()
    var skippedThrough: UInt64 = 0
  }

  var generation: UInt64 = 0
  var epoch: UInt64 = 0
  var nextSequence: UInt64 = 1
  var oldestKept: UInt64 = 1
  var headOffset: Int
  var headLap: UInt64 = 0
  var nextGroupNumber: UInt64 = 1
  var highWater: Int
  var elapsed: Int64 = 0
  var wallTime: Int64 = 0
  var bootID: BootID = .unknown
  var monotonicTime: Int64 = 0
  var sinkTableVersion: UInt64 = 1
  var filesystemIdentity: UInt64 = 0
  var lastHeaderChecksum: UInt32 = 0
  var isCleanStop = false
  var isClockSynchronised = false
  var sinks: [Sink] = []
  /// By the raw value of the reason, less one.
  var lost = LossCounts()
  var wear = JournalWear()
  var losses = LossLedger()
  var anchor: ElapsedTime.Anchor?
  var expiry = LossLedger()
  var timesOff: [ElapsedTime.TimeOff] = []

  func encode(identity: Identity, into bytes: inout MutableSpan<UInt8>) {
    precondition(bytes.count == Block.byteCount, "a slot is one block")
    precondition(sinks.count <= Limits.sinksPerRouteMax, "the sink table has 8 places")
    bytes.update(repeating: 0)
    identity.encode(into: &bytes)
    bytes.store(magic: Superblock.magic, at: 512)
    bytes.store(generation, at: 520)
    bytes.store(epoch, at: 528)
    bytes.store(nextSequence, at: 536)
    bytes.store(oldestKept, at: 544)
    bytes.store(UInt64(headOffset), at: 552)
    bytes.store(headLap, at: 560)
    bytes.store(nextGroupNumber, at: 568)
    bytes.store(UInt64(highWater), at: 576)
    bytes.store(elapsed, at: 584)
    bytes.store(wallTime, at: 592)
    bytes.store(bootID.high, at: 600)
    bytes.store(bootID.low, at: 608)
    bytes.store(monotonicTime, at: 616)
    bytes.store(sinkTableVersion, at: 624)
    bytes.store(filesystemIdentity, at: 632)
    bytes.store(lastHeaderChecksum, at: 640)
    bytes[644] = isCleanStop ? 1 : 0
    bytes[645] = UInt8(sinks.count)
    bytes[646] = isClockSynchronised ? 1 : 0
    for (index, sink) in sinks.enumerated() {
      let offset = Superblock.sinksOffset + index * Superblock.sinkByteCount
      bytes[offset] = UInt8(sink.name.utf8.count)
      bytes[offset + 1] = sink.isRequired ? 1 : 0
      bytes[offset + 2] = UInt8(sink.intervals.ranges.count)
      bytes.store(utf8: sink.name, at: offset + 8)
      bytes.store(sink.acknowledged, at: offset + 40)
      for (place, range) in sink.intervals.ranges.enumerated() {
        bytes.store(range.first.rawValue, at: offset + 48 + 16 * place)
        bytes.store(range.last.rawValue, at: offset + 56 + 16 * place)
      }
      bytes.store(sink.skippedThrough, at: Superblock.skippedOffset + 8 * index)
    }
    for index in 0..<8 { bytes.store(lost[index], at: Superblock.lostOffset + 8 * index) }
    wear.encode(into: &bytes, at: Superblock.wearOffset)
    Superblock.store(losses, into: &bytes, at: Superblock.lossesOffset)
    Superblock.store(expiry, into: &bytes, at: Superblock.expiryOffset)
    for (index, timeOff) in timesOff.enumerated() {
      let offset = Superblock.timesOffOffset + 24 * index
      bytes.store(timeOff.after, at: offset)
      bytes.store(timeOff.through, at: offset + 8)
      bytes.store(timeOff.amount, at: offset + 16)
    }
    if let anchor {
      bytes.store(anchor.wall, at: Superblock.anchorOffset)
      bytes.store(anchor.elapsed, at: Superblock.anchorOffset + 8)
      bytes.store(anchor.bootID.high, at: Superblock.anchorOffset + 16)
      bytes.store(anchor.bootID.low, at: Superblock.anchorOffset + 24)
    }
    bytes.store(
      Checksum.crc32c(bytes.span.extracting(0..<4092), seed: identity.checksumSeed), at: 4092)
  }

  private static func store(
    _ ledger: LossLedger, into bytes: inout MutableSpan<UInt8>, at offset: Int
  ) {
    for (index, range) in ledger.ranges.enumerated() {
      bytes.store(range.first.rawValue, at: offset + 16 * index)
      bytes.store(range.last.rawValue, at: offset + 16 * index + 8)
    }
  }

  private static func anchor(_ bytes: Span<UInt8>) -> ElapsedTime.Anchor? {
    let boot = BootID(
      high: bytes.load(at: anchorOffset + 16), low: bytes.load(at: anchorOffset + 24))
    guard boot != .unknown else { return nil }
    return ElapsedTime.Anchor(
      wall: bytes.load(at: anchorOffset), elapsed: bytes.load(at: anchorOffset + 8), bootID: boot)
  }

  private static func timesOff(_ bytes: Span<UInt8>) -> [ElapsedTime.TimeOff] {
    var times: [ElapsedTime.TimeOff] = []
    for index in 0..<ElapsedTime.timesOffMax {
      let offset = timesOffOffset + 24 * index
      let time = ElapsedTime.TimeOff(
        after: bytes.load(at: offset), through: bytes.load(at: offset + 8),
        amount: bytes.load(at: offset + 16))
      guard time.amount > 0 else { break }
      times.append(time)
    }
    return times
  }

  /// Those of a sink. What is not as it should be is not believed: it is sent once more.
  private static func intervals(_ bytes: Span<UInt8>, at offset: Int) -> AcceptedIntervals {
    var intervals = AcceptedIntervals()
    for place in 0..<min(Int(bytes[offset + 2]), AcceptedIntervals.countMax) {
      let first: UInt64 = bytes.load(at: offset + 48 + 16 * place)
      let last: UInt64 = bytes.load(at: offset + 56 + 16 * place)
      guard first >= 1, first <= last, last <= Counting.max else { break }
      _ = intervals.insert(SequenceRange(Sequence(first), Sequence(last)))
    }
    return intervals
  }

  private static func ledger(_ bytes: Span<UInt8>, at offset: Int) -> LossLedger {
    var ranges: [SequenceRange] = []
    for index in 0..<LossLedger.countMax {
      let first: UInt64 = bytes.load(at: offset + 16 * index)
      let last: UInt64 = bytes.load(at: offset + 16 * index + 8)
      guard first >= 1, first <= last else { break }
      ranges.append(SequenceRange(Sequence(first), Sequence(last)))
    }
    return LossLedger(ranges)
  }

  /// The slot's content, or nil when it is not a whole superblock of this journal.
  static func decode(
    _ bytes: Span<UInt8>, identity: Identity, verifying: Bool = true
  ) -> Superblock? {
    guard bytes.count == Block.byteCount, bytes.hasMagic(magic, at: 512),
      case .valid(let own) = Identity.read(bytes, verifying: verifying), own == identity,
      !verifying
        || Checksum.crc32c(bytes.extracting(0..<4092), seed: identity.checksumSeed)
          == bytes.load(at: 4092, as: UInt32.self)
    else { return nil }
    let headOffset = Int(clamping: bytes.load(at: 552, as: UInt64.self))
    let highWater = Int(clamping: bytes.load(at: 576, as: UInt64.self))
    let region = identity.dataStart...identity.capacity
    guard region.contains(headOffset), headOffset % Block.byteCount == 0,
      region.contains(highWater), highWater % Block.byteCount == 0,
      Int(bytes[645]) <= Limits.sinksPerRouteMax
    else { return nil }
    var superblock = Superblock(headOffset: headOffset, highWater: highWater)
    superblock.generation = bytes.load(at: 520)
    superblock.epoch = bytes.load(at: 528)
    superblock.nextSequence = bytes.load(at: 536)
    superblock.oldestKept = bytes.load(at: 544)
    superblock.headLap = bytes.load(at: 560)
    superblock.nextGroupNumber = bytes.load(at: 568)
    superblock.elapsed = bytes.load(at: 584)
    superblock.wallTime = bytes.load(at: 592)
    superblock.bootID = BootID(high: bytes.load(at: 600), low: bytes.load(at: 608))
    superblock.monotonicTime = bytes.load(at: 616)
    superblock.sinkTableVersion = bytes.load(at: 624)
    superblock.filesystemIdentity = bytes.load(at: 632)
    superblock.lastHeaderChecksum = bytes.load(at: 640)
    superblock.isCleanStop = bytes[644] == 1
    superblock.isClockSynchronised = bytes[646] == 1
    for index in 0..<8 { superblock.lost[index] = bytes.load(at: lostOffset + 8 * index) }
    superblock.wear = JournalWear(bytes, at: wearOffset)
    superblock.losses = ledger(bytes, at: lossesOffset)
    superblock.anchor = anchor(bytes)
    superblock.timesOff = timesOff(bytes)
    superblock.expiry = ledger(bytes, at: expiryOffset)
    for index in 0..<Int(bytes[645]) {
      let offset = sinksOffset + index * sinkByteCount
      guard Int(bytes[offset]) <= Limits.sinkNameByteCountMax,
        let name = bytes.text(at: offset + 8, count: Int(bytes[offset]))
      else { return nil }
      superblock.sinks.append(
        Sink(
          name: name,
          isRequired: bytes[offset + 1] & 1 == 1, acknowledged: bytes.load(at: offset + 40),
          intervals: intervals(bytes, at: offset),
          skippedThrough: bytes.load(at: skippedOffset + 8 * index)))
    }
    return superblock.hasPossibleCounters ? superblock : nil
  }

  private var hasPossibleCounters: Bool {
    var counters = [generation, nextSequence, oldestKept, headLap, nextGroupNumber]
    counters += [sinkTableVersion, wear.writtenByteCount, wear.syncCount]
    counters += [wear.recordCount, wear.recordByteCount]
    for place in 0..<LossCounts.count { counters.append(lost[place]) }
    for sink in sinks { counters += [sink.acknowledged, sink.skippedThrough] }
    for range in losses.ranges { counters.append(range.last.rawValue) }
    return nextSequence >= 1 && counters.allSatisfy { $0 <= Counting.max }
  }
}
