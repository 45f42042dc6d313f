import GatewayCore
import RingJournal
import Synchronization

extension Campaign {
  /// Every subset of the sectors of a last write that was not synced: recovery ends exactly at the
  /// last whole group.
  package static let subsets = Campaign(
    "subsets",
    "every subset of a last write's un-synced sectors, in \(SubsetShape.all.count) shapes",
    fullCount: SubsetShape.caseCount, quickCount: SubsetShape.caseCount
  ) { _ in
    let images = try SubsetShape.all.map { try SubsetImage($0) }
    return { seed in
      var index = seed
      for image in images {
        if index < image.shape.caseCount { return try image.play(index) }
        index -= image.shape.caseCount
      }
      return CaseResult()
    }
  }
}

/// How a last write came about.
struct SubsetShape: Sendable {
  enum Last: Sendable {
    /// A group with a record of this many payload bytes.
    case group(Int)
    case superblock
  }

  let name: String
  var sectorByteCount = 512
  /// Of the data region.
  var blockCount: Int
  /// Commits before the last write, by payload bytes; all but the last two acknowledged.
  let commits: [Int]
  let last: Last
  /// Sectors that hold something; those behind are padding, kept or dropped together.
  let usedSectorCount: Int
  /// The last write begins at this block.
  let block: Int
  var hasPadding = true

  /// Each subset of the used sectors, with and without the padding; what is dropped stays as it was
  /// or holds noise.
  var caseCount: UInt64 { (hasPadding ? 4 : 2) << UInt64(usedSectorCount) }

  static let all: [SubsetShape] = [
    SubsetShape(
      name: "new group", blockCount: 64, commits: [3000, 3000, 5000], last: .group(5700),
      usedSectorCount: 12, block: 8),
    SubsetShape(
      name: "new group on an older lap", blockCount: 24,
      commits: [Int](repeating: 5000, count: 14), last: .group(5700), usedSectorCount: 12,
      block: 8),
    SubsetShape(
      name: "tail copy up", blockCount: 24, commits: [1000], last: .group(500),
      usedSectorCount: 4, block: 5),
    SubsetShape(
      name: "tail copy down", blockCount: 24, commits: [1000, 500], last: .group(700),
      usedSectorCount: 6, block: 4),
    SubsetShape(
      name: "superblock", blockCount: 24, commits: [3000, 3000, 3000], last: .superblock,
      usedSectorCount: 8, block: 2, hasPadding: false),
    SubsetShape(
      name: "wrapped group", blockCount: 16, commits: [Int](repeating: 3000, count: 15),
      last: .group(5700), usedSectorCount: 12, block: 4),
    SubsetShape(
      name: "new group of 4 KiB sectors", sectorByteCount: 4096, blockCount: 96,
      commits: [3000, 3000, 5000], last: .group(12 * 4096 - 400), usedSectorCount: 12, block: 8,
      hasPadding: false),
    SubsetShape(
      name: "wrapped group of 4 KiB sectors", sectorByteCount: 4096, blockCount: 96,
      commits: [Int](repeating: 12 * 4096 - 400, count: 7) + [3000],
      last: .group(12 * 4096 - 400), usedSectorCount: 12, block: 4, hasPadding: false),
  ]

  static let caseCount = all.reduce(0) { $0 + $1.caseCount }
}

/// A disk on which a shape's last write waits for its sync.
struct SubsetImage: Sendable {
  let shape: SubsetShape
  private let disk: SimulatedDisk.State
  private let write: SimulatedDisk.Write
  private let committed: UInt64
  private let acknowledged: UInt64

