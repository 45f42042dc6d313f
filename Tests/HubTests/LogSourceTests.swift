// Goal: messages come by the log in the order of their commits, each until it has left, from the
// first one ever entered, across deaths of the server; and what cannot go on says so. Method: the
// source alone against a real server. Cannot show: brokers; the whole chain is in HubProcessTests.

import GatewayConfiguration
import GatewayCore
import Platform
import TestSupport
import Testing

@testable import Hub

@Suite(
  "log source", .enabled(if: PostgresServer.isInstalled, "PostgreSQL is not installed"), .postgres)
struct LogSourceTests {
  private let batches = Batches()

  private func open(_ url: String) throws -> PostgresStore {
    try PostgresStore(PostgresOptions(url: try PostgresURL(url)))
  }

  /// Messages `numbers`, each in a transaction of its own: the creation of an asset.
  private func enter(_ numbers: ClosedRange<UInt64>, _ stage: inout Stage) throws {
    for number in numbers {
      try stage.take(batches.received(number, [.asset("A\(number)", "\"type\":\"esp\"")]))
    }
  }

  /// Takes messages until `last` has come; their numbers.
  private func take(
    through last: UInt64, _ source: any OutboxSource, within limit: Duration = .seconds(20)
  ) throws -> [UInt64] {
    let deadline = Deadline(in: limit)
    let never = try WakeUp()
    var numbers: [UInt64] = []
    while numbers.last != last {
      if let row = try source.next() {
        numbers.append(row.number)
        #expect(row.key == "A\(row.number)")
        #expect(row.topic == "penstock/v1/hub/hub-1/events/A\(row.number)")
      } else {
        guard !deadline.isOver else { throw TestFailure("only \(numbers)") }
        _ = Poll.wait(socket: source.socket, wakeUp: never, timeout: .milliseconds(50))
        try source.tick()
      }
    }
    return numbers
  }

  private func source(_ store: PostgresStore) throws -> any OutboxSource {
    let source = store.outboxSource(readsLog: true)
    // The server notices the end of a former connection when it gets to it.
    try again { try source.begin() }
    return source
  }

  /// Until it is done: a server that has come back is found by trying.
  private func again(_ body: () throws -> Bool) throws {
    let deadline = Deadline(in: .seconds(20))
    while true {
      do {
        if try body() { return }
      } catch let error as HubStoreError where [.unavailable, .busy].contains(error.code) {}
      guard !deadline.isOver else { throw TestFailure("it does not come back") }
    }
  }

  private func confirmed(_ database: String) throws -> String {
    try currentServer().query(
      "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE database = '\(database)'")
  }

  @Test("messages of before the slot come by the table, then all others by the log, in order")
  func order() throws {
    let store = try open(try currentServer().makeDatabase())
    var stage = try Stage(store)
    try enter(1...5, &stage)
    let source = try source(store)
    try enter(6...9, &stage)
    #expect(try take(through: 9, source) == Array(1...9))
    #expect(try source.next() == nil)
    #expect(try source.logLag() ?? 0 > 0)
    // Another connection to the broker: all that has not left, again.
    try source.forget(through: 3)
    #expect(try source.begin())
    #expect(try take(through: 9, source) == Array(4...9))
    try source.forget(through: 9)
    #expect(try store.outboxBacklog().count == 0)
    // Transactions without messages move the slot, too: the log is not kept for nothing.
    let before = try source.logLag() ?? 0
    for number in 10...40 as ClosedRange<UInt64> {
      try stage.take(batches.received(number, [.reading("A1", 1)]))
    }
    let deadline = Deadline(in: .seconds(30))
    while try source.logLag() ?? .max > before + 2_000 {
      #expect(try source.next() == nil)
      try source.tick()
      guard !deadline.isOver else { throw TestFailure("the slot stands still") }
    }
  }

