// Goal: PostgreSQL does what a store must, alone and shared by several hubs, and what the server
// refuses is told in our words. Method: the conformance suite and hand-made cases against a real
// server of the suite's own. Cannot show: power cuts; kills are in HubProcessTests.

import Envelope
import GatewayConfiguration
import GatewayCore
import Glibc
import Platform
import TestSupport
import Testing

@testable import Hub

@Suite(
  "PostgreSQL store", .enabled(if: PostgresServer.isInstalled, "PostgreSQL is not installed"),
  .postgres)
struct PostgresStoreTests {
  private static func options(_ url: String) throws -> PostgresOptions {
    PostgresOptions(url: try PostgresURL(url))
  }

  private func open(
    _ url: String, access: PostgresStore.Access = .shared
  ) throws -> PostgresStore {
    try PostgresStore(try Self.options(url), access: access)
  }

  /// Why a database is not opened; nil: it is.
  private func refusal(
    _ url: String, _ access: PostgresStore.Access
  ) throws -> HubStoreError.Code? {
    let options = try Self.options(url)
    do throws(HubStoreError) {
      _ = try PostgresStore(options, access: access)
      return nil
    } catch {
      return error.code
    }
  }

  private let batches = Batches()

  @Test("does what a store must", arguments: HubStoreConformance<PostgresStore>.all)
  func conformance(check: HubStoreConformance<PostgresStore>.Check) throws {
    let server = try currentServer()
    let url = try server.makeDatabase()
    try check.run(HubStoreConformance { _ in try PostgresStore(try Self.options(url)) })
  }

  // MARK: - Several hubs

  @Test("of two hubs that decide on the same state one is refused, and decides anew")
  func conflict() throws {
    let url = try currentServer().makeDatabase()
    let (one, other) = (try open(url), try open(url))
    var first = try Stage(one)
    var second = try Stage(other)
    try first.take(batches.received(1, [.asset("ND01", "\"type\":\"esp\"")]))
    let changes = second.engine.decide(
      [batches.received(1, [.asset("ND01", "\"type\":\"esp\"")])], now: Batches.time,
      clock: second.clock)
    do throws(HubStoreError) {
      try other.commit(changes)
      Issue.record("it was taken")
    } catch {
      #expect(error.code == .conflict)
    }
    #expect(try one.isCurrent(first.engine.revision))
    try second.engine.overtaken(by: other, clock: second.clock)
    #expect(try other.isCurrent(second.engine.revision))
    let again = second.engine.decide(
      [batches.received(1, [.asset("ND01", "\"type\":\"esp\"")])], now: Batches.time,
      clock: second.clock)
    #expect(again.isEmpty)
    #expect(try second.events().count == 1)
  }

  @Test("also when the other has changed no event: a gap is accounted for once")
  func conflictWithoutEvents() throws {
    let url = try currentServer().makeDatabase()
    let (one, other) = (try open(url), try open(url))
    var first = try Stage(one)
    var second = try Stage(other)
    try first.take(batches.received(1, [.gap(4, .ringFull)]))
    #expect(try !other.isCurrent(second.engine.revision))
    // Looking at the store, as other threads of a hub do, makes no engine newer.
    _ = try other.load()
    do {
      try second.take(batches.received(5, [.reading("ND01", 1)]))
      Issue.record("it was taken")
    } catch let error as HubStoreError {
      #expect(error.code == .conflict)
    }
    try second.engine.overtaken(by: other, clock: second.clock)
    try second.take(batches.received(5, [.reading("ND01", 1)]))
    #expect(try one.load().inboxes.map(\.accounted.text) == ["1-5"])
  }

