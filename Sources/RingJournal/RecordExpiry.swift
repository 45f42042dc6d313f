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

  /// How long the record has been here, at least.
  package func age(of record: JournalRecord) -> Duration {
    max(.zero, now - record.receivedElapsed)
  }

  /// - Parameter bytes: what the record's ranges index.
  package func isExpired(_ record: JournalRecord, _ bytes: Span<UInt8>) -> Bool {
    // A tombstone is a gap already.
    if case .tombstone = record.kind { return false }
    if let limit, age(of: record) > limit { return true }
    guard !record.properties.isEmpty else { return false }
    let properties = bytes.extracting(record.properties)
    var reader = MQTTPropertyReader()
    while let property = reader.next(in: properties) {
      guard property.identifier == .messageExpiryInterval else { continue }
      return age(of: record) >= .seconds(Int64(property.number))
    }
    return false
  }

  /// Whether all records of a group are older than the route's limit.
  func isExpired(_ group: GroupEntry) -> Bool {
    guard let limit else { return false }
    let span = group.lastReceived &- group.received
    return now - .nanoseconds(timesOff.corrected(group.elapsed) &+ span) > limit
  }
}
