// Goal: a full ring with `when_full: block` leaves the broker in good order and comes back when
// there is room. Method: the real loop over a small ring; a scripted broker, and a sink that
// acknowledges when told to. Cannot show: the broker's own queue (the integration tests do).

import GatewayCore
import Mosquitto
import Platform
import RingJournal
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
}

/// A sink that takes everything once the route is paused.
private func deliverWhenPaused(_ journal: JournalState, _ status: StatusRecord) {
  status.onReport = { kind in
    if kind == .paused { journal.acknowledge(0, through: journal.committed) }
  }
}