  init(_ shape: SubsetShape) throws {
    self.shape = shape
    let kit = SubsetImage.kit(shape, SimulatedDisk(sectorByteCount: shape.sectorByteCount))
    var journal = try kit.open()
    for (index, byteCount) in shape.commits.enumerated() {
      let payload = ModelContents.payload(UInt64(index + 1), byteCount: byteCount)
      guard try journal.writer.commit(payload) != nil else { throw ShapeError(name: shape.name) }
      if index >= 2 { journal.state.acknowledge(0, through: Sequence(UInt64(index - 1))) }
    }
    committed = UInt64(shape.commits.count)
    acknowledged = max(committed, 2) - 2
    switch shape.last {
    case .group(let byteCount):
      let payload = ModelContents.payload(committed + 1, byteCount: byteCount)
      guard case .appended = try journal.writer.append(payload) else {
        throw ShapeError(name: shape.name)
      }
      SubsetImage.cutAtWrite(kit, ofBlock: shape.block)
      _ = try? journal.writer.commit()
    case .superblock:
      journal.state.acknowledge(0, through: Sequence(committed))
      SubsetImage.cutAtWrite(kit, ofBlock: shape.block)
      _ = try? journal.writer.maintain(now: kit.clock.monotonic())
      kit.clock.advance(.seconds(2))
      _ = try? journal.writer.maintain(now: kit.clock.monotonic())
    }
    disk = kit.disk.state.withLock { $0 }
    let pending = disk.files[JournalKit.path]?.pending ?? []
    guard pending.count == 1, pending[0].offset == shape.block * 4096 else {
      throw ShapeError(name: "\(shape.name): waits at \(pending.map { $0.offset / 4096 })")
    }
    write = pending[0]
  }

  struct ShapeError: Error { var name: String }

  private static func kit(_ shape: SubsetShape, _ disk: SimulatedDisk) -> JournalKit {
    JournalKit(blocks: shape.blockCount, commit: .kibibytes(52), disk: disk)
  }

  /// The sync after the next write to that block fails, as if the power had gone: the write waits.
  private static func cutAtWrite(_ kit: JournalKit, ofBlock block: Int) {
    kit.disk.state.withLock { $0.powerOffAfterWriteAt = block * 4096 }
  }

  /// Lets one subset survive, opens, and goes on living.
  func play(_ index: UInt64) throws -> CaseResult {
    let isNoise = index & 1 == 1
    let isPaddingKept = shape.hasPadding && index & 2 == 2
    let subset = index >> (shape.hasPadding ? 2 : 1)
    let disk = SimulatedDisk(self.disk, sectorByteCount: shape.sectorByteCount)
    disk.crash(JournalKit.path, noiseSeed: isNoise ? index : nil) { sector in
      sector < shape.usedSectorCount ? subset >> UInt64(sector) & 1 == 1 : isPaddingKept
    }
    let used = min(usedByteCount, write.bytes.count)
    let isWhole =
      disk.bytes(JournalKit.path)[write.offset..<write.offset + used]
      .elementsEqual(write.bytes[0..<used])
    let kit = SubsetImage.kit(shape, disk)
    var result = CaseResult()
    var journal = try kit.open()
    let isGroup = write.offset >= 4 * 4096
    let expected = committed + (isWhole && isGroup ? 1 : 0)
    let found = journal.state.committed.rawValue
    if found < expected { result.tally.lost += 1 }
    if found > expected { result.tally.invented += 1 }
    let name = "\(shape.name), subset \(subset)"
    if found != expected {
      result.complaints.append("\(name): committed \(found) instead of \(expected)")
      return result
    }
    let cursor = journal.state.acknowledged(0).rawValue
    if cursor > (isGroup || !isWhole ? acknowledged : committed) {
      result.complaints.append("\(name): cursor \(cursor)")
    }
    guard try journal.writer.commit(ModelContents.payload(found + 1, byteCount: 40)) != nil else {
      result.complaints.append("\(name): no room to go on")
      return result
    }
    check(journal.state, through: found + 1, name, &result)
    kit.disk.kill()
    let again = try kit.open()
    check(again.state, through: found + 1, name + ", opened again", &result)
    return result
  }

  /// Of a group what its header counts, of a superblock all but the zeros at its end.
  private var usedByteCount: Int {
    write.offset >= 4 * 4096 ? Int(ModelTruth.word(write.bytes, 68) & 0xffff_ffff) : 4096
  }

  private func check(
    _ state: JournalState, through last: UInt64, _ name: String, _ result: inout CaseResult
  ) {
    var expected = state.acknowledged(0).rawValue + 1
    for part in (try? ModelContents.read(state, sink: 0))?.parts ?? [] {
      switch part {
      case .gap(let gap): result.complaints.append("\(name): gap \(gap.range)")
      case .record(let sequence, let payload):
        if payload != sequence {
          result.tally.wrong += 1
          result.complaints.append("\(name): wrong bytes at \(sequence)")
        }
        if sequence != expected {
          result.complaints.append("\(name): \(sequence) instead of \(expected)")
        }
        expected = sequence + 1
      }
    }
    if expected != last + 1 {
      result.tally.lost += 1
      result.complaints.append("\(name): ends before \(expected)")
    }
  }
}
