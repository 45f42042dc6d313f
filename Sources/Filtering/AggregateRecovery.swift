package import GatewayCore
package import JSONScanning

/// Makes an aggregator again, out of what a journal holds when it is opened: the readings of each
/// series behind its last aggregate, which are flagged. So an aggregate that was committed is never
/// made a second time, and one that was not is made of the same readings.
///
/// One owner, one thread; allocates as the series come.
package struct AggregateRecovery: ~Copyable {
  private var aggregator: Aggregator
  private var scanner: JSONScanner
  /// By the digest that their aggregates have.
  private var places: [UInt64: Int] = [:]
  /// Flagged readings that the present configuration does not take for ones.
  package private(set) var strangerCount = 0

  /// - Parameter identity: the pointers that stand before the aggregate's in the scans to come.
  package init(
    _ options: AggregateOptions, behind identity: [JSONPointer],
    capacity: Int = Aggregator.capacityDefault
  ) throws(JSONPointerError) {
    var pointers = identity
    aggregator = try Aggregator(options, pointers: &pointers, capacity: capacity)
    scanner = JSONScanner(pointers: pointers)
  }

  /// A record of the journal, in order of sequence.
  package mutating func recover(
    flags: RecordFlags, sequence: Sequence, received: WallTime, digest: UInt64,
    topic: Span<UInt8>, payload: Span<UInt8>
  ) {
    if flags.contains(.aggregate) {
      if let place = places[digest] { aggregator.recoverAggregate(of: place, digest: digest) }
    } else if flags.contains(.aggregated) {
      _ = scanner.scan(payload)
      if let reading = aggregator.reading(topic: topic, payload: payload, json: scanner) {
        let digest = aggregator.recover(reading, sequence: sequence, at: received)
        places[digest] = reading.place
      } else {
        strangerCount += 1
      }
    }
  }

  package consuming func finish() -> Aggregator {
    aggregator.finishRecovery()
    return aggregator
  }
}
