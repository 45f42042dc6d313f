/// The tables, by migration: those of `SQLiteSchema` in PostgreSQL's words, in a schema of their
/// own. A migration is never changed once it has been released; a database that knows more
/// migrations than this program is refused.
enum PostgresSchema {
  static let name = "penstock_hub"
  /// Of the oldest server whose log can be read in binary.
  static let serverVersionMin = 140_000

  /// Keys of advisory locks ("PsHb", and which).
  enum Lock: Int64 {
    /// Shared by every hub that writes; whole for who must be alone.
    case presence = 0x5073_4862_0000_0001
    /// Who publishes the outbox.
    case outbox = 0x5073_4862_0000_0002
    /// Shared by every commit; whole for who decides anew and must not be overtaken again.
    case turn = 0x5073_4862_0000_0003
    /// Who makes tables.
    case migration = 0x5073_4862_0000_0004
  }

  /// In their order; the first has the number 1.
  static let migrations = [first, retention]

  /// Makes what is missing, in one transaction.
  static func migration(from version: Int) -> String {
    var sql = "BEGIN; SELECT pg_advisory_xact_lock(\(Lock.migration.rawValue));"
    for (index, migration) in migrations.enumerated().dropFirst(version) {
      sql += "\(migration)\nINSERT INTO \(name).migrations (number) VALUES (\(index + 1));"
    }
    return sql + "COMMIT"
  }

  private static let first = """
    CREATE SCHEMA IF NOT EXISTS penstock_hub;
    SET LOCAL search_path = penstock_hub;

    CREATE TABLE migrations (
      number bigint PRIMARY KEY,
      time timestamptz NOT NULL DEFAULT now()
    );

    -- CloudEvents sources, by number; 0 is the hub itself and stands nowhere.
    CREATE TABLE sources (number bigint PRIMARY KEY, text text NOT NULL);

    -- The state: one row per asset, a fold of its events. Pages keep room, so that an update stays
    -- in its page.
    CREATE TABLE assets (
      number bigint PRIMARY KEY,
      id text NOT NULL,
      version bigint NOT NULL,
      position bigint NOT NULL,
      is_registered boolean NOT NULL,
      is_retired boolean NOT NULL,
      facts text NOT NULL,
      readings text NOT NULL,
      reading_inbox bigint,
      reading_sequence bigint,
      reading_time bigint,
      alerts text NOT NULL,
      maintenance text
    ) WITH (fillfactor = 50);
    -- Names come from topics and may be longer than what another kind of index takes.
    CREATE INDEX asset_ids ON assets USING hash (id);

    -- Append-only. A stream is read backwards by `previous`.
    CREATE TABLE events (
      position bigint PRIMARY KEY,
      asset bigint NOT NULL,
      version bigint NOT NULL,
      previous bigint NOT NULL,
      type bigint NOT NULL,
      time bigint NOT NULL,
      inbox bigint,
      sequence bigint,
      source bigint NOT NULL,
      message_id text NOT NULL,
      payload text NOT NULL
    );
    CREATE INDEX notable_events ON events (type) WHERE type <> 10;

    -- When which position was reached: one row per transaction.
    CREATE TABLE moments (position bigint PRIMARY KEY, time bigint NOT NULL);

    -- What of each journal is taken, as 1-540,600,700-712.
    CREATE TABLE inboxes (
      number bigint PRIMARY KEY,
      gateway text NOT NULL,
      route text NOT NULL,
      journal text NOT NULL,
      life bigint NOT NULL,
      rank bigint NOT NULL,
      start bigint NOT NULL,
      topic text NOT NULL,
      epochs text NOT NULL,
      accounted text NOT NULL,
      open text NOT NULL,
      floor bigint NOT NULL,
      newest_epoch text NOT NULL,
      newest_last bigint NOT NULL
    ) WITH (fillfactor = 50);

    CREATE TABLE gaps (
      inbox bigint NOT NULL,
      first bigint NOT NULL,
      last bigint NOT NULL,
      reason text NOT NULL,
      topic text,
      PRIMARY KEY (inbox, first)
    );

    -- Asset events that wait for what comes before them.
    CREATE TABLE waiting (
      inbox bigint NOT NULL,
      sequence bigint NOT NULL,
      asset text NOT NULL,
      time bigint NOT NULL,
      source bigint NOT NULL,
      message_id text NOT NULL,
      payload text NOT NULL,
      PRIMARY KEY (inbox, sequence)
    );

    CREATE TABLE dead_letters (
      number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      time bigint NOT NULL,
      topic text NOT NULL,
      reason text NOT NULL,
      detail text NOT NULL,
      payload bytea NOT NULL,
      byte_count bigint NOT NULL
    );

    -- The log reader takes the columns in this order.
    CREATE TABLE outbox (
      number bigint PRIMARY KEY,
      topic text NOT NULL,
      key text NOT NULL,
      payload bytea NOT NULL,
      expiry bigint,
      time bigint NOT NULL
    );

    -- `revision` counts transactions: each hub knows by it whether another has written. `log_from`
    -- is there while the log is read: messages above it come by the log.
    CREATE TABLE counters (name text PRIMARY KEY, value bigint NOT NULL) WITH (fillfactor = 20);
    INSERT INTO counters VALUES ('publication', 0), ('outbox', 0), ('revision', 0);

    CREATE TABLE policy_rows (
      policy text NOT NULL,
      key text NOT NULL,
      value bytea NOT NULL
    );
    CREATE INDEX policy_keys ON policy_rows USING hash (key);

    CREATE TABLE snapshots (
      position bigint PRIMARY KEY,
      time bigint NOT NULL,
      assets bytea NOT NULL
    );
    """

  /// `baseline`: position of the snapshot that a rebuild begins with, and that is never dropped;
  /// `retired`: readings through it are gone.
  private static let retention = """
    SET LOCAL search_path = penstock_hub;
    INSERT INTO counters VALUES ('baseline', 0), ('retired', 0);

    -- What is left of readings that are gone; start and width in nanoseconds.
    CREATE TABLE summaries (
      asset bigint NOT NULL,
      metric text NOT NULL,
      start bigint NOT NULL,
      width bigint NOT NULL,
      count bigint NOT NULL,
      minimum double precision NOT NULL,
      maximum double precision NOT NULL,
      sum double precision NOT NULL,
      last double precision NOT NULL,
      last_time bigint NOT NULL,
      PRIMARY KEY (asset, metric, start, width)
    );
    """
}
