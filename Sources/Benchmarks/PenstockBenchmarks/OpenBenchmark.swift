import Deduplication
import GatewayCore
import Glibc
import Platform
import RingJournal

/// Opening a full ring, window rebuilt, against reading the same bytes straight from the disk
/// (O_DIRECT, 1 MiB at a time), in turn, both past the page cache; for the default size and for
/// 1 GiB.
enum OpenBenchmark {
  private static let rounds = 7

  static func run() throws {
    for capacity in [ByteCount.mebibytes(256), .mebibytes(1024)] {
      let directory = try TemporaryDirectory(prefix: "penstock-bench")
      let path = try JournalBench.makeFull(
        in: directory, capacity: capacity, payloadByteCount: 200)
      try measure(path, JournalBench.options(capacity))
    }
  }

  private static func measure(_ path: String, _ options: JournalOptions) throws {
    let byteCount = try FileStatus(path: path).byteCount
    var ratios: [Double] = []
    try Usage.resetPeak()
    for round in 1...rounds {
      let read = try readDirect(path, byteCount: byteCount)
      let open = try open(path, options)
      ratios.append(read / open)
      let rate = { (seconds: Double) in Int(Double(byteCount) / seconds / 1e6) }
      Console.line(
        "  round \(round): sequential read \(rate(read)) MB/s · open \(rate(open)) MB/s · "
          + "\((read / open).short) ×")
    }
    let peak = try Usage.status("VmHWM")
    Console.line(
      "open: a full ring of \(options.capacity): \(ratios.summary) × the rate of a sequential "
        + "read (wanted ≥ 0.8), peak resident \(peak / 1024) MiB (≤ 64)")
  }

  private static func open(_ path: String, _ options: JournalOptions) throws -> Double {
    let start = Clock.monotonic()
    var rebuild = WindowRebuild(
      DeduplicationWindow(
        capacity: DeduplicationOptions(selector: .none).window(ringCapacity: options.capacity)))
    var writer = try Journal.open(
      path: path, options: options, progress: { _ in },
      recovered: { record, _ in rebuild.insert(record.idHash, digest: record.payloadDigest) }
    ).takeWriter()
    let window = rebuild.finish()
    let seconds = seconds(since: start)
    guard window.count > 0 else { throw BenchmarkError("nothing was recovered") }
    try writer.close()
    return seconds
  }

  private static func readDirect(_ path: String, byteCount: Int) throws -> Double {
    let directFlag: Int32 = 0o40000
    let file = try File.open(path, flags: O_RDONLY | directFlag)
    let chunk = 1 << 20
    var memory: UnsafeMutableRawPointer?
    guard unsafe posix_memalign(&memory, 4096, chunk) == 0, let memory = unsafe memory else {
      throw BenchmarkError("no memory")
    }
    defer { unsafe free(memory) }
    let start = Clock.monotonic()
    var offset = 0
    while offset < byteCount {
      let count = unsafe pread(file.raw, memory, chunk, off_t(offset))
      guard count > 0 else { throw SystemError("pread") }
      offset += count
    }
    return seconds(since: start)
  }
}
