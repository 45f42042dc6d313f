import GatewayCore

/// The part of the file that the scan looks at: contiguous bytes, moving forward. It takes them
/// from a `ReadAhead` as long as that has what is asked for, and from the file itself otherwise.
struct ScanWindow: ~Copyable {
  /// What was read so far.
  private(set) var found = ScanRead()
  /// File offsets of the bytes that are here.
  private(set) var range: Range<Int> = 0..<0

  private let file: any DiskFile
  private let dataEnd: Int
  private let size: ScanSize
  private var buffer: AlignedBuffer
  /// Where `range` begins in the buffer.
  private var start = 0
  private var readAhead: ReadAhead?

  init(file: any DiskFile, layout: JournalLayout, size: ScanSize) {
    self.file = file
    self.size = size
    dataEnd = layout.dataEnd
    buffer = AlignedBuffer(
      count: max(min(size.bufferByteCount, Block.roundUp(layout.dataByteCount)), Block.byteCount))
  }

  /// Announces what will be asked for, in this order.
  mutating func expect(_ ranges: [Range<Int>]) {
    // The thread of the last announcement ends before the next begins.
    readAhead = nil
    let total = ranges.reduce(0) { $0 + $1.count }
    guard total > size.chunkByteCount else { return }
    if buffer.count != size.bufferByteCount {
      buffer = AlignedBuffer(count: size.bufferByteCount)
      range = 0..<0
    }
    readAhead = ReadAhead(ranges, of: file, size: size)
  }

  /// Ends the reading thread.
  mutating func end() { readAhead = nil }

  /// The bytes of the file at these offsets, which `fill` has fetched.
  func withBytes<Result>(_ offsets: Range<Int>, _ body: (Span<UInt8>) -> Result) -> Result {
    precondition(
      offsets.lowerBound >= range.lowerBound && offsets.upperBound <= range.upperBound,
      "bytes of the window")
    let from = start + offsets.lowerBound - range.lowerBound
    return buffer.withBytes(from..<from + offsets.count, body)
  }

  /// Sees to it that the bytes are here, as far as the data region has them; up to `limit` there
  /// may be more of interest.
  mutating func fill(_ offset: Int, byteCount: Int, limit: Int) {
    let wanted = min(offset + byteCount, dataEnd)
    if range.lowerBound <= offset, wanted <= range.upperBound { return }
    while let next = readAhead?.next,
      next.lowerBound == range.upperBound || next.contains(offset)
    {
      append(keeping: offset, byteCount: byteCount)
      if range.lowerBound <= offset, wanted <= range.upperBound { return }
    }
    readDirectly(offset, through: max(wanted, min(limit, dataEnd)), atLeast: wanted)
  }

  /// Takes the next piece and lets go of what lies before `offset`.
  private mutating func append(keeping offset: Int, byteCount: Int) {
    guard let chunk = readAhead?.take() else { return }
    found.byteCount += chunk.found.byteCount
    found.unreadableBlockCount += chunk.found.unreadableBlockCount
    let next = chunk.range
    let isAdjacent = next.lowerBound == range.upperBound
    let carried =
      isAdjacent && range.contains(offset)
      ? offset..<range.upperBound : next.lowerBound..<next.lowerBound
    if carried.count <= size.frontByteCount {
      swap(for: chunk, carrying: carried)
    } else {
      makeRoom(keeping: carried, byteCount: max(byteCount, carried.count) + next.count)
      let (place, front) = (start + range.count, size.frontByteCount)
      chunk.buffer.withBytes(front..<front + next.count) { buffer.copy($0, at: place) }
      readAhead?.giveBack(chunk.buffer)
    }
    range = carried.lowerBound..<next.upperBound
  }

  /// The piece's buffer becomes the window, with the carried bytes in front.
  private mutating func swap(for chunk: consuming Chunk, carrying carried: Range<Int>) {
    var fresh = chunk.buffer
    let place = size.frontByteCount - carried.count
    if !carried.isEmpty { withBytes(carried) { fresh.copy($0, at: place) } }
    Swift.swap(&buffer, &fresh)
    start = place
    // A larger one was made for a large group: it has had its time.
    if fresh.count == size.bufferByteCount { readAhead?.giveBack(fresh) }
  }

  /// Keeps only these bytes, in a buffer that has place for `byteCount` from their start on.
  private mutating func makeRoom(keeping kept: Range<Int>, byteCount: Int) {
    let from = start + kept.lowerBound - range.lowerBound
    if from + byteCount > buffer.count {
      if byteCount > buffer.count {
        var larger = AlignedBuffer(count: byteCount)
        if !kept.isEmpty { withBytes(kept) { larger.copy($0, at: 0) } }
        Swift.swap(&buffer, &larger)
        if larger.count == size.bufferByteCount { readAhead?.giveBack(larger) }
      } else if !kept.isEmpty {
        buffer.move(from..<from + kept.count, to: 0)
      }
      start = 0
    } else {
      start = from
    }
    range = kept
  }

  /// Reads on this thread: without a reading thread, or where the scan leaves the announced way.
  private mutating func readDirectly(_ offset: Int, through end: Int, atLeast wanted: Int) {
    guard wanted > offset else { return }
    let kept = range.contains(offset) ? offset..<range.upperBound : offset..<offset
    let byteCount = max(wanted - offset, min(end - offset, size.bufferByteCount))
    if kept.isEmpty {
      range = kept
      start = 0
    }
    makeRoom(keeping: kept, byteCount: byteCount)
    let rest = range.upperBound..<offset + byteCount
    let read = ScanRead.read(rest, of: file, into: &buffer, at: start + range.count)
    found.byteCount += read.byteCount
    found.unreadableBlockCount += read.unreadableBlockCount
    range = offset..<rest.upperBound
  }
}
