package import GatewayCore
import Synchronization

extension JournalState {
  /// What has expired as of now. Any thread.
  package func expiry() -> RecordExpiry {
    // In this order: what is added in between makes a record younger, never older.
    let now = elapsed()
    return RecordExpiry(
      now: now, limit: expireAfter, timesOff: timesOff,
      isSynchronised: elapsedTime.withLock { $0.isSynchronised })
  }

  /// A sink has accepted the news that these records expired. Counts them as lost, each once,
  /// however many sinks meet it; what only a best-effort sink missed is not lost.
  package func countExpired(_ range: SequenceRange, sink: Int) {
    guard sinks[sink].isRequired else { return }
    noteExpired(range)
    countLost(range, .expired)
  }

  /// Enters expired records into the ledger from which readers learn why they are missing.
  func noteExpired(_ range: SequenceRange) {
    _ = expiryLedger.withLock { $0.insert(range) }
  }

  /// The reason why the first of these sequences, all below `oldestKept`, are not there any more.
  func givenUp(_ range: SequenceRange) -> Gap {
    let expired = expiryLedger.withLock { $0.firstOverlap(with: range) }
    guard let expired else { return Gap(range, access.dropReason) }
    if expired.first > range.first {
      return Gap(SequenceRange(range.first, expired.first.previous), access.dropReason)
    }
    return Gap(expired, .expired)
  }

  /// What some sink can still meet.
  func expiredSequences() -> LossLedger {
    let floor = floor
    return expiryLedger.withLock {
      $0.prune(below: Sequence(floor + 1))
      return $0
    }
  }

  /// The last sequence of the oldest groups that have expired, which a full ring may give up; the
  /// newest group is never one of them.
  func expiredFloor() -> UInt64 {
    guard expireAfter != nil, !keepsExpired else { return 0 }
    let expiry = expiry()
    return index.withLock { index in
      var (low, high) = (0, max(index.count - 1, 0))
      while low < high {
        let middle = (low + high) / 2
        if expiry.isExpired(index[middle]) { low = middle + 1 } else { high = middle }
      }
      return low == 0 ? 0 : index[low - 1].last
    }
  }
}
