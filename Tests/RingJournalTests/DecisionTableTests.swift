// Goal: each decision table of recovery is one table: in the comment, in the code, in the tests;
// one row fits any facts; and every row is reached by a file that a journal wrote. Method: parses
// the comments of the source files; damages images. Cannot show: that the rows are the right ones,
// which the damage campaigns do.
import GatewayCore
import JournalSimulation
import Platform
import Testing

@testable import RingJournal

@Suite("Decision tables of recovery")
struct DecisionTableTests {
  struct Row: Equatable, CustomStringConvertible {
    var name: String
    var pattern: String
    var decision: String
    var description: String { "\(name) | \(pattern) | \(decision)" }
  }

  /// The tables in the comments of a source file: a line that begins with `row`, then rows up to an
  /// empty comment line.
  static func documented(_ file: String) throws -> [[Row]] {
    let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let text = String(
      decoding: try File.readSmall(
        "/\(root)/Sources/RingJournal/Recovery/\(file)", byteCountMax: 1 << 16), as: UTF8.self)
    var tables: [[Row]] = []
    var isInside = false
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      guard line.hasPrefix("///     ") else {
        isInside = false
        continue
      }
      let words = line.dropFirst(8).split(separator: " ")
      if words.first == "row" {
        isInside = true
        tables.append([])
      } else if isInside, let decision = words.last {
        let facts = words.filter { ["0", "1", "_"].contains($0) }
        // The name may have digits of its own only if they are not words: see the check of counts.
        let name = words.dropLast(1 + facts.count).joined(separator: " ")
        tables[tables.count - 1].append(
          Row(name: name, pattern: facts.joined(), decision: String(decision)))
      }
    }
    return tables
  }

  static func coded<Decision: RawRepresentable<String>>(
    _ table: [DecisionRow<Decision>]
  ) -> [Row] {
    table.map {
      Row(
        name: $0.name.description, pattern: $0.pattern.description, decision: $0.decision.rawValue)
    }
  }

  private func checkComplete<Decision>(
    _ table: [DecisionRow<Decision>], factCount: Int, _ name: Comment
  ) {
    for facts in 0..<UInt8(1 << factCount) {
      #expect(table.count { $0.fits(facts) } == 1, name)
    }
    for row in table { #expect(row.pattern.description.utf8.count == factCount, name) }
  }

  @Test("the comments and the code have the same rows in the same order")
  func sameRows() throws {
    #expect(
      try DecisionTableTests.documented("RecoveryDecision.swift")
        == [DecisionTableTests.coded(SpotDecision.table)])
    #expect(
      try DecisionTableTests.documented("ControlBlockDecision.swift") == [
        DecisionTableTests.coded(IdentityDecision.table),
        DecisionTableTests.coded(SlotDecision.table),
      ])
  }

  @Test("exactly one row fits any facts, and every decision has a row")
  func complete() {
    checkComplete(SpotDecision.table, factCount: SpotFacts.factCount, "spots")
    checkComplete(IdentityDecision.table, factCount: IdentityFacts.factCount, "identities")
    checkComplete(SlotDecision.table, factCount: SlotFacts.factCount, "slots")
    #expect(Set(SpotDecision.table.map(\.decision)) == Set(SpotDecision.allCases))
    #expect(Set(IdentityDecision.table.map(\.decision)) == Set(IdentityDecision.allCases))
    #expect(Set(SlotDecision.table.map(\.decision)) == Set(SlotDecision.allCases))
  }

  // MARK: Every row is reached by a real file

  /// What the plan decided for the file as it is.
  private func plan(_ image: [UInt8], _ kit: JournalKit) throws -> RecoveryPlan {
    var environment = kit.environment
    environment.disk = ImageDisk(image)
    let file = try environment.disk.open(JournalKit.path, .scan)
    let blocks = try ControlBlocks.read(file, path: JournalKit.path, environment: environment)
    let layout = JournalLayout(
      capacity: ByteCount(blocks.identity.capacity), spacing: environment.spacing)
    var scan = RecoveryScan(
      file: file, blocks: blocks, layout: layout, environment: environment)
    scan.run { _, _ in }
    let cursors = CursorTable(blocks: blocks, newest: scan.result.newestHeader)
    return planRecovery(scan.result, blocks: blocks, floor: cursors.floor, layout: layout)
  }

  /// A file that has a spot for the row of this name.
  private func image(_ row: String, _ kit: JournalKit) throws -> [UInt8] {
    var journal = try kit.open()
    func commit(_ count: Int) throws {
      try #require(try journal.writer.commit([UInt8](repeating: 7, count: count)) != nil)
    }
    func flip(_ byte: Int) -> [UInt8] {
      var image = kit.disk.bytes(JournalKit.path)
      image[byte] ^= 1
      return image
    }
    let block = 4096
    switch row {
    case "never written":
      return kit.disk.bytes(JournalKit.path)
    case "intact":
      try commit(3000)
      return kit.disk.bytes(JournalKit.path)
    case "another lap":
      // 16 blocks: 15 groups of one block, then one of two that does not fit behind them; the last
      // block keeps the group of the lap before.
      for _ in 0..<31 {
        try commit(3000)
        journal.state.acknowledge(0, through: journal.state.committed)
      }
      try commit(6000)
      return kit.disk.bytes(JournalKit.path)
    case "superseded":
      try commit(100)
      try commit(100)
      return kit.disk.bytes(JournalKit.path)
    case "torn tail":
      try commit(3000)
      try commit(3000)
      return flip(5 * block + 1000)
    case "rotten":
      try commit(3000)
      try commit(3000)
      return flip(4 * block + 1000)
    case "harmless":
      try commit(100)
      try commit(100)
      return flip(4 * block + 300)
    default:
      Issue.record("the row \(row) has no image here")
      return []
    }
  }

  @Test("every row about a group is reached by a file", arguments: SpotDecision.table.indices)
  func spots(index: Int) throws {
    let kit = JournalKit(blocks: 16, commit: .kibibytes(8))
    let image = try image(SpotDecision.table[index].name.description, kit)
    try #require(!image.isEmpty)
    #expect(try plan(image, kit).spotCounts[index] > 0)
  }

  /// A file for each row about the identity, and what opening it says.
  private func damage(_ row: String, _ image: [UInt8], _ disk: (Set<Int>) -> Void) -> [UInt8]? {
    var image = image
    func each(_ copies: [Int], _ change: (Int) -> Void) { copies.forEach { change($0 * 4096) } }
    switch row {
    case "a newer program's": reseal(&image, copies: [1]) { $0[8] = 2 }
    case "ours": each([0, 1, 2]) { image[$0 + 30] ^= 1 }
    case "two journals in one": reseal(&image, copies: [1, 2]) { $0[16] ^= 1 }
    case "the disk refuses":
      each([0, 1, 2]) { image[$0 + 30] ^= 1 }
      disk([3])
    case "cut short": image = []
    case "short and foreign": image = [UInt8](repeating: 0x41, count: 5000)
    case "destroyed":
      each([0, 1, 2, 3]) { image[$0 + 30] ^= 1 }
    case "foreign": image = [UInt8](repeating: 0x41, count: image.count)
    case "only zeros": image = [UInt8](repeating: 0, count: image.count)
    default: return nil
    }
    return image
  }

  /// Changes identities and makes their checksums right again.
  private func reseal(_ image: inout [UInt8], copies: [Int], _ change: (inout [UInt8]) -> Void) {
    for copy in copies {
      var identity = Array(image[copy * 4096..<copy * 4096 + 508])
      change(&identity)
      image.put(identity.span, at: copy * 4096)
      let crc = Checksum.crc32c(identity.span)
      for index in 0..<4 { image[copy * 4096 + 508 + index] = UInt8(crc >> (8 * index) & 255) }
    }
  }

  @Test(
    "every row about the identity is reached by a file, and its answer is its own",
    arguments: IdentityDecision.table.indices)
  func identities(index: Int) throws {
    let row = IdentityDecision.table[index]
    let kit = JournalKit()
    _ = try kit.open()
    let disk = ImageDisk(kit.disk.bytes(JournalKit.path))
    var unreadable: Set<Int> = []
    let image = try #require(
      damage(row.name.description, disk.image) { unreadable = $0 },
      "the row \(row.name) has no image here")
    let damaged = ImageDisk(image)
    damaged.refuseToRead(blocks: unreadable)
    let codes: [IdentityDecision: JournalError.Code] = [
      .newer: .newerVersion, .mixed: .damaged, .unreadable: .readFailed, .cutShort: .truncated,
      .damaged: .damaged, .foreign: .foreign, .zeros: .zeros,
    ]
    var environment = kit.environment
    environment.disk = damaged
    let file = try damaged.open(JournalKit.path, .existing)
    do throws(JournalError) {
      let blocks = try ControlBlocks.read(file, path: JournalKit.path, environment: environment)
      #expect(row.decision == .open)
      #expect(blocks.damagedCount == 3)
    } catch {
      #expect(error.code == codes[row.decision])
      #expect(damaged.writeCount == 0)
    }
  }

  @Test(
    "every row about the slots is reached by a file, which opens and is whole again",
    arguments: SlotDecision.table.indices)
  func slots(index: Int) throws {
    let row = SlotDecision.table[index]
    let kit = JournalKit()
    var journal = try kit.open()
    // Each synced superblock goes to the other slot: A is the newer one now.
    if row.name.description == "both, B is newer" { try journal.writer.writeSuperblock(sync: true) }
    var image = kit.disk.bytes(JournalKit.path)
    let broken: [String: [Int]] = ["only A": [2], "only B": [0], "none": [0, 2]]
    for slot in broken[row.name.description] ?? [] { image[slot * 4096 + 600] ^= 1 }
    let disk = ImageDisk(image)
    var environment = kit.environment
    environment.disk = disk
    let file = try disk.open(JournalKit.path, .existing)
    let blocks = try ControlBlocks.read(file, path: JournalKit.path, environment: environment)
    let expected: [SlotDecision: Int?] = [.useA: 0, .useB: 1, .scanAll: nil]
    #expect(blocks.slot == expected[row.decision])
    #expect(blocks.damagedCount == broken[row.name.description]?.count ?? 0)
    let again = try Journal.open(
      path: JournalKit.path, options: kit.options, environment: environment)
    #expect(again.report.repairedBlockCount == blocks.damagedCount)
    let healed = try ControlBlocks.read(file, path: JournalKit.path, environment: environment)
    #expect(healed.damagedCount == 0)
  }
}
