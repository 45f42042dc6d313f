package import GatewayCore

/// An event that a policy wants to happen.
package struct ProposedEvent: Sendable, Hashable {
  package var asset: String
  package var type: EventType
  package var time: WallTime
  /// A JSON object by the schema of the type. Alerts name their rule in `rule`: by it the state
  /// knows which alert is raised or cleared.
  package var payload: [UInt8]

  package init(asset: String, type: EventType, time: WallTime, payload: [UInt8]) {
    self.asset = asset
    self.type = type
    self.time = time
    self.payload = payload
  }
}

/// A message that a policy wants to leave after the commit, such as a command to a pump.
package struct ProposedMessage: Sendable, Hashable {
  package var topic: String
  /// Messages of one key leave in order: for what concerns one asset, its id.
  package var key: String
  package var payload: [UInt8]
  package var expiry: Duration?

  package init(topic: String, key: String, payload: [UInt8], expiry: Duration? = nil) {
    self.topic = topic
    self.key = key
    self.payload = payload
    self.expiry = expiry
  }
}

/// What a policy decided. All of it is committed with what it was decided on, or nothing of both.
package struct PolicyDecision: Sendable, Hashable {
  package var events: [ProposedEvent] = []
  package var messages: [ProposedMessage] = []
  /// Rows of the policy's own state to be kept: key to value, nil removes.
  package var rows: [String: [UInt8]?] = [:]

  package init() {}
}

/// What a policy may look at.
package struct PolicyView: ~Copyable {
  /// The hub's clock.
  package let now: WallTime
  package let monotonic: MonotonicTime
  /// With all events applied that the policy is told of.
  package let book: AssetBook
  /// Of an inbox: which gateway carried an event, where commands to its asset go.
  package let gateways: [Int64: String]

  package func gateway(of event: HubEvent) -> String? {
    event.origin.flatMap { gateways[$0.inbox] }
  }
}

/// A decision of the business that is taken with the events, in their transaction: alert rules,
/// maintenance cases. On the consumer's thread; must not block and must not do I/O.
///
/// A policy may keep what it likes in memory, as long as it can be had again: after a failed commit
/// (and at the start) the hub calls `restore`, and what was decided since the last commit never
/// happened.
package protocol HubPolicy: AnyObject {
  /// Under which its rows are kept.
  var name: String { get }

  /// Forgets everything and takes over what was committed.
  func restore(rows: [String: [UInt8]], book: AssetBook)

  /// Called with the events of a group in the order of their positions, those of other policies
  /// included, and about once a second without any, for time-outs.
  func decide(_ events: ArraySlice<HubEvent>, _ view: borrowing PolicyView) -> PolicyDecision
}

/// Makes the policies, on the thread that will use them.
package typealias MakePolicies = @Sendable () -> [any HubPolicy]
