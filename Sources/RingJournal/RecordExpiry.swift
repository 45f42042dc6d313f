import GatewayCore

/// Which records are too old to be delivered, as of one moment: those older than the route's
/// `expire_after`, and those whose own Message Expiry Interval has passed (MQTT 5.0, section
/// 3.3.2.3.3). Ages are of elapsed time, so no step of the wall clock makes a record expire. A pure
/// value.
package struct RecordExpiry: Sendable {
  /// Elapsed time of the moment.
  let now: Duration
  /// Nil: only a record's own interval counts.
  let limit: Duration?
  let timesOff: [ElapsedTime.TimeOff]
  /// Whether the wall clock has been synchronised in this boot.
  let isSynchronised: Bool

  /// How long the record has been here, at least.
  package func age(of record: JournalRecord) -> Duration {
    max(.zero, now - record.receivedElapsed)
  }

  /// - Parameter bytes: what the record's ranges index.
  package func isExpired(_ record: JournalRecord, _ bytes: Span<UInt8>) -> Bool {
    // A tombstone is a gap already.
    if case .tombstone = record.kind { return false }
    if let limit, age(of: record) > limit { return true }
    guard let interval = interval(of: record, bytes) else { return false }
    return age(of: record) >= interval
  }

  /// How long it may still be delivered; not positive when it has expired, nil when it never does.
  package func timeLeft(of record: JournalRecord, _ bytes: Span<UInt8>) -> Duration? {
    guard let life = min(limit, interval(of: record, bytes)) else { return nil }
    return life - age(of: record)
  }

  /// As above, by the record's own Message Expiry Interval alone.
  package func intervalLeft(of record: JournalRecord, _ bytes: Span<UInt8>) -> Duration? {
    interval(of: record, bytes).map { $0 - age(of: record) }
  }

  /// Whether the true age of the record is known. It is within one boot, and where the clock was
  /// synchronised both in the boot of its receipt, by then or later, and in this one. Else the
  /// machine may have been off for any time, and `age` is the least it can be.
  package func isAgeCertain(of record: JournalRecord) -> Bool {
    let isDated = record.flags.contains(.clockSynchronised) || record.isReceivedCorrected
    return record.isOfThisBoot || (isDated && isSynchronised)
  }

  private func min(_ left: Duration?, _ right: Duration?) -> Duration? {
    guard let left, let right else { return left ?? right }
    return Swift.min(left, right)
  }

  private func interval(of record: JournalRecord, _ bytes: Span<UInt8>) -> Duration? {
    guard !record.properties.isEmpty else { return nil }
    let properties = bytes.extracting(record.properties)
    var reader = MQTTPropertyReader()
    while let property = reader.next(in: properties) {
      guard property.identifier == .messageExpiryInterval else { continue }
      return .seconds(Int64(property.number))
    }
    return nil
  }

  /// Whether all records of a group are older than the route's limit.
  func isExpired(_ group: GroupEntry) -> Bool {
    guard let limit else { return false }
    let span = group.lastReceived &- group.received
    return now - .nanoseconds(timesOff.corrected(group.elapsed) &+ span) > limit
  }
}
