// Goal: what a hub decides on what comes, in whatever order and how often. Method: envelopes by
// hand over a real SQLite file. Cannot show: brokers, crashes.

import Envelope
import GatewayCore
import Hub
import Testing

@Suite("engine") struct EngineTests {
  private let directory: TestDirectory
  private let batches = Batches()
  private let facts = "\"type\":\"esp\",\"version\":\"1.0\",\"location\":{\"site\":\"Bakken\"}"

  init() throws { directory = try TestDirectory() }

  private func stage(_ policies: [any HubPolicy] = []) throws -> Stage {
    try Stage(try SQLiteStore(path: directory.path + "/hub.sqlite"), policies: policies)
  }

  private func rotation(_ stage: borrowing Stage, _ pump: String) -> Double? {
    stage.engine.book[pump]?.readings.first { $0.name == "rotation" }?.value
  }

  @Test("a batch that comes again, whole or in part, changes nothing")
  func duplicates() throws {
    var stage = try stage()
    let parts: [Batches.Part] = [.asset("ND01", facts), .reading("ND01", 1), .reading("ND01", 2)]
    try stage.take(batches.received(1, parts))
    let hash = stage.engine.book.hash
    try stage.take(batches.received(1, parts), batches.received(2, Array(parts[1...])))
    #expect(stage.engine.counts.duplicates == 5)
    try stage.restart()
    try stage.take(batches.received(1, Array(parts[..<2])))
    #expect(stage.engine.book.hash == hash)
    #expect(try stage.events().count == 3)
    // One that reaches beyond what is known brings just the rest.
    try stage.take(batches.received(2, Array(parts[1...]) + [.reading("ND01", 3)]))
    #expect(try stage.events().count == 4)
  }

  @Test("without the inbox the same batches are applied twice: the control of the test above")
  func duplicatesControl() throws {
    let store = try SQLiteStore(path: directory.path + "/hub.sqlite")
    var engine = try HubEngine(
      rules: HubRules(hubID: "hub-1"), store: store, clock: MonotonicTime(nanoseconds: 1),
      ignoresInbox: true)
    for _ in 0..<2 {
      try store.commit(
        engine.decide(
          [batches.received(1, [.reading("ND01", 1)])], now: Batches.time,
          clock: MonotonicTime(nanoseconds: 1)))
    }
    #expect(try store.events(EventQuery(), limit: 9).count == 2)
  }

