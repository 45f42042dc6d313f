// The C boundary to libpq: PostgresConnection*.swift are the only files that import CPostgres.
//
// The connection is non-blocking throughout: every wait is a poll(2) with a limit, so that a server
// that stands still looks like one that is gone, and never like a hub that hangs. (Name resolution
// blocks as long as resolv.conf says.)

import CPostgres
import GatewayCore
import Glibc
import Platform

/// What the server said, or the way to it.
struct PostgresError: Error {
  /// SQLSTATE; empty when the connection itself failed.
  let state: String
  let detail: String
}

/// One connection to a server; goes with its owner. It may go from thread to thread: libpq asks
/// that one at a time uses it, and there is no copy that another could use.
@safe struct PostgresConnection: ~Copyable, Sendable {
  /// Of the handle.
  private let address: UInt
  /// How long the server may say nothing while it owes an answer.
  private let patience: Duration
  /// Of statements that the server has parsed, by their text.
  private var names: [String: String] = [:]
  private var nameCount = 0
  /// Nothing works on it any more.
  private(set) var isBroken = false

  /// Connects and authenticates.
  /// - Parameters:
  ///   - parameters: libpq's keywords, later ones before earlier ones; the value of `dbname` may
  ///     be a URL.
  ///   - limit: for all of it.
  static func open(
    _ parameters: [(name: String, value: String)], within limit: Duration, patience: Duration
  ) throws(PostgresError) -> PostgresConnection {
    let started = unsafe withCStringArray(parameters.map(\.name)) { names in
      unsafe withCStringArray(parameters.map(\.value)) { values in
        unsafe PQconnectStartParams(names, values, 1)
      }
    }
    guard let handle = unsafe started else {
      throw PostgresError(state: "", detail: "out of memory")
    }
    // Owned from here on, whatever follows.
    var connection = unsafe PostgresConnection(handle: handle, patience: patience)
    try connection.finishConnecting(until: Clock.monotonic() + limit)
    return connection
  }

  private init(handle: OpaquePointer, patience: Duration) {
    address = UInt(bitPattern: handle)
    self.patience = patience
  }

  deinit { unsafe PQfinish(handle) }

  var handle: OpaquePointer {
    guard let handle = unsafe OpaquePointer(bitPattern: address) else {
      preconditionFailure("an address that was not null")
    }
    return unsafe handle
  }

  private mutating func finishConnecting(until deadline: MonotonicTime) throws(PostgresError) {
    // By default the library writes notices to standard error.
    unsafe PQsetNoticeProcessor(handle, { _, _ in }, nil)
    var isForWriting = true
    while unsafe PQstatus(handle) != CONNECTION_BAD {
      guard try wait(forWriting: isForWriting, until: deadline) else {
        throw broken("no connection in time")
      }
      switch unsafe PQconnectPoll(handle) {
      case PGRES_POLLING_OK:
        guard unsafe PQsetnonblocking(handle, 1) == 0 else { throw broken() }
        return
      case PGRES_POLLING_WRITING: isForWriting = true
      case PGRES_POLLING_READING: isForWriting = false
      default: throw broken()
      }
    }
    throw broken()
  }

  // MARK: - About the connection

  /// For poll; nil when it is gone.
  var socket: Int32? {
    let number = unsafe PQsocket(handle)
    return number < 0 ? nil : number
  }

  /// Of the server, such as 150018.
  var serverVersion: Int { Int(unsafe PQserverVersion(handle)) }

  /// Of the database.
  var isUTF8: Bool {
    guard let name = unsafe PQparameterStatus(handle, "server_encoding") else { return false }
    return unsafe String(cString: name) == "UTF8"
  }

  /// Process of the server that serves it.
  var serverProcess: Int32 { unsafe PQbackendPID(handle) }

  /// What the library has to say, and nothing goes over this connection any more.
  mutating func broken(_ reason: String? = nil) -> PostgresError {
    isBroken = true
    let text = unsafe PQerrorMessage(handle).map { unsafe String(cString: $0) } ?? ""
    let lines = text.split(whereSeparator: \.isNewline).joined(separator: "; ")
    return PostgresError(state: "", detail: reason ?? (lines.isEmpty ? "connection lost" : lines))
  }

