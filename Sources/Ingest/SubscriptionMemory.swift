import GatewayCore
package import Platform

/// The topic filters our session at the broker holds, as far as we told it. MQTT cannot be asked,
/// so the set is kept beside the journal: `<route>.subscriptions`, one filter a line. A topic
/// filter cannot hold a line break that we would accept.
package struct SubscriptionMemory: Sendable {
  private let path: String
  /// Nil when nothing is known: the first start, or the file is gone.
  package private(set) var filters: [String]?

  /// Largest file read: 10,000 filters of an ordinary length.
  private static let byteCountMax = 1 << 20

  package init(path: String) {
    self.path = path
    guard let bytes = try? File.readSmall(path, byteCountMax: Self.byteCountMax) else { return }
    filters = bytes.split(separator: UInt8(ascii: "\n")).map { String(decoding: $0, as: UTF8.self) }
  }

  /// What must change for the session to hold exactly `wanted`. An unknown set subscribes to all
  /// and removes nothing.
  package func changes(to wanted: [String]) -> (subscribe: [String], unsubscribe: [String]) {
    guard let filters else { return (wanted, []) }
    return (wanted.filter { !filters.contains($0) }, filters.filter { !wanted.contains($0) })
  }

  /// The session holds exactly these: what the broker granted, or nothing when it is new.
  /// - Throws: when the file cannot be replaced; what is known in memory is then the new set.
  package mutating func store(_ filters: [String]) throws(SystemError) {
    guard self.filters != filters else { return }
    self.filters = filters
    try File.replace(path, with: Array(filters.map { $0 + "\n" }.joined().utf8))
  }
}
