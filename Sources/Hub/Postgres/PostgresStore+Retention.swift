package import GatewayCore

extension PostgresStore {
  package func retention() throws(HubStoreError) -> RetentionMarks {
    try onWriter { (connection) throws(PostgresError) in
      Self.marks(try connection.run(Self.marking))
    }
  }

  private static let marking = [
    PostgresStatement("SELECT value FROM counters WHERE name = 'baseline'"),
    PostgresStatement("SELECT value FROM counters WHERE name = 'retired'"),
    PostgresStatement("SELECT max(position) FROM events"),
  ]

  private static func marks(_ answers: [PostgresResult]) -> RetentionMarks {
    var marks = RetentionMarks()
    marks.baseline = UInt64(bitPattern: answers[0].integer(0, 0) ?? 0)
    marks.retired = UInt64(bitPattern: answers[1].integer(0, 0) ?? 0)
    marks.last = UInt64(bitPattern: answers[2].integer(0, 0) ?? 0)
    return marks
  }

  package func setBaseline(_ snapshot: Snapshot) throws(HubStoreError) {
    let bytes = snapshot.encode()
    try onWriter { (connection) throws(PostgresError) in
      let answers = try connection.run([
        PostgresStatement("BEGIN"),
        PostgresStatement(
          "UPDATE counters SET value = $1 WHERE name = 'baseline' AND value <= $1"
        ) { $0.add(snapshot.position) },
        PostgresStatement(
          """
          INSERT INTO snapshots VALUES ($1, $2, $3)
          ON CONFLICT (position) DO UPDATE SET time = excluded.time, assets = excluded.assets
          """
        ) {
          $0.add(snapshot.position)
          $0.add(snapshot.time.nanoseconds)
          $0.add(bytes: bytes)
        },
        // States before it could be told of a few positions alone.
        PostgresStatement("DELETE FROM snapshots WHERE position < $1") {
          $0.add(snapshot.position)
        },
      ])
      guard answers[1].changedCount == 1 else {
        throw PostgresError.conflict("the baseline is further already")
      }
      _ = try connection.run([PostgresStatement("COMMIT")])
    }
  }

  /// The counter's row is locked first: of two hubs one finds that the other was there.
  package func retire(_ retirement: Retirement) throws(HubStoreError) {
    try onWriter { (connection) throws(PostgresError) in
      let answers = try connection.run(
        [
          PostgresStatement("BEGIN"),
          PostgresStatement(
            "UPDATE counters SET value = $1 WHERE name = 'retired' AND value = $2"
          ) {
            $0.add(retirement.through)
            $0.add(retirement.after)
          },
        ] + Self.marking)
      let marks = Self.marks(Array(answers.dropFirst(2)))
      guard answers[1].changedCount == 1, retirement.through <= marks.baseline,
        retirement.through < marks.last
      else {
        throw PostgresError.conflict(
          "readings are gone through \(marks.retired), of \(marks.baseline)")
      }
      _ = try connection.run([
        Self.merge(retirement.summaries),
        PostgresStatement(
          "DELETE FROM events WHERE type = 10 AND position > $1 AND position <= $2"
        ) {
          $0.add(retirement.after)
          $0.add(retirement.through)
        },
        PostgresStatement("COMMIT"),
      ])
    }
  }

  private static func merge(_ summaries: [MetricSummary]) -> PostgresStatement {
    PostgresStatement(
      """
      INSERT INTO summaries AS s
        SELECT a.number, n.metric, n.start, n.width, n.count, n.minimum, n.maximum, n.sum, n.last,
          n.last_time
        FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[],
          $6::double precision[], $7::double precision[], $8::double precision[],
          $9::double precision[], $10::bigint[])
          AS n (asset, metric, start, width, count, minimum, maximum, sum, last, last_time)
        JOIN assets a ON a.id = n.asset
      ON CONFLICT (asset, metric, start, width) DO UPDATE SET
        count = s.count + excluded.count,
        minimum = least(s.minimum, excluded.minimum),
        maximum = greatest(s.maximum, excluded.maximum),
        sum = s.sum + excluded.sum,
        last = CASE WHEN excluded.last_time >= s.last_time THEN excluded.last ELSE s.last END,
        last_time = greatest(s.last_time, excluded.last_time)
      """
    ) {
      $0.add(column: summaries.map { Optional($0.asset) })
      $0.add(column: summaries.map { Optional($0.metric) })
      $0.add(column: summaries.map { Optional($0.start.nanoseconds) })
      $0.add(column: summaries.map { Optional($0.width.nanoseconds) })
      $0.add(column: summaries.map(\.count))
      $0.add(column: summaries.map(\.minimum))
      $0.add(column: summaries.map(\.maximum))
      $0.add(column: summaries.map(\.sum))
      $0.add(column: summaries.map(\.last))
      $0.add(column: summaries.map { Optional($0.lastTime.nanoseconds) })
    }
  }

  package func summaries(
    of asset: String, from start: WallTime, limit: Int
  ) throws(HubStoreError) -> [MetricSummary] {
    let statement = PostgresStatement(
      """
      SELECT s.metric, s.start, s.width, s.count, s.minimum, s.maximum, s.sum, s.last, s.last_time
      FROM summaries s JOIN assets a ON a.number = s.asset
      WHERE a.id = $1 AND s.start >= $2 ORDER BY s.metric COLLATE "C", s.start, s.width LIMIT $3
      """
    ) {
      $0.add(asset)
      $0.add(start.nanoseconds)
      $0.add(Int64(limit))
    }
    return try onWriter { (connection) throws(PostgresError) in
      try connection.run([statement])[0].rows.map { row in
        MetricSummary(
          asset: asset, metric: row.text(0), start: row.time(1),
          width: .nanoseconds(row.integer(2)), count: row.unsigned(3),
          minimum: row.double(4), maximum: row.double(5), sum: row.double(6), last: row.double(7),
          lastTime: row.time(8))
      }
    }
  }
}
