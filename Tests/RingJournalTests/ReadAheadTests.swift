// Goal: reading ahead on a thread changes nothing but the time: same bytes, same order, errors with
// the piece they belong to, and an end that leaves nothing behind. Method: the simulated disk with
// small pieces, compared with reading in one. Cannot show: the time (see the benchmark).
import GatewayCore
import JournalSimulation
import Platform
import Synchronization
import Testing

@testable import RingJournal

@Suite("Reading ahead")
struct ReadAheadTests {
  static let blocks = 40
  static let size = ScanSize(frontByteCount: 4096, chunkByteCount: 4 * 4096)

  /// Every block is full of its own number.
  private func makeFile(_ disk: SimulatedDisk, unreadable: Set<Int> = []) throws -> any DiskFile {
    let file = try disk.open("/data/file", .create)
    for block in 0..<ReadAheadTests.blocks {
      let bytes = [UInt8](repeating: UInt8(block), count: 4096)
      try file.write(bytes.span, at: block * 4096)
    }
    try file.fullSync()
    disk.state.withLock {
      $0.files["/data/file"]?.unreadable = Set(unreadable.map { $0 * 4096 })
    }
    return file
  }

  private func begin(_ ranges: [Range<Int>], _ file: any DiskFile) throws -> ReadAhead {
    guard let ahead = ReadAhead(ranges, of: file, size: ReadAheadTests.size) else {
      throw SystemError("no thread", code: 11)
    }
    return ahead
  }

  private func blocks(of chunk: borrowing Chunk) -> [UInt8] {
    let front = ReadAheadTests.size.frontByteCount
    return stride(from: 0, to: chunk.range.count, by: 4096).map { offset in
      chunk.buffer.withBytes(front + offset..<front + offset + 4096) { bytes in
        let isUniform = bytes.indices.allSatisfy { bytes[$0] == bytes[0] }
        return isUniform ? bytes[0] : 255
      }
    }
  }

  @Test("pieces come in the order of the ranges, whole, each once")
  func order() throws {
    let file = try makeFile(SimulatedDisk())
    let ranges = [20 * 4096..<40 * 4096, 1 * 4096..<19 * 4096]
    var ahead = try begin(ranges, file)
    var seen: [UInt8] = []
    var byteCount = 0
    while let next = ahead.next {
      let chunk = ahead.take()
      #expect(chunk.range == next)
      #expect(chunk.found.unreadableBlockCount == 0)
      byteCount += chunk.found.byteCount
      seen += blocks(of: chunk)
      ahead.giveBack(chunk.takeBuffer())
    }
    #expect(seen == Array(20..<40) + Array(1..<19))
    #expect(byteCount == 38 * 4096)
  }

  @Test("an unreadable block is zeros and counted with its own piece, the others are whole")
  func errors() throws {
    let file = try makeFile(SimulatedDisk(), unreadable: [5, 7, 39])
    var ahead = try begin([0..<40 * 4096], file)
    var counts: [Int] = []
    var seen: [UInt8] = []
    while ahead.next != nil {
      let chunk = ahead.take()
      counts.append(chunk.found.unreadableBlockCount)
      seen += blocks(of: chunk)
      ahead.giveBack(chunk.takeBuffer())
    }
    #expect(counts == [0, 2, 0, 0, 0, 0, 0, 0, 0, 1])
    #expect(seen == (0..<40).map { [5, 7, 39].contains($0) ? 0 : UInt8($0) })
  }

  @Test("behind the end of the file there are zeros")
  func short() throws {
    let file = try makeFile(SimulatedDisk())
    var ahead = try begin([36 * 4096..<48 * 4096], file)
    var seen: [UInt8] = []
    while ahead.next != nil {
      let chunk = ahead.take()
      seen += blocks(of: chunk)
      ahead.giveBack(chunk.takeBuffer())
    }
    #expect(seen == [36, 37, 38, 39] + [UInt8](repeating: 0, count: 8))
  }

