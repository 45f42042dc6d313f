// Goal: what every store of a hub must do, whichever database it is. Method: each check runs over a
// fresh store that a factory makes; a store's own test target calls `all`. Cannot show: power cuts.

import Envelope
import GRDB
import GatewayCore
import TestSupport
import Testing

@testable import Hub

/// The checks. `makeStore` gives the same database each time it is called with the same name.
struct HubStoreConformance<Store: HubStore> {
  struct Check: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let run: @Sendable (HubStoreConformance) throws -> Void
  }

  /// Opens a database by a name; a second call with the same name is another process, after the
  /// first store was let go.
  let open: @Sendable (_ name: String) throws -> Store

  static var all: [Check] {
    [
      Check(testDescription: "a committed group is there for the next process, whole") {
        try $0.reopening()
      },
      Check(testDescription: "a group that was decided on an older position changes nothing") {
        try $0.conflictOfPosition()
      },
      Check(testDescription: "an asset that is not at the expected version stops all of a group") {
        try $0.conflictOfVersion()
      },
      Check(testDescription: "events are read by position, asset and type") { try $0.queries() },
      Check(testDescription: "the outbox keeps its order and forgets what has left") {
        try $0.outbox()
      },
      Check(testDescription: "late data split a known gap") { try $0.gaps() },
      Check(testDescription: "dead letters keep their bytes and reason") { try $0.deadLetters() },
      Check(testDescription: "what waits is there after a restart, and gone once applied") {
        try $0.waiting()
      },
      Check(testDescription: "policy rows are kept with their group") { try $0.policyRows() },
      Check(testDescription: "a snapshot is found at and before a position") {
        try $0.snapshots()
      },
      Check(testDescription: "a time leads to the position that was reached by then") {
        try $0.moments()
      },
      Check(testDescription: "readings that go are in their summaries, once, and nothing else goes")
      {
        try $0.retirement()
      },
    ]
  }

  private func stage(_ name: String) throws -> Stage { try Stage(try open(name)) }

  private let batches = Batches()

  init(_ open: @escaping @Sendable (_ name: String) throws -> Store) { self.open = open }

  private func reopening() throws {
    var hash: StateHash
    var events: [HubEvent]
    do {
      var stage = try stage("reopening")
      try stage.take(
        batches.received(1, [.asset("ND01", "\"type\":\"esp\""), .reading("ND01", 3500)]),
        batches.received(3, [.reading("ND02", 1), .gap(2, .ringFull), .elided(1)]))
      hash = stage.engine.book.hash
      events = try stage.events()
      stage.store.close()
    }
    let again = try stage("reopening")
    #expect(try again.events() == events)
    #expect(events.count == 3)
    #expect(again.engine.book.hash == hash)
    #expect(again.engine.inboxes.inboxes.map(\.accounted.text) == ["1-6"])
    #expect(again.engine.inboxes.inboxes.map(\.open.text) == ["4-6"])
    #expect(again.engine.position == 3)
  }

  private func conflictOfPosition() throws {
    var stage = try stage("position")
    try stage.take(batches.received(1, [.reading("ND01", 1)]))
    var stale = HubChanges(expectedPosition: 0, time: Batches.time)
    stale.deadLetters = [
      HubDeadLetter(time: Batches.time, topic: "t", reason: "r", detail: "", payload: [])
    ]
    #expect(throws: HubStoreError.self) { try stage.store.commit(stale) }
    #expect(try stage.store.deadLetters(limit: 9).isEmpty)
  }

  private func conflictOfVersion() throws {
    var stage = try stage("version")
    try stage.take(batches.received(1, [.reading("ND01", 1)]))
    var changes = stage.engine.decide(
      [batches.received(2, [.reading("ND01", 2), .reading("ND02", 2)])], now: Batches.time,
      clock: stage.clock)
    changes.assets[0].expectedVersion = 7
    do throws(HubStoreError) {
      try stage.store.commit(changes)
      Issue.record("a wrong version was taken")
    } catch {
      #expect(error.code == .conflict)
    }
    #expect(try stage.events().count == 1)
    #expect(try stage.store.load().inboxes.map(\.accounted.text) == ["1"])
  }

  private func queries() throws {
    var stage = try stage("queries")
    try stage.take(
      batches.received(
        1,
        [
          .asset("ND01", "\"type\":\"esp\""), .reading("ND01", 1), .reading("ND02", 2),
          .reading("ND01", 3), .asset("ND02", "\"type\":\"esp\""),
        ]))
    func positions(_ change: (inout EventQuery) -> Void) throws -> [UInt64] {
      var query = EventQuery()
      change(&query)
      return try stage.events(query).map(\.position)
    }
    #expect(try positions { _ in } == [1, 2, 3, 4, 5])
    #expect(
      try positions {
        $0.after = 2; $0.through = 4
      } == [3, 4])
    #expect(try positions { $0.asset = "ND01" } == [1, 2, 4])
    #expect(
      try positions {
        $0.asset = "ND01"; $0.after = 1
      } == [2, 4])
    #expect(try positions { $0.asset = "nobody" } == [])
    #expect(try positions { $0.types = [.assetCreated] } == [1, 5])
    #expect(
      try positions {
        $0.types = [.metricRecorded]; $0.asset = "ND02"
      } == [3])
    #expect(try stage.events().map(\.version) == [1, 2, 1, 3, 2])
    #expect(try stage.store.events(EventQuery(), limit: 2).map(\.position) == [1, 2])
  }

  private func outbox() throws {
    var stage = try stage("outbox")
    for index in 1...5 as ClosedRange<UInt64> {
      try stage.take(batches.received(index, [.asset("ND0\(index)", "\"type\":\"esp\"")]))
    }
    let rows = try stage.store.outbox(after: 0, limit: 3)
    #expect(rows.map(\.number) == [1, 2, 3])
    #expect(rows.map(\.key) == ["ND01", "ND02", "ND03"])
    try stage.store.removeOutbox(through: 3)
    #expect(try stage.store.outbox(after: 0, limit: 9).map(\.number) == [4, 5])
    let backlog = try stage.store.outboxBacklog()
    #expect(backlog.count == 2 && backlog.oldest == Batches.time)
    // Numbers are not used again, although the table was emptied.
    try stage.store.removeOutbox(through: 5)
    try stage.restart()
    try stage.take(batches.received(6, [.asset("ND06", "\"type\":\"esp\"")]))
    let row = try stage.store.outbox(after: 0, limit: 9)
    #expect(row.map(\.number) == [6])
    let text = String(decoding: row.first?.payload ?? [], as: UTF8.self)
    #expect(text.contains("\"publication\":\"6\""))
  }

  private func gaps() throws {
    var stage = try stage("gaps")
    try stage.take(batches.received(1, [.reading("ND01", 1), .gap(9, .quota)]))
    try stage.take(batches.received(4, [.reading("ND01", 2), .reading("ND01", 3)]))
    let gaps = try stage.store.gaps(limit: 9).map(\.gap)
    #expect(
      gaps.map(\.range) == [
        SequenceRange(Sequence(2), Sequence(3)), SequenceRange(Sequence(6), Sequence(10)),
      ])
    #expect(gaps.map(\.reason) == ["quota", "quota"])
    #expect(try stage.events().count == 3)
  }

  private func deadLetters() throws {
    let stage = try stage("letters")
    var changes = HubChanges(expectedPosition: 0, time: Batches.time)
    let letter = HubDeadLetter(
      time: Batches.time, topic: "penstock/v1/a/b", reason: "not-json", detail: "at byte 3",
      payload: [0, 255, 10])
    changes.deadLetters = [letter]
    try stage.store.commit(changes)
    #expect(try stage.store.deadLetters(limit: 9) == [letter])
  }

  private func waiting() throws {
    var stage = try stage("waiting")
    try stage.take(batches.received(5, [.asset("ND01", "\"type\":\"esp\"")]))
    #expect(try stage.store.load().waiting.count == 1)
    try stage.restart()
    #expect(try stage.events().isEmpty)
    try stage.take(batches.received(1, [.elided(4)]))
    #expect(try stage.store.load().waiting.isEmpty)
    #expect(try stage.events().map(\.type) == [.assetCreated])
  }

  private func policyRows() throws {
    let stage = try stage("policies")
    var changes = HubChanges(expectedPosition: 0, time: Batches.time)
    changes.policyRows = [
      PolicyRow(policy: "p", key: "a", value: [1]), PolicyRow(policy: "p", key: "b", value: [2]),
    ]
    try stage.store.commit(changes)
    changes.policyRows = [PolicyRow(policy: "p", key: "a", value: nil)]
    try stage.store.commit(changes)
    #expect(
      try stage.store.load().policyRows == [PolicyRow(policy: "p", key: "b", value: [2])])
  }

  private func snapshots() throws {
    var stage = try stage("snapshots")
    try stage.take(
      batches.received(1, [.asset("ND01", "\"type\":\"esp\""), .reading("ND01", 12.25)]))
    let first = Snapshot(position: 2, time: Batches.time, assets: stage.engine.book.assets)
    try stage.store.save(first)
    try stage.take(batches.received(3, [.reading("ND01", 13)]))
    try stage.store.save(
      Snapshot(position: 3, time: Batches.time, assets: stage.engine.book.assets))
    #expect(try stage.store.snapshot(before: 1) == nil)
    #expect(try stage.store.snapshot(before: 2) == first)
    #expect(try stage.store.snapshot(before: .max)?.position == 3)
  }

  private func retirement() throws {
    var stage = try stage("retirement")
    try stage.take(
      batches.received(
        1,
        [
          .asset("ND01", "\"type\":\"esp\""), .reading("ND01", 1), .reading("ND01", 5),
          .reading("ND02", 9), .reading("ND01", 3), .reading("ND01", 7),
        ]))
    let store = stage.store
    #expect(try store.retention().last == 6)
    func retire(_ after: UInt64, _ through: UInt64) throws {
      var query = EventQuery(after: after, through: through)
      query.types = [.metricRecorded]
      let readings = try store.events(query, limit: 99)
      try store.retire(
        Retirement(after: after, through: through, readings: readings, width: .seconds(60)))
    }
    // Nothing goes beyond the baseline.
    #expect(throws: HubStoreError.self) { try retire(0, 3) }
    try store.setBaseline(Snapshot(position: 5, time: Batches.time, assets: []))
    try retire(0, 3)
    // A second time is an error, and changes nothing.
    #expect(throws: HubStoreError.self) { try retire(0, 3) }
    try retire(3, 5)
    #expect(throws: HubStoreError.self) { try retire(5, 6) }
    #expect(try stage.events().map(\.position) == [1, 6])
    var query = EventQuery()
    query.asset = "ND01"
    #expect(try stage.events(query).map(\.position) == [1, 6], "over the gap in its stream")
    let start = WallTime(nanoseconds: 0)
    let summaries = try store.summaries(of: "ND01", from: start, limit: 9)
    #expect(summaries.map(\.metric) == ["current", "rotation"])
    let rotation = try #require(summaries.last)
    #expect(rotation.count == 3 && rotation.minimum == 1 && rotation.maximum == 5)
    #expect(rotation.sum == 9 && rotation.mean == 3 && rotation.last == 3)
    #expect(rotation.width == .seconds(60) && rotation.start.nanoseconds % 60_000_000_000 == 0)
    #expect(try store.summaries(of: "ND02", from: start, limit: 1).map(\.count) == [1])
    #expect(try store.summaries(of: "ND01", from: WallTime(nanoseconds: .max), limit: 9).isEmpty)
    let marks = try store.retention()
    #expect(marks.baseline == 5 && marks.retired == 5 && marks.last == 6)
    // The baseline outlives any number of snapshots.
    for position in 6...20 as ClosedRange<UInt64> {
      try store.save(Snapshot(position: position, time: Batches.time, assets: []))
    }
    #expect(try store.snapshot(before: 5)?.position == 5)
  }

  private func moments() throws {
    var stage = try stage("moments")
    func take(_ first: UInt64, at nanoseconds: Int64) throws {
      let changes = stage.engine.decide(
        [batches.received(first, [.reading("ND01", 1)])],
        now: WallTime(nanoseconds: nanoseconds), clock: stage.clock)
      try stage.store.commit(changes)
    }
    try take(1, at: 100)
    try take(2, at: 200)
    let store = stage.store
    #expect(try store.position(at: WallTime(nanoseconds: 99)) == 0)
    #expect(try store.position(at: WallTime(nanoseconds: 100)) == 1)
    #expect(try store.position(at: WallTime(nanoseconds: 500)) == 2)
  }
}

