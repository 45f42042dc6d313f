// Goal: a journal of format 1 can be opened by every later program, with exactly what was in it.
// Method: whole files that were written when format 1 was made, kept as text, and what they held.
// They are never written again; PENSTOCK_WRITE_GOLDEN=DIRECTORY writes new ones elsewhere. Cannot
// show: damage; that is what the recovery tests are for.

import GatewayCore
import JournalSimulation
import Platform
import Testing

@testable import RingJournal

@Suite("Golden files of format 1")
struct GoldenFileTests {
  static let directory: String = {
    var path = #filePath.split(separator: "/").dropLast()
    path.insert("", at: path.startIndex)
    return path.joined(separator: "/") + "/Golden/v1"
  }()

  static func text(_ name: String) throws -> String {
    String(
      decoding: try File.readSmall("\(directory)/\(name)", byteCountMax: 1 << 20), as: UTF8.self)
  }

  static func golden(_ scenario: GoldenScenario) throws -> [UInt8] {
    try #require(HexDump.bytes(try text(scenario.rawValue + ".hex")))
  }

  @Test(
    "a file of format 1 opens with what is written of it", arguments: GoldenScenario.allCases)
  func opens(scenario: GoldenScenario) throws {
    let expected = try GoldenFileTests.text(scenario.rawValue + ".txt")
    #expect(try GoldenListing.of(try GoldenFileTests.golden(scenario)) == expected)
  }

  @Test("the file that is written today holds the same", arguments: GoldenScenario.allCases)
  func writesTheSame(scenario: GoldenScenario) throws {
    let file = try scenario.perform()
    let listing = try GoldenListing.of(file)
    if let directory = Environment.value(of: "PENSTOCK_WRITE_GOLDEN") {
      try File.replace(
        "\(directory)/\(scenario.rawValue).hex", with: Array(HexDump.text(file).utf8))
      try File.replace("\(directory)/\(scenario.rawValue).txt", with: Array(listing.utf8))
    }
    #expect(listing == (try GoldenFileTests.text(scenario.rawValue + ".txt")))
  }

  @Test("a golden file goes on as a journal", arguments: GoldenScenario.allCases)
  func goesOn(scenario: GoldenScenario) throws {
    let kit = GoldenScenario.kit()
    try kit.disk.put(try GoldenFileTests.golden(scenario), at: JournalKit.path)
    let opened = try kit.open()
    let before = opened.state.committed
    var writer = opened.takeWriter()
    let sequence = try writer.commit(Array("new".utf8))
    #expect(sequence == before.next)
    try writer.close()
    kit.disk.kill()
    let contents = try Contents.read(try kit.open().state)
    #expect(contents.payloads[before.next.rawValue] == Array("new".utf8))
  }

  @Test("a file of a later format is refused in words, and not touched")
  func newer() throws {
    var file = try GoldenFileTests.golden(.cleanStop)
    for copy in 0..<4 {
      let start = copy * JournalLayout.standardSpacing
      file.store(UInt16(2), at: start + 8)
      let checksum = Checksum.crc32c(file.span.extracting(start..<start + 508))
      file.store(checksum, at: start + 508)
    }
    let kit = GoldenScenario.kit()
    try kit.disk.put(file, at: JournalKit.path)
    do throws(JournalError) {
      _ = try kit.open()
      Issue.record("format 2 was opened")
    } catch {
      #expect(error.code == .newerVersion)
      #expect(error.message.contains("has journal format 2, this program knows 1"))
      #expect(error.message.contains("install the newer program again"))
    }
    #expect(kit.disk.bytes(JournalKit.path) == file)
  }

  @Test("what a later program puts into bytes that are zero now is passed over")
  func additions() throws {
    var file = try GoldenFileTests.golden(.cleanStop)
    let seed: UInt32 = file.span.load(at: 12)
    for copy in 0..<4 {
      let start = copy * JournalLayout.standardSpacing
      file[start + 300] = 0xaa
      file.store(Checksum.crc32c(file.span.extracting(start..<start + 508)), at: start + 508)
    }
    for slot in [0, 2 * JournalLayout.standardSpacing] {
      file[slot + 3000] = 0xbb
      let checksum = Checksum.crc32c(file.span.extracting(slot..<slot + 4092), seed: seed)
      file.store(checksum, at: slot + 4092)
    }
    let group = 8 << 20
    let used = Int(file.span.load(at: group + 68, as: UInt32.self))
    file[group + 245] = 0xcc
    file[group + 256 + 15] = 0xdd
    file.store(
      Checksum.crc32c(file.span.extracting(group + 256..<group + used), seed: seed), at: group + 12)
    file.store(
      Checksum.crc32c(file.span.extracting(group + 12..<group + 256), seed: seed), at: group + 8)
    #expect(try GoldenListing.of(file) == (try GoldenFileTests.text("clean-stop.txt")))
  }
}

extension [UInt8] {
  fileprivate mutating func store<Value: FixedWidthInteger & BitwiseCopyable>(
    _ value: Value, at offset: Int
  ) {
    var bytes = mutableSpan
    bytes.store(value, at: offset)
  }
}

extension SimulatedDisk {
  /// Puts a whole file there, synced.
  func put(_ file: [UInt8], at path: String) throws {
    let target = try open(path, .create)
    try target.write(file.span, at: 0)
    try target.fullSync()
    try syncDirectory(of: path)
  }
}
