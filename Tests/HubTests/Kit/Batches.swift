import Envelope
import GatewayCore
import Hub

/// Envelopes as a gateway makes them, without a gateway.
struct Batches {
  var gateway = "gw-1"
  var site = "gw-1"
  var route = "telemetry"
  var journal = JournalID(high: 0x4000, low: 0x8000_0000_0000_0001)
  var epoch = Epoch(rawValue: 1)
  var previous: PreviousJournal?
  /// When the gateway received what it sends.
  var received = Self.time
  static let time = WallTime(nanoseconds: 1_790_000_000_000_000_000)

  var topic: String { "penstock/v1/\(gateway)/\(route)" }

  /// What one sequence of an envelope is.
  enum Part {
    case reading(String, Double)
    case asset(String, String)
    case event(topic: String, id: String, payload: String)
    case gap(Int, GapReason)
    case elided(Int)
  }

  /// One after another from `first` on.
  func envelope(_ first: UInt64, _ parts: [Part]) -> Envelope {
    var next = Sequence(first)
    var (events, gaps, elided) = ([Event](), [Gap](), [SequenceRange]())
    for part in parts {
      switch part {
      case .reading(let pump, let value):
        events.append(
          event(
            next, "pumps/\(pump)/metrics", id: "\(journal)-\(epoch)-\(next)",
            "{\"assetId\":\"\(pump)\",\"rotation\":\(value),\"current\":45.5}"))
      case .asset(let pump, let facts):
        events.append(
          event(
            next, "pumps/\(pump)/asset", id: "\(journal)-\(epoch)-\(next)",
            "{\"assetId\":\"\(pump)\",\(facts)}"))
      case .event(let topic, let id, let payload):
        events.append(event(next, topic, id: id, payload))
      case .gap(let count, let reason):
        gaps.append(Gap(SequenceRange(next, next.advanced(by: UInt64(count - 1))), reason))
        next = next.advanced(by: UInt64(count - 1))
      case .elided(let count):
        elided.append(SequenceRange(next, next.advanced(by: UInt64(count - 1))))
        next = next.advanced(by: UInt64(count - 1))
      }
      next = next.next
    }
    return Envelope(
      header: EnvelopeHeader(
        gateway: gateway, site: site, route: route, journal: journal, previous: previous,
        epoch: epoch, first: Sequence(first), last: next.previous), events: events, gaps: gaps,
      elided: elided, compression: .none)
  }

  func received(_ first: UInt64, _ parts: [Part]) -> Received {
    .envelope(envelope(first, parts), topic: topic)
  }

  private func event(
    _ sequence: GatewayCore.Sequence, _ topic: String, id: String, _ payload: String
  ) -> Event {
    Event(
      id: id, source: "penstock://\(site)/\(topic)", type: Event.recordType, time: received,
      clockSync: .synchronised, sequence: sequence, topic: topic, reason: nil,
      isRetained: false, qualityOfService: .atLeastOnce, contentType: nil,
      data: .json(Array(payload.utf8)), attributes: [])
  }
}

/// An engine over a store, as the consumer's loop uses them: decide, commit, go on.
struct Stage: ~Copyable {
  let store: any HubStore
  var engine: HubEngine
  var clock = MonotonicTime(nanoseconds: 1)
  private let rules: HubRules
  private let policies: [any HubPolicy]

  init(
    _ store: some HubStore, rules: HubRules = HubRules(hubID: "hub-1"),
    policies: [any HubPolicy] = []
  ) throws {
    self.store = store
    self.rules = rules
    self.policies = policies
    engine = try HubEngine(
      rules: rules, store: store, policies: policies, clock: MonotonicTime(nanoseconds: 1))
  }

  @discardableResult
  mutating func take(_ received: Received...) throws -> HubChanges {
    let changes = engine.decide(received, now: Batches.time, clock: clock)
    try store.commit(changes)
    return changes
  }

  /// What a new process would go on from.
  mutating func restart() throws {
    engine = try Self.open(store, rules, policies, clock)
  }

  private static func open(
    _ store: some HubStore, _ rules: HubRules, _ policies: [any HubPolicy], _ clock: MonotonicTime
  ) throws -> HubEngine {
    try HubEngine(rules: rules, store: store, policies: policies, clock: clock)
  }

  func events(_ query: EventQuery = EventQuery()) throws -> [HubEvent] {
    try store.events(query, limit: 1_000_000)
  }
}
