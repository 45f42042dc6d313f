import GatewayCore
import Platform
import Synchronization

/// A hub's database in PostgreSQL. What was committed is there after a power cut of the server
/// (`synchronous_commit` is at least `on`, whatever the server's default).
///
/// ## Several hubs
/// Any number may write. `revision` in the database counts commits; changes carry the one they were
/// decided on, and a commit that finds another is refused with `.conflict`: its hub loads and
/// decides anew. The counter's row is what commits queue at, so there is one order of them.
/// One hub at a time publishes the outbox (`claimOutbox`).
///
/// ## When the server is away
/// Every call fails with `.unavailable` and the next one connects again. A commit whose answer did
/// not come may have happened: whoever loads sees.
package final class PostgresStore: HubStore {
  package enum Access: Sendable {
    /// A hub, beside others. Makes the tables; a server that is away is no error yet.
    case shared
    /// Nobody else may write as long as this store is open: for who replaces states.
    case exclusive
    /// Only looks.
    case read
  }

  /// How long a commit waits for one of another hub, and for a hub that decides anew.
  private static let lockWait: Duration = .seconds(25)
  private static let presenceWait: Duration = .seconds(2)

  let options: PostgresOptions
  private let access: Access
  private let writer: Mutex<Line>
  private let outboxLine: Mutex<Line>

  /// One of the store's two connections, as far as there is one.
  struct Line: ~Copyable, Sendable {
    let purpose: String
    var connection: PostgresConnection?
    /// Asked for with `claimOutbox`: a new connection needs the lock again.
    var wantsOutbox = false
    var readsLog = false
    var hasOutbox = false
    /// See `takeTurn`.
    var hasTurn = false

    init(_ purpose: String) { self.purpose = purpose }
  }

  /// - Throws: `.foreign` when the database cannot be used by this version, `.busy` when hubs write
  ///   and the access is exclusive (or the other way round), and unless the access is shared,
  ///   `.unavailable`.
  package init(_ options: PostgresOptions, access: Access = .shared) throws(HubStoreError) {
    self.options = options
    self.access = access
    writer = Mutex(Line("store"))
    outboxLine = Mutex(Line("outbox"))
    do throws(HubStoreError) {
      try onWriter { (_) throws(PostgresError) in }
    } catch {
      guard access == .shared, error.code == .unavailable else { throw error }
    }
  }

  package func close() {
    writer.withLock { $0.connection = nil }
    outboxLine.withLock { $0.connection = nil }
  }

  // MARK: - Connections

  /// Runs `body` on the connection of events and states, connecting first where that is needed.
  func onWriter<Result: Sendable>(
    _ body: (inout PostgresConnection) throws(PostgresError) -> Result
  ) throws(HubStoreError) -> Result {
    try writer.withLock { (line) throws(HubStoreError) in try self.run(&line, body) }
  }

  /// As above, on the connection of the outbox, so that publishing and committing do not wait for
  /// each other.
  func onOutbox<Result: Sendable>(
    _ body: (inout PostgresConnection) throws(PostgresError) -> Result
  ) throws(HubStoreError) -> Result {
    try outboxLine.withLock { (line) throws(HubStoreError) in try self.run(&line, body) }
  }

  private func run<Result>(
    _ line: inout Line, _ body: (inout PostgresConnection) throws(PostgresError) -> Result
  ) throws(HubStoreError) -> Result {
    do throws(PostgresError) {
      var connection: PostgresConnection
      if let open = line.connection.take() {
        connection = open
      } else {
        line.hasOutbox = false
        line.hasTurn = false
        connection = try self.connect(line.purpose)
      }
      do throws(PostgresError) {
        let result = try body(&connection)
        line.connection = consume connection
        return result
      } catch {
        // A transaction that failed must not be what the next call finds itself in.
        if !connection.isBroken, (try? connection.script("ROLLBACK")) != nil {
          line.connection = consume connection
        }
        throw error
      }
    } catch {
      throw error.storeError
    }
  }

  private func connect(_ purpose: String) throws(PostgresError) -> PostgresConnection {
    var connection = try PostgresConnection.open(
      try options.parameters(purpose), within: options.connectLimit, patience: options.patience)
    guard connection.serverVersion >= PostgresSchema.serverVersionMin else {
      throw PostgresError.foreign("the server is older than PostgreSQL 14")
    }
    guard connection.isUTF8 else { throw PostgresError.foreign("the database is not in UTF-8") }
    let milliseconds = Self.lockWait.nanoseconds / 1_000_000
    try connection.script(
      """
      SET search_path = \(PostgresSchema.name);
      SET lock_timeout = \(milliseconds);
      SET idle_in_transaction_session_timeout = \(milliseconds);
      SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write');
      """)
    try migrate(&connection)
    if purpose == "store" { try takePresence(&connection) }
    return connection
  }

  private func migrate(_ connection: inout PostgresConnection) throws(PostgresError) {
    let known = PostgresSchema.migrations.count
    var version = try Self.version(&connection)
    if version < known {
      guard access != .read else {
        throw PostgresError.foreign(
          version == 0
            ? "the database has no tables of a hub: start the hub once"
            : "the database is of an older version: start the hub once")
      }
      // Another hub may be at it: look again behind the lock.
      try connection.script("SELECT pg_advisory_lock(\(PostgresSchema.Lock.migration.rawValue))")
      version = try Self.version(&connection)
      if version < known { try connection.script(PostgresSchema.migration(from: version)) }
      try connection.script("SELECT pg_advisory_unlock(\(PostgresSchema.Lock.migration.rawValue))")
    }
    guard version <= known else {
      throw PostgresError.foreign("the database was made by a newer version")
    }
  }

  private static func version(
    _ connection: inout PostgresConnection
  ) throws(PostgresError) -> Int {
    let there = try connection.run([
      PostgresStatement(
        """
        SELECT to_regclass('\(PostgresSchema.name).migrations') IS NOT NULL,
          EXISTS (SELECT FROM pg_class
            WHERE relnamespace = to_regnamespace('\(PostgresSchema.name)'))
        """)
    ])[0]
    guard there.integer(0, 0) == 1 else {
      guard there.integer(0, 1) == 0 else {
        throw PostgresError.foreign(
          "the schema \(PostgresSchema.name) is there and is no hub's")
      }
      return 0
    }
    let answer = try connection.run([
      PostgresStatement("SELECT max(number) FROM \(PostgresSchema.name).migrations")
    ])[0]
    return Int(answer.integer(0, 0) ?? 0)
  }

  private func takePresence(_ connection: inout PostgresConnection) throws(PostgresError) {
    let function: String
    switch access {
    case .read: return
    case .shared: function = "pg_advisory_lock_shared"
    case .exclusive: function = "pg_advisory_lock"
    }
    // One that has just ended may not have let go yet.
    try connection.script("SET lock_timeout = \(Self.presenceWait.nanoseconds / 1_000_000)")
    do throws(PostgresError) {
      _ = try connection.lock(.presence, function)
    } catch {
      guard error.state == PostgresError.lockNotAvailable else { throw error }
      throw PostgresError(
        state: PostgresError.busyState,
        detail: access == .exclusive ? "a hub writes to it" : "somebody needs it alone")
    }
    try connection.script("SET lock_timeout = \(Self.lockWait.nanoseconds / 1_000_000)")
  }

  // MARK: - One at a time

  package func outboxSource(readsLog: Bool) -> any OutboxSource {
    outboxLine.withLock { $0.readsLog = readsLog }
    return readsLog ? LogSource(self) : TableSource(self)
  }

  package func claimOutbox() throws(HubStoreError) -> Bool {
    let (isHeld, readsLog) = try outboxLine.withLock { (line) throws(HubStoreError) in
      line.wantsOutbox = true
      return (try self.claim(&line), line.readsLog)
    }
    if isHeld, !readsLog, access == .shared { try dropLog() }
    return isHeld
  }

  private func claim(_ line: inout Line) throws(HubStoreError) -> Bool {
    guard line.wantsOutbox, access != .read else { return true }
    var isHeld = line.hasOutbox && line.connection != nil
    // Also tells whether the connection is still the one that has the lock.
    try run(&line) { (connection) throws(PostgresError) in
      if isHeld {
        _ = try connection.run([PostgresStatement("SELECT 1")])
      } else {
        isHeld = try connection.lock(.outbox, "pg_try_advisory_lock")
      }
    }
    line.hasOutbox = isHeld
    return isHeld
  }

  /// A page of the outbox, for who has claimed it or never asked.
  func readOutbox(_ statement: PostgresStatement) throws(HubStoreError) -> [OutboxRow] {
    try outboxLine.withLock { (line) throws(HubStoreError) in
      if line.wantsOutbox, !line.hasOutbox || line.connection == nil {
        guard try self.claim(&line) else {
          throw HubStoreError(.busy, "another hub publishes the outbox")
        }
      }
      return try self.run(&line) { (connection) throws(PostgresError) in
        let answer = try connection.run([statement])[0]
        return answer.rows.map(OutboxRow.init)
      }
    }
  }

  package func isCurrent(_ revision: Int64?) throws(HubStoreError) -> Bool {
    try onWriter { (connection) throws(PostgresError) in
      let answer = try connection.run([
        PostgresStatement("SELECT value FROM counters WHERE name = 'revision'")
      ])[0]
      return answer.rows.first?.integer(0) == revision
    }
  }

  package func takeTurn() throws(HubStoreError) {
    try writer.withLock { (line) throws(HubStoreError) in
      guard !line.hasTurn else { return }
      try self.run(&line) { (connection) throws(PostgresError) in
        _ = try connection.lock(.turn, "pg_advisory_lock")
        // A hub that stands still with the turn must not hold up the others for ever.
        try connection.script(
          "SET idle_session_timeout = \(Self.lockWait.nanoseconds / 1_000_000)")
      }
      line.hasTurn = true
    }
  }

  package func endTurn() {
    writer.withLock { line in
      guard line.hasTurn else { return }
      line.hasTurn = false
      // Where that fails the connection is gone, and the lock with it.
      try? self.run(&line) { (connection) throws(PostgresError) in
        _ = try connection.lock(.turn, "pg_advisory_unlock")
        try connection.script("SET idle_session_timeout = 0")
      }
    }
  }
}

