package import GatewayCore
import Synchronization

/// What one sink has not acknowledged.
package struct SinkBacklog: Sendable, Hashable {
  package let recordCount: UInt64
  /// Of the ring, from the first group that holds some of it.
  package let byteCount: ByteCount
  /// About when the oldest of it was received.
  package let oldest: WallTime?
}

extension JournalState {
  /// How far a sink is behind. Any thread; one short lock.
  package func backlog(of sink: Int) -> SinkBacklog {
    let acknowledged = acknowledged(sink)
    let wanted = max(acknowledged.next, oldestKept).rawValue
    let oldest = index.withLock { index -> Int64? in
      guard let newest = index.last, newest.last >= wanted else { return nil }
      let group = index[index.position(of: wanted) ?? 0]
      return group.received(from: max(wanted, group.first))
    }
    return SinkBacklog(
      recordCount: committed.count(since: acknowledged),
      byteCount: ByteCount(usedByteCount(floor: acknowledged.rawValue)),
      oldest: oldest.map { WallTime(nanoseconds: $0) })
  }

  /// Bytes of the ring per record that is in it; nil when there is none.
  package var meanRecordByteCount: Double? {
    index.withLock { index in
      guard let first = index.first, let last = index.last else { return nil }
      return Double(index.occupiedByteCount) / Double(last.last - first.first + 1)
    }
  }
}
