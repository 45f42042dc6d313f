import ArgumentParser
import Envelope
import GatewayCore
import Hub
import Platform

struct AssetsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "assets",
    abstract: "List the assets: status, risk, last readings, alerts.",
    discussion: """
      RISK: high with a critical alert; medium with a warning or a running maintenance case; low \
      with an alert for information, or when nothing has been measured lately; else none.

      --as-of tells what was known at a position, or at a time (RFC 3339, as the hub's clock had \
      it): states are made anew from the nearest snapshot and the events after it.
      """)

  @OptionGroup var arguments: DatabaseArguments
  @Option(help: "A position or a time such as 2026-11-28T12:00:00Z.") var asOf: String?
  @Argument(help: "Only these.") var ids: [String] = []

  func run() throws {
    let store = try arguments.open()
    var (assets, now) = (try store.load().assets, Clock.wall())
    if let asOf {
      let position: UInt64
      if let number = UInt64(asOf) {
        position = number
      } else if let time = WallTime(rfc3339: Array(asOf.utf8).span) {
        position = try store.position(at: time)
        now = time
      } else {
        throw ValidationError("--as-of takes a position or a time such as 2026-11-28T12:00:00Z")
      }
      assets = try Projection.book(at: position, of: store).book.assets.filter { $0.version > 0 }
    }
    if !ids.isEmpty { assets = assets.filter { ids.contains($0.id) } }
    assets.sort { $0.id < $1.id }
    let staleAfter = arguments.staleAfter
    if arguments.json {
      for asset in assets {
        JSONLine { line in
          line.put("id", asset.id)
          line.put("status", asset.status(now: now, staleAfter: staleAfter).rawValue)
          line.put("risk", asset.risk(now: now, staleAfter: staleAfter).rawValue)
          line.put("registered", asset.isRegistered)
          line.put("retired", asset.isRetired)
          line.put("version", asset.version)
          line.put("position", asset.position)
          line.put("facts", json: asset.facts)
          line.put("readings", json: asset.readingsJSON)
          line.put("readAt", asset.readingTime?.description)
          line.put("alerts", asset.alerts)
          line.put("maintenance", asset.maintenance)
        }.show()
      }
      return
    }
    var table = Table(
      "ASSET", "STATUS", "RISK", ">VERSION", "READ AT", "READINGS", "ALERTS", "MAINTENANCE")
    for asset in assets {
      table.add(
        asset.id,
        asset.status(now: now, staleAfter: staleAfter).rawValue
          + (asset.isRegistered ? "" : " (unregistered)"),
        asset.risk(now: now, staleAfter: staleAfter).rawValue,
        "\(asset.version)", asset.readingTime?.description ?? "-",
        asset.readings.map { "\($0.name)=\($0.value)" }.joined(separator: " "),
        asset.alerts.joined(separator: ","), asset.maintenance ?? "-")
    }
    table.show()
  }
}

