package import GatewayCore

/// Why a store did not do what it was asked.
package struct HubStoreError: Error, Sendable, Hashable, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    /// Somebody else wrote in between: load again and decide anew.
    case conflict
    /// Full, read-only, away: what was not committed is not; try again later.
    case unavailable
    /// The data contradict themselves.
    case corrupt
    /// Made by a newer version, or no database of a hub.
    case foreign
    /// Another process has it.
    case busy
    /// Its log cannot be read.
    case log
  }

  package let code: Code
  package let detail: String

  package init(_ code: Code, _ detail: String) {
    self.code = code
    self.detail = detail
  }

  package var description: String {
    let what =
      switch code {
      case .conflict: "the database was changed by another hub"
      case .unavailable: "the database does not take the transaction"
      case .corrupt: "the database is damaged"
      case .foreign: "this is not a database that this hub can use"
      case .busy: "the database is in use by another hub"
      case .log: "the log of the database cannot be read"
      }
    return "\(what) (\(detail))"
  }
}

/// What a hub goes on from.
package struct HubState: Sendable {
  /// Of the last event.
  package var position: UInt64 = 0
  /// Counts commits, where several hubs may write; nil where one does.
  package var revision: Int64?
  /// Of the last published event.
  package var publication: UInt64 = 0
  /// Of the last outbox row there ever was.
  package var outboxNumber: UInt64 = 0
  /// Rows that wait.
  package var outboxCount: Int = 0
  package var sources: [(number: Int64, text: String)] = []
  package var assets: [AssetState] = []
  package var inboxes: [InboxState] = []
  package var waiting: [WaitingEvent] = []
  package var policyRows: [PolicyRow] = []

  package init() {}
}

/// Which events a reader wants.
package struct EventQuery: Sendable, Hashable {
  package var after: UInt64 = 0
  package var through: UInt64 = .max
  package var asset: String?
  package var types: [EventType] = []

  package init() {}

  package init(after: UInt64, through: UInt64 = .max) {
    self.after = after
    self.through = through
  }
}

/// A gap as it is listed.
package struct GapRow: Sendable, Hashable {
  package var gap: KnownGap
  package var key: InboxKey

  package init(gap: KnownGap, key: InboxKey) {
    self.gap = gap
    self.key = key
  }
}

/// The state at one position, as it was kept.
package struct Snapshot: Sendable, Hashable {
  package var position: UInt64
  package var time: WallTime
  package var assets: [AssetState]

  package init(position: UInt64, time: WallTime, assets: [AssetState]) {
    self.position = position
    self.time = time
    self.assets = assets
  }
}

/// How far readings have gone.
package struct RetentionMarks: Sendable, Hashable {
  /// Position of the state that a rebuild begins with; 0: the first event.
  package var baseline: UInt64 = 0
  /// Readings through it are gone; at most `baseline`.
  package var retired: UInt64 = 0
  /// Of the newest event, which never goes.
  package var last: UInt64 = 0

  package init() {}
}

/// Where a hub keeps everything: the seam between SQLite and PostgreSQL. `HubStoreConformance` in
/// the tests says what each must do.
///
/// Any thread; writes come one at a time. No call leaves half of itself behind.
package protocol HubStore: AnyObject, Sendable {
  /// Everything that a hub needs in memory, in one consistent picture.
  func load() throws(HubStoreError) -> HubState

  /// Makes all of it durable (power loss included) or nothing. `.conflict` when the last position
  /// or the version of an asset is not the expected one, or when another hub has written since the
  /// expected revision. Changes that are empty do nothing.
  func commit(_ changes: HubChanges) throws(HubStoreError)

  /// Whether nobody has written since a revision.
  func isCurrent(_ revision: Int64?) throws(HubStoreError) -> Bool

  /// After a conflict: other hubs wait with their commits until `endTurn`, so that what is loaded
  /// and decided now is not overtaken again. Bounded by the patience of those who wait.
  func takeTurn() throws(HubStoreError)
  func endTurn()

  // MARK: Outbox

  /// Of several hubs one publishes: false for all others, until that one is gone.
  func claimOutbox() throws(HubStoreError) -> Bool
  /// Where messages that are to leave are found.
  /// - Parameter readsLog: by the log of the database, for a store that has one that can be read.
  func outboxSource(readsLog: Bool) -> any OutboxSource

  /// The oldest rows beyond `number`, ascending.
  func outbox(after number: UInt64, limit: Int) throws(HubStoreError) -> [OutboxRow]
  /// They have left: forgets all through `number`.
  func removeOutbox(through number: UInt64) throws(HubStoreError)
  /// Rows that wait, and when the oldest of them was entered.
  func outboxBacklog() throws(HubStoreError) -> (count: Int, oldest: WallTime?)

  // MARK: Reading

  /// Events in the order of their positions, at most `limit`.
  func events(_ query: EventQuery, limit: Int) throws(HubStoreError) -> [HubEvent]
  /// The last position that was committed at or before a time; 0 when there is none.
  func position(at time: WallTime) throws(HubStoreError) -> UInt64
  func gaps(limit: Int) throws(HubStoreError) -> [GapRow]
  func deadLetters(limit: Int) throws(HubStoreError) -> [HubDeadLetter]

  // MARK: Retention

  /// How far readings have gone.
  func retention() throws(HubStoreError) -> RetentionMarks
  /// Keeps a snapshot as what a rebuild begins with, in the place of the baseline before it.
  func setBaseline(_ snapshot: Snapshot) throws(HubStoreError)
  /// Removes readings and merges their summaries with what is kept, or does nothing. `.conflict`
  /// when others have gone meanwhile, or beyond the baseline.
  func retire(_ retirement: Retirement) throws(HubStoreError)
  /// Of one asset that begin at or after `start`, by metric and time, at most `limit`.
  func summaries(
    of asset: String, from start: WallTime, limit: Int
  ) throws(HubStoreError) -> [MetricSummary]

  // MARK: Snapshots and rebuilding

  func save(_ snapshot: Snapshot) throws(HubStoreError)
  /// The newest at or before a position.
  func snapshot(before position: UInt64) throws(HubStoreError) -> Snapshot?
  /// Puts states in the place of all that are there, if the last position is still `position`.
  func replaceAssets(_ assets: [AssetState], at position: UInt64) throws(HubStoreError)

  /// Nothing is asked of it any more.
  func close()
}

// What a store does that keeps other writers out altogether.
extension HubStore {
  package func isCurrent(_ revision: Int64?) throws(HubStoreError) -> Bool { true }
  package func takeTurn() throws(HubStoreError) {}
  package func endTurn() {}
  package func claimOutbox() throws(HubStoreError) -> Bool { true }
  package func outboxSource(readsLog: Bool) -> any OutboxSource { TableSource(self) }
}

extension HubStore {
  /// Calls `body` with every event of a query, in order, a page at a time.
  package func forEachEvent(
    _ query: EventQuery, pageSize: Int = 10_000, _ body: (HubEvent) throws -> Void
  ) throws {
    var query = query
    while true {
      let page = try events(query, limit: pageSize)
      for event in page { try body(event) }
      guard page.count == pageSize, let last = page.last else { return }
      query.after = last.position
    }
  }
}
