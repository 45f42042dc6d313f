// Goal: a follower applies each publication once, in whatever order and how often they come.
// Method: what a hub's engine publishes, read back; a SQLite file. Cannot show: brokers.

import GatewayCore
import Hub
import Testing

@Suite("follower") struct FollowerTests {
  private func publications(_ directory: TestDirectory) throws -> [PublishedEvent] {
    var stage = try Stage(try SQLiteStore(path: directory.path + "/hub.sqlite"))
    let batches = Batches()
    try stage.take(batches.received(1, [.asset("ND01", "\"type\":\"esp\",\"version\":\"1\"")]))
    try stage.take(batches.received(2, [.asset("ND02", "\"type\":\"esp\"")]))
    try stage.take(
      batches.received(3, [.asset("ND01", "\"change\":\"changed\",\"version\":\"2\"")]))
    try stage.take(batches.received(4, [.asset("ND02", "\"change\":\"retired\"")]))
    return try stage.store.outbox(after: 0, limit: 99).compactMap { PublishedEvent($0.payload) }
  }

  @Test("what is published reads back")
  func readsBack() throws {
    let directory = try TestDirectory()
    let events = try publications(directory)
    #expect(events.map(\.publication) == [1, 2, 3, 4])
    #expect(events.map(\.event.asset) == ["ND01", "ND02", "ND01", "ND02"])
    #expect(events.map(\.event.version) == [1, 1, 2, 2])
    #expect(events.allSatisfy { $0.hub == "hub-1" })
    #expect(
      events.map(\.event.type) == [.assetCreated, .assetCreated, .assetChanged, .assetRetired])
    #expect(PublishedEvent(Array("{\"specversion\":\"1.0\"}".utf8)) == nil)
  }

  @Test("duplicates change nothing; an older event does not go back; holes are known")
  func follows() throws {
    let directory = try TestDirectory()
    let events = try publications(directory)
    let path = directory.path + "/follower.sqlite"
    do {
      let store = try FollowerStore(path: path)
      let outcome = try store.apply([events[0], events[2], events[0]])
      #expect(outcome.applied.count == 2 && outcome.duplicates == 1)
      #expect(try store.publications(of: "hub-1").holes.map(\.description) == ["2–2"])
    }
    let store = try FollowerStore(path: path)
    let outcome = try store.apply([events[3], events[1], events[2]])
    #expect(outcome.applied.count == 1 && outcome.late == 1 && outcome.duplicates == 1)
    let assets = try store.assets(of: "hub-1")
    #expect(assets.map(\.id) == ["ND01", "ND02"])
    #expect(assets.map(\.isRetired) == [false, true])
    #expect(
      assets.first.map { String(decoding: $0.facts, as: UTF8.self).contains("\"2\"") } == true)
    #expect(try store.publications(of: "hub-1").text == "1-4")
  }
}