  @Test("a reading never goes back behind a later one of its journal; it is stored all the same")
  func order() throws {
    var stage = try stage()
    try stage.take(batches.received(11, [.reading("ND01", 11)]))
    try stage.take(batches.received(1, [.reading("ND01", 1), .reading("ND02", 1)]))
    #expect(rotation(stage, "ND01") == 11)
    #expect(rotation(stage, "ND02") == 1)
    #expect(try stage.events().count == 3)
    #expect(
      stage.engine.acceptances.first?.message.missing
        == [SequenceRange(Sequence(3), Sequence(10))])
  }

  @Test("a journal that replaced another is later than it, whichever comes first")
  func journals() throws {
    var stage = try stage()
    var newer = batches
    newer.journal = JournalID(high: 0x4000, low: 0x8000_0000_0000_0002)
    newer.previous = PreviousJournal(id: batches.journal, lastSequence: Sequence(100))
    try stage.take(newer.received(1, [.reading("ND01", 2)]))
    try stage.take(batches.received(100, [.reading("ND01", 1)]))
    #expect(rotation(stage, "ND01") == 2)
  }

  @Test("the same creation again is a duplicate; other facts are a conflict without effect")
  func businessKey() throws {
    var stage = try stage()
    try stage.take(batches.received(1, [.asset("ND01", facts)]))
    // The same facts, in another order and with white space.
    try stage.take(
      batches.received(
        2,
        [
          .asset(
            "ND01", "\"location\": {\"site\": \"Bakken\"}, \"version\":\"1.0\",\"type\":\"esp\"")
        ]))
    #expect(stage.engine.counts.duplicates == 1)
    let before = stage.engine.book["ND01"]?.facts
    try stage.take(batches.received(3, [.asset("ND01", "\"type\":\"other\"")]))
    #expect(stage.engine.counts.conflicts == 1)
    #expect(stage.engine.book["ND01"]?.facts == before)
    #expect(try stage.events().map(\.type) == [.assetCreated, .assetConflict])
    let published = try stage.store.outbox(after: 0, limit: 9)
    #expect(published.count == 2)
    #expect(
      String(decoding: published[1].payload, as: UTF8.self).contains(
        "com.penstock.asset.conflict.v1"))
    #expect(
      published.map(\.topic) == Array(repeating: "penstock/v1/hub/hub-1/events/ND01", count: 2))
  }

  @Test("facts may change, the identity may not; a retired asset stays what it was")
  func changes() throws {
    var stage = try stage()
    try stage.take(batches.received(1, [.asset("ND01", facts)]))
    try stage.take(
      batches.received(2, [.asset("ND01", "\"change\":\"changed\",\"version\":\"2.0\"")]))
    let state = try #require(stage.engine.book["ND01"])
    #expect(
      String(decoding: state.facts, as: UTF8.self)
        == "{\"type\":\"esp\",\"version\":\"2.0\",\"location\":{\"site\":\"Bakken\"}}")
    try stage.take(batches.received(3, [.asset("ND01", "\"change\":\"changed\",\"type\":\"x\"")]))
    #expect(stage.engine.counts.conflicts == 1)
    try stage.take(batches.received(4, [.asset("ND01", "\"change\":\"retired\"")]))
    try stage.take(batches.received(5, [.asset("ND01", facts)]))
    #expect(stage.engine.counts.conflicts == 1)
    #expect(
      try stage.events().map(\.type) == [
        .assetCreated, .assetChanged, .assetConflict, .assetRetired, .assetConflict,
      ])
    #expect(stage.engine.book["ND01"]?.isRetired == true)
    // Another asset's id in the payload of this one's topic.
    try stage.take(
      batches.received(
        6, [.event(topic: "pumps/ND01/asset", id: "k", payload: "{\"assetId\":\"ND02\"}")]))
    #expect(try stage.store.deadLetters(limit: 9).map(\.reason) == ["key-mismatch"])
  }

  @Test("an asset creation waits for what comes before it, and no longer than its time")
  func contiguity() throws {
    var stage = try stage()
    try stage.take(batches.received(3, [.asset("ND01", "\"type\":\"late\""), .reading("ND01", 7)]))
    #expect(stage.engine.book["ND01"]?.isRegistered == false)
    #expect(rotation(stage, "ND01") == 7)
    try stage.take(batches.received(1, [.asset("ND01", facts), .reading("ND01", 1)]))
    // The first creation in the order of the journal is the one that counts.
    #expect(
      try stage.events().map(\.type) == [
        .metricRecorded, .assetCreated, .metricRecorded, .assetConflict,
      ])
    try stage.take(batches.received(10, [.asset("ND02", facts)]))
    #expect(stage.engine.book["ND02"]?.isRegistered == false)
    stage.clock = stage.clock + .seconds(29)
    try stage.take()
    #expect(stage.engine.book["ND02"]?.isRegistered == false)
    stage.clock = stage.clock + .seconds(2)
    try stage.take()
    #expect(stage.engine.book["ND02"]?.isRegistered == true)
    // The same hole is not waited for again, and is still asked for.
    try stage.take(batches.received(11, [.asset("ND03", facts)]))
    #expect(stage.engine.book["ND03"]?.isRegistered == true)
    #expect(
      stage.engine.acceptances.first?.message.missing
        == [SequenceRange(Sequence(5), Sequence(9))])
  }

  @Test("gaps are known with their reason; late data close them, once")
  func gaps() throws {
    var stage = try stage()
    try stage.take(
      batches.received(1, [.reading("ND01", 1), .gap(3, .ringFull), .reading("ND01", 5)]))
    #expect(stage.engine.counts.gapSequences == 3)
    #expect(stage.engine.acceptances.first?.message.missing == [])
    for _ in 0..<2 { try stage.take(batches.received(3, [.reading("ND01", 3)])) }
    #expect(try stage.events().count == 3)
    #expect(rotation(stage, "ND01") == 5)
    let gaps = try stage.store.gaps(limit: 9).map(\.gap.range)
    #expect(gaps.map(\.description) == ["2–2", "4–4"])
    // A gap for what came as data is no gap.
    try stage.take(batches.received(5, [.gap(1, .corrupt)]))
    #expect(try stage.store.gaps(limit: 9).count == 2)
  }

  @Test("a gateway that was put back: both lives are taken, neither of them twice")
  func restoredImage() throws {
    var stage = try stage()
    let old = batches.envelope(1, (1...10).map { .reading("ND01", Double($0)) })
    try stage.take(.envelope(old, topic: batches.topic))
    var restored = batches
    restored.epoch = Epoch(rawValue: 2)
    let new = restored.envelope(6, (6...12).map { .reading("ND01", Double(100 + $0)) })
    try stage.take(.envelope(new, topic: batches.topic))
    #expect(stage.engine.counts.overlaps == 1)
    #expect(try stage.events().count == 17)
    #expect(rotation(stage, "ND01") == 112)
    try stage.restart()
    try stage.take(
      .envelope(old, topic: batches.topic), .envelope(new, topic: batches.topic))
    #expect(stage.engine.counts.duplicates == 17)
    #expect(stage.engine.counts.overlaps == 0)
    #expect(try stage.events().count == 17)
    let accepted = try #require(stage.engine.acceptances.last?.message)
    #expect(accepted.through == Sequence(12) && accepted.epoch == restored.epoch)
  }

  @Test("a start of the gateway is no restored image, in whatever order its batches come")
  func newEpoch() throws {
    var stage = try stage()
    var later = batches
    later.epoch = Epoch(rawValue: 2)
    var latest = batches
    latest.epoch = Epoch(rawValue: 3)
    try stage.take(latest.received(5, [.reading("ND01", 5)]))
    try stage.take(later.received(3, [.reading("ND01", 3), .reading("ND01", 4)]))
    try stage.take(batches.received(1, [.reading("ND01", 1), .reading("ND01", 2)]))
    #expect(stage.engine.inboxes.inboxes.count == 1)
    #expect(stage.engine.inboxes.inboxes.first?.accounted.text == "1-5")
    #expect(rotation(stage, "ND01") == 5)
  }

  @Test(
    "the other gateway of a pair brings the same event: it is one; with another payload: kept aside"
  )
  func redundantPair() throws {
    var stage = try stage()
    var left = batches
    left.site = "houston"
    var right = left
    right.gateway = "gw-2"
    right.journal = JournalID(high: 0x4000, low: 0x8000_0000_0000_0009)
    let reading = Batches.Part.event(
      topic: "pumps/ND01/metrics", id: "ND01-1", payload: "{\"rotation\":1}")
    try stage.take(left.received(1, [reading]))
    try stage.restart()
    try stage.take(right.received(1, [reading]))
    #expect(try stage.events().count == 1)
    #expect(stage.engine.counts.duplicates == 1)
    try stage.take(
      right.received(
        2, [.event(topic: "pumps/ND01/metrics", id: "ND01-1", payload: "{\"rotation\":2}")]))
    #expect(try stage.store.deadLetters(limit: 9).map(\.reason) == ["id-conflict"])
    #expect(stage.engine.acceptances.count == 1)
  }

  @Test("what is no reading of an asset is kept aside with its reason, and its place is taken")
  func deadLetters() throws {
    var stage = try stage()
    try stage.take(
      batches.received(
        1,
        [
          .event(topic: "elsewhere/1", id: "a", payload: "{}"),
          .event(topic: "pumps/ND01/metrics", id: "b", payload: "[1]"),
        ]))
    #expect(
      Set(try stage.store.deadLetters(limit: 9).map(\.reason)) == [
        "unknown-topic", "not-an-object",
      ])
    #expect(stage.engine.acceptances.first?.message.through == Sequence(2))
  }

  @Test("readings merge by name")
  func readings() throws {
    var stage = try stage()
    func send(_ sequence: UInt64, _ payload: String) throws {
      try stage.take(
        batches.received(
          sequence, [.event(topic: "pumps/ND01/metrics", id: "\(sequence)", payload: payload)]))
    }
    try send(1, "{\"a\":1,\"b\":2.5,\"text\":\"x\"}")
    try send(2, "{\"b\":-3e2}")
    try send(3, "{\"c\":4,\"a\":5}")
    let readings = try #require(stage.engine.book["ND01"]?.readings)
    #expect(readings.map(\.name) == ["a", "b", "c"])
    #expect(readings.map(\.value) == [5, -300, 4])
    try stage.restart()
    #expect(stage.engine.book["ND01"]?.readings == readings)
  }

  // MARK: - Beside another hub

  @Test(
    "an engine that was overtaken decides as one that is made anew, and knows what it had taken")
  func overtaken() throws {
    let directory = try TestDirectory()
    let store = try SQLiteStore(path: directory.path + "/hub.sqlite")
    var (other, pair) = (Batches(), Batches())
    other.gateway = "gw-2"
    other.journal = JournalID(high: 0x4000, low: 0x8000_0000_0000_0002)
    pair.gateway = "gw-3"
    pair.journal = JournalID(high: 0x4000, low: 0x8000_0000_0000_0003)
    func event(_ id: String, _ payload: String = "{\"rotation\":1}") -> Batches.Part {
      .event(topic: "pumps/ND01/metrics", id: id, payload: payload)
    }
    var first = try Stage(store)
    var second = try Stage(store)
    // Both gateways of the site bring `a`; `b` and `c` come over one of them.
    let mine = Batches().received(1, [event("a"), event("b"), .asset("ND02", "\"type\":\"esp\"")])
    try first.take(other.received(1, [event("a"), event("c")]))
    let early = second.engine.decide([mine], now: Batches.time, clock: second.clock)
    #expect(early.events.count == 3)
    #expect(throws: HubStoreError.self) { try store.commit(early) }
    try second.engine.overtaken(by: store, clock: second.clock)
    let again = second.engine.decide([mine], now: Batches.time, clock: second.clock)
    var fresh = try Stage(store)
    let anew = fresh.engine.decide([mine], now: Batches.time, clock: fresh.clock)
    #expect(again.events == anew.events)
    #expect(again.events.count == 2)
    #expect(again.inboxes == anew.inboxes && again.outbox == anew.outbox)
    #expect(again.assets == anew.assets)
    try store.commit(again)
    // Everything is known now, whichever gateway brings it, and by whichever of the two hubs.
    let late = second.engine.decide(
      [pair.received(1, [event("a"), event("b"), event("c")])], now: Batches.time,
      clock: second.clock)
    #expect(late.events.isEmpty)
    #expect(second.engine.counts.duplicates == 3)
    let other2 = second.engine.decide(
      [pair.received(4, [event("b", "{\"rotation\":2}")])], now: Batches.time,
      clock: second.clock)
    #expect(other2.deadLetters.map(\.reason) == ["id-conflict"])
  }
}
