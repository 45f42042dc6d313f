import Audit
import Envelope
import GatewayCore
import Mosquitto
import Synchronization
import TestSupport

/// What an independent subscriber at the centre got, kept whole.
final class Deliveries: Sendable {
  struct Contents: Sendable {
    var envelopes: [Envelope] = []
    var undecodable: [String] = []
    /// With `format: raw`: each message.
    var raw: [RawMessage] = []

    var events: [Event] { envelopes.flatMap(\.events) }
    var gaps: [Gap] { envelopes.flatMap(\.gaps) }
  }

  private final class Box: Sendable {
    let contents = Mutex(Contents())
  }

  private let box: Box
  private let observer: CentralObserver

  /// Subscribes before it returns. `isRaw`: the messages are payloads, not batches.
  init(
    _ endpoint: BrokerEndpoint, filter: String, isRaw: Bool = false,
    clientID: String = "observer", protocolVersion: ProtocolVersion = .v5
  ) throws {
    let box = Box()
    self.box = box
    observer = try CentralObserver(
      endpoint: endpoint, clientID: clientID, filters: [filter],
      protocolVersion: protocolVersion
    ) { header, topic, payload, properties in
      if isRaw {
        let message = RawMessage(header, topic, payload, properties)
        box.contents.withLock { $0.raw.append(message) }
        return
      }
      do throws(EnvelopeError) {
        let envelope = try EnvelopeDecoder.decode(payload)
        box.contents.withLock { $0.envelopes.append(envelope) }
      } catch {
        let reason = "\(error)"
        box.contents.withLock { $0.undecodable.append(reason) }
      }
    }
    observer.start()
    guard observer.wait(timeout: .seconds(20), until: { $0.isSubscribed }) else {
      throw TestFailure("the observer could not subscribe: \(observer.current.lastError ?? "")")
    }
  }

  deinit { observer.stop() }

  func stop() { observer.stop() }

  var contents: Contents { box.contents.withLock { $0 } }

  var events: [Event] { contents.events }

  /// Each event once, by sequence: what was in flight when a broker ended may come again.
  var distinctEvents: [Event] {
    var seen: Set<GatewayCore.Sequence> = []
    return events.filter { seen.insert($0.sequence).inserted }.sorted { $0.sequence < $1.sequence }
  }

  /// What is wrong with these deliveries of exactly the message ids `ids`; empty when nothing is.
  /// The same sequence again is no fault, another sequence with the same id is.
  func faults(expecting ids: [String]) -> [String] { Self.faults(of: [self], expecting: ids) }

  /// As above, of what came at several brokers together.
  static func faults(of all: [Deliveries], expecting ids: [String]) -> [String] {
    let contents = all.map(\.contents)
    var faults = contents.flatMap(\.undecodable).map { "undecodable: \($0)" }
    var sequences: [String: Set<GatewayCore.Sequence>] = [:]
    for event in contents.flatMap(\.events) {
      sequences[event.id, default: []].insert(event.sequence)
    }
    let expected = Set(ids)
    for id in expected where sequences[id] == nil { faults.append("lost: \(id)") }
    for (id, found) in sequences {
      if found.count > 1 { faults.append("duplicated: \(id)") }
      if !expected.contains(id) { faults.append("unexpected: \(id)") }
    }
    return faults
  }
}

extension Array where Element == UInt8 {
  init(copying span: Span<UInt8>) {
    self.init()
    reserveCapacity(span.count)
    for index in span.indices { append(span[index]) }
  }
}
