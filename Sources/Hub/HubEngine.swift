package import Envelope
package import GatewayCore

/// What came from the broker.
package enum Received: Sendable {
  case envelope(Envelope, topic: String)
  /// No envelope that this hub understands.
  case refused(HubDeadLetter)
}

/// What the hub decides by. Defaults are those of `hub.yaml`.
package struct HubRules: Sendable, Hashable {
  package var hubID: String
  /// First level of the pumps' topics: `pumps/<asset>/metrics`.
  package var topicPrefix = "pumps"
  /// How long an asset event waits for what comes before it in its journal.
  package var contiguityWait: Duration = .seconds(30)
  /// Whether readings are published, too.
  package var publishesMetrics = false
  /// Newest events whose (source, id) is remembered.
  package var identityCount = 500_000

  package init(hubID: String) { self.hubID = hubID }

  /// Asset events that may wait at a time; beyond it they are not made to.
  package static let waitingMax = 10_000
}

/// What one group of batches came to, for metrics.
package struct EngineCounts: Sendable, Hashable {
  package var batches = 0
  package var events = 0
  /// By inbox position, or by (source, id).
  package var duplicates = 0
  package var gapSequences: UInt64 = 0
  package var lateEvents = 0
  package var overlaps = 0
  package var conflicts = 0
  package var deadLetters = 0

  package init() {}
}

