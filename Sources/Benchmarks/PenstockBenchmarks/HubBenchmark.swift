import Audit
import Envelope
import GRDBSQLite
import GatewayCore
import Hub
import Logging
import Mosquitto
import Platform
import PumpTelemetry

/// The hub on one core and this disk: what it applies, beside the least that any program must do to
/// keep the same rows in the same database.
enum HubBenchmark {
  private static let pumps = 1_000
  private static let batchEvents = 500
  /// Batches of one transaction where many have come: what Mosquitto lets one client hold.
  private static let groupBatches = 20

  static func run() throws {
    let rows = Environment.value(of: "PENSTOCK_BENCH_HUB_ROWS").flatMap(Int.init) ?? 1_000_000
    let directory = try TemporaryDirectory(prefix: "penstock-bench-hub")
    let feed = Feed(pumps: pumps)
    let store = try SQLiteStore(path: directory.path + "/hub.sqlite")
    let bare = try BareDatabase(path: directory.path + "/bare.sqlite")
    var engine = try HubEngine(
      rules: HubRules(hubID: "bench"), store: store, clock: Clock.monotonic())
    var applied = Costs()
    // Rows that are there before anything is measured.
    while feed.sent < rows {
      try apply(feed.batches(200, of: batchEvents), store, &engine, &applied)
    }
    while bare.count < rows { try bare.insert(100_000, perTransaction: 100_000, feed) }
    Console.line("hub: \(pumps) pumps, \(rows) rows present, batches of \(batchEvents)")
    for group in [1, groupBatches] {
      let total = 200_000
      let batches = (0..<total / batchEvents).map { _ in feed.batches(1, of: batchEvents)[0] }
      applied = Costs()
      let start = Clock.monotonic()
      for first in stride(from: 0, to: batches.count, by: group) {
        let part = Array(batches[first..<min(first + group, batches.count)])
        try apply(part, store, &engine, &applied)
      }
      let hub = Double(total) / Clock.monotonic().since(start).seconds
      let bareStart = Clock.monotonic()
      try bare.insert(total, perTransaction: group * batchEvents, feed)
      let least = Double(total) / Clock.monotonic().since(bareStart).seconds
      Console.line(
        "  \(group) batches per transaction: hub \(Int(hub)) events/s, bare prepared inserts "
          + "\(Int(least)) rows/s, ratio \(percent(hub / least))")
      Console.line("    \(applied.text(events: total))")
    }
    let start = Clock.monotonic()
    let result = try Projection.compare(store, usesSnapshots: false)
    let seconds = Clock.monotonic().since(start).seconds
    Console.line(
      "  rebuild: \(result.eventCount) events in \(Int(seconds * 1000)) ms, "
        + "\(Int(Double(result.eventCount) / seconds)) events/s, "
        + (result.isEqual ? "state equal" : "STATE DIFFERENT"))
    store.close()
    try relay()
    if let url = Environment.value(of: "PENSTOCK_BENCH_DATABASE") { try postgres(url) }
  }

  /// The same batches into an empty PostgreSQL, which is on this machine or not.
  private static func postgres(_ url: String) throws {
    let store = try HubDatabase(url).open(.write)
    let feed = Feed(pumps: pumps)
    var engine = try Self.engine(store)
    var applied = Costs()
    try apply(feed.batches(20, of: batchEvents), store, &engine, &applied)
    for group in [1, groupBatches] {
      let total = 200_000
      let batches = (0..<total / batchEvents).map { _ in feed.batches(1, of: batchEvents)[0] }
      applied = Costs()
      let start = Clock.monotonic()
      for first in stride(from: 0, to: batches.count, by: group) {
        let part = Array(batches[first..<min(first + group, batches.count)])
        try apply(part, store, &engine, &applied)
      }
      let rate = Double(total) / Clock.monotonic().since(start).seconds
      Console.line("  PostgreSQL, \(group) batches per transaction: \(Int(rate)) events/s")
      Console.line("    \(applied.text(events: total))")
    }
    _ = engine.decide([], now: Clock.wall(), clock: Clock.monotonic())
    let start = Clock.monotonic()
    try engine.overtaken(by: store, clock: Clock.monotonic())
    let overtaken = Clock.monotonic().since(start).seconds
    _ = try Self.engine(store)
    let started = Clock.monotonic().since(start).seconds - overtaken
    Console.line(
      "  \(feed.sent) events, \(pumps) pumps: an overtaken hub goes on after "
        + "\(Int(overtaken * 1000)) ms, a new one begins after \(Int(started * 1000)) ms")
    store.close()
  }

