package import GatewayCore

/// A message that is to leave after the commit, in this order per key.
package struct OutboxRow: Sendable, Hashable {
  /// Dense, from 1: the order.
  package var number: UInt64
  package var topic: String
  /// Messages of one key leave in order.
  package var key: String
  package var payload: [UInt8]
  /// MQTT 5 Message Expiry Interval in seconds; nil for none.
  package var expiry: UInt32?
  /// When it was entered.
  package var time: WallTime

  package init(
    number: UInt64, topic: String, key: String, payload: [UInt8], expiry: UInt32? = nil,
    time: WallTime
  ) {
    self.number = number
    self.topic = topic
    self.key = key
    self.payload = payload
    self.expiry = expiry
    self.time = time
  }
}

/// Something that was received and could not be used: kept, counted, never silent.
package struct HubDeadLetter: Sendable, Hashable {
  /// Bytes kept of one.
  package static let byteCountMax = 65_536

  package var time: WallTime
  /// Where it was received.
  package var topic: String
  /// `not-an-envelope`, `key-mismatch`, …: what counts in the metric.
  package var reason: String
  /// For people.
  package var detail: String
  /// The beginning, at most `byteCountMax`.
  package var payload: [UInt8]
  /// Of all of it.
  package var byteCount: Int

  package init(
    time: WallTime, topic: String, reason: String, detail: String, payload: [UInt8],
    byteCount: Int? = nil
  ) {
    self.time = time
    self.topic = topic
    self.reason = reason
    self.detail = detail
    self.payload = Array(payload.prefix(Self.byteCountMax))
    self.byteCount = byteCount ?? payload.count
  }
}

/// Sequences that did not come as data, and why.
package struct KnownGap: Sendable, Hashable {
  package var inbox: Int64
  package var range: SequenceRange
  /// As the envelope has it, or `elided`, or `waited` for what was given up waiting for.
  package var reason: String
  package var topic: String?

  package init(inbox: Int64, range: SequenceRange, reason: String, topic: String? = nil) {
    self.inbox = inbox
    self.range = range
    self.reason = reason
    self.topic = topic
  }
}

/// An asset event that waits until what comes before it in its journal is there.
package struct WaitingEvent: Sendable, Hashable {
  package var origin: EventOrigin
  package var asset: String
  package var time: WallTime
  package var source: Int64
  package var messageID: String
  package var payload: [UInt8]
}

/// A row of a policy's own state.
package struct PolicyRow: Sendable, Hashable {
  package var policy: String
  package var key: String
  /// Nil removes the row.
  package var value: [UInt8]?

  package init(policy: String, key: String, value: [UInt8]?) {
    self.policy = policy
    self.key = key
    self.value = value
  }
}

/// An asset whose state changes, and the version that the change was decided on.
package struct AssetChange: Sendable, Hashable {
  package var state: AssetState
  /// 0: there was no such asset.
  package var expectedVersion: UInt64

  package init(state: AssetState, expectedVersion: UInt64) {
    self.state = state
    self.expectedVersion = expectedVersion
  }
}

/// Everything that one group of batches changes. A store makes it durable as a whole or not at
/// all: state, events, inbox positions and outbox are one transaction.
package struct HubChanges: Sendable {
  /// The position of the last event before these: another writer moved it if it is not there.
  package var expectedPosition: UInt64
  /// Likewise, for what has no event. Nil: not looked at.
  package var expectedRevision: Int64?
  package var time: WallTime
  /// Ascending by position, dense behind `expectedPosition`.
  package var events: [HubEvent] = []
  package var assets: [AssetChange] = []
  package var inboxes: [InboxState] = []
  package var sources: [(number: Int64, text: String)] = []
  package var openedGaps: [KnownGap] = []
  /// Data came late for these.
  package var closedGaps: [(inbox: Int64, range: SequenceRange)] = []
  package var waiting: [WaitingEvent] = []
  package var noLongerWaiting: [EventOrigin] = []
  package var deadLetters: [HubDeadLetter] = []
  package var outbox: [OutboxRow] = []
  /// Of the last published event.
  package var publication: UInt64 = 0
  package var policyRows: [PolicyRow] = []

  package init(expectedPosition: UInt64, time: WallTime) {
    self.expectedPosition = expectedPosition
    self.time = time
  }

  package var isEmpty: Bool {
    events.isEmpty && assets.isEmpty && inboxes.isEmpty && deadLetters.isEmpty && outbox.isEmpty
      && policyRows.isEmpty && noLongerWaiting.isEmpty
  }
}
