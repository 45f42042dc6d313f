// Goal: readings of a certain age go, what they came to stays, and all state can still be made
// anew. Method: groups that are committed hour by hour of a clock the test holds; a brute sum over
// all readings beside. Cannot show: how long a purge of millions takes.

import GatewayCore
import JSONScanning
import Logging
import PumpTelemetry
import Testing

@testable import Hub

@Suite("retention") struct RetentionTests {
  private static let day = 24
  private let batches = Batches()

  private func time(_ hour: Int) -> WallTime {
    WallTime(nanoseconds: Batches.time.nanoseconds + Int64(hour) * 3_600_000_000_000)
  }

  /// Two days of three pumps, one group an hour; the alert of the first hour is no reading.
  private func fill(_ stage: inout Stage) throws -> [(hour: Int, pump: String, value: Double)] {
    var readings: [(hour: Int, pump: String, value: Double)] = []
    var next: UInt64 = 1
    var generator = SplitMix64(seed: 11, stream: 0)
    for hour in 0..<2 * Self.day {
      var source = batches
      source.received = time(hour)
      var parts: [Batches.Part] = hour == 0 ? [.asset("ND01", "\"type\":\"esp\"")] : []
      for pump in ["ND01", "ND02", "ND03"] {
        for _ in 0..<4 {
          let value = Double(Int.random(in: 0...9_999, using: &generator)) / 8
          parts.append(.reading(pump, value))
          readings.append((hour, pump, value))
        }
      }
      let changes = stage.engine.decide(
        [source.received(next, parts)], now: time(hour), clock: stage.clock)
      try stage.store.commit(changes)
      next += UInt64(parts.count)
    }
    return readings
  }

  private func makeLoop(
    _ store: SQLiteStore, readings: Duration?, downsample: Duration? = .seconds(7_200)
  ) throws -> RetentionLoop<SQLiteStore> {
    var options = RetentionOptions()
    options.readings = readings
    options.downsample = downsample
    options.chunkMax = 7
    options.stepMin = 10
    return RetentionLoop(
      options: options, store: store, control: try HubControl(), metrics: HubMetrics(),
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
  }

  @Test("a day is kept; older readings are summed up exactly, and the state is made anew as it was")
  func day() throws {
    let directory = try TestDirectory()
    let store = try SQLiteStore(path: directory.path + "/hub.sqlite")
    var stage = try Stage(store)
    let all = try fill(&stage)
    let before = try Projection.compare(store, usesSnapshots: false)
    #expect(before.isEqual && before.start == 0)
    var loop = try makeLoop(store, readings: .seconds(86_400))
    // Of the hour 47 a day before is the hour 23: it and all before go.
    let gone = all.count { $0.hour <= 23 }
    #expect(try loop.pass(now: time(47), isSynchronised: true) == gone)
    #expect(try loop.pass(now: time(47), isSynchronised: true) == 0)

    let left = try stage.events().filter { $0.type == .metricRecorded }
    #expect(left.count == all.count - gone)
    #expect(left.allSatisfy { $0.time >= time(24) })
    #expect(try stage.events().contains { $0.type == .assetCreated })
    for pump in ["ND01", "ND02", "ND03"] {
      let summaries = try store.summaries(of: pump, from: time(-9), limit: 1_000)
        .filter { $0.metric == "rotation" }
      var expected: [Int64: [Double]] = [:]
      for reading in all where reading.pump == pump && reading.hour <= 23 {
        let start = Retirement.start(of: time(reading.hour), .seconds(7_200))
        expected[start.nanoseconds, default: []].append(reading.value)
      }
      #expect(summaries.map(\.start.nanoseconds) == expected.keys.sorted())
      for summary in summaries {
        let values = expected[summary.start.nanoseconds] ?? []
        #expect(summary.count == values.count)
        #expect(summary.minimum == values.min() && summary.maximum == values.max())
        #expect(summary.sum == values.reduce(0, +))
        #expect(summary.last == values.last)
      }
    }
    let after = try Projection.compare(store, usesSnapshots: false)
    #expect(try after.isEqual && after.start == store.retention().baseline)
    #expect(after.after == before.after)
    // What was at a position whose readings are gone nobody knows any more, and it is said.
    #expect(throws: HubStoreError.self) { try Projection.book(at: 5, of: store) }
    // A new process goes on.
    try stage.restart()
    try stage.take(batches.received(UInt64(all.count + 2), [.reading("ND01", 1)]))
    #expect(try Projection.compare(store, usesSnapshots: true).isEqual)
  }

  @Test("without a synchronised clock, or without an age, nothing goes")
  func nothing() throws {
    let directory = try TestDirectory()
    let store = try SQLiteStore(path: directory.path + "/hub.sqlite")
    var stage = try Stage(store)
    _ = try fill(&stage)
    let count = try stage.events().count
    var loop = try makeLoop(store, readings: .seconds(86_400))
    #expect(throws: HubStoreError.self) { try loop.pass(now: time(9_999), isSynchronised: false) }
    var forever = try makeLoop(store, readings: nil)
    #expect(try forever.pass(now: time(9_999), isSynchronised: true) == 0)
    #expect(try stage.events().count == count)
  }

  @Test("when everything is old the newest event stays, and positions go on from it")
  func everything() throws {
    let directory = try TestDirectory()
    let store = try SQLiteStore(path: directory.path + "/hub.sqlite")
    var stage = try Stage(store)
    let all = try fill(&stage)
    var loop = try makeLoop(store, readings: .seconds(3_600), downsample: nil)
    #expect(try loop.pass(now: time(9_999), isSynchronised: true) == all.count - 1)
    #expect(try stage.events().map(\.position) == [1, UInt64(all.count) + 1])
    #expect(try store.summaries(of: "ND01", from: time(-9), limit: 9).isEmpty)
    try stage.restart()
    try stage.take(batches.received(UInt64(all.count + 2), [.reading("ND01", 1)]))
    #expect(try stage.events().last?.position == UInt64(all.count) + 2)
    #expect(try Projection.compare(store, usesSnapshots: false).isEqual)
  }

  @Test("intervals begin at multiples of their width, before 1970, too")
  func starts() {
    func start(_ seconds: Int64) -> Int64 {
      Retirement.start(of: WallTime(nanoseconds: seconds * 1_000_000_000), .seconds(60)).nanoseconds
        / 1_000_000_000
    }
    #expect([0, 59, 60, 61, -1, -60, -61].map(start) == [0, 0, 60, 60, -60, -60, -120])
  }
}
