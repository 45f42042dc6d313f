// Goal: a journal whose disk can only be read gives up all that is readable, changes no byte, and
// is refused while somebody else has it. Method: the simulated disk, on which every write and
// sync then fails; bytes before and after are compared. Cannot show: a real device (see the
// integration tests).
import GatewayCore
import JournalSimulation
import Platform
import Synchronization
import Testing

@testable import RingJournal

@Suite("A journal that is only read")
struct ReadOnlyTests {
  private func openReadOnly(_ kit: JournalKit) throws(JournalError) -> ReadOnlyJournal {
    try Journal.openReadOnly(
      path: JournalKit.path, options: kit.options, environment: kit.environment)
  }

  private func failAllWrites(_ disk: SimulatedDisk) {
    disk.state.withLock {
      $0.failingWrites = Array(repeating: 5, count: 1000)
      $0.failingSyncs = Array(repeating: 5, count: 1000)
    }
  }

  @Test("delivers from the durable cursor on, gap and all, and writes nothing")
  func delivers() throws {
    let kit = JournalKit()
    do {
      var journal = try kit.open()
      for byte in 1...20 as ClosedRange<UInt8> {
        _ = try journal.writer.commit([UInt8](repeating: byte, count: 3000))
      }
      journal.state.acknowledge(0, through: Sequence(5))
      try journal.writer.close()
    }
    kit.disk.kill()
    let needle = [UInt8](repeating: 9, count: 100)
    kit.disk.damage(JournalKit.path) { bytes in
      for start in stride(from: 0, to: bytes.count, by: 4096)
      where bytes[start..<start + 4096].contains(needle) {
        for index in start..<start + 4096 { bytes[index] = 0xEE }
      }
    }
    let before = kit.disk.bytes(JournalKit.path)
    failAllWrites(kit.disk)
    #expect(throws: JournalError.self) { _ = try kit.open() }
    let journal = try openReadOnly(kit)
    #expect(journal.state.acknowledged(0) == Sequence(5))
    let contents = try Contents.read(journal.state)
    #expect(contents.gaps == [Gap(SequenceRange(Sequence(9), Sequence(9)), .corrupt)])
    #expect(contents.sequences == Array(6...8) + Array(10...20))
    journal.state.acknowledge(0, through: Sequence(20))
    #expect(journal.state.acknowledged(0) == Sequence(20))
    #expect(kit.disk.bytes(JournalKit.path) == before)
    #expect(kit.disk.state.withLock { $0.failingWrites.count } >= 999)
    // In memory only: the next one begins where the file says.
    kit.disk.kill()
    let again = try openReadOnly(kit)
    #expect(again.state.acknowledged(0) == Sequence(5))
  }

  @Test("refused while a writer has it, and keeps a writer out")
  func lock() throws {
    let kit = JournalKit()
    do {
      let writing = try kit.open()
      let error = #expect(throws: JournalError.self) { _ = try openReadOnly(kit) }
      #expect(error?.code == .locked)
      _ = writing.state
      kit.disk.kill()
    }
    let reading = try openReadOnly(kit)
    let error = #expect(throws: JournalError.self) { _ = try kit.open() }
    #expect(error?.code == .locked)
    withExtendedLifetime(reading) {}
  }

  @Test("no journal, or one of another route: refused, nothing created")
  func refusals() throws {
    var kit = JournalKit()
    let missing = #expect(throws: JournalError.self) { _ = try openReadOnly(kit) }
    #expect(missing?.code == .journalMissing)
    #expect(!kit.disk.exists(JournalKit.path))
    _ = try kit.open().state
    kit.disk.kill()
    kit.options.routeName = "other"
    let foreign = #expect(throws: JournalError.self) { _ = try openReadOnly(kit) }
    #expect(foreign?.code == .wrongRoute)
  }
}
