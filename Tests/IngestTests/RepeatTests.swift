// Goal: without an id, as many records as there were messages: copies for overlapping filters and
// retained messages that come because of a SUBSCRIBE add none, equal readings are never taken for
// copies. Method: messages go into the real intake; a model of a broker makes the copies. Cannot
// show: what brokers really send (the integration tests do).

import Deduplication
import GatewayCore
import Mosquitto
import RingJournal
import Testing

@testable import Ingest

private func retained(_ payload: String, topic: String = "pumps/1/asset") -> Sent {
  var sent = Sent(payload)
  sent.topic = Array(topic.utf8)
  sent.isRetained = true
  return sent
}

/// Payloads of all records.
private func payloads(_ state: JournalState) throws -> [String] {
  var found: [String] = []
  var reader = try state.makeReader(sink: 0)
  _ = try reader.read { record, bytes in
    found.append(String(decoding: bytes.extracting(record.payload)))
    return true
  }
  return found
}

@Suite("repeats without an id") struct RepeatTests {
  private func kit(_ version: ProtocolVersion = .v5) throws -> IngestKit {
    let kit = try IngestKit(selector: .none)
    kit.options.connection.protocolVersion = version
    return kit
  }

  @Test(
    "the retained state that comes again at a SUBSCRIBE is a duplicate, over a restart too",
    arguments: [ProtocolVersion.v5, .v311])
  func subscribedAgain(version: ProtocolVersion) throws {
    let kit = try kit(version)
    for round in 0..<3 {
      let (intake, state) = try kit.openIntake()
      intake.subscribes(to: ["pumps/#"], now: .init(nanoseconds: .max / 2))
      intake.receive(retained("on"))
      intake.receive(retained("on", topic: "pumps/2/asset"))
      _ = try intake.commit()
      #expect(try payloads(state) == ["on", "on"], "opened \(round + 1) times")
    }
  }

  @Test("another state is news, and so is the first one when it comes back after that")
  func changed() throws {
    let kit = try kit()
    let (intake, state) = try kit.openIntake()
    for payload in ["on", "on", "off", "off", "on"] {
      intake.subscribes(to: ["pumps/#"], now: .init(nanoseconds: .max / 2))
      intake.receive(retained(payload))
    }
    _ = try intake.commit()
    #expect(try payloads(state) == ["on", "off", "on"])
  }

  @Test("MQTT 5: a live message with the retain flag is heard as often as it is said")
  func live() throws {
    let kit = try kit()
    let (intake, state) = try kit.openIntake()
    intake.receive(retained("on"))
    intake.receive(retained("on"))
    // One filter: one answer. What comes after is live.
    intake.subscribes(to: ["pumps/#"], now: .init(nanoseconds: .max / 2))
    intake.receive(retained("on"))
    intake.receive(retained("on"))
    _ = try intake.commit()
    #expect(try payloads(state).count == 3)
    // Nor is it an answer a minute later.
    intake.subscribes(to: ["pumps/#"], now: .init(nanoseconds: .min / 2))
    intake.receive(retained("on"))
    _ = try intake.commit()
    #expect(try payloads(state).count == 4)
  }

  @Test("without the retain flag, and with an id, nothing of this applies")
  func notRetained() throws {
    let kit = try kit(.v311)
    let (intake, state) = try kit.openIntake()
    for _ in 0..<3 { intake.receive(Sent("on")) }
    _ = try intake.commit()
    #expect(try payloads(state).count == 3)
    let identified = try IngestKit()
    let (other, _) = try identified.openIntake()
    other.receive(.id(1))
    other.receive(.id(2))
    #expect(other.openRecordCount == 2)
  }

  @Test("as many records as messages, whatever the order of the copies, with equal readings")
  func copies() throws {
    var generator = SystemRandomNumberGenerator()
    let filters = ["pumps/+/metrics", "pumps/1/+", "+/1/metrics"]
    let identifiers = SubscriptionPlan(filters: filters, canIdentify: true).subscriptions
      .compactMap(\.identifier)
    #expect(identifiers.count == 3)
    for _ in 0..<50 {
      let kit = try kit()
      kit.options.subscriptions = filters
      let (intake, state) = try kit.openIntake()
      // Few different readings, so that neighbours are equal.
      let readings = (0..<50).map { _ in "\(Int.random(in: 0..<2, using: &generator))" }
      for reading in readings {
        for identifier in identifiers.shuffled(using: &generator) {
          var copy = Sent(reading)
          copy.subscription = identifier
          intake.receive(copy)
        }
      }
      _ = try intake.commit()
      #expect(try payloads(state) == readings)
    }
  }

  @Test("an identifier that is not ours, none, or a topic of one filter: every message counts")
  func unknownIdentifiers() throws {
    let kit = try kit()
    kit.options.subscriptions = ["pumps/+/metrics", "pumps/1/+"]
    let (intake, state) = try kit.openIntake()
    for identifier: UInt32 in [0, 0, 1, 2, 3] {
      var sent = Sent("on")
      sent.subscription = identifier
      intake.receive(sent)
    }
    let own = SubscriptionPlan(filters: kit.options.subscriptions, canIdentify: true)
    for identifier in own.subscriptions.compactMap(\.identifier) {
      var sent = Sent("on")
      sent.topic = Array("pumps/2/metrics".utf8)
      sent.subscription = identifier
      intake.receive(sent)
    }
    _ = try intake.commit()
    #expect(try payloads(state).count == 7)
  }

  @Test(
    "filters that overlap are subscribed to one by one, with identifiers if the broker has them")
  func subscribing() throws {
    let kit = try kit()
    kit.options.subscriptions = ["pumps/+/metrics", "pumps/1/+", "x", "x/#"]
    var acknowledgement = ConnectAcknowledgement(reason: .success, sessionPresent: false)
    acknowledgement.hasSubscriptionIdentifiers = true
    let granted = Turn.grant([.grantedQoS1])
    let broker = try kit.run([[.acknowledge(acknowledgement), granted, granted, granted]])
    let subscribes = broker.kinds.filter { kind in
      switch kind {
      case .subscribe, .identify: true
      default: false
      }
    }
    #expect(
      subscribes == [
        .subscribe(["x/#"], held: 0), .identify("pumps/+/metrics"), .identify("pumps/1/+"),
      ])
    #expect(kit.status.kinds.contains(.connected))
    // A broker without identifiers gets one SUBSCRIBE for all, which replaces them.
    let plain = try kit.run([
      [.accept(sessionPresent: true), .grant([.grantedQoS1, .grantedQoS1])]
    ])
    #expect(
      plain.kinds.contains(.subscribe(["pumps/+/metrics", "pumps/1/+"], held: 0)))
  }
}