  private static func engine(_ store: some HubStore) throws -> HubEngine {
    try HubEngine(rules: HubRules(hubID: "bench"), store: store, clock: Clock.monotonic())
  }

  private static func percent(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    return "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
  }

  /// Where the time of a group goes.
  private struct Costs {
    var decode = Duration.zero
    var decide = Duration.zero
    var commit = Duration.zero

    func text(events: Int) -> String {
      func each(_ duration: Duration) -> String {
        "\(Int(duration.seconds * 1e9 / Double(events))) ns"
      }
      return "each: decode \(each(decode)), decide \(each(decide)), commit \(each(commit))"
    }
  }

  /// From bytes on the wire to the commit, as the consumer's loop does it.
  private static func apply(
    _ batches: [[UInt8]], _ store: any HubStore, _ engine: inout HubEngine, _ costs: inout Costs
  ) throws {
    let start = Clock.monotonic()
    var decoder = EnvelopeDecoder()
    var received: [Received] = []
    for batch in batches {
      received.append(
        .envelope(try decoder.decode(batch.span), topic: "penstock/v1/gw-bench/telemetry"))
    }
    let decoded = Clock.monotonic()
    let changes = engine.decide(received, now: Clock.wall(), clock: decoded)
    let decided = Clock.monotonic()
    try store.commit(changes)
    costs.decode += decoded.since(start)
    costs.decide += decided.since(decoded)
    costs.commit += Clock.monotonic().since(decided)
  }

