import GatewayCore
import Platform

extension PostgresStore {
  /// One way to the server and back for all statements, a second one for COMMIT with its sync.
  package func commit(_ changes: HubChanges) throws(HubStoreError) {
    Failpoint.hubBeforeCommit.reach()
    guard !changes.isEmpty else { return }
    let statements = Self.statements(of: changes)
    try onWriter { (connection) throws(PostgresError) in
      let results = try connection.run(
        Self.turn(after: changes.expectedRevision) + statements.map(\.statement))
      try Self.checkTurn(results, position: changes.expectedPosition)
      for (index, statement) in statements.enumerated() {
        guard let expected = statement.changedCount else { continue }
        guard results[index + Self.turnCount].changedCount == expected else {
          throw PostgresError.conflict(statement.whatIfNot)
        }
      }
      Failpoint.hubMidTransaction.reach()
      _ = try connection.run([PostgresStatement("COMMIT")])
    }
    Failpoint.hubAfterCommit.reach()
  }

  // MARK: - In turn

  private static let turnCount = 4
  private static let anyRevision: Int64 = -1

  /// Queues at the counter: whoever finds another revision than the expected one is too late.
  private static func turn(after revision: Int64?) -> [PostgresStatement] {
    [
      // What is read behind the lock is what the one before has left.
      PostgresStatement("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
      PostgresStatement(
        "SELECT pg_advisory_xact_lock_shared(\(PostgresSchema.Lock.turn.rawValue))"),
      PostgresStatement(
        """
        UPDATE counters SET value = value + 1
        WHERE name = 'revision' AND (value = $1 OR $1 = \(anyRevision))
        """
      ) { $0.add(revision ?? anyRevision) },
      PostgresStatement("SELECT max(position) FROM events"),
    ]
  }

  private static func checkTurn(
    _ results: [PostgresResult], position expected: UInt64
  ) throws(PostgresError) {
    guard results[2].changedCount == 1 else {
      throw PostgresError.conflict("another hub has written meanwhile")
    }
    let position = UInt64(bitPattern: results[3].integer(0, 0) ?? 0)
    guard position == expected else {
      throw PostgresError.conflict("at position \(position), not \(expected)")
    }
  }

  package func replaceAssets(
    _ assets: [AssetState], at position: UInt64
  ) throws(HubStoreError) {
    let changes = assets.map { AssetChange(state: $0, expectedVersion: 0) }
    try onWriter { (connection) throws(PostgresError) in
      let results = try connection.run(
        Self.turn(after: nil)
          + [PostgresStatement("DELETE FROM assets")]
          + (changes.isEmpty ? [] : [Self.insert(changes)]))
      try Self.checkTurn(results, position: position)
      _ = try connection.run([PostgresStatement("COMMIT")])
    }
  }

  // MARK: - Statements

  private struct Step {
    var statement: PostgresStatement
    /// How many rows it must change; nil: any number.
    var changedCount: Int?
    var whatIfNot = ""

    init(_ sql: String, _ add: (inout PostgresArguments) -> Void) {
      statement = PostgresStatement(sql, add)
    }

    init(_ statement: PostgresStatement) { self.statement = statement }
  }

  private static func statements(of changes: HubChanges) -> [Step] {
    var steps: [Step] = []
    if !changes.sources.isEmpty {
      steps.append(
        Step("INSERT INTO sources SELECT * FROM unnest($1::bigint[], $2::text[])") {
          $0.add(column: changes.sources.map { Optional($0.number) })
          $0.add(column: changes.sources.map { Optional($0.text) })
        })
    }
    addAssets(changes.assets, to: &steps)
    addEvents(changes, to: &steps)
    if !changes.inboxes.isEmpty { steps.append(upsert(changes.inboxes)) }
    addGaps(changes, to: &steps)
    addWaiting(changes, to: &steps)
    if !changes.deadLetters.isEmpty { addDeadLetters(changes.deadLetters, to: &steps) }
    addOutbox(changes, to: &steps)
    if !changes.policyRows.isEmpty { addPolicies(changes.policyRows, to: &steps) }
    return steps
  }

  private static func addAssets(_ changes: [AssetChange], to steps: inout [Step]) {
    let new = changes.filter { $0.expectedVersion == 0 }
    if !new.isEmpty { steps.append(Step(insert(new))) }
    let known = changes.filter { $0.expectedVersion > 0 }
    guard !known.isEmpty else { return }
    var step = Step(
      """
      UPDATE assets a SET version = u.version, position = u.position,
        is_registered = u.is_registered, is_retired = u.is_retired, facts = u.facts,
        readings = u.readings, reading_inbox = u.reading_inbox,
        reading_sequence = u.reading_sequence, reading_time = u.reading_time, alerts = u.alerts,
        maintenance = u.maintenance
      FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[],
        $6::boolean[], $7::text[], $8::text[], $9::bigint[], $10::bigint[], $11::bigint[],
        $12::text[], $13::text[])
        AS u (number, expected, version, position, is_registered, is_retired, facts, readings,
          reading_inbox, reading_sequence, reading_time, alerts, maintenance)
      WHERE a.number = u.number AND a.version = u.expected
      """
    ) {
      $0.add(column: known.map { Optional($0.state.number) })
      $0.add(column: known.map(\.expectedVersion))
      addColumns(of: known, to: &$0)
    }
    step.changedCount = known.count
    step.whatIfNot = "an asset is not at the version that was decided on"
    steps.append(step)
  }

  private static func insert(_ changes: [AssetChange]) -> PostgresStatement {
    PostgresStatement(
      """
      INSERT INTO assets SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[],
        $5::boolean[], $6::boolean[], $7::text[], $8::text[], $9::bigint[], $10::bigint[],
        $11::bigint[], $12::text[], $13::text[])
      """
    ) {
      $0.add(column: changes.map { Optional($0.state.number) })
      $0.add(column: changes.map { Optional($0.state.id) })
      addColumns(of: changes, to: &$0)
    }
  }

  private static func addColumns(
    of changes: [AssetChange], to arguments: inout PostgresArguments
  ) {
    arguments.add(column: changes.map(\.state.version))
    arguments.add(column: changes.map(\.state.position))
    arguments.add(column: changes.map(\.state.isRegistered))
    arguments.add(column: changes.map(\.state.isRetired))
    arguments.add(column: changes.map { Optional(column($0.state.facts)) })
    arguments.add(column: changes.map { Optional(column($0.state.readingsJSON)) })
    arguments.add(column: changes.map { $0.state.readingOrigin?.inbox })
    arguments.add(column: changes.map { $0.state.readingOrigin.map { column($0.sequence) } })
    arguments.add(column: changes.map { $0.state.readingTime?.nanoseconds })
    arguments.add(column: changes.map { Optional($0.state.alertsText) })
    arguments.add(column: changes.map(\.state.maintenance))
  }

  private static func addEvents(_ changes: HubChanges, to steps: inout [Step]) {
    guard let last = changes.events.last else { return }
    let events = changes.events
    var numbers: [String: Int64] = [:]
    numbers.reserveCapacity(changes.assets.count)
    for change in changes.assets { numbers[change.state.id] = change.state.number }
    steps.append(
      Step(
        """
        INSERT INTO events SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[],
          $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
          $10::text[], $11::text[])
        """
      ) {
        $0.add(column: events.map(\.position))
        $0.add(column: events.map { numbers[$0.asset] })
        $0.add(column: events.map(\.version))
        $0.add(column: events.map(\.previous))
        $0.add(column: events.map { Optional(Int64($0.type.rawValue)) })
        $0.add(column: events.map { Optional($0.time.nanoseconds) })
        $0.add(column: events.map { $0.origin?.inbox })
        $0.add(column: events.map { $0.origin.map { column($0.sequence) } })
        $0.add(column: events.map { Optional($0.source) })
        $0.add(column: events.map { Optional($0.messageID) })
        $0.add(column: events.map { Optional(column($0.payload)) })
      })
    steps.append(
      Step("INSERT INTO moments VALUES ($1, $2)") {
        $0.add(last.position)
        $0.add(changes.time.nanoseconds)
      })
  }

  private static func upsert(_ inboxes: [InboxState]) -> Step {
    Step(
      """
      INSERT INTO inboxes SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[],
        $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::text[],
        $11::text[], $12::bigint[], $13::text[], $14::bigint[])
      ON CONFLICT (number) DO UPDATE SET topic = excluded.topic, epochs = excluded.epochs,
        accounted = excluded.accounted, open = excluded.open, floor = excluded.floor,
        newest_epoch = excluded.newest_epoch, newest_last = excluded.newest_last
      """
    ) {
      $0.add(column: inboxes.map { Optional($0.number) })
      $0.add(column: inboxes.map { Optional($0.key.gateway) })
      $0.add(column: inboxes.map { Optional($0.key.route) })
      $0.add(column: inboxes.map { Optional($0.key.journal.description) })
      $0.add(column: inboxes.map { Optional(Int64($0.life)) })
      $0.add(column: inboxes.map { Optional($0.rank) })
      $0.add(column: inboxes.map { Optional(column($0.start)) })
      $0.add(column: inboxes.map { Optional($0.topic) })
      $0.add(
        column: inboxes.map { Optional($0.epochs.map(\.description).joined(separator: " ")) })
      $0.add(column: inboxes.map { Optional($0.accounted.text) })
      $0.add(column: inboxes.map { Optional($0.open.text) })
      $0.add(column: inboxes.map { Optional(column($0.floor)) })
      $0.add(column: inboxes.map { Optional($0.newestEpoch.description) })
      $0.add(column: inboxes.map { Optional(column($0.newestLast)) })
    }
  }

  private static func addGaps(_ changes: HubChanges, to steps: inout [Step]) {
    // A statement may touch a row once: of one place the last counts.
    struct Place: Hashable {
      let inbox: Int64
      let first: GatewayCore.Sequence
    }
    let gaps = Array(
      Dictionary(
        changes.openedGaps.map { (Place(inbox: $0.inbox, first: $0.range.first), $0) }
      ) { $1 }.values)
    if !gaps.isEmpty {
      steps.append(
        Step(
          """
          INSERT INTO gaps
            SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[])
          ON CONFLICT (inbox, first)
            DO UPDATE SET last = excluded.last, reason = excluded.reason, topic = excluded.topic
          """
        ) {
          $0.add(column: gaps.map { Optional($0.inbox) })
          $0.add(column: gaps.map { Optional(column($0.range.first)) })
          $0.add(column: gaps.map { Optional(column($0.range.last)) })
          $0.add(column: gaps.map { Optional($0.reason) })
          $0.add(column: gaps.map(\.topic))
        })
    }
    for (inbox, range) in changes.closedGaps {
      // Takes a range out; what is left of a gap that it lay in are two.
      steps.append(
        Step(
          """
          WITH cut AS (
            DELETE FROM gaps WHERE inbox = $1 AND first <= $3 AND last >= $2
            RETURNING first, last, reason, topic)
          INSERT INTO gaps
            SELECT $1, first, $2 - 1, reason, topic FROM cut WHERE first < $2
            UNION ALL SELECT $1, $3 + 1, last, reason, topic FROM cut WHERE last > $3
          """
        ) {
          $0.add(inbox)
          $0.add(column(range.first))
          $0.add(column(range.last))
        })
    }
  }

  private static func addWaiting(_ changes: HubChanges, to steps: inout [Step]) {
    let waiting = changes.waiting
    if !waiting.isEmpty {
      steps.append(
        Step(
          """
          INSERT INTO waiting SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[],
            $4::bigint[], $5::bigint[], $6::text[], $7::text[])
          """
        ) {
          $0.add(column: waiting.map { Optional($0.origin.inbox) })
          $0.add(column: waiting.map { Optional(column($0.origin.sequence)) })
          $0.add(column: waiting.map { Optional($0.asset) })
          $0.add(column: waiting.map { Optional($0.time.nanoseconds) })
          $0.add(column: waiting.map { Optional($0.source) })
          $0.add(column: waiting.map { Optional($0.messageID) })
          $0.add(column: waiting.map { Optional(column($0.payload)) })
        })
    }
    let settled = changes.noLongerWaiting
    if !settled.isEmpty {
      steps.append(
        Step(
          """
          DELETE FROM waiting w USING unnest($1::bigint[], $2::bigint[]) AS u (inbox, sequence)
          WHERE w.inbox = u.inbox AND w.sequence = u.sequence
          """
        ) {
          $0.add(column: settled.map { Optional($0.inbox) })
          $0.add(column: settled.map { Optional(column($0.sequence)) })
        })
    }
  }

  private static func addDeadLetters(_ letters: [HubDeadLetter], to steps: inout [Step]) {
    steps.append(
      Step(
        """
        INSERT INTO dead_letters (time, topic, reason, detail, payload, byte_count)
        SELECT time, topic, reason, detail, payload, byte_count
        FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bigint[])
          WITH ORDINALITY AS u (time, topic, reason, detail, payload, byte_count, ordinal)
        ORDER BY ordinal
        """
      ) {
        $0.add(column: letters.map { Optional($0.time.nanoseconds) })
        $0.add(column: letters.map { Optional($0.topic) })
        $0.add(column: letters.map { Optional($0.reason) })
        $0.add(column: letters.map { Optional($0.detail) })
        $0.add(bytesColumn: letters.map(\.payload))
        $0.add(column: letters.map { Optional(Int64($0.byteCount)) })
      })
    steps.append(
      Step(
        """
        DELETE FROM dead_letters WHERE number <=
          (SELECT number FROM dead_letters ORDER BY number DESC OFFSET $1 LIMIT 1)
        """
      ) { $0.add(Int64(SQLiteStore.deadLettersMax)) })
  }

  private static func addOutbox(_ changes: HubChanges, to steps: inout [Step]) {
    guard let last = changes.outbox.last else { return }
    let rows = changes.outbox
    steps.append(
      Step(
        """
        INSERT INTO outbox SELECT number, topic, key, payload, expiry, time
        FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::bigint[], $6::bigint[])
          AS u (number, topic, key, payload, expiry, time)
        ORDER BY number
        """
      ) {
        $0.add(column: rows.map(\.number))
        $0.add(column: rows.map { Optional($0.topic) })
        $0.add(column: rows.map { Optional($0.key) })
        $0.add(bytesColumn: rows.map(\.payload))
        $0.add(column: rows.map { $0.expiry.map { Int64($0) } })
        $0.add(column: rows.map { Optional($0.time.nanoseconds) })
      })
    steps.append(
      Step(
        """
        UPDATE counters SET value = CASE name WHEN 'outbox' THEN $1 ELSE $2 END
        WHERE name IN ('outbox', 'publication')
        """
      ) {
        $0.add(last.number)
        $0.add(changes.publication)
      })
  }

  private static func addPolicies(_ rows: [PolicyRow], to steps: inout [Step]) {
    struct Place: Hashable {
      let policy: String
      let key: String
    }
    let last = Dictionary(
      rows.map { (Place(policy: $0.policy, key: $0.key), $0.value) }
    ) { $1 }
    steps.append(
      Step(
        """
        DELETE FROM policy_rows p USING unnest($1::text[], $2::text[]) AS u (policy, key)
        WHERE p.policy = u.policy AND p.key = u.key
        """
      ) {
        $0.add(column: last.keys.map { Optional($0.policy) })
        $0.add(column: last.keys.map { Optional($0.key) })
      })
    let kept = last.compactMap { place, value in value.map { (place, $0) } }
    guard !kept.isEmpty else { return }
    steps.append(
      Step("INSERT INTO policy_rows SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[])") {
        $0.add(column: kept.map { Optional($0.0.policy) })
        $0.add(column: kept.map { Optional($0.0.key) })
        $0.add(bytesColumn: kept.map(\.1))
      })
  }
}
