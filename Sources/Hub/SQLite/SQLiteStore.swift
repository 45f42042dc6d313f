import GRDB
import GatewayCore
import Glibc
import Platform

/// A hub's database in one SQLite file. WAL with `synchronous=FULL`: what was committed is there
/// after a power cut. One process writes (a lock file beside the database says so), any number may
/// read at the same time.
package final class SQLiteStore: HubStore {
  package enum Access: Sendable {
    /// Creates the file, migrates, and keeps other writers out.
    case write
    /// Beside a hub that runs, or without one.
    case read
  }

  /// Dead letters kept; the oldest go.
  package static let deadLettersMax = 10_000
  package static let snapshotsMax = 8
  /// Pages of the write-ahead log after which SQLite moves them into the file: 64 MiB.
  private static let checkpointPages = 16_384
  private static let cacheKibibytes = 131_072

  let pool: DatabasePool
  private let lock: Lock?

  /// - Throws: `.busy` when another hub writes, `.foreign` when the file is something else or from
  ///   a newer version, `.unavailable` when it cannot be opened.
  package init(path: String, access: Access = .write) throws(HubStoreError) {
    lock = access == .write ? try Lock(path: path + ".lock") : nil
    pool = try Self.run {
      var configuration = Configuration()
      configuration.label = "hub"
      configuration.readonly = access == .read
      configuration.busyMode = .timeout(10)
      configuration.maximumReaderCount = 4
      configuration.prepareDatabase { db in
        try db.execute(
          sql: """
            PRAGMA synchronous = FULL;
            PRAGMA cache_size = -\(Self.cacheKibibytes);
            PRAGMA wal_autocheckpoint = \(Self.checkpointPages);
            """)
      }
      let isThere = ((try? FileStatus(path: path))?.byteCount ?? 0) > 0
      if isThere {
        try Self.check(path, access)
      } else if access == .read {
        throw HubStoreError(.unavailable, "\(path) is not there")
      }
      let pool = try DatabasePool(path: path, configuration: configuration)
      if access == .write { try SQLiteSchema.migrator.migrate(pool) }
      return pool
    }
  }

  /// Looks without changing anything, before a database of somebody else is put into WAL mode.
  private static func check(_ path: String, _ access: Access) throws {
    var configuration = Configuration()
    configuration.readonly = true
    configuration.busyMode = .timeout(10)
    let queue = try DatabaseQueue(path: path, configuration: configuration)
    let migrator = SQLiteSchema.migrator
    let (id, tables, isNewer, isComplete) = try queue.read { db in
      (
        try Int.fetchOne(db, sql: "PRAGMA application_id"),
        try Int.fetchOne(
          db, sql: "SELECT count(*) FROM sqlite_schema WHERE tbl_name <> 'grdb_migrations'"),
        try migrator.hasBeenSuperseded(db), try migrator.hasCompletedMigrations(db)
      )
    }
    try queue.close()
    // A hub may have been killed before its first migration.
    guard id == SQLiteSchema.applicationID || (tables == 0 && access == .write) else {
      throw HubStoreError(.foreign, "\(path) is no database of a hub")
    }
    if isNewer { throw HubStoreError(.foreign, "\(path) was made by a newer version") }
    if access == .read, !isComplete {
      throw HubStoreError(.foreign, "\(path) is of an older version: start the hub once")
    }
  }

  package func close() { try? pool.close() }

  /// Only this process may write as long as it lives.
  private final class Lock: Sendable {
    private let descriptor: FileDescriptor

    init(path: String) throws(HubStoreError) {
      let opened: FileDescriptor
      do throws(SystemError) {
        opened = try File.open(path, flags: O_RDWR | O_CREAT, mode: 0o600)
      } catch {
        throw HubStoreError(.unavailable, "\(error)")
      }
      guard flock(opened.raw, LOCK_EX | LOCK_NB) == 0 else {
        throw HubStoreError(.busy, path)
      }
      descriptor = opened
    }
  }

  /// The library's errors in our words.
  static func run<Result>(_ body: () throws -> Result) throws(HubStoreError) -> Result {
    do {
      return try body()
    } catch let error as HubStoreError {
      throw error
    } catch let error as DatabaseError {
      let detail = error.message ?? "\(error.resultCode)"
      switch error.resultCode {
      case .SQLITE_CONSTRAINT: throw HubStoreError(.conflict, detail)
      case .SQLITE_CORRUPT: throw HubStoreError(.corrupt, detail)
      case .SQLITE_NOTADB: throw HubStoreError(.foreign, detail)
      default: throw HubStoreError(.unavailable, detail)
      }
    } catch {
      throw HubStoreError(.unavailable, "\(error)")
    }
  }

  func read<Result>(
    _ body: (Database) throws -> Result
  ) throws(HubStoreError) -> Result {
    try Self.run { try pool.read(body) }
  }

  func write<Result>(
    _ body: (Database) throws -> Result
  ) throws(HubStoreError) -> Result {
    try Self.run { try pool.write(body) }
  }
}

// How values stand in columns.

func column(_ value: UInt64) -> Int64 { Int64(bitPattern: value) }
func column(_ sequence: GatewayCore.Sequence) -> Int64 { Int64(bitPattern: sequence.rawValue) }
func column(_ json: [UInt8]) -> String { String(decoding: json, as: UTF8.self) }

extension Row {
  func unsigned(_ name: String) -> UInt64 { UInt64(bitPattern: self[name] as Int64) }
  func sequence(_ name: String) -> GatewayCore.Sequence {
    GatewayCore.Sequence(unsigned(name))
  }
  func json(_ name: String) -> [UInt8] { Array((self[name] as String).utf8) }
  func time(_ name: String) -> WallTime { WallTime(nanoseconds: self[name]) }
}
