import GatewayCore
import Glibc
import Platform
import RingJournal

/// Reading all committed records of a full ring from the page cache, checksums verified, against
/// plain reads of the same bytes, in turn.
enum ReadBenchmark {
  private static let rounds = 9
  private static let ring = ByteCount.mebibytes(256)

  static func run() throws {
    for payload in [200, 2048] {
      let directory = try TemporaryDirectory(prefix: "penstock-bench")
      let path = try JournalBench.makeFull(
        in: directory, capacity: ring, payloadByteCount: payload)
      try measure(path, payloadByteCount: payload)
    }
  }

  private static func measure(_ path: String, payloadByteCount: Int) throws {
    let opened = try Journal.open(path: path, options: JournalBench.options(ring))
    let byteCount = try FileStatus(path: path).byteCount
    let occupied = Double(opened.state.statistics().kept.rawValue)
    var rates: [Double] = []
    var ratios: [Double] = []
    var share = 0.0
    // The first round fills the cache and does not count.
    for round in 0...rounds {
      let (carried, time) = try read(opened.state)
      let plain = try readPlain(path, byteCount: byteCount)
      if round == 0 { continue }
      share = Double(carried) / occupied
      rates.append(occupied / time / 1e9)
      ratios.append(occupied / time / (Double(byteCount) / plain))
    }
    Console.line(
      "read: \(payloadByteCount)-byte payloads from the page cache: \(rates.summary) GB/s of ring "
        + "(wanted ≥ 1), \((rates.median * share).short) GB/s of payload and topic, "
        + "\(ratios.median.short) × the rate of plain reads")
  }

  /// All records that are kept; bytes of their payloads and topics.
  private static func read(_ state: JournalState) throws -> (carried: Int, seconds: Double) {
    var reader = try state.makeReader(sink: 0)
    var carried = 0
    let start = Clock.monotonic()
    reading: while true {
      let outcome = try reader.read { record, _ in
        carried += record.payload.count + record.topic.count
        return true
      }
      switch outcome {
      case .caughtUp: break reading
      case .stopped: break
      case .gap(let gap): throw BenchmarkError("a gap in an intact ring: \(gap)")
      }
    }
    guard carried > 0 else { throw BenchmarkError("nothing was read") }
    return (carried, seconds(since: start))
  }

  private static func readPlain(_ path: String, byteCount: Int) throws -> Double {
    let file = try File.open(path, flags: O_RDONLY)
    var chunk = [UInt8](repeating: 0, count: 128 << 10)
    let start = Clock.monotonic()
    var offset = 0
    while offset < byteCount {
      let count = unsafe chunk.withUnsafeMutableBytes {
        unsafe pread(file.raw, $0.baseAddress, $0.count, off_t(offset))
      }
      guard count > 0 else { throw SystemError("pread") }
      offset += count
    }
    return seconds(since: start)
  }
}