@Suite("SQLite store") struct SQLiteStoreTests {
  @Test("does what a store must", arguments: HubStoreConformance<SQLiteStore>.all)
  func conformance(check: HubStoreConformance<SQLiteStore>.Check) throws {
    let directory = try TestDirectory()
    try check.run(HubStoreConformance { try SQLiteStore(path: "\(directory.path)/\($0).sqlite") })
  }

  @Test("a second writer is kept out, a reader is not")
  func access() throws {
    let directory = try TestDirectory()
    let path = directory.path + "/hub.sqlite"
    let store = try SQLiteStore(path: path)
    do throws(HubStoreError) {
      _ = try SQLiteStore(path: path)
      Issue.record("two writers")
    } catch {
      #expect(error.code == .busy)
    }
    #expect(try SQLiteStore(path: path, access: .read).load().position == 0)
    _ = try store.load()
  }

  @Test("a full disk takes nothing of a group; with room again the group is taken")
  func full() throws {
    let directory = try TestDirectory()
    let store = try SQLiteStore(path: directory.path + "/hub.sqlite")
    var stage = try Stage(store)
    let batches = Batches()
    try stage.take(batches.received(1, [.asset("ND01", "\"type\":\"esp\"")]))
    let before = try store.load()
    try store.limitSize(toPages: 40)
    var next: UInt64 = 2
    var failure: HubStoreError?
    while failure == nil, next < 5_000 {
      let parts = (0..<100).map { Batches.Part.reading("ND01", Double($0)) }
      do {
        try stage.take(batches.received(next, parts))
        next += 100
      } catch let error as HubStoreError {
        failure = error
      }
    }
    #expect(failure?.code == .unavailable)
    // What was there is there, what failed is not: position, inbox and state agree.
    let after = try store.load()
    #expect(after.position == next - 1)
    #expect(after.inboxes.map(\.accounted.text) == ["1-\(next - 1)"])
    #expect(after.assets.map(\.version) == [next - 1])
    #expect(before.position == 1)
    try store.limitSize(toPages: 1_000_000)
    try stage.restart()
    try stage.take(batches.received(next, [.reading("ND01", 7)]))
    #expect(try store.load().position == next)
  }

  @Test("a database of something else is refused and left alone")
  func foreign() throws {
    let directory = try TestDirectory()
    let path = directory.path + "/other.sqlite"
    try makeForeignDatabase(path)
    do throws(HubStoreError) {
      _ = try SQLiteStore(path: path)
      Issue.record("it was taken")
    } catch {
      #expect(error.code == .foreign)
    }
  }
}
