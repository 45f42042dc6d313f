import Foundation
import GRDB
package import GatewayCore
import Platform

extension SQLiteStore {
  package func load() throws(HubStoreError) -> HubState {
    try read { db in
      var state = HubState()
      state.position = UInt64(
        bitPattern: try Int64.fetchOne(db, sql: "SELECT max(position) FROM events") ?? 0)
      for row in try Row.fetchAll(db, sql: "SELECT * FROM counters") {
        switch row["name"] as String {
        case "publication": state.publication = row.unsigned("value")
        case "outbox": state.outboxNumber = row.unsigned("value")
        default: break
        }
      }
      state.outboxCount = try Int.fetchOne(db, sql: "SELECT count(*) FROM outbox") ?? 0
      state.sources = try Row.fetchAll(db, sql: "SELECT * FROM sources ORDER BY number").map {
        ($0["number"], $0["text"])
      }
      state.assets = try Row.fetchAll(db, sql: "SELECT * FROM assets ORDER BY number").map(
        Self.asset)
      state.inboxes = try Row.fetchAll(db, sql: "SELECT * FROM inboxes ORDER BY number").map(
        Self.inbox)
      state.waiting = try Row.fetchAll(
        db, sql: "SELECT * FROM waiting ORDER BY inbox, sequence"
      ).map { row in
        WaitingEvent(
          origin: EventOrigin(inbox: row["inbox"], sequence: row.sequence("sequence")),
          asset: row["asset"], time: row.time("time"), source: row["source"],
          messageID: row["message_id"], payload: row.json("payload"))
      }
      state.policyRows = try Row.fetchAll(db, sql: "SELECT * FROM policy_rows").map { row in
        PolicyRow(
          policy: row["policy"], key: row["key"], value: Array(row["value"] as Data))
      }
      return state
    }
  }

  private static func asset(_ row: Row) -> AssetState {
    var state = AssetState(number: row["number"], id: row["id"])
    state.version = row.unsigned("version")
    state.position = row.unsigned("position")
    state.isRegistered = row["is_registered"]
    state.isRetired = row["is_retired"]
    state.facts = row.json("facts")
    state.setReadings(json: row.json("readings"))
    if let inbox = row["reading_inbox"] as Int64? {
      state.readingOrigin = ReadingOrigin(inbox: inbox, sequence: row.sequence("reading_sequence"))
    }
    state.readingTime = (row["reading_time"] as Int64?).map(WallTime.init(nanoseconds:))
    state.setAlerts(text: row["alerts"])
    state.maintenance = row["maintenance"]
    return state
  }

  private static func inbox(_ row: Row) throws -> InboxState {
    let number: Int64 = row["number"]
    guard let journal = JournalID(row["journal"] as String),
      let newestEpoch = Epoch(row["newest_epoch"] as String),
      let accounted = IntervalSet(text: row["accounted"]),
      let open = IntervalSet(text: row["open"])
    else { throw HubStoreError(.corrupt, "inbox \(number)") }
    var state = InboxState(
      number: number,
      key: InboxKey(gateway: row["gateway"], route: row["route"], journal: journal),
      life: row["life"], rank: row["rank"], start: row.sequence("start"), topic: row["topic"],
      newestEpoch: newestEpoch)
    state.epochs = (row["epochs"] as String).split(separator: " ").compactMap { Epoch($0) }
    state.accounted = accounted
    state.open = open
    state.floor = row.sequence("floor")
    state.newestLast = row.sequence("newest_last")
    return state
  }

  // MARK: Outbox

  package func outbox(after number: UInt64, limit: Int) throws(HubStoreError) -> [OutboxRow] {
    try read { db in
      try Row.fetchAll(
        db.cachedStatement(sql: "SELECT * FROM outbox WHERE number > ? ORDER BY number LIMIT ?"),
        arguments: [column(number), limit]
      ).map { row in
        OutboxRow(
          number: row.unsigned("number"), topic: row["topic"], key: row["key"],
          payload: Array(row["payload"] as Data),
          expiry: (row["expiry"] as Int64?).map { UInt32(clamping: $0) }, time: row.time("time"))
      }
    }
  }

  package func removeOutbox(through number: UInt64) throws(HubStoreError) {
    try write { db in
      try db.cachedStatement(sql: "DELETE FROM outbox WHERE number <= ?").execute(
        arguments: [column(number)])
    }
  }

  package func outboxBacklog() throws(HubStoreError) -> (count: Int, oldest: WallTime?) {
    try read { db in
      (
        try Int.fetchOne(db, sql: "SELECT count(*) FROM outbox") ?? 0,
        try Int64.fetchOne(db, sql: "SELECT time FROM outbox ORDER BY number LIMIT 1").map(
          WallTime.init(nanoseconds:))
      )
    }
  }

  // MARK: Events

