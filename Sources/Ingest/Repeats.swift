import Deduplication
import Filtering
import GatewayCore
package import RingJournal

/// Recognises retained messages without an id that come again because we subscribed again.
///
/// A broker answers SUBSCRIBE with the retained messages of its topics: the state that each topic
/// has, not an event. When our session was lost that is the state we journalled long ago. So such a
/// message is a duplicate when it says what the last retained message of its topic in the journal
/// says, and news when it says anything else.
///
/// Over MQTT 3.1.1 the retain flag itself tells: it is set on these messages only. Over MQTT 5 it
/// is also set on live messages (retain as published), so there only as many messages of a topic
/// count as there are filters for it in what was just subscribed to, for `answerTime`. A device
/// that says the same twice is heard twice.
///
/// Beyond `SourcePlaces.capacityDefault` topics nothing is remembered: such a message is journalled
/// again, which loses nothing.
package struct RetainedMemory: Sendable {
  /// How long after a SUBSCRIBE its retained messages may come.
  static let answerTime: Duration = .seconds(60)

  private let hasher = MessageHasher(key: .random { .random(in: .min ... .max) })
  /// Made when the first such message comes.
  private var places: SourcePlaces?
  private var digests: [UInt64] = []
  /// What was subscribed to last, and how many retained messages of each topic have come since.
  private var filters = TopicFilters([])
  private var seen: [UInt64: Int] = [:]
  private var answersUntil = MonotonicTime(nanoseconds: .min)

  package init() {}

  /// A record that was found in the journal when it was opened, in order of sequence.
  package mutating func recover(_ record: JournalRecord, _ bytes: Span<UInt8>) {
    guard record.kind == .data, record.flags.contains(.retained), record.idTextBytes.isEmpty
    else { return }
    note(bytes.extracting(record.topic), bytes.extracting(record.payload))
  }

  /// A SUBSCRIBE is about to leave.
  mutating func subscribes(to filters: [String], now: MonotonicTime) {
    self.filters = TopicFilters(filters)
    seen.removeAll(keepingCapacity: true)
    answersUntil = now + Self.answerTime
  }

  /// The journal has taken a retained message without an id.
  mutating func note(_ topic: Span<UInt8>, _ payload: Span<UInt8>) {
    if places == nil {
      places = SourcePlaces()
      digests = [UInt64](repeating: 0, count: SourcePlaces.capacityDefault)
    }
    guard let place = places?.place(of: hasher.sourceHash(topic))?.place else { return }
    digests[place] = hasher.digest(payload)
  }

  /// Whether a retained message without an id says what is journalled already, for no other reason
  /// than that we subscribed.
  mutating func isRepeat(
    _ topic: Span<UInt8>, _ payload: Span<UInt8>, retainAsPublished: Bool, now: MonotonicTime
  ) -> Bool {
    let hash = hasher.sourceHash(topic)
    if retainAsPublished, now >= answersUntil || !isAnswer(topic, hash) { return false }
    guard let place = places?.find(hash) else { return false }
    return digests[place] == hasher.digest(payload)
  }

  private mutating func isAnswer(_ topic: Span<UInt8>, _ hash: UInt64) -> Bool {
    let expected = filters.matchCount(topic)
    guard expected > 0 else { return false }
    if let count = seen[hash] {
      seen[hash] = count + 1
      return count < expected
    }
    guard seen.count < SourcePlaces.capacityDefault else { return false }
    seen[hash] = 1
    return true
  }
}

/// Recognises the copies of one message, without an id, that a broker sends because it matches
/// several of our filters. Each copy names the subscription that it is for.
///
/// Of each topic the last message is remembered, with the subscription of its first copy. The same
/// payload for *another* subscription is a copy of it; for the same one it is a message of its own.
/// Each message has exactly one copy for the subscription that is remembered, so that what is
/// journalled are as many records as there were messages, in whatever order a broker sends copies.
///
/// Only subscriptions that we hold now count, and over MQTT 3.1.1 there is nothing to go by: equal
/// readings are legal, so both are journalled.
struct OverlapMemory {
  private let filters: TopicFilters
  private let identifiers: [UInt32]
  private let hasher = MessageHasher(key: .random { .random(in: .min ... .max) })
  private var places = SourcePlaces()
  private var digests = [UInt64](repeating: 0, count: SourcePlaces.capacityDefault)
  private var firstIdentifiers = [UInt32](repeating: 0, count: SourcePlaces.capacityDefault)

  /// Nil when no two filters overlap: no message has copies.
  init?(_ plan: SubscriptionPlan) {
    identifiers = plan.subscriptions.compactMap(\.identifier)
    if identifiers.isEmpty { return nil }
    filters = TopicFilters(plan.subscriptions.filter { $0.identifier != nil }.map(\.filter))
  }

  /// - Parameter identifier: of the subscription that the message came for; 0: not known.
  mutating func isCopy(
    _ topic: Span<UInt8>, _ payload: Span<UInt8>, identifier: UInt32
  ) -> Bool {
    guard identifier != 0, identifiers.contains(identifier), filters.matchCount(topic) > 1 else {
      return false
    }
    let hash = hasher.sourceHash(topic)
    let digest = hasher.digest(payload)
    var found = places.place(of: hash)
    if found == nil {
      // All are taken: all are forgotten. A message whose copies come just now is journalled twice.
      places.reclaim { _ in true }
      found = places.place(of: hash)
    }
    guard let (place, isNew) = found else { return false }
    if !isNew, digests[place] == digest, firstIdentifiers[place] != identifier { return true }
    digests[place] = digest
    firstIdentifiers[place] = identifier
    return false
  }
}
