import GRDB

/// The tables, by migration. A migration is never changed once it has been released; a database
/// that knows more migrations than this program is refused.
enum SQLiteSchema {
  /// `application_id` of the file: "PsHb".
  static let applicationID = 0x5073_4862

  static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("1") { try $0.execute(sql: first) }
    migrator.registerMigration("2") { try $0.execute(sql: retention) }
    return migrator
  }

  private static let first = """
    PRAGMA application_id = \(applicationID);

    -- CloudEvents sources, by number; 0 is the hub itself and stands nowhere.
    CREATE TABLE sources (
      number INTEGER PRIMARY KEY,
      text TEXT NOT NULL UNIQUE
    ) STRICT;

    -- The state: one row per asset, a fold of its events.
    CREATE TABLE assets (
      number INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      version INTEGER NOT NULL,
      position INTEGER NOT NULL,
      is_registered INTEGER NOT NULL,
      is_retired INTEGER NOT NULL,
      facts TEXT NOT NULL,
      readings TEXT NOT NULL,
      reading_inbox INTEGER,
      reading_sequence INTEGER,
      reading_time INTEGER,
      alerts TEXT NOT NULL,
      maintenance TEXT
    ) STRICT;

    -- Append-only. A stream is read backwards by `previous`: an index over (asset, version) would
    -- cost more than all the rest of an insert.
    CREATE TABLE events (
      position INTEGER PRIMARY KEY,
      asset INTEGER NOT NULL,
      version INTEGER NOT NULL,
      previous INTEGER NOT NULL,
      type INTEGER NOT NULL,
      time INTEGER NOT NULL,
      inbox INTEGER,
      sequence INTEGER,
      source INTEGER NOT NULL,
      message_id TEXT NOT NULL,
      payload TEXT NOT NULL
    ) STRICT;
    CREATE INDEX notable_events ON events (type) WHERE type <> 10;

    -- When which position was reached: one row per transaction.
    CREATE TABLE moments (position INTEGER PRIMARY KEY, time INTEGER NOT NULL) STRICT;

    -- What of each journal is taken, as 1-540,600,700-712.
    CREATE TABLE inboxes (
      number INTEGER PRIMARY KEY,
      gateway TEXT NOT NULL,
      route TEXT NOT NULL,
      journal TEXT NOT NULL,
      life INTEGER NOT NULL,
      rank INTEGER NOT NULL,
      start INTEGER NOT NULL,
      topic TEXT NOT NULL,
      epochs TEXT NOT NULL,
      accounted TEXT NOT NULL,
      open TEXT NOT NULL,
      floor INTEGER NOT NULL,
      newest_epoch TEXT NOT NULL,
      newest_last INTEGER NOT NULL,
      UNIQUE (gateway, route, journal, life)
    ) STRICT;

    CREATE TABLE gaps (
      inbox INTEGER NOT NULL,
      first INTEGER NOT NULL,
      last INTEGER NOT NULL,
      reason TEXT NOT NULL,
      topic TEXT,
      PRIMARY KEY (inbox, first)
    ) STRICT, WITHOUT ROWID;

    -- Asset events that wait for what comes before them.
    CREATE TABLE waiting (
      inbox INTEGER NOT NULL,
      sequence INTEGER NOT NULL,
      asset TEXT NOT NULL,
      time INTEGER NOT NULL,
      source INTEGER NOT NULL,
      message_id TEXT NOT NULL,
      payload TEXT NOT NULL,
      PRIMARY KEY (inbox, sequence)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE dead_letters (
      number INTEGER PRIMARY KEY AUTOINCREMENT,
      time INTEGER NOT NULL,
      topic TEXT NOT NULL,
      reason TEXT NOT NULL,
      detail TEXT NOT NULL,
      payload BLOB NOT NULL,
      byte_count INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE outbox (
      number INTEGER PRIMARY KEY,
      topic TEXT NOT NULL,
      key TEXT NOT NULL,
      payload BLOB NOT NULL,
      expiry INTEGER,
      time INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
    INSERT INTO counters VALUES ('publication', 0), ('outbox', 0);

    CREATE TABLE policy_rows (
      policy TEXT NOT NULL,
      key TEXT NOT NULL,
      value BLOB NOT NULL,
      PRIMARY KEY (policy, key)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE snapshots (
      position INTEGER PRIMARY KEY,
      time INTEGER NOT NULL,
      assets BLOB NOT NULL
    ) STRICT;
    """

  /// `baseline`: position of the snapshot that a rebuild begins with, and that is never dropped;
  /// `retired`: readings through it are gone.
  private static let retention = """
    INSERT INTO counters VALUES ('baseline', 0), ('retired', 0);

    -- What is left of readings that are gone; start and width in nanoseconds.
    CREATE TABLE summaries (
      asset INTEGER NOT NULL,
      metric TEXT NOT NULL,
      start INTEGER NOT NULL,
      width INTEGER NOT NULL,
      count INTEGER NOT NULL,
      minimum REAL NOT NULL,
      maximum REAL NOT NULL,
      sum REAL NOT NULL,
      last REAL NOT NULL,
      last_time INTEGER NOT NULL,
      PRIMARY KEY (asset, metric, start, width)
    ) STRICT, WITHOUT ROWID;
    """
}
