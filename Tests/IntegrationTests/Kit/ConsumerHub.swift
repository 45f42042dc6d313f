import Audit
import Envelope
import GatewayCore
import Logging
import Mosquitto
import Platform
import TestSupport

/// A consumer as `accept: hub` wants it, in its smallest form: a session that outlives its absence,
/// ranges per journal, a commit, an answer after each commit. What it has committed stays over its
/// connections, as in a database; nothing is acknowledged to the broker before it is committed.
final class ConsumerHub {
  private final class Handler: MosquittoHandler {
    var isAccepted = false
    var isSubscribed = false
    var envelopes: [Envelope] = []
    var undecodableCount = 0

    func connected(_ acknowledgement: ConnectAcknowledgement) {
      isAccepted = !acknowledgement.reason.isFailure
    }
    func disconnected(_ reason: ReasonCode?) {}
    func received(
      _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
    ) {
      if let envelope = try? EnvelopeDecoder.decode(payload) {
        envelopes.append(envelope)
      } else {
        undecodableCount += 1
      }
    }
    func subscribed(mid: Int32, granted: [ReasonCode]) {
      isSubscribed = granted.allSatisfy { $0 == .grantedQoS1 }
    }
    func unsubscribed(mid: Int32) {}
    func published(mid: Int32, reason: ReasonCode) {}
  }

  private let options: ConnectionOptions
  private let topic: String
  private let handler = Handler()
  private var client: MosquittoClient<Handler>?
  /// Committed.
  private(set) var ids: Set<String> = []
  private(set) var coverage = SequenceCoverage()
  private(set) var eventCount = 0
  private(set) var replayedCount = 0
  private(set) var gaps: [Gap] = []
  private(set) var newest: EnvelopeHeader?
  /// Batches that it takes from the broker and throws away, as if they had never come.
  var drops: (Envelope) -> Bool = { _ in false }
  /// Says nothing, however much it commits.
  var isSilent = false

  init(_ endpoint: BrokerEndpoint, topic: String) {
    var options = ConnectionOptions(endpoints: [endpoint], clientID: "hub")
    options.sessionExpiry = .seconds(86_400)
    self.options = options
    self.topic = topic
  }

  /// Connects and subscribes.
  func connect() throws {
    handler.isAccepted = false
    var client = MosquittoClient(
      options: options, handler: handler, logger: Logger(label: "penstock.test"))
    try client.connect(endpoint: 0)
    self.client = consume client
    try run(for: "the hub's connection") { handler.isAccepted }
    _ = try self.client?.subscribe([topic], quality: .atLeastOnce)
    try run(for: "the hub's subscription") { handler.isSubscribed }
  }

  /// Is gone, without a word; the broker keeps the session.
  func disconnect() throws {
    try self.client?.disconnect()
    client = nil
  }

  /// Takes, commits and answers until `condition` holds.
  func run(
    for what: String, within limit: Duration = .seconds(30), until condition: () throws -> Bool
  ) throws {
    let never = try WakeUp()
    let deadline = Deadline(in: limit)
    while true {
      try turn()
      if try condition() { return }
      if deadline.isOver { throw TestFailure("the hub waited \(limit) in vain for: \(what)") }
      guard client != nil else { continue }
      let (socket, wantsWrite) = (client?.socket, client?.wantsWrite ?? false)
      _ = Poll.wait(
        socket: socket, forWriting: wantsWrite, wakeUp: never, timeout: .milliseconds(20))
    }
  }

  private func turn() throws {
    guard client != nil else { return }
    _ = try client?.readUntilDry(limit: 500)
    let envelopes = handler.envelopes
    handler.envelopes = []
    var hasNews = false
    for envelope in envelopes where !drops(envelope) {
      commit(envelope)
      hasNews = true
    }
    if let held = client?.heldAcknowledgements, held > 0 {
      try client?.releaseAcknowledgements(committed: held)
    }
    if hasNews, !isSilent { try answer() }
    if client?.wantsWrite ?? false { try client?.flush() }
  }

  private func commit(_ envelope: Envelope) {
    for event in envelope.events { ids.insert(event.id) }
    eventCount += envelope.events.count
    if envelope.header.isReplay { replayedCount += envelope.events.count }
    gaps += envelope.gaps
    coverage.insert(SequenceRange(envelope.header.first, envelope.header.last))
    if newest.map({ $0.last <= envelope.header.last }) ?? true { newest = envelope.header }
  }

  /// What it has, on its acceptance topic.
  func answer(missing extra: [SequenceRange] = []) throws {
    guard let newest, let last = coverage.ranges.last?.last else { return }
    var missing = extra + coverage.missing
    if let first = coverage.ranges.first?.first, first > .first, extra.isEmpty {
      missing.insert(SequenceRange(.first, first.previous), at: 0)
    }
    let count = AcceptanceMessage.missingCountMax
    var through = last
    if missing.count > count {
      through = missing[count].first.previous
      missing.removeSubrange(count...)
    }
    let message = AcceptanceMessage(
      journal: newest.journal, epoch: newest.epoch, through: through, missing: missing)
    let bytes = message.encode()
    _ = try client?.publish(
      topic: AcceptanceMessage.topic(ofBatches: topic), payload: bytes.span,
      quality: .atLeastOnce, retain: true)
    try client?.flush()
  }

  /// Its database is gone.
  func forget() {
    coverage = SequenceCoverage()
    ids = []
    gaps = []
  }
}
