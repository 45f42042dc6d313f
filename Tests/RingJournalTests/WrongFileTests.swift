// Goal: a file that is not this route's whole journal is refused with its own words, by opening and
// by the inspector alike, and not a byte of it changes. Method: a good file changed in each way;
// bytes compared before and after. Cannot show: that an operator understands the words.
import GatewayCore
import Glibc
import JournalSimulation
import Platform
import Testing

@testable import RingJournal

@Suite("Wrong files")
struct WrongFileTests {
  private struct Refusal {
    var code: JournalError.Code?
    var message = ""
    var inspectorCode: JournalError.Code?
  }

  private func good(seed: UInt64 = 1) throws -> (kit: JournalKit, image: [UInt8]) {
    let kit = JournalKit(blocks: 32, commit: .kibibytes(8), seed: seed)
    var journal = try kit.open()
    for _ in 0..<6 { _ = try journal.writer.commit([UInt8](repeating: 7, count: 3000)) }
    return (kit, kit.disk.bytes(JournalKit.path))
  }

  private func refusal(
    _ kit: JournalKit, _ image: [UInt8], unreadable: Set<Int> = [],
    change: (inout JournalOptions) -> Void = { _ in }
  ) -> Refusal {
    let disk = ImageDisk(image)
    disk.refuseToRead(blocks: unreadable)
    var (environment, options, refusal) = (kit.environment, kit.options, Refusal())
    change(&options)
    environment.disk = disk
    do throws(JournalError) {
      _ = try JournalInspector.statistics(path: JournalKit.path, environment: environment)
    } catch {
      refusal.inspectorCode = error.code
    }
    do throws(JournalError) {
      _ = try Journal.open(path: JournalKit.path, options: options, environment: environment)
    } catch {
      (refusal.code, refusal.message) = (error.code, error.message)
      #expect(disk.writeCount == 0 && disk.image == image, "untouched: \(error.code)")
      #expect(error.message.contains(JournalKit.path) && error.message.count > 50)
    }
    return refusal
  }

  @Test("each kind of wrong file has its own words")
  func kinds() throws {
    let (kit, image) = try good()
    var generator = SeededGenerator(seed: 3)
    let noise = image.map { _ in UInt8.random(in: 0...255, using: &generator) }
    var newer = image
    newer[8] = 2
    newer.put(
      checksum(newer[0..<508]).span, at: 508)
    let found = [
      refusal(kit, noise), refusal(kit, [UInt8](repeating: 0, count: image.count)),
      refusal(kit, []), refusal(kit, Array(image.dropLast(4096))), refusal(kit, newer),
      refusal(kit, image, unreadable: [0, 1, 2, 3]),
      refusal(kit, image) { $0.gatewayID = "gw-2" }, refusal(kit, image) { $0.routeName = "other" },
    ]
    #expect(
      found.map(\.code) == [
        .foreign, .zeros, .truncated, .truncated, .newerVersion, .readFailed, .wrongGateway,
        .wrongRoute,
      ])
    #expect(Set(found.map(\.message)).count == found.count)
    // Looking at a file needs no configuration; all else is the same.
    #expect(found.dropLast(2).allSatisfy { $0.inspectorCode == $0.code })
    #expect(found.suffix(2).allSatisfy { $0.inspectorCode == nil })
    #expect(refusal(kit, image).code == nil)
  }

  private func checksum(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    let crc = Checksum.crc32c(Array(bytes).span)
    return (0..<4).map { UInt8(crc >> (8 * $0) & 255) }
  }

  @Test("a file cut short at any block is refused, and the inspector notices a short copy")
  func truncated() throws {
    let (kit, image) = try good()
    for byteCount in stride(from: 0, to: image.count, by: 4096) {
      let found = refusal(kit, Array(image.prefix(byteCount)))
      #expect(found.code == .truncated && found.inspectorCode == .truncated, "\(byteCount) bytes")
    }
    for byteCount in [8, 100, 511, 4095, image.count - 1] {
      let found = refusal(kit, Array(image.prefix(byteCount)))
      #expect(found.code == .truncated && found.inspectorCode == .truncated, "\(byteCount) bytes")
    }
  }

  @Test("another size is configured: the file's holds, with a warning")
  func otherSize() throws {
    let (kit, image) = try good()
    var (environment, options) = (kit.environment, kit.options)
    environment.disk = ImageDisk(image)
    options.capacity = ByteCount(2 * image.count)
    let journal = try Journal.open(
      path: JournalKit.path, options: options, environment: environment)
    #expect(journal.report.warnings.count == 1)
    #expect(try Contents.read(journal.state).sequences == Array(1...6))
  }

  @Test("groups of another journal in the data region are nobody's records")
  func otherJournal() throws {
    let (kit, image) = try good()
    let other = try good(seed: 2).image
    var mixed = image
    mixed.put(other.span.extracting(4 * 4096..<other.count), at: 4 * 4096)
    var environment = kit.environment
    environment.disk = ImageDisk(mixed)
    let journal = try Journal.open(
      path: JournalKit.path, options: kit.options, environment: environment)
    let contents = try Contents.read(journal.state)
    #expect(contents.sequences.isEmpty)
    // What the superblock proves is missing, and said to be.
    #expect(contents.gaps.allSatisfy { $0.reason == .corrupt } && !contents.gaps.isEmpty)
  }

  @Test("a directory in the journal's place, and a mount that is missing, are refused untouched")
  func directories() throws {
    let directory = "/tmp/penstock-wrong-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
    let path = directory + "/telemetry.journal"
    var environment = JournalEnvironment.posix
    environment.allowsUnsafeFilesystem = true
    let options = JournalOptions(gatewayID: "gw-1", routeName: "telemetry", sinks: [.central])
    func code() -> JournalError.Code? {
      do throws(JournalError) {
        _ = try Journal.open(path: path, options: options, environment: environment)
        return nil
      } catch {
        return error.code
      }
    }
    #expect(code() == .openFailed)
    #expect(!POSIXDisk.shared.exists(directory))
    try POSIXDisk.shared.createDirectory(directory)
    try POSIXDisk.shared.createDirectory(path)
    defer { for name in [path, directory] { _ = unsafe rmdir(name) } }
    #expect(code() == .openFailed)
    let inspected = #expect(throws: JournalError.self) {
      _ = try JournalInspector.statistics(path: path)
    }
    #expect(inspected?.code == .readFailed || inspected?.code == .openFailed)
    // The mount point without its mount: the directory that hid below it, with state of the route.
    _ = unsafe rmdir(path)
    let companion = directory + "/telemetry.dead"
    _ = try POSIXDisk.shared.open(companion, .create)
    defer { try? POSIXDisk.shared.remove(companion) }
    #expect(code() == .journalMissing)
    #expect(try POSIXDisk.shared.entries(ofDirectory: directory) == ["telemetry.dead"])
  }
}