struct EventsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "events", abstract: "List events of the store, oldest first.")

  @OptionGroup var arguments: DatabaseArguments
  @Option(help: "Only of this asset.") var asset: String?
  @Option(help: "Only of this type, such as asset.conflict.v1; may be given again.")
  var type: [String] = []
  @Option(help: "Only beyond this position.") var after: UInt64 = 0
  @Option(help: "At most so many.") var count = 100
  @Flag(help: "The newest instead of the oldest.") var last = false
  @Flag(help: "What could not be used, newest first, instead of events.") var deadLetters = false

  func run() throws {
    let store = try arguments.open()
    if deadLetters { return try list(store.deadLetters(limit: count)) }
    var query = EventQuery(after: after)
    query.asset = asset
    query.types = try type.map { name in
      guard let type = EventType(name: name) else {
        throw ValidationError(
          "\(name) is no type; known are "
            + EventType.allCases.map(\.shortName).joined(separator: ", "))
      }
      return type
    }
    if last {
      var events: [HubEvent] = []
      try store.forEachEvent(query) { event in
        events.append(event)
        if events.count > 2 * count { events.removeFirst(events.count - count) }
      }
      return try list(events.suffix(count), store)
    }
    guard arguments.json else { return try list(store.events(query, limit: count)[...], store) }
    // A page at a time: the whole store may be asked for.
    let origins = Origins(try store.load())
    var left = count
    while left > 0 {
      let page = try store.events(query, limit: min(left, Self.pageSize))
      for event in page { line(event, origins).show() }
      guard let last = page.last, page.count == min(left, Self.pageSize) else { return }
      left -= page.count
      query.after = last.position
    }
  }

  private static let pageSize = 10_000

  private func list(_ events: ArraySlice<HubEvent>, _ store: some HubStore) throws {
    if arguments.json {
      let origins = Origins(try store.load())
      for event in events { line(event, origins).show() }
      return
    }
    var table = Table(">POSITION", "TIME", "ASSET", ">VERSION", "TYPE", "DATA")
    for event in events {
      table.add(
        "\(event.position)", event.time.description, event.asset, "\(event.version)",
        event.type.shortName, String(decoding: event.payload.prefix(120), as: UTF8.self))
    }
    table.show()
  }

  /// What the numbers in events stand for.
  private struct Origins {
    let sources: [Int64: String]
    let inboxes: [Int64: InboxKey]

    init(_ state: HubState) {
      sources = Dictionary(state.sources.map { ($0.number, $0.text) }) { first, _ in first }
      inboxes = Dictionary(state.inboxes.map { ($0.number, $0.key) }) { first, _ in first }
    }
  }

  private func line(_ event: HubEvent, _ origins: Origins) -> JSONLine {
    JSONLine { line in
      line.put("position", event.position)
      line.put("asset", event.asset)
      line.put("version", event.version)
      line.put("type", event.type.name)
      line.put("time", event.time.description)
      if let origin = event.origin {
        let key = origins.inboxes[origin.inbox]
        line.put("id", event.messageID)
        line.put("source", origins.sources[event.source])
        line.put("gateway", key?.gateway)
        line.put("route", key?.route)
        line.put("journal", key?.journal.description)
        line.put("sequence", origin.sequence.rawValue)
      }
      line.put("data", json: event.payload)
    }
  }

  private func list(_ letters: [HubDeadLetter]) {
    var table = Table("TIME", "TOPIC", "REASON", ">BYTES", "DETAIL")
    for letter in letters {
      if arguments.json {
        JSONLine { line in
          line.put("time", letter.time.description)
          line.put("topic", letter.topic)
          line.put("reason", letter.reason)
          line.put("detail", letter.detail)
          line.put("bytes", letter.byteCount)
          line.put("payload", String(decoding: letter.payload, as: UTF8.self))
        }.show()
      } else {
        table.add(
          letter.time.description, letter.topic, letter.reason, "\(letter.byteCount)",
          letter.detail)
      }
    }
    if !arguments.json { table.show() }
  }
}

struct GapsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gaps",
    abstract: "List sequences that did not come as data, and why.",
    discussion: """
      `missing`: asked for, and not accounted for yet. The other reasons are those that the \
      gateway gave; `elided` is what it left out on purpose. Data that come late close a gap.
      """)

  @OptionGroup var arguments: DatabaseArguments
  @Option(help: "At most so many.") var count = 1_000
  @Flag(help: "Also what the gateway left out on purpose.") var elided = false

  func run() throws {
    let store = try arguments.open()
    var rows: [GapRow] = []
    for inbox in try store.load().inboxes {
      for range in inbox.accounted.holes {
        rows.append(
          GapRow(
            gap: KnownGap(inbox: inbox.number, range: range, reason: "missing"), key: inbox.key))
      }
    }
    rows += try store.gaps(limit: count)
    var table = Table("GATEWAY", "ROUTE", "JOURNAL", ">FIRST", ">LAST", ">COUNT", "REASON", "TOPIC")
    for row in rows.prefix(count) where elided || row.gap.reason != "elided" {
      let (gap, key) = (row.gap, row.key)
      if arguments.json {
        JSONLine { line in
          line.put("gateway", key.gateway)
          line.put("route", key.route)
          line.put("journal", key.journal.description)
          line.put("first", gap.range.first.rawValue)
          line.put("last", gap.range.last.rawValue)
          line.put("count", gap.range.count)
          line.put("reason", gap.reason)
          line.put("topic", gap.topic)
        }.show()
      } else {
        table.add(
          key.gateway, key.route, key.journal.description, "\(gap.range.first)",
          "\(gap.range.last)", "\(gap.range.count)", gap.reason, gap.topic ?? "-")
      }
    }
    if !arguments.json { table.show() }
  }
}

