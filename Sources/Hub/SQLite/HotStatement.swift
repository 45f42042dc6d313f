import GRDB
import GRDBSQLite
import GatewayCore

/// A cached statement that is run once for each event, by SQLite's own interface: the library boxes
/// every value and copies every text, which costs more than the insert itself.
///
/// Valid within the transaction that `database` is lent for. Each row binds all parameters, from 1,
/// and ends with `run`, which throws `DatabaseError` as the library would.
@safe
struct HotStatement: ~Copyable {
  private let statement: OpaquePointer
  private let database: Database

  init(_ sql: String, _ database: Database) throws {
    self.database = database
    unsafe statement = try database.cachedStatement(sql: sql).sqliteStatement
  }

  func bind(_ index: Int32, _ value: Int64?) {
    if let value {
      unsafe _ = sqlite3_bind_int64(statement, index, value)
    } else {
      unsafe _ = sqlite3_bind_null(statement, index)
    }
  }

  /// A text that is copied.
  func bind(_ index: Int32, copying text: Span<UInt8>) {
    // SQLITE_TRANSIENT, which is a macro that Swift does not see.
    let copies = unsafe unsafeBitCast(-1, to: sqlite3_destructor_type.self)
    unsafe text.withUnsafeBytes { unsafe bind(index, $0, copies) }
  }

  func bindNull(_ index: Int32) { unsafe _ = sqlite3_bind_null(statement, index) }

  func run() throws {
    let code = unsafe sqlite3_step(statement)
    unsafe sqlite3_reset(statement)
    try check(code)
  }

  /// Binds two texts that are lent and not copied, and runs.
  func run(
    text first: (index: Int32, bytes: Span<UInt8>), _ second: (index: Int32, bytes: Span<UInt8>)
  ) throws {
    let code = unsafe first.bytes.withUnsafeBytes { one in
      unsafe second.bytes.withUnsafeBytes { two in
        unsafe bind(first.index, one, nil)
        unsafe bind(second.index, two, nil)
        return unsafe sqlite3_step(statement)
      }
    }
    unsafe sqlite3_reset(statement)
    try check(code)
  }

  private func bind(
    _ index: Int32, _ bytes: UnsafeRawBufferPointer, _ destructor: sqlite3_destructor_type?
  ) {
    // SQLite takes a null pointer for NULL, and an empty text is none.
    guard let start = bytes.baseAddress else {
      unsafe _ = sqlite3_bind_text(statement, index, "", 0, destructor)
      return
    }
    unsafe _ = sqlite3_bind_text(
      statement, index, start.assumingMemoryBound(to: CChar.self), Int32(bytes.count), destructor)
  }

  private func check(_ code: Int32) throws {
    guard code != SQLITE_DONE else { return }
    throw DatabaseError(
      resultCode: ResultCode(rawValue: code), message: database.lastErrorMessage)
  }
}