  @Test("what has not left comes again to the next process, what has left does not")
  func restart() throws {
    let url = try currentServer().makeDatabase("restarts")
    let first = try open(url)
    var stage = try Stage(first)
    do {
      let source = try source(first)
      try enter(1...6, &stage)
      #expect(try take(through: 6, source) == Array(1...6))
      try source.forget(through: 4)
      first.close()
    }
    let before = try confirmed("restarts")
    let second = try open(url)
    let source = try source(second)
    #expect(try take(through: 6, source) == [5, 6])
    #expect(try confirmed("restarts") == before, "not before it has left")
    try source.forget(through: 6)
    let deadline = Deadline(in: .seconds(20))
    while try confirmed("restarts") == before {
      guard !deadline.isOver else { throw TestFailure("the slot did not move") }
      try source.tick()
    }
  }

  @Test("a server that dies and comes back: nothing is missing, and nothing that was told again")
  func serverDies() throws {
    let server = try PostgresServer()
    let store = try open(try server.makeDatabase())
    var stage = try Stage(store)
    let source = try source(store)
    try enter(1...10, &stage)
    #expect(try take(through: 10, source) == Array(1...10))
    try source.forget(through: 7)
    try server.kill()
    #expect(throws: HubStoreError.self) { while true { _ = try source.next() } }
    #expect(throws: HubStoreError.self) { _ = try source.begin() }
    try server.start()
    // Each of the store's connections finds out for itself.
    try again { try source.begin() }
    #expect(try take(through: 10, source) == [8, 9, 10])
    try again {
      _ = try store.load()
      return true
    }
    try stage.restart()
    try enter(11...12, &stage)
    #expect(try take(through: 12, source) == [11, 12])
    try source.forget(through: 12)
    #expect(try store.outboxBacklog().count == 0)
  }

  @Test("a slot that somebody took away is told, with the way out; the table has what waits")
  func slotGone() throws {
    let server = try currentServer()
    let url = try server.makeDatabase("gone")
    let first = try open(url)
    var stage = try Stage(first)
    _ = try source(first)
    try enter(1...3, &stage)
    first.close()
    let deadline = Deadline(in: .seconds(20))
    while (try? server.query(
      "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
        + "WHERE database = 'gone'")) == nil
    {
      guard !deadline.isOver else { throw TestFailure("the slot stays in use") }
    }
    let second = try open(url)
    do {
      _ = try second.outboxSource(readsLog: true).begin()
      Issue.record("it began")
    } catch let error as HubStoreError {
      #expect(error.code == .log)
      #expect("\(error)".contains("start once with outbox.reader: relay"))
    }
    // The way out: by the table, then by a log that begins anew.
    let table = second.outboxSource(readsLog: false)
    #expect(try table.begin())
    #expect(try take(through: 3, table) == [1, 2, 3])
    try table.forget(through: 3)
    try stage.restart()
    try enter(4...4, &stage)
    let source = try source(second)
    #expect(try take(through: 4, source) == [4])
  }

  @Test("going back to the table removes the slot: the server does not keep its log for ever")
  func slotDropped() throws {
    let server = try currentServer()
    let url = try server.makeDatabase("dropped")
    let first = try open(url)
    _ = try source(first)
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE database = 'dropped'"
    #expect(try server.query(slots) == "1")
    first.close()
    let deadline = Deadline(in: .seconds(20))
    while try server.query(slots) == "1" {
      let table = try open(url).outboxSource(readsLog: false)
      _ = try table.begin()
      guard !deadline.isOver else { throw TestFailure("the slot is still there") }
    }
  }

  @Test("a server whose log cannot be read says which setting it is")
  func level() throws {
    let server = try PostgresServer(["wal_level = replica"])
    let store = try open(try server.makeDatabase())
    do {
      _ = try store.outboxSource(readsLog: true).begin()
      Issue.record("it began")
    } catch let error as HubStoreError {
      #expect(error.code == .log)
      #expect("\(error)".contains("wal_level = replica"))
    }
  }
}
