package import GatewayCore

/// The kinds of events of an asset's stream. The raw value is what a store keeps; it is never
/// reused. The name is the CloudEvents `type`, with the version of its payload's schema.
package enum EventType: Int, Sendable, Hashable, CaseIterable {
  case assetCreated = 1
  case assetChanged = 2
  case assetRetired = 3
  case assetConflict = 4
  case metricRecorded = 10
  case commandConfirmed = 20
  case alertRaised = 30
  case alertCleared = 31
  case maintenanceRequested = 40
  case maintenanceScheduled = 41
  case maintenanceStopping = 42
  case maintenanceStopped = 43
  case maintenanceDone = 44
  case maintenanceCancelled = 45

  package static let prefix = "com.penstock."

  /// Without the prefix.
  package var shortName: String {
    switch self {
    case .assetCreated: "asset.created.v1"
    case .assetChanged: "asset.changed.v1"
    case .assetRetired: "asset.retired.v1"
    case .assetConflict: "asset.conflict.v1"
    case .metricRecorded: "metric.recorded.v1"
    case .commandConfirmed: "command.confirmed.v1"
    case .alertRaised: "alert.raised.v1"
    case .alertCleared: "alert.cleared.v1"
    case .maintenanceRequested: "maintenance.requested.v1"
    case .maintenanceScheduled: "maintenance.scheduled.v1"
    case .maintenanceStopping: "maintenance.stopping.v1"
    case .maintenanceStopped: "maintenance.stopped.v1"
    case .maintenanceDone: "maintenance.done.v1"
    case .maintenanceCancelled: "maintenance.cancelled.v1"
    }
  }

  package var name: String { Self.prefix + shortName }

  /// By `name` or `shortName`.
  package init?(name: some StringProtocol) {
    let short = name.hasPrefix(Self.prefix) ? String(name.dropFirst(Self.prefix.count)) : "\(name)"
    guard let type = Self.allCases.first(where: { $0.shortName == short }) else { return nil }
    self = type
  }

  /// Part of a maintenance case.
  package var isMaintenance: Bool { (40...49).contains(rawValue) }
}

/// Which record of which gateway an event is.
package struct EventOrigin: Sendable, Hashable {
  /// The inbox that accounts for it.
  package var inbox: Int64
  package var sequence: Sequence

  package init(inbox: Int64, sequence: Sequence) {
    self.inbox = inbox
    self.sequence = sequence
  }
}

/// One event of the store: something that happened to one asset. Never changed, never removed but
/// by retention.
package struct HubEvent: Sendable, Hashable {
  /// Global, dense, from 1: the order in which the hub took everything.
  package var position: UInt64
  /// The stream: one per asset.
  package var asset: String
  /// Within the stream, dense, from 1.
  package var version: UInt64
  /// Position of the event before it in the stream; 0 for the first.
  package var previous: UInt64
  package var type: EventType
  /// When it happened as far as its source knows: the gateway's receipt, or the hub's own clock.
  package var time: WallTime
  /// Nil for what the hub itself decided.
  package var origin: EventOrigin?
  /// Number of the CloudEvents source in the store; 0 is the hub itself.
  package var source: Int64
  /// Together with the source it identifies the event for good. Empty for the hub's own.
  package var messageID: String
  /// JSON.
  package var payload: [UInt8]

  package init(
    position: UInt64, asset: String, version: UInt64, previous: UInt64, type: EventType,
    time: WallTime, origin: EventOrigin?, source: Int64, messageID: String, payload: [UInt8]
  ) {
    self.previous = previous
    self.position = position
    self.asset = asset
    self.version = version
    self.type = type
    self.time = time
    self.origin = origin
    self.source = source
    self.messageID = messageID
    self.payload = payload
  }
}