  @Test("who has the turn is not overtaken: another commit waits for its end, and is refused")
  func turn() async throws {
    let url = try currentServer().makeDatabase()
    let (one, other) = (try open(url), try open(url))
    var first = try Stage(one)
    var second = try Stage(other)
    try second.take(batches.received(1, [.reading("ND01", 1)]))
    try one.takeTurn()
    try first.restart()
    let late = second.engine.decide(
      [batches.received(2, [.reading("ND01", 2)])], now: Batches.time, clock: second.clock)
    async let code = Platform.Thread.run(name: "late") { () -> HubStoreError.Code? in
      do throws(HubStoreError) { try other.commit(late) } catch { return error.code }
      return nil
    }
    try first.take(batches.received(3, [.reading("ND01", 3)]))
    try first.take(batches.received(4, [.reading("ND01", 4)]))
    one.endTurn()
    #expect(try await code == .conflict)
    #expect(try first.events().map(\.origin?.sequence.rawValue) == [1, 3, 4])
  }

  @Test("one hub publishes the outbox; when it goes another takes over")
  func claim() throws {
    let url = try currentServer().makeDatabase()
    let (one, other) = (try open(url), try open(url))
    #expect(try one.claimOutbox())
    #expect(try one.claimOutbox())
    #expect(try !other.claimOutbox())
    do throws(HubStoreError) {
      _ = try other.outbox(after: 0, limit: 1)
      Issue.record("it was read")
    } catch {
      #expect(error.code == .busy)
    }
    one.close()
    let deadline = Deadline(in: .seconds(10))
    while try !other.claimOutbox() { #expect(!deadline.isOver, "never free") }
    _ = try other.outbox(after: 0, limit: 1)
  }

  @Test("who must be alone is refused beside a hub, and keeps hubs out")
  func exclusive() throws {
    let url = try currentServer().makeDatabase()
    let hub = try open(url)
    func code(_ access: PostgresStore.Access) throws -> HubStoreError.Code? {
      try refusal(url, access)
    }
    #expect(try code(.exclusive) == .busy)
    #expect(try code(.read) == nil)
    hub.close()
    let alone = try open(url, access: .exclusive)
    #expect(try code(.shared) == .busy)
    alone.close()
  }

  // MARK: - What servers say

  @Test("a server that is away is no end: the hub opens, and finds it when it is there")
  func away() throws {
    let server = try PostgresServer()
    let url = try server.makeDatabase()
    try server.stop()
    let store = try open(url)
    #expect(throws: HubStoreError.self) { try store.load() }
    #expect(try refusal(url, .read) == .unavailable)
    try server.start()
    var stage = try Stage(store)
    try stage.take(batches.received(1, [.reading("ND01", 1)]))
    // Killed with the connection open: what was committed is there, and the store finds back.
    try server.kill()
    #expect(throws: HubStoreError.self) {
      try stage.take(batches.received(2, [.reading("ND01", 2)]))
    }
    try server.start()
    try stage.restart()
    #expect(stage.engine.position == 1)
    try stage.take(batches.received(2, [.reading("ND01", 2)]))
    #expect(try stage.events().count == 2)
  }

  @Test("a server that stands still is away, after a while that has a limit")
  func silent() throws {
    let server = try PostgresServer()
    var options = try Self.options(try server.makeDatabase())
    options.patience = .milliseconds(500)
    options.connectLimit = .milliseconds(500)
    let store = try PostgresStore(options)
    _ = try store.load()
    server.send(signal: SIGSTOP)
    let start = Clock.monotonic()
    for _ in 0..<2 {
      do throws(HubStoreError) {
        _ = try store.load()
        Issue.record("a stopped server has answered")
      } catch {
        #expect(error.code == .unavailable)
      }
    }
    #expect(Clock.monotonic().since(start) < .seconds(10))
    server.send(signal: SIGCONT)
    let deadline = Deadline(in: .seconds(20))
    while (try? store.load()) == nil {
      guard !deadline.isOver else { throw TestFailure("it does not come back") }
    }
  }

