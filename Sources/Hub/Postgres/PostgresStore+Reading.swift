package import GatewayCore

extension PostgresStore {
  package func load() throws(HubStoreError) -> HubState {
    try onWriter { (connection) throws(PostgresError) in
      let answers = try connection.run([
        // One picture, whoever writes meanwhile.
        PostgresStatement("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        PostgresStatement("SELECT name, value FROM counters"),
        PostgresStatement("SELECT max(position) FROM events"),
        PostgresStatement("SELECT count(*) FROM outbox"),
        PostgresStatement("SELECT number, text FROM sources ORDER BY number"),
        PostgresStatement("SELECT * FROM assets ORDER BY number"),
        PostgresStatement("SELECT * FROM inboxes ORDER BY number"),
        PostgresStatement("SELECT * FROM waiting ORDER BY inbox, sequence"),
        PostgresStatement("SELECT policy, key, value FROM policy_rows"),
        PostgresStatement("COMMIT"),
      ])
      var state = HubState()
      for row in answers[1].rows {
        switch row.text(0) {
        case "publication": state.publication = row.unsigned(1)
        case "outbox": state.outboxNumber = row.unsigned(1)
        case "revision": state.revision = row.integer(1)
        default: break
        }
      }
      state.position = UInt64(bitPattern: answers[2].integer(0, 0) ?? 0)
      state.outboxCount = Int(answers[3].integer(0, 0) ?? 0)
      state.sources = answers[4].rows.map { ($0.integer(0), $0.text(1)) }
      state.assets = answers[5].rows.map(Self.asset)
      state.inboxes = try Self.inboxes(answers[6])
      state.waiting = answers[7].rows.map { row in
        WaitingEvent(
          origin: EventOrigin(inbox: row.integer(0), sequence: row.sequence(1)),
          asset: row.text(2), time: row.time(3), source: row.integer(4), messageID: row.text(5),
          payload: row.bytes(6))
      }
      state.policyRows = answers[8].rows.map {
        PolicyRow(policy: $0.text(0), key: $0.text(1), value: $0.bytes(2))
      }
      return state
    }
  }

  private static func asset(_ row: PostgresRow) -> AssetState {
    var state = AssetState(number: row.integer(0), id: row.text(1))
    state.version = row.unsigned(2)
    state.position = row.unsigned(3)
    state.isRegistered = row.integer(4) == 1
    state.isRetired = row.integer(5) == 1
    state.facts = row.bytes(6)
    state.setReadings(json: row.bytes(7))
    if let inbox = row.optionalInteger(8) {
      state.readingOrigin = ReadingOrigin(inbox: inbox, sequence: row.sequence(9))
    }
    state.readingTime = row.optionalInteger(10).map(WallTime.init(nanoseconds:))
    state.setAlerts(text: row.text(11))
    state.maintenance = row.optionalText(12)
    return state
  }

  private static func inboxes(
    _ result: PostgresResult
  ) throws(PostgresError) -> [InboxState] {
    var inboxes: [InboxState] = []
    for row in result.rows {
      let number = row.integer(0)
      guard let journal = JournalID(row.text(3)), let newestEpoch = Epoch(row.text(12)),
        let accounted = IntervalSet(text: row.text(9)), let open = IntervalSet(text: row.text(10))
      else { throw PostgresError(state: "XX001", detail: "inbox \(number)") }
      var state = InboxState(
        number: number,
        key: InboxKey(gateway: row.text(1), route: row.text(2), journal: journal),
        life: Int(row.integer(4)), rank: row.integer(5), start: row.sequence(6),
        topic: row.text(7), newestEpoch: newestEpoch)
      state.epochs = row.text(8).split(separator: " ").compactMap { Epoch($0) }
      state.accounted = accounted
      state.open = open
      state.floor = row.sequence(11)
      state.newestLast = row.sequence(13)
      inboxes.append(state)
    }
    return inboxes
  }

  // MARK: Outbox

  package func outbox(after number: UInt64, limit: Int) throws(HubStoreError) -> [OutboxRow] {
    try readOutbox(
      PostgresStatement(
        """
        SELECT number, topic, key, payload, expiry, time FROM outbox
        WHERE number > $1 ORDER BY number LIMIT $2
        """
      ) {
        $0.add(number)
        $0.add(Int64(limit))
      })
  }

  package func removeOutbox(through number: UInt64) throws(HubStoreError) {
    try onOutbox { (connection) throws(PostgresError) in
      _ = try connection.run([
        PostgresStatement("DELETE FROM outbox WHERE number <= $1") { $0.add(number) }
      ])
    }
  }

  package func outboxBacklog() throws(HubStoreError) -> (count: Int, oldest: WallTime?) {
    let backlog = try onOutbox { (connection) throws(PostgresError) -> (Int, Int64?) in
      let answers = try connection.run([
        PostgresStatement("SELECT count(*) FROM outbox"),
        PostgresStatement("SELECT time FROM outbox ORDER BY number LIMIT 1"),
      ])
      let oldest = answers[1].rowCount > 0 ? answers[1].integer(0, 0) : nil
      return (Int(answers[0].integer(0, 0) ?? 0), oldest)
    }
    return (backlog.0, backlog.1.map(WallTime.init(nanoseconds:)))
  }

  // MARK: Events

  package func events(_ query: EventQuery, limit: Int) throws(HubStoreError) -> [HubEvent] {
    var sql = "SELECT e.*, a.id FROM events e JOIN assets a ON a.number = e.asset WHERE "
    if query.asset != nil {
      // Along the stream, backwards from its newest event; where readings are gone it breaks, and
      // what else there is of the asset is few.
      sql = """
        WITH RECURSIVE stream (position) AS (
          SELECT position FROM assets WHERE id = $4
          UNION ALL
          SELECT e.previous FROM events e JOIN stream s ON e.position = s.position
            WHERE e.previous > $1),
        all_of_it (position) AS (
          SELECT position FROM stream
          UNION
          SELECT e.position FROM events e JOIN assets a ON a.number = e.asset
            WHERE e.type <> 10 AND a.id = $4
              AND e.position <= (SELECT value FROM counters WHERE name = 'retired'))
        SELECT e.*, a.id FROM all_of_it s JOIN events e ON e.position = s.position
          JOIN assets a ON a.number = e.asset WHERE a.id = $4 AND\u{20}
        """
    }
    sql += "e.position > $1 AND e.position <= $2"
    if !query.types.isEmpty {
      let list = query.types.map { "\($0.rawValue)" }.joined(separator: ",")
      sql += " AND e.type IN (\(list))"
      // Lets the server use the index of all that is no reading.
      if !query.types.contains(.metricRecorded) { sql += " AND e.type <> 10" }
    }
    sql += " ORDER BY e.position LIMIT $3"
    let statement = PostgresStatement(sql) {
      $0.add(query.after)
      $0.add(Int64(clamping: query.through))
      $0.add(Int64(limit))
      if let asset = query.asset { $0.add(asset) }
    }
    return try onWriter { (connection) throws(PostgresError) in
      let answer = try connection.run([statement])[0]
      var events: [HubEvent] = []
      events.reserveCapacity(answer.rowCount)
      for row in answer.rows { events.append(try Self.event(row)) }
      return events
    }
  }

  private static func event(_ row: PostgresRow) throws(PostgresError) -> HubEvent {
    let number = row.integer(4)
    guard let type = EventType(rawValue: Int(number)) else {
      throw PostgresError.foreign("an event of type \(number): made by a newer version")
    }
    return HubEvent(
      position: row.unsigned(0), asset: row.text(11), version: row.unsigned(2),
      previous: row.unsigned(3), type: type, time: row.time(5),
      origin: row.optionalInteger(6).map { EventOrigin(inbox: $0, sequence: row.sequence(7)) },
      source: row.integer(8), messageID: row.text(9), payload: row.bytes(10))
  }

  package func position(at time: WallTime) throws(HubStoreError) -> UInt64 {
    try one(
      PostgresStatement(
        "SELECT position FROM moments WHERE time <= $1 ORDER BY position DESC LIMIT 1"
      ) { $0.add(time.nanoseconds) }
    ) { $0.unsigned(0) } ?? 0
  }

  /// The first row of an answer, if there is one.
  private func one<Value: Sendable>(
    _ statement: PostgresStatement, _ read: (PostgresRow) -> Value
  ) throws(HubStoreError) -> Value? {
    try onWriter { (connection) throws(PostgresError) in
      try connection.run([statement])[0].rows.first.map(read)
    }
  }

  package func gaps(limit: Int) throws(HubStoreError) -> [GapRow] {
    try onWriter { (connection) throws(PostgresError) in
      let statement = PostgresStatement(
        """
        SELECT g.inbox, g.first, g.last, g.reason, g.topic, i.gateway, i.route, i.journal
        FROM gaps g JOIN inboxes i ON i.number = g.inbox ORDER BY g.inbox, g.first LIMIT $1
        """
      ) { $0.add(Int64(limit)) }
      return try connection.run([statement])[0].rows.compactMap { row in
        guard let journal = JournalID(row.text(7)) else { return nil }
        return GapRow(
          gap: KnownGap(
            inbox: row.integer(0), range: SequenceRange(row.sequence(1), row.sequence(2)),
            reason: row.text(3), topic: row.optionalText(4)),
          key: InboxKey(gateway: row.text(5), route: row.text(6), journal: journal))
      }
    }
  }

  package func deadLetters(limit: Int) throws(HubStoreError) -> [HubDeadLetter] {
    try onWriter { (connection) throws(PostgresError) in
      let statement = PostgresStatement(
        """
        SELECT time, topic, reason, detail, payload, byte_count FROM dead_letters
        ORDER BY number DESC LIMIT $1
        """
      ) { $0.add(Int64(limit)) }
      return try connection.run([statement])[0].rows.map { row in
        HubDeadLetter(
          time: row.time(0), topic: row.text(1), reason: row.text(2), detail: row.text(3),
          payload: row.bytes(4), byteCount: Int(row.integer(5)))
      }
    }
  }

  // MARK: Snapshots

  package func save(_ snapshot: Snapshot) throws(HubStoreError) {
    let bytes = snapshot.encode()
    try onWriter { (connection) throws(PostgresError) in
      _ = try connection.run([
        PostgresStatement("BEGIN"),
        PostgresStatement(
          """
          INSERT INTO snapshots VALUES ($1, $2, $3)
          ON CONFLICT (position) DO UPDATE SET time = excluded.time, assets = excluded.assets
          """
        ) {
          $0.add(snapshot.position)
          $0.add(snapshot.time.nanoseconds)
          $0.add(bytes: bytes)
        },
        PostgresStatement(
          """
          DELETE FROM snapshots WHERE position <=
            (SELECT position FROM snapshots ORDER BY position DESC OFFSET $1 LIMIT 1)
            AND position <> (SELECT value FROM counters WHERE name = 'baseline')
          """
        ) { $0.add(Int64(SQLiteStore.snapshotsMax)) },
        PostgresStatement("COMMIT"),
      ])
    }
  }

  package func snapshot(before position: UInt64) throws(HubStoreError) -> Snapshot? {
    try one(
      PostgresStatement(
        """
        SELECT position, time, assets FROM snapshots WHERE position <= $1
        ORDER BY position DESC LIMIT 1
        """
      ) { $0.add(Int64(clamping: position)) }
    ) { row in
      Snapshot(position: row.unsigned(0), time: row.time(1), encoded: row.bytes(2))
    } ?? nil
  }
}

/// One row of an answer. NULL where none is expected reads as 0 or empty.
struct PostgresRow {
  let result: PostgresResult
  let index: Int

