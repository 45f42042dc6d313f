// Goal: what a route does not carry is never in its journal, whatever the filters say, and is
// acknowledged all the same; a source beyond its limits is a gap that names it. Method: messages go
// into the real intake over a small ring, random topics included; the journal is read back. Cannot
// show: a real broker (the integration tests do).

import Filtering
import GatewayCore
import Mosquitto
import RingJournal
import Testing

@testable import Ingest

private func sent(_ topic: String, _ id: Int = 0, byteCount: Int = 0) -> Sent {
  var sent = Sent(
    #"{"messageId":"m\#(id)","text":"\#(String(repeating: "x", count: byteCount))"}"#)
  sent.topic = Array(topic.utf8)
  return sent
}

/// Kind and topic of all records, in order.
private func records(_ state: JournalState) throws -> [(kind: RecordKind, topic: String)] {
  var found: [(kind: RecordKind, topic: String)] = []
  var reader = try state.makeReader(sink: 0)
  _ = try reader.read { record, bytes in
    for _ in 0..<record.sequences.count {
      found.append((record.kind, String(decoding: bytes.extracting(record.topic))))
    }
    return true
  }
  return found
}

@Suite("admission") struct AdmissionTests {
  @Test("topics of the broker's own are never forwarded, whatever the filters and prefixes say")
  func brokerTopics() throws {
    var generator = SystemRandomNumberGenerator()
    let words = ["$SYS", "$CONTROL", "$share", "$", "a", "gw", "", "#", "dynamic-security"]
    func text() -> String {
      (0..<Int.random(in: 1...4, using: &generator))
        .map { _ in words.randomElement(using: &generator) ?? "" }.joined(separator: "/")
    }
    var carried = 0
    for _ in 0..<40 {
      let kit = try IngestKit()
      kit.options.allowedTopics = Bool.random() ? [] : ["#", "$SYS/#", "$CONTROL/#", "+/+"]
      kit.options.refusedPrefixes = Bool.random() ? [] : ["gw/$", "a/$"]
      let (intake, state) = try kit.openIntake()
      let topics = (0..<60).map { _ in text() }
      for (id, topic) in topics.enumerated() { intake.receive(sent(topic, id)) }
      _ = try intake.commit()
      let kept = try records(state)
      #expect(!kept.contains { $0.topic.hasPrefix("$") || $0.topic.isEmpty })
      for prefix in kit.options.refusedPrefixes {
        #expect(!kept.contains { $0.topic.hasPrefix(prefix) })
      }
      #expect(Int(intake.strayCount) + kept.count == topics.count)
      carried += kept.count
    }
    #expect(carried > 100)
  }

  @Test("allow and deny: what is beyond is acknowledged without a record, and told once")
  func allowAndDeny() throws {
    let kit = try IngestKit()
    kit.options.allowedTopics = ["pumps/#"]
    kit.options.deniedTopics = ["pumps/+/debug"]
    let broker = try kit.run([
      [
        .accept(sessionPresent: false), .grant([.grantedQoS1]),
        .messages([sent("pumps/1/debug"), sent("valves/1"), sent("pumps/1/metrics")]), .dry,
        .messages([sent("valves/2")]), .dry,
      ]
    ])
    let releases = broker.calls.filter { if case .release = $0.kind { true } else { false } }
    #expect(releases.prefix(2) == [Call(.release(3), 1), Call(.release(1), 1)])
    let (intake, state) = try kit.openIntake()
    #expect(try records(state).map(\.topic) == ["pumps/1/metrics"])
    intake.receive(sent("valves/3"))
    #expect(intake.takeStray() == "valves/3" && intake.takeStray() == nil)
  }

  @Test("beyond the rate or the size: a run of refusals; a duplicate is a duplicate")
  func limits() throws {
    let kit = try IngestKit()
    var limit = SourceLimit()
    limit.rate = MessageRate(count: 5, per: .seconds(3600))
    limit.recordByteCountMax = ByteCount(1000)
    kit.options.sourceLimits = [limit]
    let (intake, state) = try kit.openIntake()
    for id in 0..<10 { intake.receive(sent("pumps/1/metrics", id)) }
    for id in 0..<10 { intake.receive(sent("pumps/1/metrics", id)) }
    intake.receive(sent("pumps/2/metrics", 1, byteCount: 2000))
    intake.receive(sent("pumps/2/metrics", 2))
    _ = try intake.commit()
    let kept = try records(state)
    #expect(
      kept.map(\.kind) == Array(repeating: .data, count: 5)
        + Array(repeating: .tombstone, count: 6) + [.data])
    #expect(kept.dropLast(2).allSatisfy { $0.topic == "pumps/1/metrics" })
    #expect(kept.suffix(2).allSatisfy { $0.topic == "pumps/2/metrics" })
    #expect(intake.refusedCount == 6)
    #expect(intake.takeRefusal()?.reason == .rate)
    #expect(state.statistics().gapRecords == [.quota: 6])
  }

  @Test("a session that was kept brings what waited, within what the rate would have let pass")
  func backlog() throws {
    let kit = try IngestKit()
    var limit = SourceLimit()
    limit.rate = MessageRate(count: 1, per: .seconds(3600))
    kit.options.sourceLimits = [limit]
    kit.options.connection.sessionExpiry = .seconds(10 * 3600)
    let (intake, state) = try kit.openIntake()
    intake.connected(ConnectAcknowledgement(reason: .success, sessionPresent: true))
    for id in 0..<20 { intake.receive(sent("pumps/1/metrics", id)) }
    _ = try intake.commit()
    #expect(try records(state).count { $0.kind == .data } == 11)
  }
}
