import Deduplication
import Filtering
package import GatewayCore

/// So many messages in so long a time.
package struct MessageRate: Sendable, Hashable {
  package var count: Int
  /// A second, a minute or an hour.
  package var per: Duration

  package init(count: Int, per: Duration) {
    precondition(count > 0 && per > .zero, "a rate lets something pass")
    self.count = count
    self.per = per
  }

  /// The time from one message to the next at exactly this rate.
  var interval: Int64 { max(1, per.nanoseconds / Int64(count)) }
}

/// What one source topic may send, as configured. What is beyond is refused.
package struct SourceLimit: Sendable, Hashable {
  /// The topics it is for; the first limit that is for a topic holds.
  package var topics: [String] = ["#"]
  package var rate: MessageRate?
  /// Messages that may come at once after a silence; nil: as many as the rate names.
  package var burst: Int?
  /// Of payload, topic, properties and a stored id together.
  package var recordByteCountMax: ByteCount?

  package init() {}

  package static let burstMax = 10_000_000
  /// Limits of one route.
  package static let countMax = 16
}

/// Whether each source topic keeps to its rate and size. A token bucket per source, kept as one
/// time (the generic cell rate algorithm): the earliest at which the bucket would be full again.
///
/// ## What waited at the broker
/// While we are away the broker keeps messages, and then sends hours of them in seconds. They are
/// not a mad device. So a connection to a session that was kept begins with a minute in which a
/// source may send, beyond its burst, what its rate would have let pass in our absence.
///
/// At most `SourcePlaces.capacityDefault` sources have a bucket of their own; those beyond share
/// one, until a bucket is full again and its place is taken.
///
/// Pure: the caller brings the time. Nothing is allocated after the start, but when places are
/// taken back.
package struct SourceRates: Sendable {
  package enum Answer: Sendable, Hashable {
    case admitted
    case overRate
    case tooLarge
  }

  /// How long after a reconnect the credit for the absence is there to be used.
  package static let creditTime: Duration = .seconds(60)

  private struct Rule: Sendable {
    let filters: TopicFilters
    let interval: Int64
    /// How far ahead of the time a source may be.
    let tolerance: Int64
    let byteCountMax: Int
  }

  private let rules: [Rule]
  private let hasher: MessageHasher
  private var places: SourcePlaces
  /// By place, of which the last one is shared: monotonic nanoseconds.
  private var fullAt: [Int64]
  private var credit: Int64 = 0
  private var creditUntil: Int64 = .min
  private var nextReclaim: Int64 = .min
  /// Messages of sources that had to share a bucket, since the start.
  package private(set) var sharedCount: UInt64 = 0

  /// - Parameter sourcesMax: fewer only in tests.
  package init(_ limits: [SourceLimit], sourcesMax: Int = SourcePlaces.capacityDefault) {
    rules = limits.map { limit in
      let interval = limit.rate?.interval ?? 0
      let burst = Int64(limit.burst ?? limit.rate?.count ?? 1)
      let tolerance = (burst - 1).multipliedReportingOverflow(by: interval)
      return Rule(
        filters: TopicFilters(limit.topics), interval: interval,
        // Two hundred years are no limit.
        tolerance: tolerance.overflow ? .max / 2 : min(tolerance.partialValue, .max / 2),
        byteCountMax: limit.recordByteCountMax?.rawValue ?? .max)
    }
    hasher = MessageHasher(key: .random { .random(in: .min ... .max) })
    places = SourcePlaces(capacity: sourcesMax)
    fullAt = [Int64](repeating: .min, count: sourcesMax + 1)
  }

  /// Sources with a bucket of their own.
  package var sourceCount: Int { places.count }

  /// A connection begins with what waited at the broker for so long.
  package mutating func returned(after absence: Duration, now: MonotonicTime) {
    credit = max(0, absence.nanoseconds)
    creditUntil = now.nanoseconds + Self.creditTime.nanoseconds
  }

  /// Whether a message of this source may be taken; if so it is counted.
  package mutating func admit(
    _ topic: Span<UInt8>, byteCount: Int, now: MonotonicTime
  ) -> Answer {
    var rule = 0
    while rule < rules.count, !rules[rule].filters.matches(topic) { rule += 1 }
    if rule == rules.count { return .admitted }
    if byteCount > rules[rule].byteCountMax { return .tooLarge }
    let interval = rules[rule].interval
    if interval == 0 { return .admitted }
    let now = now.nanoseconds
    let place = bucket(of: hasher.sourceHash(topic), now: now)
    let earliest = now < creditUntil ? now - credit : now
    let start = max(fullAt[place], earliest)
    guard start <= now + rules[rule].tolerance else { return .overRate }
    fullAt[place] = start + interval
    return .admitted
  }

  private mutating func bucket(of hash: UInt64, now: Int64) -> Int {
    if let found = places.place(of: hash) { return fresh(found) }
    if now >= nextReclaim {
      // Looking at all of them is worth it once in a while only.
      nextReclaim = now + 1_000_000_000
      let earliest = now < creditUntil ? now - credit : now
      let fullAt = self.fullAt
      places.reclaim { fullAt[$0] <= earliest }
      if let found = places.place(of: hash) { return fresh(found) }
    }
    sharedCount += 1
    return places.capacity
  }

  private mutating func fresh(_ found: (place: Int, isNew: Bool)) -> Int {
    if found.isNew { fullAt[found.place] = .min }
    return found.place
  }
}
