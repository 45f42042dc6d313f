import Deduplication
import GatewayCore
import Glibc
import Platform
import RingJournal

/// Opening a full ring of the default size, window rebuilt, against reading the same bytes straight
/// from the disk (O_DIRECT, 1 MiB at a time), in turn, both past the page cache.
enum OpenBenchmark {
  static let rounds = 7

  static func run() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-bench")
    let path = "\(directory.path)/telemetry.journal"
    let options = JournalOptions(
      gatewayID: "bench", routeName: "telemetry", sinks: [JournalSink(name: "central")])
    try fill(path, options)
    let byteCount = try FileStatus(path: path).byteCount
    var ratios: [Double] = []
    var peak = 0
    for round in 1...rounds {
      let read = try readDirect(path, byteCount: byteCount)
      let open = try open(path, options)
      ratios.append(read / open)
      peak = try max(peak, Usage.status("VmHWM"))
      let rate = { (seconds: Double) in Int(Double(byteCount) / seconds / 1e6) }
      Console.line(
        "  round \(round): sequential read \(rate(read)) MB/s · open \(rate(open)) MB/s · "
          + "\((read / open).short) ×")
    }
    Console.line(
      "open: a full ring of \(options.capacity): median \(ratios.median.short) × the rate of a "
        + "sequential read (wanted ≥ 0.8), peak resident \(peak / 1024) MiB (≤ 64)")
  }

  /// Commits records until the ring is full.
  private static func fill(_ path: String, _ options: JournalOptions) throws {
    var writer = try Journal.open(
      path: path, options: options, progress: { _ in }
    ).takeWriter()
    let topic = Array("pumps/ND01/metrics".utf8)
    let payload = [UInt8](repeating: UInt8(ascii: "x"), count: 200)
    var index: UInt64 = 0
    filling: while true {
      let draft = RecordDraft(
        flags: .json, idHash: DeduplicationBenchmark.hash(index),
        payloadDigest: index, receivedMonotonic: Clock.monotonic())
      switch try writer.append(
        draft, topic: topic.span, idText: Span(), properties: Span(), payload: payload.span)
      {
      case .appended: index += 1
      case .groupFull: _ = try writer.commit()
      case .ringFull: break filling
      }
    }
    _ = try writer.commit()
    try writer.close()
  }

  private static func open(_ path: String, _ options: JournalOptions) throws -> Double {
    let start = Clock.monotonic()
    var window = DeduplicationWindow(
      capacity: DeduplicationOptions(selector: .none).window(ringCapacity: options.capacity))
    var writer = try Journal.open(
      path: path, options: options, progress: { _ in },
      recovered: { record, _ in window.insert(record.idHash, digest: record.payloadDigest) }
    ).takeWriter()
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
