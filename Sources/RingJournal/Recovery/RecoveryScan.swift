import GatewayCore
import Platform

/// What the scan met, in file order from where it began.
struct ScanResult: Sendable {
  /// Groups with intact header and body.
  var groups: [GroupEntry] = []
  /// Groups with an intact header and a body that is not.
  var damaged: [GroupEntry] = []
  /// The intact group with the highest number.
  var newest: GroupHeader?
  var byteCount = 0
  /// Blocks that the disk refused to read.
  var unreadableBlockCount = 0
  var groupByteCountMax = 0
}

/// Reads the data region once, front to back from the head that the superblock names, in large
/// pieces; checks every group; and hands each record to `visit` in sequence order. Groups written
/// after that superblock (at most a sixteenth of the ring) come first in the file but last in
/// sequence: they are read again at the end, by `visitRest`.
///
/// Memory: one window of 4 MiB, or twice the largest group.
struct RecoveryScan: ~Copyable {
  private(set) var result = ScanResult()
  /// Records up to here were handed to `visit`.
  private(set) var visitedThrough: UInt64 = 0

  private let file: any DiskFile
  private let identity: Identity
  private let layout: JournalLayout
  private let boot: BootID
  private let hint: Superblock?
  private var window: AlignedBuffer
  /// File offsets whose bytes are in the window, from its start.
  private var windowed: Range<Int> = 0..<0
  /// Nothing beyond is of interest, except the rest of a group that begins before.
  private var readLimit = 0

  private static let windowByteCount = 4 << 20
  /// More damaged headers than this are not remembered: a table of them must not fill the memory.
  private static let damagedMax = 4096

  init(
    file: any DiskFile, identity: Identity, layout: JournalLayout, boot: BootID,
    hint: Superblock?
  ) {
    self.file = file
    self.identity = identity
    self.layout = layout
    self.boot = boot
    self.hint = hint
    window = AlignedBuffer(
      count: min(RecoveryScan.windowByteCount, Block.roundUp(layout.dataByteCount)))
  }

  /// On its first lap, scanned only up to the high water and in sequence order.
  private var isYoung: Bool {
    hint.map { $0.headLap == 0 && $0.highWater < layout.dataEnd } ?? false
  }

  mutating func run(_ visit: (JournalRecord, Span<UInt8>) -> Void) {
    guard let hint else {
      // Without a superblock nothing tells old from new before the end: `visitRest` does it all.
      scan(layout.dataStart..<layout.dataEnd, visit)
      return
    }
    if isYoung {
      scan(layout.dataStart..<hint.highWater, visit)
    } else {
      scan(hint.headOffset..<layout.dataEnd, visit)
      scan(layout.dataStart..<hint.headOffset, visit)
    }
  }

  /// Hands over the records of kept groups that `run` could not place in sequence order.
  mutating func visitRest(
    of kept: [GroupEntry], _ visit: (JournalRecord, Span<UInt8>) -> Void
  ) {
    let newestEnd = kept.last?.end ?? 0
    for entry in kept where entry.last > visitedThrough {
      readLimit = entry.offset < newestEnd ? newestEnd : layout.dataEnd
      fill(entry.offset, byteCount: entry.occupiedByteCount)
      guard let (header, isIntact) = inspect(entry.offset), isIntact,
        header.number == entry.number
      else { continue }
      visitGroup(header, visit)
    }
  }

  private mutating func scan(
    _ range: Range<Int>, _ visit: (JournalRecord, Span<UInt8>) -> Void
  ) {
    var offset = range.lowerBound
    readLimit = range.upperBound
    while offset < range.upperBound {
      fill(offset, byteCount: Block.byteCount)
      guard let (header, isIntact) = inspect(offset) else {
        offset += Block.byteCount
        continue
      }
      let entry = GroupEntry(header)
      guard isIntact else {
        if result.damaged.count < RecoveryScan.damagedMax { result.damaged.append(entry) }
        offset += Block.byteCount
        continue
      }
      result.groups.append(entry)
      result.groupByteCountMax = max(result.groupByteCountMax, entry.occupiedByteCount)
      if result.newest.map({ header.number > $0.number }) ?? true { result.newest = header }
      if mayVisitNow(header) { visitGroup(header, visit) }
      offset += entry.occupiedByteCount
    }
  }

