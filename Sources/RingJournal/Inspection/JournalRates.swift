import GatewayCore
import Platform
import Synchronization

/// How fast a ring fills and drains, from the times and cursors that its newest groups carry.
package struct JournalRates: Sendable {
  /// How far back this looks, at most: what an operator calls now.
  package static let window: Duration = .seconds(3600)
  /// Over less than this nothing is said.
  package static let spanMin: Duration = .seconds(1)
  static let groupCountMax = 65_536

  /// Over which time.
  package let span: Duration
  /// Per second.
  package let records: Double
  /// Bytes of the ring per second, headers and padding included.
  package let ringBytes: Double
  /// Acknowledged records per second, by sink.
  package let acknowledged: [String: Double]
}

extension JournalObserver {
  /// Nil: the newest groups of one boot do not cover enough time. On the machine and boot that
  /// wrote the file the time up to now counts, otherwise the time up to the newest commit.
  package mutating func rates() -> JournalRates? {
    let index = view.state.index.withLock { $0 }
    guard let last = index.last, let newest = group(holding: Sequence(last.last)),
      newest.bootID != .unknown
    else { return nil }
    var cursorsAt = newest.committedMonotonic
    if let superblock = view.blocks.superblock, superblock.bootID == newest.bootID {
      cursorsAt = max(cursorsAt, MonotonicTime(nanoseconds: superblock.monotonicTime))
    }
    let now =
      newest.bootID == environment.bootID
      ? max(environment.clock.monotonic(), cursorsAt) : cursorsAt
    var (oldest, byteCount) = (newest, newest.occupied.rawValue)
    for place in (0..<index.count - 1).reversed().prefix(JournalRates.groupCountMax) {
      guard let group = group(holding: Sequence(index[place].last)),
        group.bootID == newest.bootID,
        now.since(group.openedMonotonic) <= JournalRates.window
      else { break }
      oldest = group
      byteCount += group.occupied.rawValue
    }
    let span = now.since(oldest.openedMonotonic)
    guard span >= JournalRates.spanMin else { return nil }
    let recordCount = newest.sequences.last.count(since: oldest.sequences.first.previous)
    var acknowledged: [String: Double] = [:]
    let cursorSpan = cursorsAt.since(oldest.committedMonotonic)
    if cursorSpan >= JournalRates.spanMin {
      for sink in view.state.sinks {
        guard let before = oldest.acknowledged[sink.name] else { continue }
        let progress = Sequence(sink.acknowledged.load(ordering: .relaxed)).count(since: before)
        acknowledged[sink.name] = Double(progress) / cursorSpan.seconds
      }
    }
    return JournalRates(
      span: span, records: Double(recordCount) / span.seconds,
      ringBytes: Double(byteCount) / span.seconds, acknowledged: acknowledged)
  }
}
