import GRDB
import GatewayCore
import Platform

/// The state of somebody who is interested in a hub's assets and owns none of them: which
/// publications of which hub were taken, and what they say about each asset. One small SQLite file;
/// positions and state change in one transaction.
package final class FollowerStore: Sendable {
  /// What one group of publications came to.
  package struct Outcome: Sendable, Hashable {
    /// In the order in which they were applied.
    package var applied: [HubEvent] = []
    /// Known by their publication.
    package var duplicates = 0
    /// Taken, and older than what the asset had: without effect.
    package var late = 0
  }

  private let queue: DatabaseQueue

  package init(path: String) throws(HubStoreError) {
    queue = try SQLiteStore.run {
      var configuration = Configuration()
      configuration.busyMode = .timeout(10)
      configuration.prepareDatabase { db in
        try db.execute(sql: "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
      }
      let queue = try DatabaseQueue(path: path, configuration: configuration)
      var migrator = DatabaseMigrator()
      migrator.registerMigration("follower-1") { db in
        try db.execute(
          sql: """
            CREATE TABLE hubs (hub TEXT PRIMARY KEY, publications TEXT NOT NULL) STRICT;
            CREATE TABLE assets (
              hub TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (hub, id)
            ) STRICT;
            """)
      }
      try migrator.migrate(queue)
      return queue
    }
  }

  /// Applies what is new, in one transaction.
  package func apply(_ events: [PublishedEvent]) throws(HubStoreError) -> Outcome {
    try SQLiteStore.run {
      try queue.write { db in
        var outcome = Outcome()
        for (hub, events) in Dictionary(grouping: events, by: \.hub) {
          var taken = try Self.publications(of: hub, db)
          for event in events {
            let number = Sequence(event.publication)
            guard !taken.contains(number) else {
              outcome.duplicates += 1
              continue
            }
            taken.insert(SequenceRange(number, number))
            try Self.apply(event, db, &outcome)
          }
          try db.execute(
            sql: "INSERT OR REPLACE INTO hubs VALUES (?, ?)", arguments: [hub, taken.text])
        }
        return outcome
      }
    }
  }

  private static func apply(
    _ published: PublishedEvent, _ db: Database, _ outcome: inout Outcome
  ) throws {
    let event = published.event
    let line = try String.fetchOne(
      db, sql: "SELECT state FROM assets WHERE hub = ? AND id = ?",
      arguments: [published.hub, event.asset])
    var state =
      line.flatMap { AssetState(line: Array($0.utf8)) } ?? AssetState(number: 0, id: event.asset)
    guard event.version > state.version else {
      outcome.late += 1
      return
    }
    state.apply(event) { _, _ in true }
    outcome.applied.append(event)
    var text: [UInt8] = []
    state.append(to: &text)
    try db.execute(
      sql: "INSERT OR REPLACE INTO assets VALUES (?, ?, ?)",
      arguments: [
        published.hub, event.asset, String(decoding: text.dropLast(), as: UTF8.self),
      ])
  }

  private static func publications(of hub: String, _ db: Database) throws -> IntervalSet {
    let text = try String.fetchOne(
      db, sql: "SELECT publications FROM hubs WHERE hub = ?", arguments: [hub])
    guard let set = IntervalSet(text: text ?? "") else {
      throw HubStoreError(.corrupt, "publications of \(hub)")
    }
    return set
  }

  /// Which publications of a hub were taken; its holes are what never came.
  package func publications(of hub: String) throws(HubStoreError) -> IntervalSet {
    try SQLiteStore.run { try queue.read { try Self.publications(of: hub, $0) } }
  }

  /// What is known of the assets of a hub, by id.
  package func assets(of hub: String) throws(HubStoreError) -> [AssetState] {
    try SQLiteStore.run {
      try queue.read { db in
        try String.fetchAll(
          db, sql: "SELECT state FROM assets WHERE hub = ? ORDER BY id", arguments: [hub]
        ).compactMap { AssetState(line: Array($0.utf8)) }
      }
    }
  }
}