  /// - Returns: false when the time is over.
  private func wait(
    forWriting: Bool, forReading: Bool = false, until deadline: MonotonicTime
  ) throws(PostgresError) -> Bool {
    let events = (forWriting ? POLLOUT : 0) | (forReading || !forWriting ? POLLIN : 0)
    while true {
      let left = deadline.since(Clock.monotonic())
      guard left > .zero, let socket else { return false }
      var descriptor = pollfd(fd: socket, events: Int16(events), revents: 0)
      let milliseconds = Int32(clamping: left.nanoseconds / 1_000_000 + 1)
      let count = unsafe poll(&descriptor, 1, milliseconds)
      if count > 0 { return true }
      if count < 0, errno != EINTR {
        throw PostgresError(state: "", detail: "poll: errno \(errno)")
      }
    }
  }

  // MARK: - Statements

  /// Sends all statements at once and takes all answers: one way to the server and back. Behind
  /// the first that fails none is done.
  /// - Returns: as many results.
  mutating func run(
    _ statements: [PostgresStatement]
  ) throws(PostgresError) -> [PostgresResult] {
    precondition(!statements.isEmpty, "a pipeline has statements")
    guard unsafe PQenterPipelineMode(handle) == 1 else { throw broken() }
    // For each answer that is due, the text that was prepared, nil for the statement itself.
    var due: [String?] = []
    for statement in statements { try send(statement, &due) }
    guard unsafe PQpipelineSync(handle) == 1 else { throw broken() }
    try flush()
    var results: [PostgresResult] = []
    var failure: PostgresError?
    for prepared in due {
      let result = try nextCommand()
      if let error = result.error {
        if let prepared { names[prepared] = nil }
        if failure == nil, !result.isSkipped { failure = error }
      } else if prepared == nil {
        results.append(result)
      }
      if result.isSkipped, let prepared { names[prepared] = nil }
    }
    guard let end = try nextResult(), end.isSync else {
      throw broken("an answer that nobody asked for")
    }
    guard unsafe PQexitPipelineMode(handle) == 1 else { throw broken() }
    if let failure { throw failure }
    return results
  }

  private mutating func send(
    _ statement: PostgresStatement, _ due: inout [String?]
  ) throws(PostgresError) {
    let arguments = statement.arguments
    let name: String
    if let known = names[statement.sql] {
      name = known
    } else {
      nameCount += 1
      name = "s\(nameCount)"
      let sent = unsafe PQsendPrepare(
        handle, name, statement.sql, Int32(arguments.types.count), arguments.types)
      guard sent == 1 else { throw broken() }
      names[statement.sql] = name
      due.append(statement.sql)
    }
    let lengths = arguments.ranges.map { Int32($0?.count ?? 0) }
    let formats = [Int32](repeating: 1, count: lengths.count)
    let sent = unsafe arguments.bytes.withUnsafeBytes { bytes in
      let base = unsafe bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
      // An empty value is not NULL: it needs an address, too.
      let values: [UnsafePointer<CChar>?] = unsafe arguments.ranges.map { range in
        guard let range else { return nil }
        return unsafe base.map { unsafe $0 + range.lowerBound }
      }
      return unsafe PQsendQueryPrepared(
        handle, name, Int32(lengths.count), values, lengths, formats, 1)
    }
    guard sent == 1 else { throw broken() }
    due.append(nil)
  }

  /// Statements without arguments, separated by semicolons: in one transaction unless they say
  /// otherwise. Rows are given back as text.
  @discardableResult
  mutating func script(_ sql: String) throws(PostgresError) -> [PostgresResult] {
    guard unsafe PQsendQuery(handle, sql) == 1 else { throw broken() }
    try flush()
    var results: [PostgresResult] = []
    var failure: PostgresError?
    while let result = try nextResult() {
      if result.isCopy { return [result] }
      if let error = result.error, failure == nil { failure = error }
      results.append(result)
    }
    if let failure { throw failure }
    return results
  }

  /// The answer to one statement of a pipeline, and the end of it.
  private mutating func nextCommand() throws(PostgresError) -> PostgresResult {
    guard let result = try nextResult() else { throw broken("no answer to a statement") }
    while let more = try nextResult() {
      guard more.error != nil else { throw broken("two answers to one statement") }
      throw broken()
    }
    return result
  }

  /// Waits for it; nil ends the answers to one statement.
  private mutating func nextResult() throws(PostgresError) -> PostgresResult? {
    while unsafe PQisBusy(handle) == 1 {
      let deadline = Clock.monotonic() + patience
      guard try wait(forWriting: false, until: deadline) else {
        throw broken("the server has not answered for \(patience)")
      }
      guard unsafe PQconsumeInput(handle) == 1 else { throw broken() }
    }
    guard let result = unsafe PQgetResult(handle) else { return nil }
    if unsafe PQstatus(handle) == CONNECTION_BAD { isBroken = true }
    return unsafe PostgresResult(owning: result)
  }