  func integer(_ column: Int) -> Int64 { result.integer(index, column) ?? 0 }
  func optionalInteger(_ column: Int) -> Int64? { result.integer(index, column) }
  func unsigned(_ column: Int) -> UInt64 { UInt64(bitPattern: integer(column)) }
  func sequence(_ column: Int) -> GatewayCore.Sequence {
    GatewayCore.Sequence(unsigned(column))
  }
  /// Of a double precision: its bits are what an integer's would be.
  func double(_ column: Int) -> Double { Double(bitPattern: unsigned(column)) }
  func time(_ column: Int) -> WallTime { WallTime(nanoseconds: integer(column)) }
  func text(_ column: Int) -> String { result.text(index, column) ?? "" }
  func optionalText(_ column: Int) -> String? { result.text(index, column) }
  func bytes(_ column: Int) -> [UInt8] { result.bytes(index, column) ?? [] }
}

extension PostgresResult {
  var rows: [PostgresRow] { (0..<rowCount).map { PostgresRow(result: self, index: $0) } }
}

extension OutboxRow {
  init(_ row: PostgresRow) {
    self.init(
      number: row.unsigned(0), topic: row.text(1), key: row.text(2), payload: row.bytes(3),
      expiry: row.optionalInteger(4).map { UInt32(clamping: $0) }, time: row.time(5))
  }
}