extension PostgresConnection {
  /// - Returns: what a trying function answers; true for one that waits.
  fileprivate mutating func lock(
    _ lock: PostgresSchema.Lock, _ function: String
  ) throws(PostgresError) -> Bool {
    let answer = try run([PostgresStatement("SELECT \(function)(\(lock.rawValue))")])[0]
    return answer.integer(0, 0) ?? 1 == 1
  }
}

extension PostgresError {
  /// Ours, of the class that PostgreSQL leaves to others.
  static let conflictState = "PH001"
  static let foreignState = "PH002"
  static let busyState = "PH003"
  /// The server's.
  static let lockNotAvailable = "55P03"
  static let objectInUse = "55006"

  static func conflict(_ detail: String) -> PostgresError {
    PostgresError(state: conflictState, detail: detail)
  }

  static func foreign(_ detail: String) -> PostgresError {
    PostgresError(state: foreignState, detail: detail)
  }

  /// The server's errors in our words
  /// (https://www.postgresql.org/docs/15/errcodes-appendix.html).
  var storeError: HubStoreError {
    let text = state.isEmpty ? detail : "\(detail), SQLSTATE \(state)"
    return switch state {
    case Self.conflictState: HubStoreError(.conflict, detail)
    case Self.foreignState: HubStoreError(.foreign, detail)
    case Self.busyState: HubStoreError(.busy, detail)
    // Unique violation, serialization failure, deadlock.
    case "23505", "40001", "40P01": HubStoreError(.conflict, text)
    case "XX001", "XX002": HubStoreError(.corrupt, text)
    default: HubStoreError(.unavailable, text)
    }
  }
}