  @Test("an early end waits for the thread, which then holds nothing", arguments: 0...4)
  func earlyEnd(taken: Int) throws {
    let disk = SimulatedDisk()
    weak var weakly: (any DiskFile)?
    do {
      let file = try makeFile(disk)
      weakly = file
      var ahead = try begin([0..<40 * 4096], file)
      for index in 0..<taken {
        let chunk = ahead.take()
        // The last one is kept: it is the owner's, whatever becomes of the thread.
        if index < taken - 1 { ahead.giveBack(chunk.takeBuffer()) }
      }
    }
    #expect(weakly == nil)
  }

  @Test("what one piece holds is read without a thread")
  func noThread() throws {
    let file = try makeFile(SimulatedDisk())
    #expect(throws: SystemError.self) { _ = try begin([0..<4 * 4096], file) }
    #expect(throws: SystemError.self) { _ = try begin([], file) }
  }

  struct Opened: Equatable {
    var sequences: [UInt64] = []
    var payloads: [[UInt8]] = []
    var kept = 0
    var lost: UInt64 = 0
    var unreadable = 0
    var corrupt: [CorruptRange] = []
    var tornTails = 0
  }

  /// Opens the same image with pieces of this size; nil: in one piece.
  private func open(
    _ kit: JournalKit, image: [UInt8], unreadable: Set<Int>, chunk: Int?
  ) throws -> Opened {
    var kit = kit
    kit.environment.scanChunkByteCount = chunk
    kit.disk.kill()
    kit.disk.damage(JournalKit.path) { $0 = image }
    kit.disk.state.withLock { $0.files[JournalKit.path]?.unreadable = unreadable }
    var result = Opened()
    let journal = try kit.open { record, bytes in
      result.sequences.append(record.sequence.rawValue)
      result.payloads.append(copy(bytes, record.payload))
    }
    result.kept = journal.report.keptGroupCount
    result.lost = journal.report.lostRecordCount
    result.unreadable = journal.report.unreadableBlockCount
    result.corrupt = journal.report.corruptRanges
    result.tornTails = journal.report.tornTailCount
    return result
  }

  @Test(
    "a ring opened in many pieces gives what it gives in one, damaged or not",
    arguments: [UInt64](1...12))
  func samePieces(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    // Commits of up to 128 KiB: far larger than the pieces.
    let kit = JournalKit(blocks: 256, commit: .kibibytes(128))
    var journal = try kit.open()
    for _ in 0..<Int.random(in: 20...120, using: &generator) {
      let isLarge = Int.random(in: 0..<6, using: &generator) == 0
      for _ in 0..<(isLarge ? 30 : Int.random(in: 1...6, using: &generator)) {
        let size = Int.random(in: 1...3000, using: &generator)
        _ = try journal.writer.append([UInt8](repeating: UInt8(size % 251), count: size))
      }
      if let last = try journal.writer.commit().range?.last {
        journal.state.acknowledge(0, through: last)
      }
    }
    if seed % 2 == 0 { try journal.writer.close() }
    kit.disk.kill()
    var image = kit.disk.bytes(JournalKit.path)
    var unreadable: Set<Int> = []
    if seed % 3 == 0 {
      for _ in 0..<3 {
        unreadable.insert(Int.random(in: 4..<260, using: &generator) * 4096)
        image[Int.random(in: 4 * 4096..<image.count, using: &generator)] ^= 1
      }
    }
    if seed % 4 == 1 { for slot in 0..<2 { image[slot * 8192 + 1000] ^= 1 } }
    let whole = try open(kit, image: image, unreadable: unreadable, chunk: nil)
    #expect(!whole.sequences.isEmpty)
    #expect(whole.sequences == whole.sequences.sorted())
    for chunk in [4096, 3 * 4096, 64 * 4096] {
      #expect(
        try open(kit, image: image, unreadable: unreadable, chunk: chunk) == whole,
        "pieces of \(chunk)")
    }
  }
}
