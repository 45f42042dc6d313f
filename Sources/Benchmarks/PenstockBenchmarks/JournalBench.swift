import GatewayCore
import Glibc
import Platform
import RingJournal

/// A journal on the machine's own disk, whose one sink accepts everything at once.
struct JournalBench: ~Copyable {
  static let topic = Array("pumps/ND0001/metrics".utf8)

  let path: String
  let state: JournalState
  private(set) var writer: JournalWriter
  private let payload: [UInt8]
  private var index: UInt64 = 0
  /// Made anew for each group only: what it costs the caller is not the journal's.
  private var draft = JournalBench.draft()

  /// Payload and topic: what a record carries.
  var carriedByteCount: Int { payload.count + JournalBench.topic.count }

  /// Creates the journal in `directory`, which outlives it.
  init(
    in directory: borrowing TemporaryDirectory, capacity: ByteCount, payloadByteCount: Int
  ) throws {
    let path = "\(directory.path)/telemetry.journal"
    let opened = try Journal.open(path: path, options: JournalBench.options(capacity))
    self.path = path
    state = opened.state
    writer = opened.takeWriter()
    payload = [UInt8](repeating: UInt8(ascii: "x"), count: payloadByteCount)
  }

  static func options(_ capacity: ByteCount) -> JournalOptions {
    var options = JournalOptions(
      gatewayID: "bench", routeName: "telemetry", sinks: [JournalSink(name: "central")])
    options.capacity = capacity
    return options
  }

  /// Appends one record.
  mutating func append() throws -> AppendResult {
    index += 1
    draft.idHash = DeduplicationBenchmark.hash(index)
    let payload = self.payload
    return try writer.append(
      draft, topic: JournalBench.topic.span, idText: Span(), properties: Span(),
      payload: payload.span)
  }

  private static func draft() -> RecordDraft {
    RecordDraft(
      flags: .json, idHash: DeduplicationBenchmark.hash(1), receivedMonotonic: Clock.monotonic())
  }

  /// Appends until the group is full; the number of records.
  mutating func fillGroup() throws -> Int {
    let (topic, payload) = (JournalBench.topic, self.payload)
    let draft = self.draft
    var count = 0
    while true {
      let result = try writer.append(
        draft, topic: topic.span, idText: Span(), properties: Span(), payload: payload.span)
      switch result {
      case .appended: count += 1
      case .groupFull: return count
      case .ringFull: throw BenchmarkError("the ring filled up")
      }
    }
  }

  /// Commits, and the sink accepts.
  mutating func commit() throws -> Int {
    let receipt = try writer.commit()
    draft = JournalBench.draft()
    state.acknowledge(0, through: state.committed)
    return receipt.byteCount.rawValue
  }

  /// Commits without the sink.
  mutating func commitOnly() throws { _ = try writer.commit() }

  mutating func close() throws { try writer.close() }

  /// Makes a ring that is full of undelivered records, and closes it in order; its path.
  static func makeFull(
    in directory: borrowing TemporaryDirectory, capacity: ByteCount, payloadByteCount: Int
  ) throws -> String {
    var bench = try JournalBench(
      in: directory, capacity: capacity, payloadByteCount: payloadByteCount)
    filling: while true {
      switch try bench.append() {
      case .appended: break
      case .groupFull: try bench.commitOnly()
      case .ringFull: break filling
      }
    }
    try bench.commitOnly()
    try bench.close()
    return bench.path
  }
}

/// The bare file that a benchmark compares with: of the same size, zero-filled and synced as a
/// journal is, written from its start to its end and again.
struct BareFile: ~Copyable {
  private let descriptor: FileDescriptor
  private let bytes: [UInt8]
  private let capacity: Int
  private var offset = 0

  init(
    in directory: borrowing TemporaryDirectory, capacity: Int, writeByteCount: Int
  ) throws {
    let descriptor = try File.open(
      "\(directory.path)/bare", flags: O_RDWR | O_CREAT | O_EXCL, mode: 0o600)
    let zeros = [UInt8](repeating: 0, count: 1 << 20)
    var offset = 0
    while offset < capacity {
      offset += try BareFile.write(zeros, to: descriptor, at: offset, upTo: capacity)
    }
    guard fsync(descriptor.raw) == 0 else { throw SystemError("fsync") }
    self.descriptor = descriptor
    self.capacity = capacity
    bytes = [UInt8](repeating: UInt8(ascii: "y"), count: writeByteCount)
  }

  /// One pwrite and one fdatasync.
  mutating func commit() throws {
    if offset + bytes.count > capacity { offset = 0 }
    offset += try BareFile.write(bytes, to: descriptor, at: offset, upTo: capacity)
    guard fdatasync(descriptor.raw) == 0 else { throw SystemError("fdatasync") }
  }

  private static func write(
    _ bytes: [UInt8], to descriptor: borrowing FileDescriptor, at offset: Int, upTo end: Int
  ) throws -> Int {
    let count = min(bytes.count, end - offset)
    let written = unsafe bytes.withUnsafeBytes {
      unsafe pwrite(descriptor.raw, $0.baseAddress, count, off_t(offset))
    }
    guard written == count else { throw SystemError("pwrite") }
    return written
  }
}

extension [Double] {
  /// Median and the quartiles round it.
  var summary: String {
    "\(median.short) (quartiles \(quantile(0.25).short)–\(quantile(0.75).short))"
  }
}
