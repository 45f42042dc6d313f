// Goal: the two witnesses of the audit, simulated pumps and central observer, tell the same story
// when nothing stands between them, and the audit notices when a message is held back. Method: both
// on one real broker; each message is entered as an envelope of one event. Cannot show: the agent.

import GatewayCore
import Mosquitto
import Platform
import PumpTelemetry
import Synchronization
import Testing

@testable import Audit

@Suite("pumps and observer", .enabled(if: BrokerProcess.isAvailable, "mosquitto is not installed"))
struct ProducersAndObserverTests {
  /// Takes every n-th new message away (0: none). Deliberate repeats are dropped, as an agent
  /// would.
  private final class Relay: Sendable {
    private let state = Mutex<(seen: Set<String>, sequence: UInt64)>(([], 0))
    private let ledger: AuditLedger
    private let dropEvery: Int

    init(ledger: AuditLedger, dropEvery: Int) {
      self.ledger = ledger
      self.dropEvery = dropEvery
    }

    func receive(topic: String, payload: [UInt8]) {
      let text = String(decoding: payload, as: UTF8.self)
      let id = String(text.split(separator: "\"")[3])
      let sequence: UInt64? = state.withLock { state in
        guard state.seen.insert(id).inserted else { return nil }
        guard dropEvery == 0 || state.seen.count % dropEvery != 0 else { return nil }
        state.sequence += 1
        return state.sequence
      }
      guard let sequence else { return }
      ledger.withAudit { audit in
        audit.beginEnvelope(
          journal: JournalID(high: 1, low: 1), epoch: Epoch(rawValue: 1),
          first: Sequence(sequence), last: Sequence(sequence))
        audit.event(sequence: Sequence(sequence), topic: topic, id: id, payload: payload.span)
        audit.endEnvelope()
      }
    }
  }

  private func run(dropEvery: Int) throws -> AuditReport {
    var options = BrokerOptions()
    options.maxQueuedMessages = 100_000
    var broker = try BrokerProcess(name: "shared", options: options)
    try broker.start()
    let ledger = AuditLedger()
    let relay = Relay(ledger: ledger, dropEvery: dropEvery)
    let observer = try CentralObserver(
      endpoint: broker.endpoint, clientID: "observer", filters: ["pumps/#"]
    ) { topic, payload in
      var bytes: [UInt8] = []
      bytes.append(payload)
      relay.receive(topic: String(decoding: topic), payload: bytes)
    }
    observer.start()
    #expect(observer.wait(timeout: .seconds(10)) { $0.isSubscribed })

    var simulation = SimulationOptions(
      connection: ConnectionOptions(endpoints: [broker.endpoint], clientID: "pumps"))
    simulation.pumpCount = 10
    simulation.count = 3000
    simulation.repeatShare = 0.1
    let pumps = try Simulation(options: simulation, observer: ledger)
    pumps.start()
    #expect(pumps.wait(timeout: .seconds(20)))
    #expect(pumps.counts.acknowledged == 3000)
    let sends = pumps.counts.sent + pumps.counts.repeated
    #expect(observer.wait(timeout: .seconds(10)) { $0.messages >= sends })
    observer.stop()
    return ledger.report()
  }

  @Test("without anybody between them they agree")
  func agree() throws {
    let report = try run(dropEvery: 0)
    #expect(report.isClean(allowedRedelivery: 0), "\(report.table(allowedRedelivery: 0))")
    #expect(report.counts.delivered == 3000)
    #expect(report.counts.sends > 3000)
  }

  @Test("control: every hundredth message taken away is reported as lost")
  func thief() throws {
    let report = try run(dropEvery: 100)
    #expect(report.counts.lost == 30)
    #expect(!report.isClean(allowedRedelivery: .max))
  }
}
