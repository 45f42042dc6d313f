import GatewayCore
import RingJournal

/// The figures of `stats`, derived from what the journal says of itself.
struct StatisticsReport {
  let statistics: JournalStatistics
  let facts: JournalFacts
  /// Nil: not known.
  let rates: JournalRates?
  /// What each sink has not acknowledged, in bytes of the ring.
  let sinkBacklogBytes: [String: Int]
  let sources: SourceCounts
  let sourcesMax: Int
  let isLive: Bool
  /// For ages, which are those of this machine's clock.
  let now: WallTime

  /// Of a sink.
  struct Backlog {
    let records: UInt64
    /// Nil: unknown, or never at the present rates.
    let timeToDrain: Duration?
    let isGrowing: Bool
  }

  var freeByteCount: Int { statistics.capacity.rawValue - statistics.used.rawValue }

  /// How long the free part lasts when nothing is delivered.
  var timeToFull: Duration? {
    guard let rates, rates.ringBytes > 0 else { return nil }
    return .bounded(seconds: Double(freeByteCount) / rates.ringBytes)
  }

  /// Without the filling.
  var writtenByteCount: UInt64 {
    statistics.wear.writtenByteCount
      - min(facts.filling.writtenByteCount, statistics.wear.writtenByteCount)
  }

  var syncCount: UInt64 {
    statistics.wear.syncCount - min(facts.filling.syncCount, statistics.wear.syncCount)
  }

  var writeAmplification: Double? {
    let bytes = statistics.wear.recordByteCount
    return bytes > 0 ? Double(writtenByteCount) / Double(bytes) : nil
  }

  /// From the creation to the newest superblock; nil when that is less than a minute or nonsense,
  /// as when a clock was set meanwhile.
  var life: Duration? {
    guard let writtenAt = facts.writtenAt else { return nil }
    let life = Duration.nanoseconds(
      writtenAt.nanoseconds - statistics.identity.createdAt.nanoseconds)
    return life >= .seconds(60) ? life : nil
  }

  func perDay(_ count: UInt64) -> Double? { life.map { Double(count) / ($0.seconds / 86_400) } }

  var age: Duration? {
    guard let oldest = statistics.oldestUndelivered, now > oldest else { return nil }
    return .nanoseconds(now.nanoseconds - oldest.nanoseconds)
  }

  func backlog(_ sink: JournalStatistics.Sink) -> Backlog {
    let records = sink.missing(of: statistics.committed)
    guard records > 0, let rates, let acknowledged = rates.acknowledged[sink.name],
      acknowledged > 0
    else { return Backlog(records: records, timeToDrain: nil, isGrowing: false) }
    let net = acknowledged - rates.records
    guard net > 0 else { return Backlog(records: records, timeToDrain: nil, isGrowing: true) }
    return Backlog(
      records: records, timeToDrain: .bounded(seconds: Double(records) / net), isGrowing: false)
  }
}

extension Duration {
  /// At most a thousand years: beyond that a figure says nothing.
  fileprivate static func bounded(seconds: Double) -> Duration {
    .seconds(Int64(min(max(seconds, 0), 31_557_600_000)))
  }
}
