// Goal: a session is ended only when nothing waits in it any more, and never at the price of a
// message. Method: the real loop over a scripted connection, calls in order with the committed
// sequence. Cannot show: that a broker answers in order (IntegrationTests, with Mosquitto).

import GatewayCore
import Mosquitto
import Platform
import Testing

@testable import Ingest

private var opening: [Turn] { [.accept(sessionPresent: false), .grant([.grantedQoS1])] }

private func drain(_ scripts: [[Turn]], _ kit: IngestKit) throws -> FieldBroker {
  try kit.run(scripts, closesWhenQuiesced: true) { broker, _, control in
    broker.scripts = scripts.map { script in
      script.map { turn in
        if case .run = turn { .run { control.drain(endsSession: true) } } else { turn }
      }
    }
  }
}

/// Where the script of a test asks for the drain.
private var drainNow: Turn { .run {} }

@Suite("the end of a session") struct EndSessionTests {
  @Test("what still comes is journalled, and only an answer with nothing before it is the end")
  func fence() throws {
    let kit = try IngestKit()
    let broker = try drain(
      [
        opening + [
          .messages([.id(1)]), drainNow, .messages([.id(2), .id(3)]), .confirm, .confirm,
        ]
      ], kit)
    let last = broker.calls.drop { if case .unsubscribe = $0.kind { false } else { true } }
      .filter { if case .flush = $0.kind { false } else { true } }
    #expect(
      last == [
        Call(.unsubscribe(["pumps/+/metrics"]), 1), Call(.read(messages: 2), 1),
        Call(.release(2), 3), Call(.unsubscribe(["pumps/+/metrics"]), 3), Call(.endSession, 3),
        Call(.drop(held: 0), 3),
      ])
    #expect(kit.quiescedCount == 1)
    #expect(SubscriptionMemory(path: kit.subscriptionPath).subscriptions == [])
  }

  @Test("a connection that breaks in between is made again, and the session then ended")
  func lost() throws {
    let kit = try IngestKit()
    let broker = try drain(
      [
        opening + [drainNow, .messages([.id(1)]), .cut],
        [.accept(sessionPresent: true), .messages([.id(1)]), .confirm, .confirm],
      ], kit)
    #expect(broker.kinds.count { if case .connect = $0 { true } else { false } } == 2)
    #expect(broker.calls.last { $0.kind == .endSession } == Call(.endSession, 1))
    #expect(kit.quiescedCount == 1)
  }

  @Test("over MQTT 3.1.1 a clean connection follows and ends the session")
  func olderProtocol() throws {
    let kit = try IngestKit()
    kit.options.connection.protocolVersion = .v311
    let broker = try drain(
      [opening + [drainNow, .confirm], [.accept(sessionPresent: false)]], kit)
    let kinds = broker.kinds.filter { [.endSession, .clean, .connect(0)].contains($0) }
    #expect(kinds == [.connect(0), .endSession, .clean, .connect(0), .endSession])
    #expect(kit.quiescedCount == 1)
  }

  @Test("a shutdown in between leaves in good order and keeps the session")
  func shutdown() throws {
    let kit = try IngestKit()
    let broker = try kit.run([opening], closesWhenQuiesced: true) { broker, _, control in
      broker.scripts = [
        opening + [
          .run { control.drain(endsSession: true) }, .messages([.id(1)]),
          .run { control.advance(to: .quiesce) },
        ]
      ]
    }
    #expect(!broker.kinds.contains(.endSession))
    #expect(broker.calls.contains(Call(.disconnect, 1)))
    #expect(
      SubscriptionMemory(path: kit.subscriptionPath).subscriptions?.map(\.filter) == [
        "pumps/+/metrics"
      ])
  }

  @Test("a drain without the end of the session says so to the board, not that the process ends")
  func kept() throws {
    let kit = try IngestKit()
    let broker = try kit.run([opening], closesWhenQuiesced: true) { broker, _, control in
      broker.scripts = [opening + [.run { control.drain(endsSession: false) }]]
    }
    #expect(broker.kinds.contains(.disconnect))
    #expect(kit.status.kinds.contains(.quiesced))
    #expect(!kit.status.kinds.contains(.draining))
  }
}
