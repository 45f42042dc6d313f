package import Envelope
package import GatewayCore

/// Whose records an inbox accounts for.
package struct InboxKey: Sendable, Hashable {
  package var gateway: String
  package var route: String
  package var journal: JournalID

  package init(gateway: String, route: String, journal: JournalID) {
    self.gateway = gateway
    self.route = route
    self.journal = journal
  }

  /// Gateway and route: what sequences of several journals are ordered in.
  package var channel: String { "\(gateway)/\(route)" }
}

/// What of one journal has been taken. A sequence is accounted for when it came as an event, as a
/// gap or as elided; only those of the latter two may come once more, as late data.
///
/// ## Lives
/// A gateway that was put back to an older image counts again from there, in an epoch of its own.
/// Its first envelope of that epoch brings sequences that are data already: a second life of the
/// journal begins, with a set of its own. What still comes of an epoch of the first life is judged
/// by the first one's set, so that nothing of either is taken twice.
package struct InboxState: Sendable, Hashable {
  /// Epochs that are remembered per life. One per start of the gateway.
  package static let epochsMax = 4096
  /// Ranges of one set; beyond it the lowest hole is given up. Each is one loss in the sequence.
  package static let rangesMax = 10_000

  /// In the store.
  package let number: Int64
  package let key: InboxKey
  package let life: Int
  /// Among the journals of the channel.
  package let rank: Int64
  /// Where this life's numbering leaves that of the life before; 1 for the first.
  package let start: Sequence
  /// Topic of the batches; acceptances go to the topic below it.
  package var topic: String
  package var epochs: [Epoch] = []
  package var accounted = IntervalSet()
  /// Of `accounted`: known not to have come as data.
  package var open = IntervalSet()
  /// Holes up to here are not waited for any more.
  package var floor = Sequence.none
  /// Of the envelope with the highest `last`.
  package var newestEpoch: Epoch
  package var newestLast = Sequence.none

  package init(
    number: Int64, key: InboxKey, life: Int, rank: Int64, start: Sequence, topic: String,
    newestEpoch: Epoch
  ) {
    self.number = number
    self.key = key
    self.life = life
    self.rank = rank
    self.start = start
    self.topic = topic
    self.newestEpoch = newestEpoch
  }

  /// How far nothing is missing that is still waited for.
  package var settled: Sequence {
    guard let last = accounted.last else { return floor }
    guard last > floor else { return floor }
    let rest = accounted.missing(in: SequenceRange(floor.next, last))
    return rest.first.map { $0.first.previous } ?? last
  }

  /// What the gateway is told after the commit.
  package var acceptance: AcceptanceMessage {
    var through = accounted.last ?? .none
    var missing = accounted.holes
    let countMax = AcceptanceMessage.missingCountMax
    if missing.count > countMax {
      through = missing[countMax].first.previous
      missing.removeSubrange(countMax...)
    }
    return AcceptanceMessage(
      journal: key.journal, epoch: newestEpoch, through: through, missing: missing)
  }

  mutating func account(_ range: SequenceRange, epoch: Epoch) {
    accounted.insert(range)
    while accounted.ranges.count > Self.rangesMax {
      accounted.insert(
        SequenceRange(accounted.ranges[0].last.next, accounted.ranges[1].first.previous))
    }
    if range.last >= newestLast {
      newestLast = range.last
      newestEpoch = epoch
    }
  }

  mutating func learn(_ epoch: Epoch) {
    guard !epochs.contains(epoch) else { return }
    epochs.append(epoch)
    if epochs.count > Self.epochsMax { epochs.removeFirst() }
  }
}

/// All inboxes.
package struct InboxBook: Sendable {
  private static let rankStep: Int64 = 1 << 20

  package private(set) var inboxes: [InboxState] = []
  /// Indices of the lives of each journal, in their order.
  private var lives: [InboxKey: [Int]] = [:]
  /// Ranks that are promised to a journal that a later one has named as its predecessor.
  private var promised: [InboxKey: Int64] = [:]
  private var newestRank: [String: Int64] = [:]

  package init() {}

  package mutating func restore(_ state: InboxState) {
    lives[state.key, default: []].append(inboxes.count)
    newestRank[state.key.channel] = max(newestRank[state.key.channel] ?? 0, state.rank)
    inboxes.append(state)
  }

  package subscript(index: Int) -> InboxState {
    get { inboxes[index] }
    set { inboxes[index] = newValue }
  }

  /// The lives of a journal that began after `index`.
  func livesAfter(_ index: Int) -> [Int] {
    (lives[inboxes[index].key] ?? []).filter { inboxes[$0].life > inboxes[index].life }
  }

  /// The newest life of the journal that `index` is a life of.
  func newestLife(of index: Int) -> Int { lives[inboxes[index].key]?.last ?? index }

  /// The inbox that judges an envelope; one is made for what is new.
  /// - Returns: its index, whether it was made just now, and whether by an overlap.
  mutating func enter(
    _ envelope: Envelope, topic: String
  ) -> (index: Int, isNew: Bool, isOverlap: Bool) {
    let header = envelope.header
    let key = InboxKey(gateway: header.gateway, route: header.route, journal: header.journal)
    guard let known = lives[key], let newest = known.last else {
      let index = append(
        key, life: 0, rank: rank(of: key, previous: header.previous), start: .first, topic, header)
      return (index, true, false)
    }
    if inboxes[newest].epochs.last == header.epoch { return (newest, false, false) }
    if let index = known.last(where: { inboxes[$0].epochs.contains(header.epoch) }) {
      return (index, false, false)
    }
    let state = inboxes[newest]
    let isOverlap = envelope.events.contains {
      state.accounted.contains($0.sequence) && !state.open.contains($0.sequence)
    }
    guard isOverlap else {
      inboxes[newest].learn(header.epoch)
      return (newest, false, false)
    }
    let index = append(
      key, life: state.life + 1, rank: state.rank + 1, start: header.first, topic, header)
    let forgotten = SequenceRange(header.first, Sequence(.max - 1))
    var (accounted, open) = (state.accounted, state.open)
    accounted.remove(forgotten)
    open.remove(forgotten)
    inboxes[index].accounted = accounted
    inboxes[index].open = open
    inboxes[index].floor = min(state.floor, header.first.previous)
    return (index, true, true)
  }

  private mutating func append(
    _ key: InboxKey, life: Int, rank: Int64, start: Sequence, _ topic: String,
    _ header: EnvelopeHeader
  ) -> Int {
    var state = InboxState(
      number: Int64(inboxes.count + 1), key: key, life: life, rank: rank, start: start,
      topic: topic, newestEpoch: header.epoch)
    state.learn(header.epoch)
    restore(state)
    return inboxes.count - 1
  }

  /// A journal that replaced another ranks above it, whichever of the two is heard of first.
  private mutating func rank(of key: InboxKey, previous: PreviousJournal?) -> Int64 {
    let newest = newestRank[key.channel] ?? 0
    let rank = promised.removeValue(forKey: key) ?? newest + Self.rankStep
    if let previous {
      let before = InboxKey(gateway: key.gateway, route: key.route, journal: previous.id)
      if lives[before] == nil { promised[before] = rank - Self.rankStep / 2 }
    }
    return rank
  }
}
