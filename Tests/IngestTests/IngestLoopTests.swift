// Goal: whatever a field broker does, a PUBACK leaves only after the commit of what it stands for.
// Method: the real loop over a real journal on a small file; a scripted connection records every
// call together with the committed sequence. Cannot show: what libmosquitto does with the calls
// (MosquittoTests do), nor power cuts (RingJournalTests do).

import GatewayCore
import Mosquitto
import Platform
import RingJournal
import Testing

@testable import Ingest

private var opening: [Turn] { [.accept(sessionPresent: false), .grant([.grantedQoS1])] }

/// Releases that came before the commit of what was read until then; the first `reads` reads bring
/// messages that are all new.
private func early(_ calls: [Call]) -> [Call] {
  var read: UInt64 = 0
  return calls.filter { call in
    if case .read(let count) = call.kind { read += UInt64(count) }
    if case .release = call.kind { return call.committed < read }
    return false
  }
}

private func releases(_ broker: FieldBroker) -> [Call] {
  broker.calls.filter { if case .release = $0.kind { true } else { false } }
}

@Suite struct IngestLoopTests {
  @Test("the commit lies between the last read and the first release, which releases all held")
  func commitBeforeRelease() throws {
    let kit = try IngestKit()
    let broker = try kit.run([
      opening + [
        .messages([.id(1), .id(2)]), .messages([.id(3)]), .dry, .messages([.id(4)]), .dry,
      ]
    ])
    #expect(early(broker.calls).isEmpty)
    #expect(releases(broker).prefix(2) == [Call(.release(3), 3), Call(.release(1), 4)])
  }

  @Test("negative control: acknowledging before the commit is seen by the record of calls")
  func sabotageEarly() throws {
    let kit = try IngestKit()
    kit.sabotage = .acknowledgeBeforeCommit
    let broker = try kit.run([opening + [.messages([.id(1), .id(2)]), .dry]])
    #expect(!early(broker.calls).isEmpty)
  }

  @Test("a duplicate of a committed record is released without a commit")
  func committedDuplicate() throws {
    let kit = try IngestKit()
    let broker = try kit.run([opening + [.messages([.id(1)]), .dry, .messages([.id(1)]), .dry]])
    #expect(releases(broker).prefix(2) == [Call(.release(1), 1), Call(.release(1), 1)])
  }

  @Test("a duplicate of an uncommitted record is released only with its commit")
  func uncommittedDuplicate() throws {
    let kit = try IngestKit()
    let broker = try kit.run([opening + [.messages([.id(1), .id(1)]), .dry]])
    #expect(releases(broker).first == Call(.release(2), 1))
  }

  @Test("negative control: without deduplication the repeated message takes a sequence")
  func sabotageDuplicates() throws {
    let kit = try IngestKit()
    kit.sabotage = .noDeduplication
    let broker = try kit.run([opening + [.messages([.id(1), .id(1)]), .dry]])
    #expect(releases(broker).first == Call(.release(2), 2))
  }

  @Test("a QoS 0 message is committed although nothing is held")
  func unprotected() throws {
    let kit = try IngestKit()
    let broker = try kit.run([opening + [.messages([.id(1, quality: .atMostOnce)]), .dry]])
    #expect(releases(broker).first == Call(.release(0), 1))
  }

  @Test("a full receive window closes the group at once, with more waiting in the socket")
  func window() throws {
    let kit = try IngestKit()
    kit.options.connection.receiveMaximum = 2
    kit.options.commitDelayMax = .seconds(60)
    let broker = try kit.run([
      opening + [.messages([.id(1), .id(2)]), .messages([.id(3), .id(4)]), .dry]
    ])
    #expect(releases(broker).prefix(2) == [Call(.release(2), 2), Call(.release(2), 4)])
    #expect(early(broker.calls).isEmpty)
  }

  @Test("under a stream that never runs dry, max_delay closes the group")
  func delay() throws {
    let kit = try IngestKit()
    kit.options.commitDelayMax = .milliseconds(1)
    let start = Clock.monotonic()
    let flood = Turn.messages([.id(1)])
    // Each turn brings a message, until one was released.
    var broker: FieldBroker?
    let result = try kit.run([opening]) { made, _, control in
      broker = made
      made.onExhausted = {
        if releases(made).isEmpty, Clock.monotonic().since(start) < .seconds(20) {
          made.scripts[0] = [flood]
        } else {
          control.advance(to: .close)
        }
      }
    }
    #expect(broker === result)
    #expect(releases(result).first?.committed == 1)
  }

  @Test("SUBSCRIBE waits until nothing is held")
  func subscribeWhenFree() throws {
    let kit = try IngestKit()
    let broker = try kit.run([
      [.messages([.id(1)]), .accept(sessionPresent: true), .dry, .grant([.grantedQoS1])]
    ])
    let subscribe = broker.calls.first { if case .subscribe = $0.kind { true } else { false } }
    #expect(subscribe == Call(.subscribe(["pumps/+/metrics"], held: 0), 1))
    #expect(!broker.kinds.contains { if case .flush(let held) = $0 { held > 0 } else { false } })
  }