/// Envelopes in, changes out: decides everything, touches nothing outside. The caller commits the
/// changes and goes on, or, when the commit failed, makes a new engine from the store: what was
/// decided since then never happened.
///
/// ## One envelope
///
///     which life of the journal  →  which sequences are new  →  gaps and elided noted
///       →  each event: identity  →  asset event: waits, or its facts decide
///                                   reading: recorded, newer than the last or not
///                                   confirmation: recorded
///       →  waiting asset events that are settled now
///
/// Behind the last envelope of a group the policies decide on all that happened, then events to be
/// published become outbox rows.
package struct HubEngine: ~Copyable {
  /// What a topic of a gateway's records means.
  private struct Place {
    enum Kind { case asset, metrics, confirmations }
    var kind: Kind
    /// In the book.
    var asset: Int
    var source: Int64
  }

  let rules: HubRules
  /// A negative control of the tests.
  private let ignoresInbox: Bool
  package private(set) var book = AssetBook()
  package private(set) var inboxes = InboxBook()
  package private(set) var position: UInt64 = 0
  /// Of the store, once the last group is committed.
  package private(set) var revision: Int64?
  private var publication: UInt64 = 0
  private var outboxNumber: UInt64 = 0
  private let policies: [any HubPolicy]
  private var gateways: [Int64: String] = [:]
  private var sources: [String: Int64] = [:]
  /// By CloudEvents source; nil for topics that mean nothing here.
  private var places: [String: Place?] = [:]
  private var identities: IdentityWindow
  private var waiting: [(event: WaitingEvent, deadline: MonotonicTime)] = []

  package var waitingCount: Int { waiting.count }

  // Of the group that is being decided.
  private var changes = HubChanges(expectedPosition: 0, time: WallTime(nanoseconds: 0))
  package private(set) var counts = EngineCounts()
  private var touched: [Int] = []
  /// By asset: the version before this group; nil when untouched.
  private var versionsBefore: [UInt64?] = []
  private var touchedInboxes: Set<Int> = []
  /// In the order in which batches came: the last of a topic is what is retained.
  private var answered: [Int] = []

  /// - Throws: what the store throws.
  package init(
    rules: HubRules, store: some HubStore, policies: [any HubPolicy] = [],
    clock: MonotonicTime, ignoresInbox: Bool = false
  ) throws {
    let state = try store.load()
    var identities = IdentityWindow(capacity: rules.identityCount)
    let count = UInt64(rules.identityCount)
    let start = state.position > count ? state.position - count : 0
    try Self.remember(state, after: start, of: store, in: &identities)
    self.identities = identities
    self.ignoresInbox = ignoresInbox
    self.rules = rules
    self.policies = policies
    adopt(state, clock)
  }

  /// After a commit that another hub was faster than: what was decided for it never happened, and
  /// what the other has left is gone on from. Reads the events that are new, not all of them.
  ///
  /// - Throws: what the store throws; the engine is of no use then.
  package mutating func overtaken(by store: some HubStore, clock: MonotonicTime) throws {
    let known = changes.expectedPosition
    identities.takeBack()
    let state = try store.load()
    try Self.remember(state, after: known, of: store, in: &identities)
    adopt(state, clock)
  }

  private static func remember(
    _ state: HubState, after position: UInt64, of store: some HubStore,
    in identities: inout IdentityWindow
  ) throws {
    try store.forEachEvent(EventQuery(after: position)) { event in
      guard event.source != 0 else { return }
      _ = identities.admit(
        source: event.source, id: event.messageID, payload: event.payload,
        isCommitted: true)
    }
    for event in state.waiting {
      _ = identities.admit(
        source: event.source, id: event.messageID, payload: event.payload,
        isCommitted: true)
    }
  }

  private mutating func adopt(_ state: HubState, _ clock: MonotonicTime) {
    (book, inboxes) = (AssetBook(), InboxBook())
    (gateways, sources, places) = ([:], [:], [:])
    (touched, touchedInboxes, answered) = ([], [], [])
    position = state.position
    revision = state.revision
    publication = state.publication
    outboxNumber = state.outboxNumber
    for (number, text) in state.sources { sources[text] = number }
    for inbox in state.inboxes {
      inboxes.restore(inbox)
      note(inbox)
    }
    for asset in state.assets { book.restore(asset) }
    versionsBefore = Array(repeating: nil, count: book.assets.count)
    waiting = state.waiting.map { ($0, clock + rules.contiguityWait) }
    for policy in policies {
      let rows = state.policyRows.filter { $0.policy == policy.name }
      policy.restore(
        rows: Dictionary(rows.compactMap { row in row.value.map { (row.key, $0) } }) { $1 },
        book: book)
    }
  }

  private mutating func note(_ inbox: InboxState) {
    gateways[inbox.number] = inbox.key.gateway
    book.setRank(
      AssetBook.Rank(channel: inbox.key.channel, rank: inbox.rank), ofInbox: inbox.number)
  }

  /// Decides on a group of what was received; with none, on what time alone brings. The changes may
  /// be empty.
  package mutating func decide(
    _ received: [Received], now: WallTime, clock: MonotonicTime
  ) -> HubChanges {
    begin(now)
    for one in received {
      switch one {
      case .envelope(let envelope, let topic): take(envelope, topic, now, clock)
      case .refused(let letter): refuse(letter)
      }
    }
    settleWaiting(clock)
    consultPolicies(now, clock)
    publish()
    changes.assets = touched.map {
      AssetChange(state: book.assets[$0], expectedVersion: versionsBefore[$0] ?? 0)
    }
    changes.inboxes = touchedInboxes.sorted().map { inboxes[$0] }
    if !changes.isEmpty, let before = revision { revision = before + 1 }
    return changes
  }

  /// What the gateways are told once the changes are durable: each with the topic.
  package var acceptances: [(topic: String, message: AcceptanceMessage)] {
    acceptances(of: answered)
  }

  /// Of everything there is, for a hub that does not know what it had said last.
  package var allAcceptances: [(topic: String, message: AcceptanceMessage)] {
    acceptances(of: Array(inboxes.inboxes.indices))
  }

  private func acceptances(
    of indices: [Int]
  ) -> [(topic: String, message: AcceptanceMessage)] {
    var last: [Int: Int] = [:]
    for (order, index) in indices.enumerated() { last[inboxes.newestLife(of: index)] = order }
    return last.sorted { $0.value < $1.value }.map { index, _ in
      (AcceptanceMessage.topic(ofBatches: inboxes[index].topic), inboxes[index].acceptance)
    }
  }

  private mutating func begin(_ now: WallTime) {
    for index in touched { versionsBefore[index] = nil }
    touched.removeAll(keepingCapacity: true)
    touchedInboxes.removeAll(keepingCapacity: true)
    answered.removeAll(keepingCapacity: true)
    counts = EngineCounts()
    changes = HubChanges(expectedPosition: position, time: now)
    changes.expectedRevision = revision
    identities.begin()
  }

  // MARK: - Envelopes

  private mutating func take(
    _ envelope: Envelope, _ topic: String, _ now: WallTime, _ clock: MonotonicTime
  ) {
    counts.batches += 1
    let header = envelope.header
    let (index, isNew, isOverlap) = inboxes.enter(envelope, topic: topic)
    if isNew { note(inboxes[index]) }
    if isOverlap { counts.overlaps += 1 }
    answered.append(index)
    let range = SequenceRange(header.first, header.last)
    let before = inboxes[index]
    // Nearly always nothing of an envelope is known, and nothing has to be looked up per event.
    let isAllNew = !before.accounted.intersects(range)
    if isAllNew || before.epochs.count != inboxes[index].epochs.count || isNew
      || !before.accounted.missing(in: range).isEmpty
    {
      touchedInboxes.insert(index)
    }
    account(range, epoch: header.epoch, index, topic)
    noteGaps(envelope, before, index)
    let number = before.number
    for event in envelope.events {
      if !isAllNew, !ignoresInbox, before.accounted.contains(event.sequence) {
        guard before.open.contains(event.sequence) else {
          counts.duplicates += 1
          continue
        }
        close(event.sequence, index)
      }
      take(event, inbox: index, number, now, clock)
    }
    settle(inbox: index)
  }

  /// In this life and, as far as they share it, in those that began later.
  private mutating func account(
    _ range: SequenceRange, epoch: Epoch, _ index: Int, _ topic: String
  ) {
    inboxes[index].account(range, epoch: epoch)
    inboxes[index].topic = topic
    for later in inboxes.livesAfter(index) where inboxes[later].start > range.first {
      let shared = SequenceRange(range.first, min(range.last, inboxes[later].start.previous))
      inboxes[later].accounted.insert(shared)
      touchedInboxes.insert(later)
    }
  }

  private mutating func noteGaps(_ envelope: Envelope, _ before: InboxState, _ index: Int) {
    func parts(_ range: SequenceRange) -> [SequenceRange] {
      before.accounted.intersects(range) ? before.accounted.missing(in: range) : [range]
    }
    for gap in envelope.gaps {
      for range in parts(gap.range) {
        let (sum, isOver) = counts.gapSequences.addingReportingOverflow(range.count)
        counts.gapSequences = isOver ? .max : sum
        open(range, gap.reason.text, topic: gap.topic, index)
      }
    }
    for elided in envelope.elided {
      for range in parts(elided) { open(range, "elided", topic: nil, index) }
    }
  }

  private mutating func open(
    _ range: SequenceRange, _ reason: String, topic: String?, _ index: Int
  ) {
    inboxes[index].open.insert(range)
    changes.openedGaps.append(
      KnownGap(inbox: inboxes[index].number, range: range, reason: reason, topic: topic))
  }

  /// Data came for what was known to be missing.
  private mutating func close(_ sequence: Sequence, _ index: Int) {
    counts.lateEvents += 1
    let range = SequenceRange(sequence, sequence)
    inboxes[index].open.remove(range)
    touchedInboxes.insert(index)
    let number = inboxes[index].number
    if let last = changes.closedGaps.last, last.inbox == number, last.range.last.next == sequence {
      changes.closedGaps[changes.closedGaps.count - 1].range = SequenceRange(
        last.range.first, sequence)
    } else {
      changes.closedGaps.append((number, range))
    }
  }

  // MARK: - Events

  private mutating func take(
    _ event: Event, inbox index: Int, _ number: Int64, _ now: WallTime, _ clock: MonotonicTime
  ) {
    if event.isDeadLetter {
      return refuse(
        HubDeadLetter(
          time: now, topic: event.topic, reason: "gateway-\(event.reason ?? "unknown")",
          detail: "the gateway could not use it: \(event.id)", payload: event.payload))
    }
    guard let place = place(of: event) else {
      return refuse(
        HubDeadLetter(
          time: now, topic: event.topic, reason: "unknown-topic",
          detail: "no asset's topic; known are \(rules.topicPrefix)/<asset>/asset, metrics and "
            + "confirmations", payload: event.payload))
    }
    let payload: [UInt8]
    switch event.data {
    case .json(let bytes) where bytes.first == UInt8(ascii: "{"): payload = bytes
    case .bytes(let bytes) where Payload.isObject(bytes): payload = bytes
    default:
      return refuse(
        HubDeadLetter(
          time: now, topic: event.topic, reason: "not-an-object",
          detail: "the payload of \(event.id) is no JSON object", payload: event.payload))
    }
    switch identities.admit(source: place.source, id: event.id, payload: payload) {
    case .new: break
    case .duplicate where ignoresInbox: break
    case .duplicate:
      counts.duplicates += 1
      return
    case .conflict:
      return refuse(
        HubDeadLetter(
          time: now, topic: event.topic, reason: "id-conflict",
          detail: "another event of \(event.source) has the id \(event.id)", payload: payload))
    }
    let origin = EventOrigin(inbox: number, sequence: event.sequence)
    switch place.kind {
    case .metrics:
      append(
        .metricRecorded, place.asset, event.time, origin, place.source, event.id, payload)
    case .confirmations:
      append(
        .commandConfirmed, place.asset, event.time, origin, place.source, event.id, payload)
    case .asset:
      let waits = WaitingEvent(
        origin: origin, asset: book.assets[place.asset].id, time: event.time,
        source: place.source, messageID: event.id, payload: payload)
      if inboxes[index].settled >= event.sequence || waiting.count >= HubRules.waitingMax {
        applyAsset(waits, now)
      } else {
        waiting.append((waits, clock + rules.contiguityWait))
        changes.waiting.append(waits)
        touchedInboxes.insert(index)
      }
    }
  }

  /// The asset and kind that a topic stands for, remembered by the source.
  private mutating func place(of event: Event) -> Place? {
    if let known = places[event.source] { return known }
    let levels = event.topic.split(separator: "/", omittingEmptySubsequences: false)
    let kinds: [Substring: Place.Kind] = [
      "asset": .asset, "metrics": .metrics, "confirmations": .confirmations,
    ]
    guard levels.count == 3, levels[0] == rules.topicPrefix, !levels[1].isEmpty,
      let kind = kinds[levels[2]]
    else {
      places[event.source] = .some(nil)
      return nil
    }
    let asset = book.enter(String(levels[1]))
    if asset == versionsBefore.count { versionsBefore.append(nil) }
    let place = Place(kind: kind, asset: asset, source: number(ofSource: event.source))
    places[event.source] = place
    return place
  }

  private mutating func number(ofSource text: String) -> Int64 {
    if let number = sources[text] { return number }
    let number = Int64(sources.count + 1)
    sources[text] = number
    changes.sources.append((number, text))
    return number
  }

  private mutating func append(
    _ type: EventType, _ asset: Int, _ time: WallTime, _ origin: EventOrigin?, _ source: Int64,
    _ id: String, _ payload: [UInt8]
  ) {
    let before = book.assets[asset].version
    if versionsBefore[asset] == nil {
      versionsBefore[asset] = before
      touched.append(asset)
    }
    position += 1
    counts.events += 1
    let event = HubEvent(
      position: position, asset: book.assets[asset].id, version: before + 1,
      previous: book.assets[asset].position, type: type, time: time, origin: origin, source: source,
      messageID: id, payload: payload)
    book.apply(event, at: asset)
    changes.events.append(event)
  }

  private mutating func refuse(_ letter: HubDeadLetter) {
    counts.deadLetters += 1
    changes.deadLetters.append(letter)
  }

  // MARK: - Assets

  /// The business key decides: once registered, an asset keeps its identity.
  private mutating func applyAsset(_ event: WaitingEvent, _ now: WallTime) {
    let index = book.enter(event.asset)
    if index == versionsBefore.count { versionsBefore.append(nil) }
    let state = book.assets[index]
    let facts: AssetFacts
    do throws(AssetFacts.Problem) {
      facts = try AssetFacts(event.payload, asset: event.asset)
    } catch {
      return refuse(
        HubDeadLetter(
          time: now, topic: "\(rules.topicPrefix)/\(event.asset)/asset", reason: error.rawValue,
          detail: "no asset event that can be used: \(event.messageID)", payload: event.payload))
    }
    func append(_ type: EventType, _ payload: [UInt8]) {
      self.append(
        type, index, event.time, event.origin, event.source, event.messageID, payload)
    }
    switch facts.change {
    case .created where !state.isRegistered: append(.assetCreated, facts.json)
    case .created where !state.isRetired && facts.json == state.facts: counts.duplicates += 1
    case .created: conflict(event, facts.json, state, index)
    case .changed where !state.isRegistered || state.isRetired:
      conflict(event, facts.json, state, index)
    case .changed:
      let merged = facts.merged(into: state.facts)
      let isIdentityKept = ["type", "creationDate"].allSatisfy {
        Payload.value($0, in: merged) == Payload.value($0, in: state.facts)
      }
      if !isIdentityKept {
        conflict(event, facts.json, state, index)
      } else if merged == state.facts {
        counts.duplicates += 1
      } else {
        append(.assetChanged, merged)
      }
    case .retired where state.isRegistered && !state.isRetired:
      append(.assetRetired, state.facts)
    case .retired: counts.duplicates += 1
    }
  }

  /// Stored, published, and without effect on the asset.
  private mutating func conflict(
    _ event: WaitingEvent, _ facts: [UInt8], _ state: AssetState, _ index: Int
  ) {
    counts.conflicts += 1
    var payload: [UInt8] = []
    payload.append(ascii: "{\"rejected\":")
    payload.append(contentsOf: facts)
    payload.append(ascii: ",\"registered\":")
    payload.append(contentsOf: state.facts.isEmpty ? Array("null".utf8) : state.facts)
    payload.append(ascii: state.isRetired ? ",\"retired\":true}" : ",\"retired\":false}")
    append(
      .assetConflict, index, event.time, event.origin, event.source, event.messageID, payload)
  }

  /// Asset events of one inbox for which nothing is missing any more.
  private mutating func settle(inbox index: Int) {
    guard !waiting.isEmpty else { return }
    let settled = inboxes[index].settled
    let number = inboxes[index].number
    let ready = waiting.filter {
      $0.event.origin.inbox == number && $0.event.origin.sequence <= settled
    }
    guard !ready.isEmpty else { return }
    waiting.removeAll {
      $0.event.origin.inbox == number && $0.event.origin.sequence <= settled
    }
    for (event, _) in ready.sorted(by: { $0.event.origin.sequence < $1.event.origin.sequence }) {
      changes.noLongerWaiting.append(event.origin)
      applyAsset(event, changes.time)
    }
    touchedInboxes.insert(index)
  }

  /// Those that have waited long enough go on with the gap known.
  private mutating func settleWaiting(_ clock: MonotonicTime) {
    guard !waiting.isEmpty else { return }
    for (event, deadline) in waiting where deadline <= clock {
      guard let index = inboxes.inboxes.firstIndex(where: { $0.number == event.origin.inbox })
      else { continue }
      inboxes[index].floor = max(inboxes[index].floor, event.origin.sequence)
      settle(inbox: index)
    }
  }

  // MARK: - What follows

  /// Policies hear of each other's events; a round without any ends it.
  private static let policyRoundsMax = 8

  private mutating func consultPolicies(_ now: WallTime, _ clock: MonotonicTime) {
    guard !policies.isEmpty else { return }
    var heard = 0
    for round in 0..<Self.policyRoundsMax {
      let news = changes.events[heard...]
      if round > 0, news.isEmpty { return }
      heard = changes.events.count
      for policy in policies {
        // The view is gone before the book changes, or all of the book would be copied.
        let decision = policy.decide(
          news, PolicyView(now: now, monotonic: clock, book: book, gateways: gateways))
        for proposed in decision.events {
          let index = book.enter(proposed.asset)
          if index == versionsBefore.count { versionsBefore.append(nil) }
          append(proposed.type, index, proposed.time, nil, 0, "", proposed.payload)
        }
        for message in decision.messages {
          enqueue(
            message.topic, message.key, message.payload,
            expiry: message.expiry.map { UInt32(clamping: Int64($0.seconds)) })
        }
        for (key, value) in decision.rows {
          changes.policyRows.append(PolicyRow(policy: policy.name, key: key, value: value))
        }
      }
    }
  }

  private mutating func publish() {
    for event in changes.events {
      if event.type == .metricRecorded, !rules.publishesMetrics { continue }
      if event.type == .commandConfirmed { continue }
      publication += 1
      enqueue(
        CloudEvent.topic(hub: rules.hubID, asset: event.asset), event.asset,
        CloudEvent.encode(event, hub: rules.hubID, publication: publication))
    }
    changes.publication = publication
  }

  private mutating func enqueue(
    _ topic: String, _ key: String, _ payload: [UInt8], expiry: UInt32? = nil
  ) {
    outboxNumber += 1
    changes.outbox.append(
      OutboxRow(
        number: outboxNumber, topic: topic, key: key, payload: payload, expiry: expiry,
        time: changes.time))
  }
}
