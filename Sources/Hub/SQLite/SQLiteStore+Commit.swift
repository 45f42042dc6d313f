import Foundation
import GRDB
import GatewayCore
import Platform

extension SQLiteStore {
  package func commit(_ changes: HubChanges) throws(HubStoreError) {
    Failpoint.hubBeforeCommit.reach()
    try write { db in
      let position =
        try Int64.fetchOne(
          db.cachedStatement(sql: "SELECT max(position) FROM events")) ?? 0
      guard UInt64(bitPattern: position) == changes.expectedPosition else {
        throw HubStoreError(
          .conflict, "at position \(position), not \(changes.expectedPosition)")
      }
      try Self.insert(sources: changes.sources, db)
      let numbers = try Self.update(assets: changes.assets, db)
      try Self.insert(changes.events, numbers: numbers, db)
      if let last = changes.events.last {
        try db.cachedStatement(sql: "INSERT INTO moments VALUES (?, ?)").execute(
          arguments: [column(last.position), changes.time.nanoseconds])
      }
      try Self.update(inboxes: changes.inboxes, db)
      try Self.openAndClose(changes, db)
      try Self.update(waiting: changes, db)
      try Self.insert(deadLetters: changes.deadLetters, db)
      try Self.insert(outbox: changes, db)
      try Self.update(policies: changes.policyRows, db)
      Failpoint.hubMidTransaction.reach()
    }
    Failpoint.hubAfterCommit.reach()
  }

  private static func insert(
    sources: [(number: Int64, text: String)], _ db: Database
  ) throws {
    guard !sources.isEmpty else { return }
    let insert = try db.cachedStatement(sql: "INSERT INTO sources VALUES (?, ?)")
    for (number, text) in sources { try insert.execute(arguments: [number, text]) }
  }

  /// The asset's number by its id, for the events.
  private static func update(
    assets: [AssetChange], _ db: Database
  ) throws -> [String: Int64] {
    var numbers: [String: Int64] = [:]
    guard !assets.isEmpty else { return numbers }
    numbers.reserveCapacity(assets.count)
    let update = try HotStatement(
      """
      UPDATE assets SET version = ?, position = ?, is_registered = ?, is_retired = ?, facts = ?,
        readings = ?, reading_inbox = ?, reading_sequence = ?, reading_time = ?, alerts = ?,
        maintenance = ? WHERE number = ? AND version = ?
      """, db)
    for change in assets {
      let state = change.state
      numbers[state.id] = state.number
      guard change.expectedVersion > 0 else {
        try insert(state, db)
        continue
      }
      update.bind(1, column(state.version))
      update.bind(2, column(state.position))
      update.bind(3, state.isRegistered ? 1 : 0)
      update.bind(4, state.isRetired ? 1 : 0)
      update.bind(5, copying: state.facts.span)
      let readings = state.readingsJSON
      update.bind(6, copying: readings.span)
      update.bind(7, state.readingOrigin?.inbox)
      update.bind(8, state.readingOrigin.map { column($0.sequence) })
      update.bind(9, state.readingTime?.nanoseconds)
      let alerts = state.alertsText
      update.bind(10, copying: alerts.utf8.span)
      if let maintenance = state.maintenance {
        update.bind(11, copying: maintenance.utf8.span)
      } else {
        update.bindNull(11)
      }
      update.bind(12, state.number)
      update.bind(13, column(change.expectedVersion))
      try update.run()
      guard db.changesCount == 1 else {
        throw HubStoreError(
          .conflict, "asset \(state.id) is not at version \(change.expectedVersion)")
      }
    }
    return numbers
  }

