import GatewayCore

/// The log reader's half in the database: a publication of the outbox, a replication slot, and the
/// row `log_from` of `counters`.
///
/// ## From table to log without a hole
/// A slot begins where it is made; messages that were there before come by the table. Which those
/// are is settled once: the slot exports the picture of its first moment, and the last number in it
/// is written down as `log_from`. A slot without that row was never read and is made again; a row
/// without its slot means that somebody took the slot away, and nobody knows what it had passed.
extension PostgresStore {
  static let publication = "penstock_hub_outbox"

  struct Log: Sendable {
    let slot: String
    /// Messages up to here come by the table, those behind it by the log.
    let from: UInt64
  }

  /// What the database says of its log.
  private struct Finding: Sendable {
    var slot = ""
    var level = ""
    var hasPublication = false
    /// Nil: there is no slot.
    var state: String?
    var from: UInt64?
  }

  /// Finds or makes what the log is read by. For who has claimed the outbox.
  /// - Throws: `.log` when it cannot be read, with the way out.
  func prepareLog() throws(HubStoreError) -> Log {
    let finding = try onOutbox(Self.look)
    guard finding.level == "logical" else {
      throw HubStoreError(
        .log,
        "the server has wal_level = \(finding.level): set it to logical and start it again, "
          + "or set outbox.reader to relay")
    }
    switch (finding.state, finding.from) {
    case (nil, .some):
      throw HubStoreError(
        .log,
        "the replication slot \(finding.slot) is gone, and with it how far the log was read; "
          + "what has not left still stands in the table: start once with outbox.reader: relay")
    case ("lost", .some):
      throw HubStoreError(
        .log,
        "the server has given up the replication slot \(finding.slot) "
          + "(max_slot_wal_keep_size); what has not left still stands in the table: start once "
          + "with outbox.reader: relay")
    case (.some, let from?): return Log(slot: finding.slot, from: from)
    case (let state, nil): return try makeLog(finding, isSlotThere: state != nil)
    }
  }

  private static func look(
    _ connection: inout PostgresConnection
  ) throws(PostgresError) -> Finding {
    let answers = try connection.run([
      PostgresStatement(
        """
        SELECT 'penstock_hub_' || oid, current_setting('wal_level'),
          EXISTS (SELECT FROM pg_publication WHERE pubname = '\(publication)')
        FROM pg_database WHERE datname = current_database()
        """),
      PostgresStatement(
        """
        SELECT coalesce(wal_status, 'lost') FROM pg_replication_slots WHERE slot_name =
          (SELECT 'penstock_hub_' || oid FROM pg_database WHERE datname = current_database())
        """),
      PostgresStatement("SELECT value FROM counters WHERE name = 'log_from'"),
    ])
    var finding = Finding()
    finding.slot = answers[0].text(0, 0) ?? ""
    finding.level = answers[0].text(0, 1) ?? ""
    finding.hasPublication = answers[0].integer(0, 2) == 1
    finding.state = answers[1].rows.first?.text(0)
    finding.from = answers[2].rows.first?.unsigned(0)
    return finding
  }

  private func makeLog(_ finding: Finding, isSlotThere: Bool) throws(HubStoreError) -> Log {
    try onOutbox { (connection) throws(PostgresError) in
      if !finding.hasPublication {
        try connection.script(
          "CREATE PUBLICATION \(Self.publication) FOR TABLE outbox WITH (publish = 'insert')")
      }
      if isSlotThere { try connection.script("SELECT pg_drop_replication_slot('\(finding.slot)')") }
    }
    do throws(PostgresError) {
      var maker = try connectReplication()
      let answer = try maker.script(
        "CREATE_REPLICATION_SLOT \(finding.slot) LOGICAL pgoutput EXPORT_SNAPSHOT")
      guard let picture = answer.last?.text(0, 2) else {
        throw PostgresError(state: "", detail: "the server has exported no snapshot")
      }
      // The picture is there as long as its maker says nothing more.
      let from = try firstOfLog(picture)
      _ = try maker.script("IDENTIFY_SYSTEM")
      return Log(slot: finding.slot, from: from)
    } catch {
      throw error.storeError
    }
  }

  private func firstOfLog(_ picture: String) throws(PostgresError) -> UInt64 {
    do throws(HubStoreError) {
      return try onOutbox { (connection) throws(PostgresError) in
        try connection.script(
          "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '\(picture)'")
        let answer = try connection.run([
          PostgresStatement("SELECT value FROM counters WHERE name = 'outbox'")
        ])[0]
        try connection.script("COMMIT")
        let from = answer.rows.first?.unsigned(0) ?? 0
        _ = try connection.run([
          PostgresStatement("INSERT INTO counters VALUES ('log_from', $1)") { $0.add(from) }
        ])
        return from
      }
    } catch {
      throw PostgresError(state: "", detail: error.detail)
    }
  }

  /// Whoever publishes by the table needs no slot, and an unused one keeps the server's log for
  /// ever.
  func dropLog() throws(HubStoreError) {
    try onOutbox { (connection) throws(PostgresError) in
      let finding = try Self.look(&connection)
      guard finding.state != nil || finding.from != nil else { return }
      try connection.script(
        """
        BEGIN;
        DELETE FROM counters WHERE name = 'log_from';
        COMMIT;
        SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
          WHERE slot_name = '\(finding.slot)' AND NOT active;
        """)
    }
  }

  /// Bytes of the log that the server keeps for the slot.
  func logLag(_ slot: String) throws(HubStoreError) -> Int64? {
    try onOutbox { (connection) throws(PostgresError) in
      try connection.run([
        PostgresStatement(
          """
          SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint
          FROM pg_replication_slots WHERE slot_name = $1
          """
        ) { $0.add(slot) }
      ])[0].rows.first?.integer(0)
    }
  }

  /// A connection that sends the log from where the slot is.
  func openLog(_ slot: String) throws(PostgresError) -> PostgresConnection {
    var connection = try connectReplication()
    try connection.beginCopy(
      "START_REPLICATION SLOT \(slot) LOGICAL 0/0 (proto_version '1', "
        + "publication_names '\(Self.publication)', binary 'true')")
    return connection
  }

  private func connectReplication() throws(PostgresError) -> PostgresConnection {
    try PostgresConnection.open(
      try options.parameters("log", replication: true), within: options.connectLimit,
      patience: options.patience)
  }
}
