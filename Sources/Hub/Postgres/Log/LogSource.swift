import GatewayCore
import Platform

/// The outbox by the transaction log of PostgreSQL: rows come in the order of their commits,
/// without a query, as soon as they are durable.
///
/// ## Invariants
/// 1. The slot's position (`confirmed_flush_lsn`) passes a transaction only when all its messages,
///    and all before them, have left: the server then sends nothing again that has left, and
///    everything that has not.
/// 2. A row is removed from the table after that. The table is what the log does not hold: a second
///    copy of what waits, in case the slot is lost.
/// 3. What is kept in memory is bounded; beyond it the server's log waits.
final class LogSource: OutboxSource {
  /// Messages given out and not forgotten: more than a relay may have in flight and unmarked.
  private static var keptRowsMax: Int { 12_000 }
  private static var keptByteCountMax: Int { 64 << 20 }
  /// Well below the server's `wal_sender_timeout` (60 s).
  private static var statusInterval: Duration { .seconds(5) }
  private static var earlyRows: Int { 1_000 }

  private let store: PostgresStore
  private var connection: PostgresConnection?
  private var log: PostgresStore.Log?
  private var decoder = LogDecoder()
  private var progress = LogProgress(start: LogPosition(0))
  /// Received by the log and not forgotten; those before `given` are given out.
  private var kept: [OutboxRow] = []
  private var keptByteCount = 0
  private var given = 0
  /// From before the log, by the table.
  private var early: ArraySlice<OutboxRow> = []
  private var earlyThrough: UInt64 = 0
  private var hasEarly = false
  private var leftThrough: UInt64 = 0
  private var lastStatus = MonotonicTime(nanoseconds: 0)
  private var owesStatus = false
  private var told = LogPosition(0)

  init(_ store: PostgresStore) { self.store = store }

  // MARK: - Source

  func begin() throws -> Bool {
    early = []
    earlyThrough = leftThrough
    hasEarly = true
    given = 0
    guard connection == nil else { return true }
    guard try store.claimOutbox() else { return false }
    (kept, keptByteCount) = ([], 0)
    let log = try store.prepareLog()
    decoder = LogDecoder()
    // What has left and was not told comes again, and is known by its number.
    progress = LogProgress(start: told)
    progress.left(through: leftThrough)
    do throws(PostgresError) {
      connection = try store.openLog(log.slot)
    } catch {
      // Of a hub, or a connection of ours, that the server still takes for alive.
      if error.state == PostgresError.objectInUse {
        throw HubStoreError(.busy, "the replication slot \(log.slot): \(error.detail)")
      }
      throw error.storeError
    }
    self.log = log
    owesStatus = true
    return true
  }

  func next() throws -> OutboxRow? {
    if let row = try nextEarly() { return row }
    if given == kept.count { try receive() }
    guard given < kept.count else { return nil }
    given += 1
    return kept[given - 1]
  }

  var socket: Int32? { connection?.socket }

  func forget(through number: UInt64) throws {
    leftThrough = max(leftThrough, number)
    let gone = kept.prefix { $0.number <= number }
    keptByteCount -= gone.reduce(0) { $0 + $1.payload.count }
    given = max(0, given - gone.count)
    kept.removeFirst(gone.count)
    progress.left(through: number)
    if connection != nil { try tellServer() }
    Failpoint.logAfterConfirm.reach()
    try store.removeOutbox(through: number)
  }

  func tick() throws {
    guard connection != nil else { return }
    let isDue = Clock.monotonic().since(lastStatus) >= Self.statusInterval
    if isDue || owesStatus || progress.confirmed > told { try tellServer() }
  }

  func logLag() throws -> Int64? {
    guard let log else { return nil }
    return try store.logLag(log.slot)
  }

  // MARK: - Before the log

  private func nextEarly() throws -> OutboxRow? {
    guard hasEarly, let log else { return nil }
    if early.isEmpty {
      guard earlyThrough < log.from else {
        hasEarly = false
        return nil
      }
      early = try store.outbox(after: earlyThrough, limit: Self.earlyRows)
        .prefix { $0.number <= log.from }
      guard let last = early.last else {
        hasEarly = false
        return nil
      }
      earlyThrough = last.number
    }
    return early.popFirst()
  }

  // MARK: - The log

  /// Takes what is there, as far as there is room.
  private func receive() throws {
    while kept.count < Self.keptRowsMax, keptByteCount < Self.keptByteCountMax,
      let message = try onConnection({ (connection) throws(PostgresError) in
        try connection.copied()
      })
    {
      do throws(LogFormatError) {
        try take(message)
      } catch {
        connection = nil
        throw HubStoreError(.log, "\(error)")
      }
    }
    if owesStatus { try tellServer() }
  }

  private func take(_ message: [UInt8]) throws(LogFormatError) {
    switch try LogMessage(message) {
    case .keepalive(let end, let wantsReply):
      progress.idle(end)
      if wantsReply { owesStatus = true }
    case .data(let bytes):
      switch try decoder.take(bytes) {
      case .nothing: return
      case .committed(let end): progress.committed(end)
      case .row(let row):
        progress.received(row.number)
        guard row.number > leftThrough else { return }
        kept.append(row)
        keptByteCount += row.payload.count
      }
    }
  }

  private func tellServer() throws {
    let position = progress.confirmed
    let now = Clock.wall().nanoseconds / 1_000 - Self.microsecondsTo2000
    try onConnection { (connection) throws(PostgresError) in
      try connection.copy(LogMessage.statusUpdate(position, microseconds: now))
    }
    told = position
    owesStatus = false
    lastStatus = Clock.monotonic()
  }

  /// From 1970.
  private static var microsecondsTo2000: Int64 { 946_684_800_000_000 }

  /// A connection that failed is let go: `begin` makes the next.
  private func onConnection<Result>(
    _ body: (inout PostgresConnection) throws(PostgresError) -> Result
  ) throws -> Result {
    guard var open = connection.take() else {
      throw HubStoreError(.unavailable, "the log's connection is gone")
    }
    do throws(PostgresError) {
      let result = try body(&open)
      connection = consume open
      return result
    } catch {
      throw error.storeError
    }
  }
}