  static func insert(_ state: AssetState, _ db: Database) throws {
    let insert = try db.cachedStatement(
      sql: "INSERT INTO assets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
    insert.setUncheckedArguments(
      StatementArguments([state.number, state.id] + columns(of: state)))
    try insert.execute()
  }

  private static func columns(of state: AssetState) -> [(any DatabaseValueConvertible)?] {
    [
      column(state.version), column(state.position), state.isRegistered, state.isRetired,
      column(state.facts), column(state.readingsJSON), state.readingOrigin?.inbox,
      state.readingOrigin.map { column($0.sequence) }, state.readingTime?.nanoseconds,
      state.alertsText, state.maintenance,
    ]
  }

  private static func insert(
    _ events: [HubEvent], numbers: [String: Int64], _ db: Database
  ) throws {
    guard !events.isEmpty else { return }
    let insert = try HotStatement(
      "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", db)
    for event in events {
      insert.bind(1, column(event.position))
      insert.bind(2, numbers[event.asset])
      insert.bind(3, column(event.version))
      insert.bind(4, column(event.previous))
      insert.bind(5, Int64(event.type.rawValue))
      insert.bind(6, event.time.nanoseconds)
      insert.bind(7, event.origin?.inbox)
      insert.bind(8, event.origin.map { column($0.sequence) })
      insert.bind(9, event.source)
      try insert.run(text: (10, event.messageID.utf8.span), (11, event.payload.span))
    }
  }

  private static func update(inboxes: [InboxState], _ db: Database) throws {
    for inbox in inboxes {
      try db.cachedStatement(
        sql: "INSERT OR REPLACE INTO inboxes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
      ).execute(arguments: [
        inbox.number, inbox.key.gateway, inbox.key.route, inbox.key.journal.description,
        inbox.life, inbox.rank, column(inbox.start), inbox.topic,
        inbox.epochs.map(\.description).joined(separator: " "), inbox.accounted.text,
        inbox.open.text, column(inbox.floor), inbox.newestEpoch.description,
        column(inbox.newestLast),
      ])
    }
  }

  private static func openAndClose(_ changes: HubChanges, _ db: Database) throws {
    if !changes.openedGaps.isEmpty {
      let insert = try db.cachedStatement(
        sql: "INSERT OR REPLACE INTO gaps VALUES (?, ?, ?, ?, ?)")
      for gap in changes.openedGaps {
        try insert.execute(arguments: [
          gap.inbox, column(gap.range.first), column(gap.range.last), gap.reason, gap.topic,
        ])
      }
    }
    for (inbox, range) in changes.closedGaps { try close(range, of: inbox, db) }
  }

  /// Takes a range out of the gaps; what is left of one that it lay in are two.
  private static func close(_ range: SequenceRange, of inbox: Int64, _ db: Database) throws {
    let rows = try Row.fetchAll(
      db, sql: "SELECT * FROM gaps WHERE inbox = ? AND first <= ? AND last >= ?",
      arguments: [inbox, column(range.last), column(range.first)])
    for row in rows {
      let (first, last) = (row.sequence("first"), row.sequence("last"))
      try db.execute(
        sql: "DELETE FROM gaps WHERE inbox = ? AND first = ?",
        arguments: [inbox, column(first)])
      var rest: [(GatewayCore.Sequence, GatewayCore.Sequence)] = []
      if first < range.first { rest.append((first, range.first.previous)) }
      if last > range.last { rest.append((range.last.next, last)) }
      for (first, last) in rest {
        try db.execute(
          sql: "INSERT INTO gaps VALUES (?, ?, ?, ?, ?)",
          arguments: [
            inbox, column(first), column(last), row["reason"] as String,
            row["topic"] as String?,
          ])
      }
    }
  }

  private static func update(waiting changes: HubChanges, _ db: Database) throws {
    for event in changes.waiting {
      try db.execute(
        sql: "INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?, ?, ?, ?)",
        arguments: [
          event.origin.inbox, column(event.origin.sequence), event.asset,
          event.time.nanoseconds, event.source, event.messageID, column(event.payload),
        ])
    }
    for origin in changes.noLongerWaiting {
      try db.execute(
        sql: "DELETE FROM waiting WHERE inbox = ? AND sequence = ?",
        arguments: [origin.inbox, column(origin.sequence)])
    }
  }

  private static func insert(deadLetters: [HubDeadLetter], _ db: Database) throws {
    guard !deadLetters.isEmpty else { return }
    for letter in deadLetters {
      try db.execute(
        sql: """
          INSERT INTO dead_letters (time, topic, reason, detail, payload, byte_count)
          VALUES (?, ?, ?, ?, ?, ?)
          """,
        arguments: [
          letter.time.nanoseconds, letter.topic, letter.reason, letter.detail,
          Data(letter.payload), letter.byteCount,
        ])
    }
    try db.execute(
      sql: "DELETE FROM dead_letters WHERE number <= (SELECT max(number) FROM dead_letters) - ?",
      arguments: [deadLettersMax])
  }

  private static func insert(outbox changes: HubChanges, _ db: Database) throws {
    guard let last = changes.outbox.last else { return }
    let insert = try db.cachedStatement(sql: "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?)")
    for row in changes.outbox {
      insert.setUncheckedArguments([
        column(row.number), row.topic, row.key, Data(row.payload), row.expiry.map { Int64($0) },
        row.time.nanoseconds,
      ])
      try insert.execute()
    }
    let update = try db.cachedStatement(sql: "UPDATE counters SET value = ? WHERE name = ?")
    try update.execute(arguments: [column(last.number), "outbox"])
    try update.execute(arguments: [column(changes.publication), "publication"])
  }

  private static func update(policies rows: [PolicyRow], _ db: Database) throws {
    for row in rows {
      if let value = row.value {
        try db.execute(
          sql: "INSERT OR REPLACE INTO policy_rows VALUES (?, ?, ?)",
          arguments: [row.policy, row.key, Data(value)])
      } else {
        try db.execute(
          sql: "DELETE FROM policy_rows WHERE policy = ? AND key = ?",
          arguments: [row.policy, row.key])
      }
    }
  }
}
