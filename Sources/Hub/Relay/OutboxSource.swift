/// Where the relay finds what is to leave, in its order. One thread.
package protocol OutboxSource: AnyObject {
  /// Begins anew at the first message that is not forgotten. False: another hub publishes.
  func begin() throws -> Bool
  /// The next message, if one is there; never waits for one.
  func next() throws -> OutboxRow?
  /// Of what tells that there is more, for poll. Nil: only the wake-up and the time do.
  var socket: Int32? { get }
  /// This one and all before it have left.
  func forget(through number: UInt64) throws
  /// About once a second, whatever else is done.
  func tick() throws
  /// Bytes of the log that are kept for it; nil where there is no log.
  func logLag() throws -> Int64?
}

/// The outbox by its table.
final class TableSource<Store: HubStore>: OutboxSource {
  private static var pageRows: Int { 1_000 }

  private let store: Store
  /// Read and not given out.
  private var page: ArraySlice<OutboxRow> = []
  /// Of the last row read.
  private var readThrough: UInt64 = 0

  init(_ store: Store) { self.store = store }

  func begin() throws -> Bool {
    page = []
    readThrough = 0
    return try store.claimOutbox()
  }

  func next() throws -> OutboxRow? {
    if page.isEmpty {
      page = try store.outbox(after: readThrough, limit: Self.pageRows)[...]
      guard let last = page.last else { return nil }
      readThrough = last.number
    }
    return page.popFirst()
  }

  var socket: Int32? { nil }
  func forget(through number: UInt64) throws { try store.removeOutbox(through: number) }
  func tick() throws {}
  func logLag() throws -> Int64? { nil }
}
