import GatewayCore
import Platform
import RingJournal

/// Group commits of 1 MiB against bare `pwrite` + `fdatasync` of 1 MiB to a zero-filled file of the
/// same size, in turn; and commits of one small record against bare commits of one block.
enum AppendBenchmark {
  private static let rounds = 11
  private static let groupsPerRound = 24
  private static let ring = ByteCount.mebibytes(256)

  /// Appending and committing groups of 1 MiB.
  static func run() throws {
    for payload in [200, 2048] {
      let directory = try TemporaryDirectory(prefix: "penstock-bench")
      var bench = try JournalBench(in: directory, capacity: ring, payloadByteCount: payload)
      var bare = try BareFile(in: directory, capacity: ring.rawValue, writeByteCount: 1 << 20)
      var ratios: [Double] = []
      var rates: [Double] = []
      for round in 0..<rounds {
        var own = 0.0
        var other = 0.0
        for turn in 0..<2 {
          if turn == round % 2 {
            own = try journalRate(&bench)
          } else {
            other = try bareRate(&bare)
          }
        }
        ratios.append(own / other)
        rates.append(own)
      }
      try bench.close()
      Console.line(
        "append: groups of 1 MiB, \(payload)-byte payloads: \(ratios.summary) × the rate of bare "
          + "pwrite + fdatasync (wanted ≥ 0.8), median \(Int(rates.median)) MB/s")
    }
  }

  private static func journalRate(_ bench: inout JournalBench) throws -> Double {
    var byteCount = 0
    let start = Clock.monotonic()
    for _ in 0..<groupsPerRound {
      _ = try bench.fillGroup()
      byteCount += try bench.commit()
    }
    return Double(byteCount) / seconds(since: start) / 1e6
  }

  private static func bareRate(_ bare: inout BareFile) throws -> Double {
    let start = Clock.monotonic()
    for _ in 0..<groupsPerRound { try bare.commit() }
    return Double(groupsPerRound << 20) / seconds(since: start) / 1e6
  }
}

enum CommitBenchmark {
  private static let rounds = 11
  private static let commitsPerRound = 100

  /// Committing one record of 200 bytes.
  static func run() throws {
    let ring = ByteCount.mebibytes(64)
    let directory = try TemporaryDirectory(prefix: "penstock-bench")
    var bench = try JournalBench(in: directory, capacity: ring, payloadByteCount: 200)
    var bare = try BareFile(in: directory, capacity: ring.rawValue, writeByteCount: 4096)
    var ratios: [Double] = []
    var times: [Double] = []
    for _ in 0..<rounds {
      // In turn, one by one: what else the disk does meets both alike.
      var own: [Double] = []
      var other: [Double] = []
      for _ in 0..<commitsPerRound {
        let start = Clock.monotonic()
        _ = try bench.append()
        _ = try bench.commit()
        own.append(seconds(since: start))
        let bareStart = Clock.monotonic()
        try bare.commit()
        other.append(seconds(since: bareStart))
      }
      ratios.append(own.median / other.median)
      times.append(own.median)
    }
    try bench.close()
    Console.line(
      "commit: one 200-byte record: \(ratios.summary) × the time of a bare 4 KiB pwrite + "
        + "fdatasync (wanted ≤ 1.15), median \((times.median * 1e6).short) µs")
  }
}