struct OffsetsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "offsets",
    abstract: "Say how far each gateway's journals have been taken.",
    discussion: """
      The hub keeps its own offset for each journal, in the transaction that keeps the events: \
      which sequences it has accounted for. THROUGH: the last of them. MISSING: how many before \
      it have not come and are asked for. A journal that was put back to an older image has a line \
      for each of its lives.
      """)

  @OptionGroup var arguments: DatabaseArguments

  func run() throws {
    var table = Table("GATEWAY", "ROUTE", "JOURNAL", ">LIFE", ">THROUGH", ">MISSING", "ACCOUNTED")
    let inboxes = try arguments.open().load().inboxes.sorted {
      ($0.key.channel, $0.rank, $0.life) < ($1.key.channel, $1.rank, $1.life)
    }
    for inbox in inboxes {
      let through = inbox.accounted.last?.rawValue ?? 0
      let missing = inbox.accounted.holes.reduce(0) { $0 + $1.count }
      if arguments.json {
        JSONLine { line in
          line.put("gateway", inbox.key.gateway)
          line.put("route", inbox.key.route)
          line.put("journal", inbox.key.journal.description)
          line.put("life", inbox.life)
          line.put("through", through)
          line.put("missing", missing)
          line.put("accounted", inbox.accounted.text)
        }.show()
      } else {
        table.add(
          inbox.key.gateway, inbox.key.route, inbox.key.journal.description, "\(inbox.life)",
          "\(through)", "\(missing)", String(inbox.accounted.text.prefix(60)))
      }
    }
    if !arguments.json { table.show() }
  }
}

struct OutboxCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "outbox", abstract: "List messages that are to leave and have not.")

  @OptionGroup var arguments: DatabaseArguments
  @Option(help: "At most so many.") var count = 100

  func run() throws {
    let store = try arguments.open()
    let rows = try store.outbox(after: 0, limit: count)
    if arguments.json {
      for row in rows {
        JSONLine { line in
          line.put("number", row.number)
          line.put("time", row.time.description)
          line.put("topic", row.topic)
          line.put("key", row.key)
          line.put("payload", String(decoding: row.payload, as: UTF8.self))
        }.show()
      }
      return
    }
    var table = Table(">NUMBER", "SINCE", "KEY", "TOPIC", ">BYTES")
    for row in rows {
      table.add(
        "\(row.number)", row.time.description, row.key, row.topic, "\(row.payload.count)")
    }
    table.show()
    Console.line("\(try store.outboxBacklog().count) in all")
  }
}

struct RebuildCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rebuild",
    abstract: "Make all state anew from the events and prove that it is the same.",
    discussion: """
      The hub must not run. Prints a hash of the state before and after, times left out, and ends \
      with 1 when they differ; the state made anew is then in force, and the assets that differed \
      are named. With --check nothing is written.
      """)

  @OptionGroup var arguments: DatabaseArguments
  @Flag(help: "Compare only.") var check = false
  @Flag(help: "Begin at the newest snapshot instead of the first event.") var fromSnapshot = false

  func run() throws {
    // Also to compare: a hub that goes on writing would be compared with itself of another moment.
    let store = try arguments.open(.exclusive)
    let start = Clock.monotonic()
    let progress: (UInt64) -> Void = { position in
      if Console.isErrorTerminal { Console.errorText("\rat position \(position)") }
    }
    let result =
      check
      ? try Projection.compare(store, usesSnapshots: fromSnapshot, progress: progress)
      : try Projection.rebuild(store, usesSnapshots: fromSnapshot, progress: progress)
    let seconds = Clock.monotonic().since(start).seconds
    if Console.isErrorTerminal { Console.errorText("\r") }
    if arguments.json {
      JSONLine { line in
        line.put("position", result.position)
        line.put("start", result.start)
        line.put("events", result.eventCount)
        line.put("assets", result.rebuilt.assets.count)
        line.put("milliseconds", Int(seconds * 1000))
        line.put("before", result.before.description)
        line.put("after", result.after.description)
        line.put("equal", result.isEqual)
        line.put("differences", result.differences)
      }.show()
    } else {
      let rate = seconds > 0 ? Int(Double(result.eventCount) / seconds) : 0
      Console.line(
        "\(result.eventCount) events from position \(result.start) to \(result.position), "
          + "\(result.rebuilt.assets.count) assets, \(rate) events/s")
      Console.line("before  \(result.before)")
      Console.line("after   \(result.after)  \(result.isEqual ? "equal" : "DIFFERENT")")
      for id in result.differences { Console.line("differs: \(id)") }
    }
    if !result.isEqual { throw ArgumentParser.ExitCode(1) }
  }
}
