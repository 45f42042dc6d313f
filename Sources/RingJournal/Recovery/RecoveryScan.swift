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
  /// The intact header with the highest number; its body may be damaged.
  var newestHeader: GroupHeader?
  /// What all intact headers prove.
  var evidence = CommitEvidence()
  /// Blocks where no group begins.
  var blankBlockCount = 0
  var byteCount = 0
  /// Blocks that the disk refused to read.
  var unreadableBlockCount = 0
  var groupByteCountMax = 0
}

/// Reads the data region once, front to back from the head that the superblock names, in large
/// pieces and ahead of the decoding; checks every group; and hands each record to `visit` in
/// sequence order. Groups written after that superblock (at most a sixteenth of the ring) come
/// first in the file but last in sequence: they are read again at the end, by `visitRest`.
///
/// Memory: see `ScanSize`; a group larger than a piece's front room takes a buffer of its own.
struct RecoveryScan: ~Copyable {
  private(set) var result = ScanResult()
  /// Records up to here were handed to `visit`.
  private(set) var visitedThrough: UInt64 = 0

  private let file: any DiskFile
  private let identity: Identity
  private let layout: JournalLayout
  private let boot: BootID
  private let verifying: Bool
  private let hint: Superblock?
  private var window: ScanWindow

  /// More damaged headers than this are not remembered: a table of them must not fill the memory.
  private static let damagedMax = 4096
  private static let runGapMax = 64 << 10

  init(
    file: any DiskFile, blocks: ControlBlocks, layout: JournalLayout,
    environment: JournalEnvironment
  ) {
    self.file = file
    identity = blocks.identity
    self.layout = layout
    hint = blocks.superblock
    boot = environment.bootID
    verifying = !environment.isVerificationDisabled
    window = ScanWindow(
      file: file, layout: layout,
      size: environment.scanChunkByteCount.map { .chunks(of: $0) } ?? ScanSize())
  }

  /// On its first lap, scanned in sequence order and not to the end: see `youngReach`.
  private var isYoung: Bool {
    hint.map { $0.headLap == 0 && $0.highWater < layout.dataEnd } ?? false
  }

  mutating func run(_ visit: (JournalRecord, Span<UInt8>) -> Void) {
    var ranges = [layout.dataStart..<layout.dataEnd]
    if let hint {
      ranges =
        isYoung
        ? [layout.dataStart..<min(hint.highWater + youngReach, layout.dataEnd)]
        : [hint.headOffset..<layout.dataEnd, layout.dataStart..<hint.headOffset]
    }
    // Without a superblock nothing tells old from new before the end: `visitRest` does it all.
    window.expect(ranges)
    for range in ranges { scan(range, visit) }
    finish()
    // Once: `visitRest` meets the same blocks again.
    result.unreadableBlockCount = window.found.unreadableBlockCount
  }

  /// Hands over the records of kept groups that `run` could not place in sequence order.
  mutating func visitRest(
    of kept: [GroupEntry], _ visit: (JournalRecord, Span<UInt8>) -> Void
  ) {
    let through = visitedThrough
    let rest = kept.drop { $0.last <= through }
    guard !rest.isEmpty else { return }
    let ranges = RecoveryScan.runs(of: rest)
    window.expect(ranges)
    var run = 0
    for entry in rest where entry.last > visitedThrough {
      while !ranges[run].contains(entry.offset) { run += 1 }
      window.fill(
        entry.offset, byteCount: entry.occupiedByteCount, limit: ranges[run].upperBound)
      guard let (header, isIntact) = inspect(entry.offset, limit: ranges[run].upperBound),
        isIntact, header.number == entry.number
      else { continue }
      visitGroup(header, visit)
    }
    finish()
  }

  /// Groups that lie one behind the other are read together, and so is a small gap between them,
  /// such as the older copy of a tail.
  private static func runs(of groups: ArraySlice<GroupEntry>) -> [Range<Int>] {
    var runs: [Range<Int>] = []
    for group in groups {
      if let last = runs.last, group.offset >= last.upperBound,
        group.offset - last.upperBound <= runGapMax
      {
        runs[runs.count - 1] = last.lowerBound..<group.end
      } else {
        runs.append(group.offset..<group.end)
      }
    }
    return runs
  }

