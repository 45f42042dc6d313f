package import GatewayCore

/// An upper bound on what leaves per second.
package struct RateLimit: Sendable, Hashable {
  /// What the bound counts.
  package enum Unit: Sendable, Hashable {
    /// Of whole MQTT packets as they go out on the connection, before TLS.
    case bytes
    /// MQTT messages, which is what brokers' own quotas count: a batch is one, however many records
    /// it holds; with `format: raw` each record is one.
    case messages
  }

  /// What the bound holds back.
  package enum Scope: String, Sendable, Hashable, CaseIterable {
    /// What could not leave when it was committed; see `BacklogLine`.
    case backlog
    case all
  }

  package var unit: Unit
  package var perSecond: Int
  /// What may leave at once after a pause. In the same unit.
  package var burst: Int
  package var scope: Scope

  /// - Parameter burst: nil: what the rate gives in one second.
  package init(
    _ unit: Unit, perSecond: Int, burst: Int? = nil, scope: Scope = .backlog
  ) {
    precondition(perSecond > 0, "a rate lets something pass")
    self.unit = unit
    self.perSecond = perSecond
    self.burst = max(1, burst ?? perSecond)
    self.scope = scope
  }

  package static let bytesPerSecondRange = ByteCount(64)...ByteCount.gibibytes(10)
  package static let messagesPerSecondRange = 1...1_000_000
  package static let burstBytesRange = ByteCount.kibibytes(1)...ByteCount.gibibytes(10)
  package static let burstMessagesRange = 1...1_000_000

  /// What one packet counts.
  func cost(ofPacketWith byteCount: Int) -> Int {
    switch unit {
    case .bytes: byteCount
    case .messages: 1
    }
  }
}