  package func events(_ query: EventQuery, limit: Int) throws(HubStoreError) -> [HubEvent] {
    try read { db in
      var sql = "SELECT e.*, a.id FROM events e JOIN assets a ON a.number = e.asset WHERE "
      // Along the stream, backwards from its newest event; where readings are gone it breaks, and
      // what else there is of the asset is few.
      if let asset = query.asset {
        sql = """
          WITH RECURSIVE stream (position) AS (
            SELECT position FROM assets WHERE id = :asset
            UNION ALL
            SELECT e.previous FROM events e JOIN stream s ON e.position = s.position
              WHERE e.previous > :after),
          all_of_it (position) AS (
            SELECT position FROM stream
            UNION
            SELECT e.position FROM events e JOIN assets a ON a.number = e.asset
              WHERE e.type <> 10 AND a.id = :asset
                AND e.position <= (SELECT value FROM counters WHERE name = 'retired'))
          SELECT e.*, a.id FROM all_of_it s JOIN events e ON e.position = s.position
            JOIN assets a ON a.number = e.asset WHERE a.id = :asset AND\u{20}
          """
        _ = asset
      }
      sql += "e.position > :after AND e.position <= :through"
      if !query.types.isEmpty {
        let list = query.types.map { "\($0.rawValue)" }.joined(separator: ",")
        sql += " AND e.type IN (\(list))"
        // Lets SQLite use the index of all that is no reading.
        if !query.types.contains(.metricRecorded) { sql += " AND e.type <> 10" }
      }
      sql += " ORDER BY e.position LIMIT :limit"
      var arguments: StatementArguments = [
        "after": column(query.after), "through": Int64(clamping: query.through), "limit": limit,
      ]
      if let asset = query.asset { arguments += ["asset": asset] }
      var events: [HubEvent] = []
      let rows = try Row.fetchCursor(db.cachedStatement(sql: sql), arguments: arguments)
      while let row = try rows.next() { events.append(try Self.event(row)) }
      return events
    }
  }

  /// By index, because a rebuild reads millions.
  private static func event(_ row: Row) throws -> HubEvent {
    let number: Int = row[4]
    guard let type = EventType(rawValue: number) else {
      throw HubStoreError(.foreign, "an event of type \(number): made by a newer version")
    }
    let inbox: Int64? = row[6]
    return HubEvent(
      position: UInt64(bitPattern: row[0]), asset: row[11],
      version: UInt64(bitPattern: row[2]), previous: UInt64(bitPattern: row[3]), type: type,
      time: WallTime(nanoseconds: row[5]),
      origin: inbox.map {
        EventOrigin(
          inbox: $0, sequence: GatewayCore.Sequence(UInt64(bitPattern: row[7])))
      }, source: row[8], messageID: row[9], payload: Array((row[10] as String).utf8))
  }

  package func position(at time: WallTime) throws(HubStoreError) -> UInt64 {
    try read { db in
      UInt64(
        bitPattern: try Int64.fetchOne(
          db, sql: "SELECT position FROM moments WHERE time <= ? ORDER BY position DESC LIMIT 1",
          arguments: [time.nanoseconds]) ?? 0)
    }
  }

  package func gaps(limit: Int) throws(HubStoreError) -> [GapRow] {
    try read { db in
      try Row.fetchAll(
        db,
        sql: """
          SELECT g.*, i.gateway, i.route, i.journal FROM gaps g
          JOIN inboxes i ON i.number = g.inbox ORDER BY g.inbox, g.first LIMIT ?
          """, arguments: [limit]
      ).compactMap { row in
        guard let journal = JournalID(row["journal"] as String) else { return nil }
        return GapRow(
          gap: KnownGap(
            inbox: row["inbox"],
            range: SequenceRange(row.sequence("first"), row.sequence("last")),
            reason: row["reason"], topic: row["topic"]),
          key: InboxKey(gateway: row["gateway"], route: row["route"], journal: journal))
      }
    }
  }

  package func deadLetters(limit: Int) throws(HubStoreError) -> [HubDeadLetter] {
    try read { db in
      try Row.fetchAll(
        db, sql: "SELECT * FROM dead_letters ORDER BY number DESC LIMIT ?", arguments: [limit]
      ).map { row in
        HubDeadLetter(
          time: row.time("time"), topic: row["topic"], reason: row["reason"],
          detail: row["detail"], payload: Array(row["payload"] as Data),
          byteCount: row["byte_count"])
      }
    }
  }

  // MARK: Snapshots

  package func save(_ snapshot: Snapshot) throws(HubStoreError) {
    let bytes = Data(snapshot.encode())
    try write { db in
      try db.execute(
        sql: "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)",
        arguments: [column(snapshot.position), snapshot.time.nanoseconds, bytes])
      try db.execute(
        sql: """
          DELETE FROM snapshots WHERE position NOT IN
            (SELECT position FROM snapshots ORDER BY position DESC LIMIT ?)
            AND position <> (SELECT value FROM counters WHERE name = 'baseline')
          """, arguments: [Self.snapshotsMax])
    }
  }

  package func snapshot(before position: UInt64) throws(HubStoreError) -> Snapshot? {
    let row = try read { db in
      try Row.fetchOne(
        db,
        sql: "SELECT * FROM snapshots WHERE position <= ? ORDER BY position DESC LIMIT 1",
        arguments: [Int64(clamping: position)])
    }
    guard let row else { return nil }
    return Snapshot(
      position: row.unsigned("position"), time: row.time("time"),
      encoded: Array(row["assets"] as Data))
  }

  package func replaceAssets(
    _ assets: [AssetState], at position: UInt64
  ) throws(HubStoreError) {
    try write { db in
      let last = try Int64.fetchOne(db, sql: "SELECT max(position) FROM events") ?? 0
      guard UInt64(bitPattern: last) == position else {
        throw HubStoreError(.conflict, "at position \(last), not \(position)")
      }
      try db.execute(sql: "DELETE FROM assets")
      for asset in assets { try Self.insert(asset, db) }
    }
  }
}
