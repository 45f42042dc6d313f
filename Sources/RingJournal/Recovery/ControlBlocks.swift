import GatewayCore
import Platform

/// The four blocks in front of the data: who the file is and where it stood.
struct ControlBlocks: Sendable {
  var identity: Identity
  /// The valid superblock with the highest generation.
  var superblock: Superblock?
  /// Slot that holds `superblock`.
  var slot: Int?
  /// Slots and identity copies that are not whole.
  var damagedCount: Int

  /// Reads and judges the blocks. A block that cannot be read counts as damaged.
  static func read(
    _ file: any DiskFile, path: String, environment: JournalEnvironment
  ) throws(JournalError) -> ControlBlocks {
    let (spacing, verifying) = (environment.spacing, !environment.isVerificationDisabled)
    var block = AlignedBuffer(count: Block.byteCount)
    var readings: [Identity.Reading] = []
    for copy in 0..<4 {
      load(&block, from: file, at: copy * spacing)
      readings.append(
        block.withBytes(0..<Block.byteCount) {
          Identity.read($0, verifying: verifying)
        })
    }
    let identity = try judge(readings, path: path)
    var blocks = ControlBlocks(
      identity: identity, superblock: nil, slot: nil,
      damagedCount: readings.count { $0 != .valid(identity) })
    for slot in 0..<2 {
      load(&block, from: file, at: 2 * slot * spacing)
      let found = block.withBytes(0..<Block.byteCount) {
        Superblock.decode($0, identity: identity, verifying: verifying)
      }
      guard let found else {
        if readings[2 * slot] == .valid(identity) { blocks.damagedCount += 1 }
        continue
      }
      if blocks.superblock.map({ found.generation > $0.generation }) ?? true {
        blocks.superblock = found
        blocks.slot = slot
      }
    }
    return blocks
  }

  private static func load(_ block: inout AlignedBuffer, from file: any DiskFile, at offset: Int) {
    var count = 0
    do throws(SystemError) {
      count = try block.withMutableBytes(0..<Block.byteCount) { bytes throws(SystemError) in
        try file.read(into: &bytes, at: offset)
      }
    } catch {
      count = 0
    }
    if count < Block.byteCount { block.zero(count..<Block.byteCount) }
  }

  /// The identity that most copies agree on, or why this is not a journal to open.
  private static func judge(
    _ readings: [Identity.Reading], path: String
  ) throws(JournalError) -> Identity {
    var best: (identity: Identity, votes: Int)?
    for case .valid(let identity) in readings {
      let votes = readings.count { $0 == .valid(identity) }
      if votes > best?.votes ?? 0 { best = (identity, votes) }
    }
    if let best { return best.identity }
    for case .newer(let version) in readings {
      throw JournalError(
        .newerVersion,
        "\(path) has journal format \(version), this program knows \(Identity.version); "
          + "install the newer program again")
    }
    if readings.contains(.damaged) {
      throw JournalError(
        .damaged,
        "\(path): all four copies of the journal's identity are damaged; keep the file for "
          + "rescue, move it away and start with an empty data directory")
    }
    if readings.allSatisfy({ $0 == .zeros }) {
      throw JournalError(
        .zeros,
        "\(path) holds only zeros where a journal begins; restore it, or remove it and start with "
          + "an empty data directory")
    }
    throw JournalError(
      .foreign, "\(path) is not a journal; check data_directory, nothing was touched")
  }
}
