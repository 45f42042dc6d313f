import Filtering

/// One filter of the session at the broker.
package struct Subscription: Sendable, Hashable {
  package var filter: String
  /// Comes back with each message that the broker sends for this filter.
  package var identifier: UInt32?

  package init(filter: String, identifier: UInt32? = nil) {
    self.filter = filter
    self.identifier = identifier
  }
}

/// What is subscribed to, so that a broker has as little reason as can be to send a message twice.
///
/// A filter all of whose topics another one has is left out. Filters that overlap in part have one
/// SUBSCRIBE each, with an identifier, where the protocol has identifiers: `OverlapMemory` knows by
/// it which copies are of one message.
package struct SubscriptionPlan: Sendable, Hashable {
  package let subscriptions: [Subscription]

  /// - Parameter canIdentify: MQTT 5, and the broker has subscription identifiers.
  package init(filters: [String], canIdentify: Bool) {
    var kept: [String] = []
    for (index, filter) in filters.enumerated() {
      let isCovered = filters.enumerated().contains { other, wider in
        // Of two equal ones the first stays.
        other != index && TopicFilters.covers(wider, filter)
          && (!TopicFilters.covers(filter, wider) || other < index)
      }
      if !isCovered { kept.append(filter) }
    }
    subscriptions = kept.map { filter in
      let overlaps = kept.contains { $0 != filter && TopicFilters.overlap($0, filter) }
      return Subscription(
        filter: filter, identifier: canIdentify && overlaps ? Self.identifier(of: filter) : nil)
    }
  }

  /// Of the filter's text alone, so that it outlives changes of the configuration and needs no file
  /// (FNV-1a, 28 bits, not 0). Should two filters have the same, copies for them are not
  /// recognised: a duplicate, no loss.
  static func identifier(of filter: String) -> UInt32 {
    var hash: UInt32 = 0x811c_9dc5
    for byte in filter.utf8 { hash = (hash ^ UInt32(byte)) &* 0x0100_0193 }
    return max(1, (hash ^ hash >> 28) & 0x0fff_ffff)
  }
}

extension [Subscription] {
  /// In packets: those without an identifier are one, each of the others is its own.
  var packets: [[Subscription]] {
    let plain = filter { $0.identifier == nil }
    return (plain.isEmpty ? [] : [plain]) + filter { $0.identifier != nil }.map { [$0] }
  }
}
