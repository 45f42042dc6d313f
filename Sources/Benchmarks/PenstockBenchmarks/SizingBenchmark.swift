import GatewayCore
import Platform
import RingJournal
import Synchronization

/// How many hours of outage a ring holds and how much flash a day costs, at low rates: what the
/// real journal takes for messages that come one by one and for those that come once a second
/// together. Time is simulated and nothing is synced, so this takes seconds; the bytes are real.
enum SizingBenchmark {
  static let payloadByteCount = 200
  static let topic = "pumps/ND0001/metrics"
  static let rates = [1, 10, 50, 100]
  static let ringSizes: [ByteCount] = [
    .mebibytes(16), .mebibytes(64), .mebibytes(256), .mebibytes(1024),
  ]
  /// Of the ring that is filled and written to; the results are per record and per second.
  static let measuredRing = ByteCount.mebibytes(64)
  static let measuredSeconds = 900
  /// From a commit to the acceptance of its batch: `batch.max_delay` and a short way.
  static let deliveryDelay: Duration = .milliseconds(250)

  /// How the messages of one second come, or are made to wait by `commit.min_delay`.
  enum Arrival: CaseIterable {
    /// Evenly spaced: each has a commit of its own.
    case spread
    /// Evenly spaced, with a `min_delay` of 100 ms.
    case tenTimes
    /// At the same moment, or with a `min_delay` of 1 s: one commit takes them all.
    case together

    var words: String {
      switch self {
      case .spread: "one by one"
      case .tenTimes: "one by one, min_delay 100ms"
      case .together: "once a second, or min_delay 1s"
      }
    }

    /// At most so many commits a second.
    func commitCount(rate: Int) -> Int {
      switch self {
      case .spread: rate
      case .tenTimes: min(rate, 10)
      case .together: 1
      }
    }

    /// Whether it differs from the ones before.
    func isWorthARow(rate: Int) -> Bool {
      self == .spread || commitCount(rate: rate) < rate
    }
  }

  static func run() throws {
    Console.line(
      "sizing: payloads of \(payloadByteCount) bytes, topics of \(topic.utf8.count); "
        + "hours until a ring is full when nothing is delivered, and writes while all is delivered")
    let sizes = ringSizes.map { "\($0.rawValue >> 20) MiB" }.joined(separator: " | ")
    Console.line("| msg/s | arriving | ring bytes per message | \(sizes) | written per day |")
    Console.line("|--:|---|--:|" + String(repeating: "--:|", count: ringSizes.count) + "--:|")
    for rate in rates {
      for arrival in Arrival.allCases where arrival.isWorthARow(rate: rate) {
        let perRecord = try ringByteCountPerRecord(rate: rate, arrival)
        let hours = ringSizes.map { size in
          (Double(dataByteCount(size)) / perRecord / Double(rate) / 3600).hours
        }
        let daily = try writtenByteCountPerSecond(rate: rate, arrival) * 86_400
        Console.line(
          "| \(rate) | \(arrival.words) | \(Int(perRecord.rounded(.up))) | "
            + hours.joined(separator: " | ") + " | \((daily / 1e9).short) GB |")
      }
    }
  }

  private static func dataByteCount(_ ring: ByteCount) -> Int {
    JournalLayout(capacity: ring).dataByteCount
  }

  /// Fills a ring without any delivery.
  private static func ringByteCountPerRecord(rate: Int, _ arrival: Arrival) throws -> Double {
    var bench = try SizingJournal()
    let groupSize = rate / arrival.commitCount(rate: rate)
    var count = 0
    while try bench.append() {
      count += 1
      if count.isMultiple(of: groupSize) {
        try bench.commit()
        bench.clock.advance(by: .seconds(1) * groupSize / rate)
      }
    }
    try bench.commit()
    try bench.close()
    return Double(dataByteCount(measuredRing)) / Double(count)
  }

  /// Everything the journal writes while each message is delivered shortly after its commit.
  private static func writtenByteCountPerSecond(rate: Int, _ arrival: Arrival) throws -> Double {
    var bench = try SizingJournal()
    let before = bench.disk.writtenByteCount
    let step: Duration = .milliseconds(10)
    let stepsPerSecond = 100
    for index in 0..<measuredSeconds * stepsPerSecond {
      let commitCount = arrival.commitCount(rate: rate)
      if index.isMultiple(of: stepsPerSecond / commitCount) {
        for _ in 0..<rate / commitCount {
          guard try bench.append() else { throw BenchmarkError("the ring filled up") }
        }
        try bench.commit()
      }
      try bench.deliverAndMaintain(after: deliveryDelay)
      bench.clock.advance(by: step)
    }
    let written = bench.disk.writtenByteCount - before
    try bench.close()
    return Double(written) / Double(measuredSeconds)
  }
}