  /// A full outbox, and a relay that empties it to a real broker at QoS 1.
  private static func relay() throws {
    let count = 100_000
    let directory = try TemporaryDirectory(prefix: "penstock-bench-relay")
    var options = BrokerOptions()
    options.maxInflightMessages = 500
    var broker = try BrokerProcess(name: "central", options: options)
    try broker.start()
    let store = try SQLiteStore(path: directory.path + "/hub.sqlite")
    var changes = HubChanges(expectedPosition: 0, time: Clock.wall())
    let payload = [UInt8](repeating: UInt8(ascii: "x"), count: 500)
    changes.outbox = (1...UInt64(count)).map { number in
      OutboxRow(
        number: number, topic: "penstock/v1/hub/bench/events/ND\(number % 1000)",
        key: "ND\(number % 1000)", payload: payload, time: changes.time)
    }
    try store.commit(changes)
    var hub = HubOptions(
      hubID: "bench",
      connection: ConnectionOptions(endpoints: [broker.endpoint], clientID: "bench"))
    hub.relay.markRowsMax = 1_000
    let options2 = hub
    let control = try HubControl()
    let start = Clock.monotonic()
    do {
      let thread = try JoinedThread(name: "relay") {
        var loop = RelayLoop(
          options: options2, store: store, control: control, status: DiscardedStatus(),
          metrics: HubMetrics(), logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() })
        loop.run()
      }
      let wakeUp = try WakeUp()
      while try store.outboxBacklog().count > 0 {
        _ = Poll.wait(socket: nil, wakeUp: wakeUp, timeout: .milliseconds(10))
      }
      control.stop()
      _ = consume thread
    }
    let seconds = Clock.monotonic().since(start).seconds
    Console.line(
      "  relay: \(count) messages at QoS 1 in \(Int(seconds * 1000)) ms, "
        + "\(Int(Double(count) / seconds)) messages/s")
  }

  /// Envelopes of a fleet, made once before they are measured.
  private final class Feed {
    private var fleet: PumpFleet
    private var encoder = EnvelopeEncoder(gateway: "gw-bench", site: "gw-bench", route: "telemetry")
    private let pumps: Int
    private(set) var sent = 0
    private let journal = JournalID(high: 0x4000, low: 0x8000_0000_0000_0001)

    init(pumps: Int) {
      self.pumps = pumps
      fleet = PumpFleet(count: pumps, seed: 1, run: nil)
    }

    func batches(_ count: Int, of events: Int) -> [[UInt8]] {
      (0..<count).map { _ in
        encoder.begin(
          journal: journal, epoch: Epoch(rawValue: 1), first: Sequence(UInt64(sent + 1)))
        for _ in 0..<events {
          let (topic, id, payload) = event()
          encoder.appendEvent(
            EventFields(
              sequence: Sequence(UInt64(sent)), flags: [.json, .clockSynchronised],
              received: Clock.wall()),
            topic: topic.utf8.span, id: id.utf8.span, properties: [UInt8]().span,
            payload: payload.span)
        }
        var message: [UInt8] = []
        _ = encoder.finish(
          last: Sequence(UInt64(sent)), compression: .zstd, into: &message)
        return message
      }
    }

    func event() -> (topic: String, id: String, payload: [UInt8]) {
      let pump = sent % pumps
      sent += 1
      var payload: [UInt8] = []
      let counter = fleet.appendEvent(.metrics, pump: pump, at: Clock.wall(), to: &payload)
      return (
        fleet.topic(of: .metrics, pump: pump), fleet.messageID(pump: pump, counter: counter),
        payload
      )
    }
  }

  /// The same rows in a table of the same form, by the C library alone.
  @safe
  private final class BareDatabase {
    private var database: OpaquePointer?
    private var statement: OpaquePointer?
    private(set) var count = 0

    init(path: String) throws {
      guard unsafe sqlite3_open(path, &database) == SQLITE_OK else {
        throw BenchmarkError("cannot open \(path)")
      }
      try execute(
        """
        PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -131072;
        PRAGMA wal_autocheckpoint = 16384;
        CREATE TABLE events (position INTEGER PRIMARY KEY, asset INTEGER NOT NULL,
          version INTEGER NOT NULL, previous INTEGER NOT NULL, type INTEGER NOT NULL,
          time INTEGER NOT NULL, inbox INTEGER, sequence INTEGER, source INTEGER NOT NULL,
          message_id TEXT NOT NULL, payload TEXT NOT NULL) STRICT;
        CREATE INDEX notable_events ON events (type) WHERE type <> 10;
        """)
      _ = unsafe sqlite3_prepare_v2(
        database, "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", -1, &statement,
        nil)
    }

    deinit {
      _ = unsafe sqlite3_finalize(statement)
      _ = unsafe sqlite3_close(database)
    }

    private func execute(_ sql: String) throws {
      guard unsafe sqlite3_exec(database, sql, nil, nil, nil) == SQLITE_OK else {
        throw BenchmarkError("SQLite: \(unsafe String(cString: sqlite3_errmsg(database)))")
      }
    }

    /// The rows of one transaction are made before it begins.
    func insert(_ total: Int, perTransaction: Int, _ feed: Feed) throws {
      var left = total
      var rows: [(id: String, payload: [UInt8])] = []
      for _ in 0..<min(perTransaction, 10_000) {
        let event = feed.event()
        rows.append((event.id, event.payload))
      }
      while left > 0 {
        try execute("BEGIN IMMEDIATE")
        for index in 0..<min(perTransaction, left) {
          try insert(rows[index % rows.count])
        }
        try execute("COMMIT")
        left -= perTransaction
      }
    }

    private func insert(_ row: (id: String, payload: [UInt8])) throws {
      count += 1
      let pump = Int64(count % HubBenchmark.pumps)
      let numbers: [Int64] = [
        Int64(count), pump, Int64(count / HubBenchmark.pumps), Int64(count - HubBenchmark.pumps),
        10, Int64(count) * 1_000_000, 1, Int64(count), pump,
      ]
      for (index, number) in numbers.enumerated() {
        _ = unsafe sqlite3_bind_int64(statement, Int32(index + 1), number)
      }
      let done = unsafe row.id.utf8CString.withUnsafeBufferPointer { id in
        unsafe row.payload.withUnsafeBytes { payload in
          _ = unsafe sqlite3_bind_text(
            statement, 10, id.baseAddress, Int32(id.count - 1), nil)
          _ = unsafe sqlite3_bind_text(
            statement, 11, payload.baseAddress?.assumingMemoryBound(to: CChar.self),
            Int32(payload.count), nil)
          return unsafe sqlite3_step(statement) == SQLITE_DONE
        }
      }
      _ = unsafe sqlite3_reset(statement)
      guard done else { throw BenchmarkError("a row was not taken") }
    }
  }
}
