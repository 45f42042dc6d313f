import GatewayCore
package import Platform

/// The subscriptions our session at the broker holds, as far as we told it. MQTT cannot be asked,
/// so the set is kept beside the journal: `<route>.subscriptions`, one filter a line, with a tab
/// and its identifier if it has one. A topic filter cannot hold a line break or a tab that we would
/// accept.
package struct SubscriptionMemory: Sendable {
  private let path: String
  /// Nil when nothing is known: the first start, or the file is gone.
  package private(set) var subscriptions: [Subscription]?

  /// Largest file read: 10,000 filters of an ordinary length.
  private static let byteCountMax = 1 << 20

  /// Of the file of a route.
  package static let suffix = ".subscriptions"

  package init(path: String) {
    self.path = path
    guard let bytes = try? File.readSmall(path, byteCountMax: Self.byteCountMax) else { return }
    subscriptions = bytes.split(separator: UInt8(ascii: "\n")).map { line in
      let parts = line.split(separator: UInt8(ascii: "\t"), maxSplits: 1)
      return Subscription(
        filter: String(decoding: parts.first ?? [], as: UTF8.self),
        identifier: parts.count < 2 ? nil : UInt32(String(decoding: parts[1], as: UTF8.self)))
    }
  }

  /// What must change for the session to hold exactly `wanted`. An unknown set subscribes to all
  /// and removes nothing. A known filter with another identifier is subscribed anew: that replaces
  /// it.
  package func changes(
    to wanted: [Subscription]
  ) -> (subscribe: [Subscription], unsubscribe: [String]) {
    guard let subscriptions else { return (wanted, []) }
    let filters = Set(wanted.map(\.filter))
    return (
      wanted.filter { !subscriptions.contains($0) },
      subscriptions.map(\.filter).filter { !filters.contains($0) }
    )
  }

  /// The session holds exactly these: what the broker granted, or nothing when it is new.
  /// - Throws: when the file cannot be replaced; what is known in memory is then the new set.
  package mutating func store(_ subscriptions: [Subscription]) throws(SystemError) {
    guard self.subscriptions != subscriptions else { return }
    self.subscriptions = subscriptions
    let lines = subscriptions.map { subscription in
      subscription.filter + (subscription.identifier.map { "\t\($0)" } ?? "") + "\n"
    }
    try File.replace(path, with: Array(lines.joined().utf8))
  }
}