  /// Until everything is with the kernel; takes what comes meanwhile, so that neither side waits
  /// for the other.
  mutating func flush() throws(PostgresError) {
    while true {
      switch unsafe PQflush(handle) {
      case 0: return
      case 1:
        let deadline = Clock.monotonic() + patience
        guard try wait(forWriting: true, forReading: true, until: deadline) else {
          throw broken("the server has taken nothing for \(patience)")
        }
        guard unsafe PQconsumeInput(handle) == 1 else { throw broken() }
      default: throw broken()
      }
    }
  }
}

/// One answer; goes with its owner. Integers and bytes are binary, as `run` asks for them.
@safe final class PostgresResult {
  private let handle: OpaquePointer

  fileprivate init(owning handle: OpaquePointer) { unsafe self.handle = handle }

  deinit { unsafe PQclear(handle) }

  /// What the server refused.
  var error: PostgresError? {
    switch unsafe PQresultStatus(handle) {
    case PGRES_FATAL_ERROR, PGRES_BAD_RESPONSE, PGRES_NONFATAL_ERROR:
      return PostgresError(
        state: field("C"), detail: field("M").isEmpty ? "connection lost" : field("M"))
    case PGRES_PIPELINE_ABORTED:
      return PostgresError(state: "25P02", detail: "not run behind another that failed")
    default: return nil
    }
  }

  /// A part of the error by libpq's code.
  private func field(_ code: Character) -> String {
    let number = Int32(code.asciiValue ?? 0)
    return unsafe PQresultErrorField(handle, number).map { unsafe String(cString: $0) } ?? ""
  }

  var isSkipped: Bool { unsafe PQresultStatus(handle) == PGRES_PIPELINE_ABORTED }
  var isSync: Bool { unsafe PQresultStatus(handle) == PGRES_PIPELINE_SYNC }
  var isCopy: Bool { unsafe PQresultStatus(handle) == PGRES_COPY_BOTH }

  var rowCount: Int { Int(unsafe PQntuples(handle)) }

  /// Rows that a statement has changed.
  var changedCount: Int {
    guard let text = unsafe PQcmdTuples(handle) else { return 0 }
    return unsafe Int(String(cString: text)) ?? 0
  }

  /// The bytes of a value as they came; nil for NULL.
  func bytes(_ row: Int, _ column: Int) -> [UInt8]? {
    precondition(row < rowCount && column < Int(unsafe PQnfields(handle)), "a value of the answer")
    guard unsafe PQgetisnull(handle, Int32(row), Int32(column)) == 0,
      let start = unsafe PQgetvalue(handle, Int32(row), Int32(column))
    else { return nil }
    let count = Int(unsafe PQgetlength(handle, Int32(row), Int32(column)))
    return unsafe Array(UnsafeRawBufferPointer(start: start, count: count))
  }

  func text(_ row: Int, _ column: Int) -> String? {
    bytes(row, column).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Of any width, big-endian; a truth value is 0 or 1.
  func integer(_ row: Int, _ column: Int) -> Int64? {
    precondition(row < rowCount && column < Int(unsafe PQnfields(handle)), "a value of the answer")
    guard unsafe PQgetisnull(handle, Int32(row), Int32(column)) == 0,
      let start = unsafe PQgetvalue(handle, Int32(row), Int32(column))
    else { return nil }
    let count = Int(unsafe PQgetlength(handle, Int32(row), Int32(column)))
    var value: Int64 = 0
    for index in 0..<min(count, 8) {
      value = value << 8 | Int64(UInt8(bitPattern: unsafe start[index]))
    }
    return value
  }
}

/// Lends a null-terminated array of C strings for one call.
private func withCStringArray<Result>(
  _ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result
) -> Result {
  var copies = unsafe strings.map { text in unsafe strdup(text) }
  defer { while let copy = unsafe copies.popLast() { unsafe free(copy) } }
  var pointers = unsafe copies.map { copy in unsafe UnsafePointer(copy) }
  unsafe pointers.append(nil)
  return unsafe pointers.withUnsafeBufferPointer { buffer in
    guard let base = buffer.baseAddress else {
      preconditionFailure("an array with a terminator has a first element")
    }
    return unsafe body(base)
  }
}
