import Foundation
import GRDB
package import GatewayCore

extension SQLiteStore {
  package func retention() throws(HubStoreError) -> RetentionMarks { try read(Self.marks) }

  private static func marks(_ db: Database) throws -> RetentionMarks {
    var marks = RetentionMarks()
    marks.last = UInt64(
      bitPattern: try Int64.fetchOne(db, sql: "SELECT max(position) FROM events") ?? 0)
    let rows = try Row.fetchAll(
      db, sql: "SELECT * FROM counters WHERE name IN ('baseline', 'retired')")
    for row in rows {
      switch row["name"] as String {
      case "baseline": marks.baseline = row.unsigned("value")
      default: marks.retired = row.unsigned("value")
      }
    }
    return marks
  }

  package func setBaseline(_ snapshot: Snapshot) throws(HubStoreError) {
    let bytes = Data(snapshot.encode())
    try write { db in
      let marks = try Self.marks(db)
      guard snapshot.position >= marks.baseline else {
        throw HubStoreError(.conflict, "the baseline is at \(marks.baseline) already")
      }
      try db.execute(
        sql: "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)",
        arguments: [column(snapshot.position), snapshot.time.nanoseconds, bytes])
      try db.execute(
        sql: "UPDATE counters SET value = ? WHERE name = 'baseline'",
        arguments: [column(snapshot.position)])
      // States before it could be told of a few positions alone.
      try db.execute(
        sql: "DELETE FROM snapshots WHERE position < ?", arguments: [column(snapshot.position)])
    }
  }

  package func retire(_ retirement: Retirement) throws(HubStoreError) {
    try write { db in
      let marks = try Self.marks(db)
      guard marks.retired == retirement.after, retirement.through <= marks.baseline,
        retirement.through < marks.last
      else {
        throw HubStoreError(
          .conflict, "readings are gone through \(marks.retired), of \(marks.baseline)")
      }
      try Self.merge(retirement.summaries, db)
      try db.cachedStatement(
        sql: "DELETE FROM events WHERE type = 10 AND position > ? AND position <= ?"
      ).execute(arguments: [column(retirement.after), column(retirement.through)])
      try db.execute(
        sql: "UPDATE counters SET value = ? WHERE name = 'retired'",
        arguments: [column(retirement.through)])
    }
  }

  private static func merge(_ summaries: [MetricSummary], _ db: Database) throws {
    guard !summaries.isEmpty else { return }
    let merge = try db.cachedStatement(
      sql: """
        INSERT INTO summaries
          SELECT number, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM assets WHERE id = ?
        ON CONFLICT (asset, metric, start, width) DO UPDATE SET
          count = count + excluded.count,
          minimum = min(minimum, excluded.minimum),
          maximum = max(maximum, excluded.maximum),
          sum = sum + excluded.sum,
          last = iif(excluded.last_time >= last_time, excluded.last, last),
          last_time = max(last_time, excluded.last_time)
        """)
    for summary in summaries {
      try merge.execute(arguments: [
        summary.metric, summary.start.nanoseconds, summary.width.nanoseconds,
        Int64(clamping: summary.count), summary.minimum, summary.maximum, summary.sum,
        summary.last, summary.lastTime.nanoseconds, summary.asset,
      ])
    }
  }

  package func summaries(
    of asset: String, from start: WallTime, limit: Int
  ) throws(HubStoreError) -> [MetricSummary] {
    try read { db in
      try Row.fetchAll(
        db,
        sql: """
          SELECT s.* FROM summaries s JOIN assets a ON a.number = s.asset
          WHERE a.id = ? AND s.start >= ? ORDER BY s.metric, s.start, s.width LIMIT ?
          """, arguments: [asset, start.nanoseconds, limit]
      ).map { row in
        MetricSummary(
          asset: asset, metric: row["metric"], start: row.time("start"),
          width: .nanoseconds(row["width"] as Int64), count: row.unsigned("count"),
          minimum: row["minimum"], maximum: row["maximum"], sum: row["sum"],
          last: row["last"], lastTime: row.time("last_time"))
      }
    }
  }
}
