// Goal: what has expired is given up, told as expired and counted once; what has not is not; a full
// ring of expired records takes new ones although its sink is away. Method: a small ring with a
// manual clock on the simulated disk, with crashes. The control is the same ring without a limit.
import GatewayCore
import JournalSimulation
import Platform
import Testing

@testable import RingJournal

@Suite("Expiry")
struct ExpiryTests {
  private func kit(
    _ limit: Duration? = .seconds(60), whenFull: WhenFull = .block,
    sinks: [JournalSink] = [.central]
  ) -> JournalKit {
    var kit = JournalKit(blocks: 64, sinks: sinks)
    kit.options.expireAfter = limit
    kit.options.whenFull = whenFull
    return kit
  }

  private static let payload = [UInt8](repeating: 7, count: 3000)

  /// Commits records until the ring is full; how many fitted.
  private func fill(_ writer: inout JournalWriter, atMost limit: Int = 1000) throws -> Int {
    var count = 0
    while count < limit, try writer.commit(Self.payload) != nil { count += 1 }
    return count
  }

  private func range(_ first: UInt64, _ last: UInt64) -> SequenceRange {
    SequenceRange(Sequence(first), Sequence(last))
  }

  @Test("a ring full of expired records makes room under `block`, and says why, also after a crash")
  func makesRoom() throws {
    let kit = kit()
    var journal = try kit.open()
    let count = try fill(&journal.writer)
    #expect(count > 50)
    #expect(journal.writer.freeByteCount < 8192)
    kit.clock.advance(.seconds(59))
    #expect(try fill(&journal.writer, atMost: 1) == 0)
    kit.clock.advance(.seconds(2))
    #expect(journal.writer.freeByteCount > journal.writer.dataByteCount / 2)
    #expect(journal.writer.freeFraction > 0.9)
    #expect(try fill(&journal.writer, atMost: 10) == 10)
    let kept = journal.state.oldestKept
    #expect(kept > Sequence(5))
    let lost = journal.state.statistics().lostRecords
    #expect(lost == [.expired: kept.rawValue - 1])
    #expect(journal.state.acknowledged(0) == .none)
    kit.disk.crash(.sectors, seed: 3)

    let again = try kit.open()
    #expect(again.state.oldestKept == kept)
    #expect(again.state.statistics().lostRecords == lost)
    let contents = try Contents.read(again.state)
    #expect(contents.gaps == [Gap(range(1, kept.rawValue - 1), .expired)])
    #expect(contents.sequences == Array(kept.rawValue...UInt64(count + 10)))
  }

  @Test("without a limit the same ring stays full: the control of the test above")
  func control() throws {
    let kit = kit(nil)
    var journal = try kit.open()
    _ = try fill(&journal.writer)
    kit.clock.advance(.seconds(10_000_000))
    #expect(try fill(&journal.writer, atMost: 1) == 0)
    #expect(journal.state.statistics().lostRecords == [:])
  }

  @Test("a step of the wall clock expires nothing")
  func wallStep() throws {
    let kit = kit()
    var journal = try kit.open()
    _ = try fill(&journal.writer)
    kit.clock.stepWall(.seconds(1_000_000))
    #expect(try fill(&journal.writer, atMost: 1) == 0)
    kit.clock.setSynchronised(false)
    kit.clock.stepWall(.seconds(-2_000_000))
    #expect(try fill(&journal.writer, atMost: 1) == 0)
    #expect(journal.state.statistics().lostRecords == [:])
  }

  @Test("drop-oldest tells what expired from what was dropped")
  func dropOldest() throws {
    let kit = kit(whenFull: .dropOldest)
    var journal = try kit.open()
    let first = try fill(&journal.writer, atMost: 30)
    kit.clock.advance(.seconds(61))
    _ = try fill(&journal.writer, atMost: 100)
    let lost = journal.state.statistics().lostRecords
    #expect(lost[.expired] == UInt64(first))
    #expect(try #require(lost[.ringFull]) > 20)
    let kept = journal.state.oldestKept.rawValue
    let gaps = try Contents.read(journal.state).gaps
    #expect(
      gaps == [Gap(range(1, UInt64(first)), .expired), Gap(range(31, kept - 1), .ringFull)])
  }

  @Test("several sinks that meet an expired record count it once; a best-effort sink does not")
  func counting() throws {
    let kit = kit(sinks: [
      JournalSink(name: "a"), JournalSink(name: "b"), JournalSink(name: "c", required: false),
    ])
    var journal = try kit.open()
    _ = try fill(&journal.writer, atMost: 20)
    let state = journal.state
    state.countExpired(range(1, 5), sink: 2)
    #expect(state.statistics().lostRecords == [:])
    state.countExpired(range(1, 5), sink: 0)
    state.countExpired(range(1, 8), sink: 1)
    #expect(state.statistics().lostRecords == [.expired: 8])
    try journal.writer.close()
    kit.disk.kill()
    // The envelope that told sink a of it was not durably accepted: it is told and counted again.
    let again = try kit.open()
    again.state.countExpired(range(1, 5), sink: 0)
    #expect(again.state.statistics().lostRecords == [.expired: 8])
  }

  @Test("a record's own Message Expiry Interval counts from its receipt; a tombstone has none")
  func ownInterval() throws {
    let kit = kit(nil)
    var journal = try kit.open()
    var properties: [UInt8] = []
    MQTTPropertyWriter.append(.messageExpiryInterval, number: 10, to: &properties)
    let none = [UInt8]()
    for interval in [none, properties] {
      _ = try journal.writer.append(
        RecordDraft(receivedMonotonic: kit.clock.monotonic()), topic: [0x74].span,
        idText: none.span, properties: interval.span, payload: none.span)
    }
    _ = try journal.writer.appendRefusal(topic: [0x70].span, received: kit.clock.monotonic())
    _ = try journal.writer.commit()
    for (seconds, expected) in [(9, [false, false, false]), (2, [false, true, false])] {
      kit.clock.advance(.seconds(seconds))
      var found: [Bool] = []
      var reader = try journal.state.makeReader(sink: 0)
      let expiry = reader.expiry()
      _ = try reader.read { record, bytes in
        found.append(expiry.isExpired(record, bytes))
        return true
      }
      #expect(found == expected)
    }
  }
}