/// A journal with a clock that is turned by hand and a disk that counts.
private struct SizingJournal: ~Copyable {
  let clock = HandClock()
  let disk = CountingDisk()
  private let directory: TemporaryDirectory
  private var writer: JournalWriter
  private let payload = [UInt8](
    repeating: UInt8(ascii: "x"), count: SizingBenchmark.payloadByteCount)
  private let topic = Array(SizingBenchmark.topic.utf8)
  private var undelivered: [(sequence: Sequence, at: MonotonicTime)] = []
  private var index: UInt64 = 0

  init() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-bench")
    var options = JournalOptions(
      gatewayID: "bench", routeName: "telemetry", sinks: [JournalSink(name: "central")])
    options.capacity = SizingBenchmark.measuredRing
    let opened = try Journal.open(
      path: "\(directory.path)/telemetry.journal", options: options,
      environment: JournalEnvironment(disk: disk, clock: clock, bootID: .current()),
      progress: { _ in }, recovered: { _, _ in })
    writer = opened.takeWriter()
    self.directory = directory
  }

  /// False: the ring is full.
  mutating func append() throws -> Bool {
    index += 1
    let draft = RecordDraft(
      flags: .json, idHash: DeduplicationBenchmark.hash(index), payloadDigest: index,
      receivedMonotonic: clock.monotonic())
    let (topic, payload) = (topic, payload)
    switch try writer.append(
      draft, topic: topic.span, idText: Span(), properties: Span(), payload: payload.span)
    {
    case .appended: return true
    case .groupFull: throw BenchmarkError("a second's messages do not fit into one commit")
    case .ringFull: return false
    }
  }

  mutating func commit() throws {
    guard writer.openRecordCount > 0 else { return }
    _ = try writer.commit()
    undelivered.append((writer.state.committed, clock.monotonic()))
  }

  /// What the delivery half and the ingest loop's idle turns do.
  mutating func deliverAndMaintain(after delay: Duration) throws {
    let now = clock.monotonic()
    let count = undelivered.prefix { now.since($0.at) >= delay }.count
    if count > 0 {
      writer.state.acknowledge(0, through: undelivered[count - 1].sequence)
      undelivered.removeFirst(count)
    }
    try writer.maintain(now: now)
  }

  mutating func close() throws { try writer.close() }
}

private final class HandClock: JournalClock {
  /// Far from zero, as a machine that has been up for a while.
  private let nanoseconds = Atomic<Int64>(3_600_000_000_000)

  func advance(by duration: Duration) {
    nanoseconds.add(duration.nanoseconds, ordering: .relaxed)
  }
  func monotonic() -> MonotonicTime {
    MonotonicTime(nanoseconds: nanoseconds.load(ordering: .relaxed))
  }
  func powered() -> MonotonicTime { monotonic() }
  func wall() -> WallTime {
    WallTime(nanoseconds: 1_760_000_000_000_000_000 + monotonic().nanoseconds)
  }
  func isSynchronised() -> Bool { true }
}

/// The machine's disk, counting what is written and syncing nothing.
private final class CountingDisk: Disk {
  private let base = POSIXDisk.shared
  private let written = Atomic<Int>(0)

  var writtenByteCount: Int { written.load(ordering: .relaxed) }
  func note(_ byteCount: Int) { written.add(byteCount, ordering: .relaxed) }

  func open(_ path: String, _ mode: DiskOpenMode) throws(SystemError) -> any DiskFile {
    CountingFile(try base.open(path, mode), disk: self)
  }
  func exists(_ path: String) -> Bool { base.exists(path) }
  func entries(ofDirectory path: String) throws(SystemError) -> [String] {
    try base.entries(ofDirectory: path)
  }
  func createDirectory(_ path: String) throws(SystemError) { try base.createDirectory(path) }
  func rename(_ path: String, to newPath: String) throws(SystemError) {
    try base.rename(path, to: newPath)
  }
  func remove(_ path: String) throws(SystemError) { try base.remove(path) }
  func syncDirectory(of path: String) throws(SystemError) {}
  func volume(of path: String) throws(SystemError) -> VolumeFacts { try base.volume(of: path) }
}

private final class CountingFile: DiskFile {
  private let base: any DiskFile
  private let disk: CountingDisk

  init(_ base: any DiskFile, disk: CountingDisk) {
    self.base = base
    self.disk = disk
  }

  func lock() throws(SystemError) -> Bool { try base.lock() }
  func byteCount() throws(SystemError) -> Int { try base.byteCount() }
  func read(into bytes: inout MutableSpan<UInt8>, at offset: Int) throws(SystemError) -> Int {
    try base.read(into: &bytes, at: offset)
  }
  func write(_ bytes: Span<UInt8>, at offset: Int) throws(SystemError) {
    disk.note(bytes.count)
    try base.write(bytes, at: offset)
  }
  func dataSync() throws(SystemError) {}
  func fullSync() throws(SystemError) {}
  func dropCache() {}
}

extension Double {
  /// With as many digits as mean something.
  fileprivate var hours: String {
    if self < 1 { return "\(Int(self * 60)) min" }
    return self >= 10 ? "\(Int(self)) h" : "\(Int(self * 10) / 10).\(Int(self * 10) % 10) h"
  }
}