  @Test("a password comes from its file, with what must be escaped in a URL")
  func password() throws {
    let server = try currentServer()
    let name = "passwords"
    try server.query("CREATE ROLE secret LOGIN PASSWORD '\(PostgresServer.password)'")
    try server.query("CREATE DATABASE \(name) OWNER secret")
    let directory = try TestDirectory()
    let file = directory.path + "/password"
    try File.replace(file, with: Array((PostgresServer.password + "\n").utf8))
    let url = "postgres://secret@127.0.0.1:\(server.port)/\(name)"
    var options = try Self.options(url)
    options.passwordFile = file
    _ = try PostgresStore(options, access: .shared).load()
    try File.replace(file, with: Array("wrong".utf8))
    do throws(HubStoreError) {
      _ = try PostgresStore(options, access: .read)
      Issue.record("it was opened")
    } catch {
      #expect(error.code == .unavailable)
      #expect(!"\(error)".contains("wrong\""))
    }
  }

  @Test("what this version cannot use is refused: newer tables, another schema, another encoding")
  func foreign() throws {
    let server = try currentServer()
    func code(
      _ url: String, _ access: PostgresStore.Access = .shared
    ) throws -> HubStoreError.Code? {
      try refusal(url, access)
    }
    let newer = try server.makeDatabase("newer")
    #expect(try code(newer, .read) == .foreign, "no tables yet")
    #expect(try code(newer) == nil)
    try server.query("INSERT INTO penstock_hub.migrations VALUES (99)", database: "newer")
    #expect(try code(newer) == .foreign)
    let other = try server.makeDatabase("other")
    try server.query(
      "CREATE SCHEMA penstock_hub; CREATE TABLE penstock_hub.mine (a int)", database: "other")
    #expect(try code(other) == .foreign)
    try server.query(
      "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    #expect(try code(server.url("latin")) == .foreign)
  }

  @Test("names and bytes of strangers do not stop it: NUL, very long, quotes, no UTF-8")
  func strangers() throws {
    let url = try currentServer().makeDatabase()
    var stage = try Stage(try open(url))
    let long = String(repeating: "x", count: 20_000)
    let key = "ND\u{0}'; DROP TABLE events; --"
    try stage.take(
      batches.received(
        1,
        [
          .event(
            topic: "pumps/\(long)/metrics", id: "a\u{0}b", payload: "{\"a\":1}"),
          .event(topic: "pumps/\(key)/metrics", id: key, payload: "{\"a\":\"\\u0000é\"}"),
        ]))
    let events = try stage.events()
    #expect(events.map(\.messageID) == ["a\u{1A}b", "ND\u{1A}'; DROP TABLE events; --"])
    #expect(
      events.map { String(decoding: $0.payload, as: UTF8.self) } == [
        "{\"a\":1}", "{\"a\":\"\\u0000é\"}",
      ])
    var query = EventQuery()
    query.asset = long
    #expect(try stage.events(query).count == 1)
    var changes = HubChanges(expectedPosition: 2, time: Batches.time)
    changes.deadLetters = [
      HubDeadLetter(
        time: Batches.time, topic: "t\u{0}", reason: "r", detail: "d\u{0}", payload: [0, 255])
    ]
    changes.policyRows = [PolicyRow(policy: "p", key: long, value: [0])]
    try stage.store.commit(changes)
    #expect(try stage.store.deadLetters(limit: 1).map(\.payload) == [[0, 255]])
  }

  @Test("commits wait for the disk, whatever the server's default")
  func durability() throws {
    let server = try currentServer()
    let url = try server.makeDatabase("lazy")
    try server.query("ALTER DATABASE lazy SET synchronous_commit = off")
    let store = try open(url)
    let mode = try store.onWriter { (connection) throws(PostgresError) in
      try connection.run([PostgresStatement("SHOW synchronous_commit")])[0].text(0, 0)
    }
    #expect(mode == "on")
    try server.query("ALTER DATABASE lazy SET synchronous_commit = remote_apply")
    let stricter = try open(url)
    let kept = try stricter.onWriter { (connection) throws(PostgresError) in
      try connection.run([PostgresStatement("SHOW synchronous_commit")])[0].text(0, 0)
    }
    #expect(kept == "remote_apply")
  }
}