  private mutating func finish() {
    window.end()
    result.byteCount = window.found.byteCount
  }

  /// How far behind the last sign of life a young ring is searched. The superblock that has the
  /// latest high water may be rotten or lost; the one that is left is one such step behind.
  private var youngReach: Int {
    max(layout.superblockEveryByteCount, min(layout.groupByteCountMax, 1 << 20))
  }

  /// Not zero: something was written here, and the file was created full of zeros.
  private func isWritten(_ offset: Int) -> Bool {
    let block = offset..<offset + Block.byteCount
    guard window.range.lowerBound <= offset, block.upperBound <= window.range.upperBound else {
      return false
    }
    return window.withBytes(block) { bytes in
      for index in 0..<Block.byteCount where bytes[index] != 0 { return true }
      return false
    }
  }

  private mutating func scan(
    _ range: Range<Int>, _ visit: (JournalRecord, Span<UInt8>) -> Void
  ) {
    var offset = range.lowerBound
    var limit = range.upperBound
    while offset < limit {
      window.fill(offset, byteCount: Block.byteCount, limit: limit)
      if isYoung, offset + Block.byteCount + youngReach > limit, isWritten(offset) {
        limit = min(offset + Block.byteCount + youngReach, layout.dataEnd)
      }
      guard let (header, isIntact) = inspect(offset, limit: limit) else {
        result.blankBlockCount += 1
        offset += Block.byteCount
        continue
      }
      let entry = GroupEntry(header)
      result.evidence.note(header)
      if result.newestHeader.map({ header.number > $0.number }) ?? true {
        result.newestHeader = header
      }
      guard isIntact else {
        if result.damaged.count < RecoveryScan.damagedMax { result.damaged.append(entry) }
        offset += Block.byteCount
        continue
      }
      result.evidence.noteIntact(header)
      result.groups.append(entry)
      result.groupByteCountMax = max(result.groupByteCountMax, entry.occupiedByteCount)
      if result.newest.map({ header.number > $0.number }) ?? true { result.newest = header }
      if mayVisitNow(header) { visitGroup(header, visit) }
      offset += entry.occupiedByteCount
      if isYoung { limit = max(limit, min(offset + youngReach, layout.dataEnd)) }
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

  /// The group at `offset`, of which at least one block is in the window; its body is fetched.
  private mutating func inspect(
    _ offset: Int, limit: Int
  ) -> (GroupHeader, isIntact: Bool)? {
    let (identity, verifying) = (self.identity, self.verifying)
    let block = offset..<offset + Block.byteCount
    guard window.range.lowerBound <= offset, block.upperBound <= window.range.upperBound else {
      return nil
    }
    let header = window.withBytes(block) {
      GroupHeader.decode($0, offset: offset, identity: identity, verifying: verifying)
    }
    guard let header else { return nil }
    window.fill(offset, byteCount: header.occupiedByteCount, limit: limit)
    let end = offset + header.occupiedByteCount
    guard window.range.upperBound >= end else { return (header, false) }
    let isIntact = window.withBytes(offset..<offset + Int(header.usedByteCount)) {
      header.bodyIsIntact($0, seed: identity.checksumSeed, verifying: verifying)
    }
    return (header, isIntact)
  }

  private mutating func visitGroup(
    _ group: GroupHeader, _ visit: (JournalRecord, Span<UInt8>) -> Void
  ) {
    let used = Int(group.usedByteCount)
    let through = visitedThrough
    let committedAt = group.committedAt(boot: boot)
    visitedThrough = max(through, group.last)
    window.withBytes(group.offset..<group.offset + used) { bytes in
      var offset = GroupHeader.byteCount
      var sequence = group.first
      while sequence <= group.last {
        guard let header = RecordHeader.decode(bytes, at: offset, end: used) else { return }
        guard let taken = header.sequenceCount(bytes, at: offset),
          sequence + (taken - 1) <= group.last
        else { return }
        let last = sequence + (taken - 1)
        if last > through {
          visit(
            JournalRecord(
              header, sequences: max(sequence, through + 1)...last, offset: offset, group: group,
              committedAt: committedAt),
            bytes)
        }
        offset += header.byteCount
        sequence += taken
      }
    }
  }
}
