import GatewayCore
import Platform

/// The four blocks in front of the data: who the file is and where it stood.
struct ControlBlocks: Sendable {
  var identity: Identity
  /// The whole superblocks, in the order of the slots: each is evidence of what was committed.
  var slots: [Superblock]
  /// The one to go on from.
  var superblock: Superblock?
  /// Slot that holds `superblock`.
  var slot: Int?
  /// Slots and identity copies that are not whole.
  var damagedCount: Int

  /// What a copy's block gave.
  enum Reading: Equatable {
    case identity(Identity.Reading)
    case absent
    case unreadable
  }

  /// Reads and judges the blocks. Throws what the table of `IdentityDecision` refuses.
  static func read(
    _ file: any DiskFile, path: String, environment: JournalEnvironment
  ) throws(JournalError) -> ControlBlocks {
    let (spacing, verifying) = (environment.spacing, !environment.isVerificationDisabled)
    var block = AlignedBuffer(count: Block.byteCount)
    let readings = (0..<4).map {
      read(&block, from: file, at: $0 * spacing, verifying: verifying)
    }
    let identity = try judge(readings, path: path)
    var damagedCount = readings.count { $0 != .identity(.valid(identity)) }
    var found: [Superblock?] = []
    for slot in 0..<2 {
      let isOurs = readings[2 * slot] == .identity(.valid(identity))
      var superblock: Superblock?
      let again = read(&block, from: file, at: 2 * slot * spacing, verifying: verifying)
      if isOurs, again == readings[2 * slot] {
        superblock = block.withBytes(0..<Block.byteCount) {
          Superblock.decode($0, identity: identity, verifying: verifying)
        }
        if superblock == nil { damagedCount += 1 }
      }
      found.append(superblock)
    }
    let slot = decide(found)
    return ControlBlocks(
      identity: identity, slots: found.compactMap { $0 }, superblock: slot.flatMap { found[$0] },
      slot: slot, damagedCount: damagedCount)
  }

  private static func read(
    _ block: inout AlignedBuffer, from file: any DiskFile, at offset: Int, verifying: Bool
  ) -> Reading {
    block.zero(0..<Block.byteCount)
    do throws(SystemError) {
      let count = try block.withMutableBytes(0..<Block.byteCount) {
        bytes throws(SystemError) in try file.read(into: &bytes, at: offset)
      }
      if count == 0 { return .absent }
    } catch {
      return .unreadable
    }
    return .identity(
      block.withBytes(0..<Block.byteCount) { Identity.read($0, verifying: verifying) })
  }

  /// The identity that most copies agree on, or why this is not a journal to open.
  private static func judge(
    _ readings: [Reading], path: String
  ) throws(JournalError) -> Identity {
    let (facts, identity) = facts(readings)
    let decision = IdentityDecision.table[IdentityDecision.table.row(for: facts.rawValue)].decision
    if decision == .open, let identity { return identity }
    throw decision.error(path: path, readings)
  }

  static func facts(_ readings: [Reading]) -> (IdentityFacts, Identity?) {
    var facts: IdentityFacts = []
    var best: (identity: Identity, votes: Int)?
    for reading in readings {
      switch reading {
      case .unreadable: facts.insert(.isUnreadable)
      case .absent: facts.insert(.isAbsent)
      case .identity(.newer): facts.insert(.isNewer)
      case .identity(.damaged): facts.insert(.isDamaged)
      case .identity(.foreign): facts.insert(.isForeign)
      case .identity(.zeros): break
      case .identity(.valid(let identity)):
        facts.insert(.isWhole)
        let votes = readings.count { $0 == reading }
        if votes == best?.votes, identity != best?.identity { facts.insert(.isSplit) }
        if votes > best?.votes ?? 0 {
          best = (identity, votes)
          facts.remove(.isSplit)
        }
      }
    }
    return (facts, best?.identity)
  }

  /// The slot to go on from.
  private static func decide(_ slots: [Superblock?]) -> Int? {
    var facts: SlotFacts = []
    if slots[0] != nil { facts.insert(.isFirstWhole) }
    if slots[1] != nil { facts.insert(.isSecondWhole) }
    if let first = slots[0], let second = slots[1], second.generation > first.generation {
      facts.insert(.isSecondNewer)
    }
    switch SlotDecision.table[SlotDecision.table.row(for: facts.rawValue)].decision {
    case .useA: return 0
    case .useB: return 1
    case .scanAll: return nil
    }
  }
}

extension Identity {
  /// Throws when the file is not as long as its identity says, or laid out otherwise.
  func checkSize(
    of file: any DiskFile, path: String, spacing: Int
  ) throws(JournalError) {
    let byteCount: Int
    do throws(SystemError) {
      byteCount = try file.byteCount()
    } catch {
      throw JournalError(.openFailed, "the size of \(path) cannot be read", cause: error)
    }
    guard byteCount >= capacity else {
      throw JournalError(
        .truncated,
        "\(path) has \(byteCount) bytes of \(capacity): it was cut short, as by an "
          + "incomplete copy; restore the whole file")
    }
    guard dataStart == 4 * spacing else {
      throw JournalError(.foreign, "\(path) has its data region elsewhere; it is not of format 1")
    }
  }
}

extension IdentityDecision {
  /// Why the file is not opened, and the way out.
  fileprivate func error(path: String, _ readings: [ControlBlocks.Reading]) -> JournalError {
    switch self {
    case .newer:
      let versions = readings.map { reading in
        if case .identity(.newer(let version)) = reading { Int(version) } else { 0 }
      }
      return JournalError(
        .newerVersion,
        "\(path) has journal format \(versions.max() ?? 0), this program knows "
          + "\(Identity.version); install the newer program again")
    case .open, .mixed:
      return JournalError(
        .damaged,
        "\(path) carries the identities of two journals, each as often as the other: one was "
          + "written over the other; keep the file for rescue, and restore the right one")
    case .unreadable:
      return JournalError(
        .readFailed,
        "\(path): the disk refuses to read where the journal's identity is; try again, or copy the "
          + "file to another disk and go on there, nothing was touched")
    case .cutShort:
      return JournalError(
        .truncated,
        "\(path) is empty or ends before the journal's identity, as after an incomplete copy; "
          + "restore the whole file, or remove it and start with an empty data directory")
    case .damaged:
      return JournalError(
        .damaged,
        "\(path): all four copies of the journal's identity are damaged; keep the file for "
          + "rescue, move it away and start with an empty data directory")
    case .foreign:
      return JournalError(
        .foreign, "\(path) is not a journal; check data_directory, nothing was touched")
    case .zeros:
      return JournalError(
        .zeros,
        "\(path) holds only zeros where a journal begins; restore it, or remove it and start with "
          + "an empty data directory")
    }
  }
}
