import GatewayCore
import Platform

@testable import RingJournal

/// Files that the product's own writer makes, as inputs of `RingTarget` and `GroupTarget`.
enum SeedRing {
  /// A whole file without a record.
  static let empty: [UInt8] = {
    var file = [UInt8](repeating: 0, count: Fixed.capacity)
    for (index, slot) in [0, 2].enumerated() {
      var superblock = Fixed.superblock
      superblock.generation = UInt64(index + 1)
      file.edit(slot * Block.byteCount..<(slot + 1) * Block.byteCount) {
        superblock.encode(identity: Fixed.identity, into: &$0)
      }
    }
    for copy in [1, 3] {
      file.edit(copy * Block.byteCount..<(copy + 1) * Block.byteCount) {
        Fixed.identity.encode(into: &$0)
      }
    }
    return file
  }()

  /// Commits `groups` groups of `records` records, `pause` apart, and acknowledges all but the last
  /// few.
  static func file(
    groups: Int, records: Int, payload: Int, pause: Duration = .seconds(1)
  ) throws -> [UInt8] {
    let disk = MemoryDisk([Fixed.path: empty])
    let clock = StillClock()
    let opened = try Journal.open(
      path: Fixed.path, options: Fixed.options,
      environment: Fixed.environment(disk, clock: clock))
    let state = opened.state
    var writer = opened.takeWriter()
    let bytes = [UInt8](repeating: UInt8(ascii: "p"), count: payload)
    let (topic, id) = (Array("pumps/1".utf8), Array("id-1".utf8))
    for group in 0..<groups {
      for index in 0..<records {
        let draft = RecordDraft(
          kind: index == 1 ? .deadLetter : .data, reason: index == 1 ? .conflict : nil,
          flags: [.json], idHash: MessageIDHash(high: UInt64(group), low: UInt64(index)),
          payloadDigest: 9,
          idText: index == 0 ? .stored : index == 1 ? .absent : .payload(offset: 0, count: 1),
          receivedMonotonic: clock.monotonic())
        _ = try writer.append(
          draft, topic: topic.span, idText: id.span, properties: Span(), payload: bytes.span)
      }
      _ = try writer.commit()
      for sink in 0..<2 where group > 3 {
        state.acknowledge(sink, through: Sequence(state.committed.rawValue - 3))
      }
      clock.advance(pause)
    }
    return disk.content(Fixed.path)
  }

  /// The first commit groups of such a file, as they stand there.
  static func groups() throws -> [[UInt8]] {
    [
      try Array(file(groups: 1, records: 3, payload: 40)[groupStart..<groupStart + 700]),
      try Array(file(groups: 1, records: 12, payload: 400)[groupStart..<groupStart + 8192]),
    ]
  }

  private static let groupStart = Fixed.layout.dataStart

  /// The file as pieces: each block that is not zero, without the zeros at its end.
  static func input(_ file: [UInt8], mode: UInt8 = 0) -> [UInt8] {
    var input = [mode]
    func add(_ block: Int, kind: UInt8, _ bytes: ArraySlice<UInt8>) {
      input += [UInt8(block), kind, UInt8(bytes.count & 0xff), UInt8(bytes.count >> 8)] + bytes
    }
    for block in [0, 2] + Array(4..<file.count / Block.byteCount) {
      let (start, end) = (block * Block.byteCount, (block + 1) * Block.byteCount)
      let isSlot = block < 4
      var bytes = isSlot ? file[start + Identity.byteCount..<end - 4] : file[start..<end]
      while bytes.last == 0 { bytes.removeLast() }
      if !bytes.isEmpty { add(block, kind: 0, bytes) }
      if isSlot { add(block, kind: 2, file[end - 4..<end]) }
    }
    return input
  }

  /// The same with repaired checksums, for the search behind them. Groups of one block only.
  static func forgedInput(_ file: [UInt8]) -> [UInt8] {
    var input: [UInt8] = [0]
    for block in 4..<file.count / Block.byteCount {
      var bytes = file[block * Block.byteCount..<(block + 1) * Block.byteCount]
      while bytes.last == 0 { bytes.removeLast() }
      if bytes.isEmpty { continue }
      input += [UInt8(block), 1, UInt8(bytes.count & 0xff), UInt8(bytes.count >> 8)] + bytes
    }
    return input
  }
}

extension RingTarget {
  static func seeds() throws -> [[UInt8]] {
    let few = try SeedRing.file(groups: 3, records: 2, payload: 20)
    let tail = try SeedRing.file(groups: 7, records: 1, payload: 200)
    let large = try SeedRing.file(groups: 3, records: 6, payload: 900)
    // So late that each is a group of its own: small, and yet the ring turns.
    let turned = try SeedRing.file(groups: 44, records: 1, payload: 8, pause: .seconds(1000))
    return [
      SeedRing.input(few), SeedRing.input(tail), SeedRing.input(large), SeedRing.input(turned),
      SeedRing.input(few, mode: 2), SeedRing.input(turned, mode: 4),
      SeedRing.input(tail, mode: 1), SeedRing.forgedInput(few), [0],
    ]
  }
}
