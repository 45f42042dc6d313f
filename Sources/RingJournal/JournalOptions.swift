package import GatewayCore

/// What a full ring does with the next record.
package enum WhenFull: String, Sendable, Hashable, CaseIterable {
  /// Stop taking: the broker keeps what we do not take, up to its own limit.
  case block
  /// Overwrite the oldest undelivered records; each loss becomes a gap.
  case dropOldest = "drop-oldest"
}

/// Where a sink that the journal does not know yet begins.
package enum SinkStart: String, Sendable, Hashable, CaseIterable {
  case oldest
  case newest
}

/// One durable cursor. The name is its identity: a cursor whose name is no longer listed is
/// dropped.
package struct JournalSink: Sendable, Hashable {
  package var name: String
  /// False: best effort, may be overwritten past (a gap for this sink only).
  package var required: Bool = true
  package var start: SinkStart = .oldest

  package init(name: String, required: Bool = true, start: SinkStart = .oldest) {
    self.name = name
    self.required = required
    self.start = start
  }
}

/// The journal of one route.
package struct JournalOptions: Sendable, Hashable {
  /// Size of the file; the data region is 8 MiB less. A file that exists keeps its own size.
  package var capacity: ByteCount = .mebibytes(256)
  package var whenFull: WhenFull = .block
  /// What gaps and counts call records that `drop-oldest` gave up.
  package var dropReason: GapReason = .ringFull
  /// A group commit is closed at this size at the latest.
  package var commitByteCountMax: ByteCount = .mebibytes(1)
  /// Age (of elapsed time) after which a record is no longer delivered, and its space may go.
  package var expireAfter: Duration?
  /// What has expired keeps its space until the sinks have passed it, which look after it (commands
  /// become dead letters); only `drop-oldest` may take it from them.
  package var keepsExpired = false
  /// At least one, at most `Limits.sinksPerRouteMax`, names distinct.
  package var sinks: [JournalSink]
  /// Stored in the file; opening it for another gateway or route is refused.
  package var gatewayID: String
  package var routeName: String
  /// For a file that is created: the journal that it follows, told to the centre.
  package var previous: PreviousJournal?

  /// The smallest file: 8 MiB of data, of which one group may take an eighth.
  package static let capacityMin = ByteCount.mebibytes(16)

  package init(gatewayID: String, routeName: String, sinks: [JournalSink]) {
    self.gatewayID = gatewayID
    self.routeName = routeName
    self.sinks = sinks
  }
}