  /// Older than the superblock that gave the starting point, and of the lap that belongs there.
  private func mayVisitNow(_ header: GroupHeader) -> Bool {
    guard let hint else { return false }
    if isYoung { return header.lap == 0 }
    guard header.number < hint.nextGroupNumber else { return false }
    return header.offset >= hint.headOffset
      ? header.lap &+ 1 == hint.headLap : header.lap == hint.headLap
  }

  /// The group at `offset`, which is in the window with at least one block; its body is fetched.
  private mutating func inspect(_ offset: Int) -> (GroupHeader, isIntact: Bool)? {
    let identity = self.identity
    let start = offset - windowed.lowerBound
    guard start >= 0, windowed.upperBound >= offset + Block.byteCount else { return nil }
    let header = window.withBytes(start..<start + Block.byteCount) {
      GroupHeader.decode($0, offset: offset, identity: identity)
    }
    guard let header else { return nil }
    fill(offset, byteCount: header.occupiedByteCount)
    let bodyStart = offset - windowed.lowerBound
    guard windowed.upperBound >= offset + header.occupiedByteCount else { return (header, false) }
    let isIntact = window.withBytes(bodyStart..<bodyStart + Int(header.usedByteCount)) {
      header.bodyIsIntact($0, seed: identity.checksumSeed)
    }
    return (header, isIntact)
  }

  private mutating func visitGroup(
    _ group: GroupHeader, _ visit: (JournalRecord, Span<UInt8>) -> Void
  ) {
    let start = group.offset - windowed.lowerBound
    let used = Int(group.usedByteCount)
    let through = visitedThrough
    let committedAt = group.committedAt(boot: boot)
    visitedThrough = max(through, group.last)
    window.withBytes(start..<start + used) { bytes in
      var offset = GroupHeader.byteCount
      var sequence = group.first
      while sequence <= group.last {
        guard let header = RecordHeader.decode(bytes, at: offset, end: used) else { return }
        if sequence > through {
          visit(
            JournalRecord(
              header, sequence: sequence, offset: offset, group: group,
              committedAt: committedAt),
            bytes)
        }
        offset += header.byteCount
        sequence += 1
      }
    }
  }

  /// Sees to it that the window holds these bytes, as far as the file has them.
  private mutating func fill(_ offset: Int, byteCount: Int) {
    if windowed.lowerBound <= offset, offset + byteCount <= windowed.upperBound { return }
    if byteCount > window.count / 2 && window.count < 2 * byteCount {
      window = AlignedBuffer(count: 2 * byteCount)
      windowed = offset..<offset
    }
    if windowed.contains(offset) {
      window.move(offset - windowed.lowerBound..<windowed.count, to: 0)
      windowed = offset..<windowed.upperBound
    } else {
      windowed = offset..<offset
    }
    let wanted = max(offset + byteCount, min(readLimit, offset + window.count))
    readAhead(through: min(wanted, layout.dataEnd))
  }

  private mutating func readAhead(through end: Int) {
    let start = windowed.upperBound
    guard end > start else { return }
    let place = windowed.count
    let file = self.file
    do throws(SystemError) {
      let count = try window.withMutableBytes(place..<place + end - start) {
        bytes throws(SystemError) in try file.read(into: &bytes, at: start)
      }
      result.byteCount += count
      windowed = windowed.lowerBound..<start + count
    } catch {
      readBlockwise(start..<end)
    }
  }

  /// After a failed read: block by block, an unreadable block counts as zeros.
  private mutating func readBlockwise(_ range: Range<Int>) {
    let file = self.file
    for offset in stride(from: range.lowerBound, to: range.upperBound, by: Block.byteCount) {
      let place = offset - windowed.lowerBound
      do throws(SystemError) {
        let count = try window.withMutableBytes(place..<place + Block.byteCount) {
          bytes throws(SystemError) in try file.read(into: &bytes, at: offset)
        }
        result.byteCount += count
        if count < Block.byteCount { window.zero(place + count..<place + Block.byteCount) }
      } catch {
        window.zero(place..<place + Block.byteCount)
        result.unreadableBlockCount += 1
      }
      windowed = windowed.lowerBound..<offset + Block.byteCount
    }
  }
}
