// Goal: readers on their own threads see every record once and in order while the writer flips
// tails, wraps and waits for them. Method: real threads, the simulated disk, a deadline. Cannot
// show: every interleaving.
import GatewayCore
import JournalSimulation
import Platform
import RingJournal
import Synchronization
import Testing

@Suite("Reader threads")
struct ThreadTests {
  static let recordCount: UInt64 = 3000

  @Test("readers beside a writer lose, repeat and reorder nothing")
  func beside() async throws {
    let kit = JournalKit(
      blocks: 32, commit: .kibibytes(16), sinks: [.central, JournalSink(name: "second")])
    // All on threads of their own: a writer that waits on a pool thread for readers that wait for
    // one would wait for ever on two cores.
    let (complaints, acknowledged) = try await Thread.run(name: "writer") {
      var journal = try kit.open()
      let state = journal.state
      let found = Complaints()
      let first = try JoinedThread(name: "reader-1") { found.read(state, sink: 0) }
      let second = try JoinedThread(name: "reader-2") { found.read(state, sink: 1) }
      try ThreadTests.write(&journal.writer)
      _ = consume first
      _ = consume second
      return (found.all.withLock { $0 }, state.acknowledged(0))
    }
    #expect(complaints == [])
    #expect(acknowledged == Sequence(ThreadTests.recordCount))
  }

  /// What went wrong, in words.
  private final class Complaints: Sendable {
    let all = Mutex<[String]>([])

    func read(_ state: JournalState, sink: Int) {
      let found: [String]
      do { found = try ThreadTests.read(state, sink: sink) } catch { found = ["\(error)"] }
      all.withLock { $0 += found }
    }
  }

  private static func write(_ writer: inout JournalWriter) throws {
    var generator = SeededGenerator(seed: 17)
    let deadline = Clock.monotonic() + .seconds(60)
    while writer.nextSequence.rawValue <= ThreadTests.recordCount, Clock.monotonic() < deadline {
      let count = Int.random(in: 1...6, using: &generator)
      for _ in 0..<count where writer.nextSequence.rawValue <= ThreadTests.recordCount {
        let sequence = writer.nextSequence.rawValue
        let size = Int.random(in: 8...900, using: &generator)
        if try writer.append(ModelContents.payload(sequence, byteCount: size)) == .ringFull {
          _ = try writer.commit()
          _ = Poll.wait(
            socket: nil, wakeUp: writer.state.writerWakeUp, timeout: .milliseconds(50))
          writer.state.writerWakeUp.clear()
        }
      }
      _ = try writer.commit()
      try writer.maintain(now: Clock.monotonic())
    }
  }

  /// What went wrong, in words.
  private static func read(_ state: JournalState, sink: Int) throws -> [String] {
    var reader = try state.makeReader(sink: sink)
    var complaints: [String] = []
    var expected: UInt64 = 1
    let deadline = Clock.monotonic() + .seconds(60)
    while expected <= recordCount {
      if Clock.monotonic() > deadline { return complaints + ["stuck at \(expected)"] }
      let outcome = try reader.read { record, bytes in
        if record.sequence.rawValue != expected {
          complaints.append("\(record.sequence) instead of \(expected)")
        }
        if ModelContents.payloadNumber(in: bytes, record.payload) != record.sequence.rawValue {
          complaints.append("wrong bytes at \(record.sequence)")
        }
        expected = record.sequence.rawValue + 1
        return true
      }
      if case .gap(let gap) = outcome { return complaints + ["gap \(gap.range)"] }
      if !complaints.isEmpty { return complaints }
      state.acknowledge(sink, through: Sequence(expected - 1))
      _ = Poll.wait(socket: nil, wakeUp: state.wakeUp(sink: sink), timeout: .milliseconds(20))
      state.wakeUp(sink: sink).clear()
    }
    return complaints
  }
}
