// Goal: what opening refuses, each with its own code and the way out, and creation all or nothing.
import GatewayCore
import Glibc
import JournalSimulation
import Platform
import Synchronization
import Testing

@testable import RingJournal

@Suite("Opening and creating")
struct OpeningTests {
  private func code(_ kit: JournalKit) -> JournalError.Code? {
    do throws(JournalError) {
      _ = try kit.open()
      return nil
    } catch {
      #expect(error.message.count > 30, "a sentence that says what to do")
      return error.code
    }
  }

  private func created() throws -> JournalKit {
    let kit = JournalKit()
    _ = try kit.open()
    kit.disk.kill()
    return kit
  }

  @Test("a second opener is refused and touches nothing")
  func locked() throws {
    let kit = JournalKit()
    var journal = try kit.open()
    _ = try journal.writer.commit([1])
    let writes = kit.disk.state.withLock { $0.writes.count }
    #expect(code(kit) == .locked)
    #expect(kit.disk.state.withLock { $0.writes.count } == writes)
    #expect(try journal.writer.commit([2]) == Sequence(2))
  }

  @Test("another gateway's or route's journal is refused")
  func identity() throws {
    var kit = try created()
    kit.options.gatewayID = "gw-2"
    #expect(code(kit) == .wrongGateway)
    kit = try created()
    kit.options.routeName = "commands"
    #expect(code(kit) == .wrongRoute)
  }

  @Test("foreign, zeroed, truncated, newer and destroyed files have their own words")
  func wrongFiles() throws {
    let kit = try created()
    let image = kit.disk.bytes(JournalKit.path)
    func with(_ change: (inout [UInt8]) -> Void) -> JournalError.Code? {
      kit.disk.damage(JournalKit.path) {
        $0 = image
        change(&$0)
      }
      defer { kit.disk.kill() }
      return code(kit)
    }
    #expect(with { $0 = [UInt8](repeating: 0x41, count: $0.count) } == .foreign)
    #expect(with { $0 = [UInt8](repeating: 0, count: $0.count) } == .zeros)
    #expect(with { $0 = [] } == .truncated)
    #expect(with { $0.removeLast(4096) } == .truncated)
    #expect(with { for copy in 0..<4 { $0[copy * 4096 + 20] ^= 1 } } == .damaged)
    #expect(
      with { bytes in
        for copy in 0..<4 {
          let start = copy * 4096
          bytes[start + 8] = 2
          let crc = Checksum.crc32c(bytes.span.extracting(start..<start + 508))
          for index in 0..<4 { bytes[start + 508 + index] = UInt8(crc >> (8 * index) & 255) }
        }
      } == .newerVersion)
    #expect(with { _ in } == nil)
  }

  @Test("a first start needs an empty directory; other routes' files are at home there")
  func firstStart() throws {
    func withFiles(_ names: [String]) -> JournalError.Code? {
      let kit = JournalKit()
      kit.disk.state.withLock { state in
        for name in names { state.files["/data/\(name)"] = SimulatedDisk.Content() }
      }
      return code(kit)
    }
    #expect(withFiles([]) == nil)
    #expect(withFiles(["lost+found", "commands.journal", "commands.dead"]) == nil)
    #expect(withFiles(["telemetry.dead"]) == .journalMissing)
    #expect(withFiles(["holiday.jpg"]) == .directoryNotEmpty)
    #expect(withFiles(["telemetry.journal.creating"]) == nil)
  }

  @Test("tmpfs, NFS and vfat are refused; overlay is a warning")
  func filesystems() throws {
    let kit = JournalKit()
    kit.disk.state.withLock { $0.filesystem = .refused(name: "tmpfs") }
    #expect(code(kit) == .unsafeFilesystem)
    var lenient = kit
    lenient.environment.allowsUnsafeFilesystem = true
    #expect(code(lenient) == nil)
    let overlay = JournalKit()
    overlay.disk.state.withLock { $0.filesystem = .doubtful(name: "overlay") }
    #expect(try overlay.open().report.warnings.count == 1)
    #expect(POSIXDisk.filesystem(magic: 0x0102_1994) == .refused(name: "tmpfs"))
    #expect(POSIXDisk.filesystem(magic: 0xef53) == .ordinary)
  }

  @Test("too little space is refused before anything is written")
  func noSpace() throws {
    let kit = JournalKit()
    kit.disk.state.withLock { $0.freeByteCount = 4096 }
    #expect(code(kit) == .notEnoughSpace)
    #expect(kit.disk.state.withLock { $0.files.isEmpty && $0.writes.isEmpty })
  }

  @Test("a creation that fails or is cut off leaves no journal, and the next one works")
  func createFails() throws {
    let kit = JournalKit()
    kit.disk.state.withLock { $0.failingWrites = [0, 28] }
    #expect(code(kit) == .createFailed)
    #expect(kit.disk.state.withLock { $0.files.isEmpty })
    for operations in 0..<12 {
      let cut = JournalKit()
      cut.disk.state.withLock { $0.operationsUntilPowerOff = operations }
      _ = code(cut)
      cut.disk.crash(.sectors, seed: UInt64(operations))
      #expect(code(cut) == nil, "after \(operations) operations")
    }
  }

  @Test("options that cannot work are refused")
  func badOptions() {
    var kit = JournalKit()
    kit.options.sinks = []
    #expect(code(kit) == .badOptions)
    kit.options.sinks = [.central, .central]
    #expect(code(kit) == .badOptions)
    kit = JournalKit()
    kit.options.commitByteCountMax = .mebibytes(1)
    #expect(code(kit) == .badOptions)
    kit = JournalKit()
    kit.options.capacity = .kibibytes(64)
    #expect(code(kit) == .badOptions)
  }

  @Test("a real file: created with progress, locked, written, killed, opened again")
  func posix() throws {
    let directory = "/tmp/penstock-journal-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
    try POSIXDisk.shared.createDirectory(directory)
    let path = directory + "/telemetry.journal"
    defer {
      try? POSIXDisk.shared.remove(path)
      _ = unsafe rmdir(directory)
    }
    var options = JournalOptions(gatewayID: "gw-1", routeName: "telemetry", sinks: [.central])
    options.capacity = JournalOptions.capacityMin
    var environment = JournalEnvironment.posix
    environment.allowsUnsafeFilesystem = true
    var steps: [Int] = []
    do {
      var journal = try Journal.open(
        path: path, options: options, environment: environment,
        progress: { steps.append($0.written.rawValue) })
      #expect(steps.count == 16 && steps.last == options.capacity.rawValue)
      let second = #expect(throws: JournalError.self) {
        _ = try Journal.open(path: path, options: options, environment: environment)
      }
      #expect(second?.code == .locked)
      for index in 0..<100 {
        for _ in 0..<50 {
          _ = try journal.writer.append([UInt8](repeating: UInt8(index), count: 400))
        }
        _ = try journal.writer.commit()
        if index < 75 { journal.state.acknowledge(0, through: journal.state.committed) }
      }
      // Dropped without close: what a killed process leaves.
    }
    var visited = 0
    let again = try Journal.open(
      path: path, options: options, environment: environment,
      recovered: { _, _ in visited += 1 })
    #expect(again.state.committed == Sequence(5000))
    #expect(again.state.acknowledged(0) == Sequence(3750))
    #expect(visited == 5000)
    #expect(try Contents.read(again.state).sequences == Array(3751...5000))
    #expect(!POSIXDisk.shared.exists(path + ".creating"))
    let statistics = try JournalInspector.statistics(path: path)
    #expect(statistics.committed == Sequence(5000))
  }
}