  @Test("a kept session with the same filters subscribes to nothing; changed ones go by difference")
  func keptSession() throws {
    let kit = try IngestKit()
    _ = try kit.run([opening])
    let same = try kit.run([[.accept(sessionPresent: true), .messages([.id(1)]), .dry]])
    #expect(!same.kinds.contains { if case .subscribe = $0 { true } else { false } })
    kit.options.subscriptions = ["pumps/+/asset"]
    let changed = try kit.run([[.accept(sessionPresent: true), .grant([.grantedQoS1])]])
    #expect(changed.kinds.contains(.unsubscribe(["pumps/+/metrics"])))
    #expect(changed.kinds.contains(.subscribe(["pumps/+/asset"], held: 0)))
  }

  @Test("a lost session is subscribed anew, even when the connection is cut before the SUBACK")
  func lostSession() throws {
    let kit = try IngestKit()
    _ = try kit.run([opening])
    // The second connection finds the new session, which holds no subscription yet.
    let broker = try kit.run([
      [.accept(sessionPresent: false), .cut],
      [.accept(sessionPresent: true), .grant([.grantedQoS1])],
    ])
    let count = broker.kinds.count { $0 == .subscribe(["pumps/+/metrics"], held: 0) }
    #expect(count == 2)
  }

  @Test("a filter is forgotten only when the broker has confirmed its removal")
  func unconfirmedRemoval() throws {
    let kit = try IngestKit()
    kit.options.subscriptions = ["pumps/+/metrics", "pumps/+/asset"]
    _ = try kit.run([[.accept(sessionPresent: false), .grant([.grantedQoS1, .grantedQoS1])]])
    kit.options.subscriptions = ["pumps/+/metrics"]
    let broker = try kit.run([
      [.accept(sessionPresent: true), .cut], [.accept(sessionPresent: true), .dry, .confirm],
    ])
    #expect(broker.kinds.count { $0 == .unsubscribe(["pumps/+/asset"]) } == 2)
    #expect(kit.status.kinds.count { $0 == .connected } == 2)
    let later = try kit.run([[.accept(sessionPresent: true), .dry]])
    #expect(!later.kinds.contains(.unsubscribe(["pumps/+/asset"])))
  }

  @Test(
    "a refused or weaker subscription is an error: back off, connect again, never live",
    arguments: [ReasonCode.notAuthorized, .grantedQoS0])
  func refusedSubscription(code: ReasonCode) throws {
    let kit = try IngestKit()
    let broker = try kit.run([
      [.accept(sessionPresent: false), .grant([code])],
      [.accept(sessionPresent: true), .grant([.grantedQoS1])],
    ])
    #expect(broker.kinds.count { if case .connect = $0 { true } else { false } } == 2)
    #expect(broker.kinds.count { $0 == .subscribe(["pumps/+/metrics"], held: 0) } == 2)
  }

  @Test("a connection lost with an open group: committed, nothing released, duplicates later")
  func lostConnection() throws {
    let kit = try IngestKit()
    let broker = try kit.run([
      opening + [.messages([.id(1), .id(2)]), .cut],
      [.accept(sessionPresent: true), .messages([.id(1), .id(2)]), .dry],
    ])
    let drop = broker.calls.firstIndex { $0.kind == .drop(held: 2) }
    #expect(drop != nil)
    #expect(
      !broker.calls[..<(drop ?? 0)].contains { if case .release = $0.kind { true } else { false } })
    #expect(releases(broker).first == Call(.release(2), 2))
  }

  @Test(
    "a failed write or sync: nothing is released or flushed after it, and the run ends",
    arguments: [FailingDisk.Operation.write, .sync])
  func diskFailure(operation: FailingDisk.Operation) throws {
    let kit = try IngestKit()
    let disk = kit.disk
    #expect {
      _ = try kit.run([
        opening + [.run { disk.fail(operation) }, .messages([.id(1)]), .dry]
      ])
    } throws: { ($0 as? JournalError)?.code == .writeFailed }
    let broker = try #require(kit.lastBroker)
    #expect(broker.kinds.suffix(2) == [.read(messages: 1), .drop(held: 1)])
    #expect(kit.quiescedCount == 0)
  }

  @Test("quiesce commits, releases, disconnects and tells once; close ends the run")
  func quiesce() throws {
    let kit = try IngestKit()
    kit.options.commitDelayMax = .seconds(60)
    var control: IngestControl?
    let broker = try kit.run([
      opening + [.messages([.id(1)]), .run { control?.advance(to: .close) }]
    ]) { _, _, made in control = made }
    #expect(
      broker.calls.suffix(3)
        == [Call(.release(1), 1), Call(.disconnect, 1), Call(.drop(held: 0), 1)])
    #expect(kit.quiescedCount == 1)
  }
}
