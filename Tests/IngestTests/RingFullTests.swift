// Goal: a full ring with `when_full: block` leaves the broker in good order and comes back when
// there is room. Method: the real loop over a small ring; a scripted broker, and a sink that
// acknowledges when told to. Cannot show: the broker's own queue (the integration tests do).

import GatewayCore
import Mosquitto
import Platform
import RingJournal
import Synchronization
import Testing

@testable import Ingest

private let payload = String(repeating: "x", count: 3000)

private func large(_ id: Int) -> Sent {
  Sent(#"{"messageId":"m\#(id)","text":"\#(payload)"}"#)
}

@Suite struct RingFullTests {
  @Test("full: commit, release, disconnect; back again once a tenth of the ring is free")
  func pauseAndResume() throws {
    let kit = try IngestKit(blocks: 32)
    var state: JournalState?
    let script: [Turn] =
      [.accept(sessionPresent: false), .grant([.grantedQoS1])]
      + (1...100).map { .messages([large($0)]) }
    let broker = try kit.run([script, [.accept(sessionPresent: true)]]) { _, journal, _ in
      state = journal
      deliverWhenPaused(journal, kit.status)
    }
    let left = broker.calls.prefix { $0.kind != .drop(held: 0) }
    #expect(left.count < broker.calls.count, "nothing was held when the handle was let go")
    #expect(left.last?.kind == .disconnect)
    #expect(left.last?.committed == state?.committed.rawValue)
    #expect(broker.kinds.count { if case .connect = $0 { true } else { false } } == 2)
    #expect(kit.status.kinds.contains(.paused))
  }

  @Test("a paused route comes back at a tenth of the ring, not before")
  func resumeAtATenth() throws {
    let kit = try IngestKit(blocks: 128)
    let (intake, state) = try kit.openIntake()
    for id in 1...1000 where !intake.wasRefusedRoom { intake.receive(large(id)) }
    _ = try intake.commit()
    var before = 0.0
    while !intake.hasRoomToResume {
      before = intake.freeFraction
      let next = state.acknowledged(0).next
      guard next <= state.committed else { break }
      state.acknowledge(0, through: next)
    }
    #expect(before < 0.1 && intake.freeFraction >= 0.1)
  }

  @Test("a message that finds no room: dropped without a release of it, and paused")
  func refusedRoom() throws {
    let kit = try IngestKit(blocks: 32)
    let script: [Turn] = [
      .accept(sessionPresent: false), .grant([.grantedQoS1]), .messages((1...100).map(large)), .dry,
    ]
    let broker = try kit.run([script, [.accept(sessionPresent: true)]]) { _, journal, _ in
      deliverWhenPaused(journal, kit.status)
    }
    #expect(!broker.kinds.contains { if case .release(let held) = $0 { held > 0 } else { false } })
    #expect(broker.kinds.contains(.drop(held: 100)))
    #expect(broker.kinds.count { if case .connect = $0 { true } else { false } } == 2)
  }

  @Test("a file smaller than configured: a max_record beyond it pauses nothing")
  func smallFile() throws {
    let kit = try IngestKit(blocks: 32)
    do {
      let (intake, _) = try kit.openIntake()
      try intake.close()
    }
    kit.journalOptions.capacity = ByteCount((4 + 4096) * 4096)
    kit.journalOptions.commitByteCountMax = .mebibytes(1)
    kit.options.recordByteCountMax = .mebibytes(1)
    var state: JournalState?
    let huge = Sent(
      #"{"messageId":"huge","text":"\#(String(repeating: "x", count: 200_000))"}"#)
    let script: [Turn] = [
      .accept(sessionPresent: false), .grant([.grantedQoS1]),
      .messages([large(1), huge, large(2)]), .dry,
    ]
    let broker = try kit.run([script]) { _, journal, control in
      state = journal
      end(control, kit.status, after: .seconds(10))
    }
    #expect(!kit.status.kinds.contains(.paused))
    #expect(state?.committed == Sequence(3))
    #expect(broker.kinds.contains(.release(3)))
  }

  @Test("refused with more than a tenth free: back after one turn, not at once and not never")
  func refusedWithRoom() throws {
    let kit = try IngestKit(blocks: 64)
    do {
      // Block 0 to 6 are delivered, 7 to 56 are not, 57 to 63 were never written: 14 are free, and
      // a group of 8 fits neither here nor there.
      let (intake, state) = try kit.openIntake()
      var id = 1000
      for blockCount in [7, 8, 8, 8, 8, 8, 8, 2] {
        for _ in 0..<blockCount {
          intake.receive(blockful(id))
          id += 1
        }
        _ = try intake.commit()
      }
      state.acknowledge(0, through: Sequence(7))
      #expect(state.statistics().used == ByteCount(50 * 4096))
      try intake.close()
    }
    var state: JournalState?
    let pausedAt = Mutex<[MonotonicTime]>([])
    var connectedAgainAt: MonotonicTime?
    let messages = (1...8).map(blockful)
    let scripts: [[Turn]] = [
      [.accept(sessionPresent: false), .grant([.grantedQoS1]), .messages(messages), .dry],
      [
        .run { connectedAgainAt = Clock.monotonic() }, .accept(sessionPresent: true),
        .messages(messages), .dry,
      ],
    ]
    let broker = try kit.run(scripts) { _, journal, control in
      state = journal
      kit.status.onReport = { kind in
        if kind == .paused { pausedAt.withLock { $0.append(Clock.monotonic()) } }
      }
      end(control, kit.status, after: .seconds(10))
    }
    #expect(broker.kinds.contains(.drop(held: 8)))
    #expect(broker.kinds.count { if case .connect = $0 { true } else { false } } == 2)
    let paused = pausedAt.withLock { $0 }
    #expect(paused.count == 1)
    let again = try #require(connectedAgainAt)
    #expect(again.since(try #require(paused.first)) >= .milliseconds(500))
    #expect(broker.kinds.contains(.release(8)))
    #expect(state?.committed == Sequence(57 + 8))
  }
}

/// A record that takes most of a block; `n` of them make a group of `n` blocks.
private func blockful(_ id: Int) -> Sent {
  Sent(#"{"messageId":"m\#(id)","text":"\#(String(repeating: "x", count: 3770))"}"#)
}

/// Ends a loop that would otherwise wait for ever.
private func end(_ control: IngestControl, _ status: StatusRecord, after limit: Duration) {
  let deadline = Clock.monotonic() + limit
  status.onProgress = { if Clock.monotonic() >= deadline { control.advance(to: .close) } }
}

/// A sink that takes everything once the route is paused.
private func deliverWhenPaused(_ journal: JournalState, _ status: StatusRecord) {
  status.onReport = { kind in
    if kind == .paused { journal.acknowledge(0, through: journal.committed) }
  }
}
