import GatewayCore
import Platform
import RingJournal
import Synchronization

/// A clock that moves when it is told to, and by a microsecond at each reading.
final class ManualClock: JournalClock {
  private let time = Mutex(
    (monotonic: Int64(1_000_000_000), wall: Int64(1_764_000_000_000_000_000)))
  private let synchronised = Atomic<Bool>(true)

  func monotonic() -> MonotonicTime {
    time.withLock {
      $0.monotonic += 1000
      $0.wall += 1000
      return MonotonicTime(nanoseconds: $0.monotonic)
    }
  }
  func powered() -> MonotonicTime { MonotonicTime(nanoseconds: time.withLock { $0.monotonic }) }
  func wall() -> WallTime { WallTime(nanoseconds: time.withLock { $0.wall }) }
  func isSynchronised() -> Bool { synchronised.load(ordering: .relaxed) }
  func setSynchronised(_ value: Bool) { synchronised.store(value, ordering: .relaxed) }
  func advance(_ duration: Duration) {
    time.withLock {
      $0.monotonic += duration.nanoseconds
      $0.wall += duration.nanoseconds
    }
  }
  func stepWall(_ duration: Duration) { time.withLock { $0.wall += duration.nanoseconds } }
}

/// A small journal on a simulated disk: 4 KiB between the slots, so that a ring of a few dozen
/// blocks turns within a test.
struct JournalKit: Sendable {
  static let path = "/data/telemetry.journal"

  let disk = SimulatedDisk()
  let clock = ManualClock()
  var options: JournalOptions
  var environment: JournalEnvironment

  init(blocks: Int = 64, commit: ByteCount = .kibibytes(16), sinks: [JournalSink] = [.central]) {
    options = JournalOptions(gatewayID: "gw-1", routeName: "telemetry", sinks: sinks)
    options.capacity = ByteCount((4 + blocks) * 4096)
    options.commitByteCountMax = ByteCount(min(commit.rawValue, blocks / 8 * 4096))
    environment = JournalEnvironment(
      disk: disk, clock: clock, bootID: BootID(high: 1, low: 2))
    environment.spacing = 4096
  }

  func open(_ visit: (JournalRecord, Span<UInt8>) -> Void = { _, _ in }) throws(JournalError)
    -> OpenedJournal
  {
    try Journal.open(
      path: JournalKit.path, options: options, environment: environment, recovered: visit)
  }
}

extension JournalSink {
  static let central = JournalSink(name: "central")
}

extension JournalWriter {
  /// Appends one record with this payload under topic `t`.
  mutating func append(_ payload: [UInt8], topic: [UInt8] = [0x74]) throws(JournalError)
    -> AppendResult
  {
    try append(
      RecordDraft(
        idHash: MessageIDHash(high: UInt64(payload.count), low: 1),
        receivedMonotonic: MonotonicTime(nanoseconds: 1_000_000_000)),
      topic: topic.span, idText: [UInt8]().span, properties: [UInt8]().span,
      payload: payload.span)
  }

  /// Appends and commits; the sequence, or nil when the ring is full.
  mutating func commit(_ payload: [UInt8]) throws(JournalError) -> Sequence? {
    guard case .appended(let sequence) = try append(payload) else { return nil }
    _ = try commit()
    return sequence
  }
}

/// What a reader finds from its position to the end.
struct Contents: Equatable {
  var payloads: [UInt64: [UInt8]] = [:]
  var sequences: [UInt64] = []
  var gaps: [Gap] = []

  static func read(_ state: JournalState, sink: Int = 0, from: Sequence? = nil) throws -> Contents {
    var reader = try state.makeReader(sink: sink)
    if let from { reader.seek(to: from) }
    return try read(&reader)
  }

  static func read(_ reader: inout JournalReader) throws -> Contents {
    var contents = Contents()
    while true {
      let outcome = try reader.read { record, bytes in
        contents.sequences.append(record.sequence.rawValue)
        contents.payloads[record.sequence.rawValue] = copy(bytes, record.payload)
        return true
      }
      switch outcome {
      case .caughtUp: return contents
      case .stopped: return contents
      case .gap(let gap): contents.gaps.append(gap)
      }
    }
  }
}

func copy(_ bytes: Span<UInt8>, _ range: Range<Int>) -> [UInt8] {
  var result: [UInt8] = []
  result.append(bytes.extracting(range))
  return result
}
