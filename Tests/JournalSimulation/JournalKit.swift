package import GatewayCore
import Platform
package import RingJournal
import Synchronization

/// A small journal on a simulated disk: 4 KiB between the slots, so that a ring of a few dozen
/// blocks turns within a test.
package struct JournalKit: Sendable {
  package static let path = "/data/telemetry.journal"

  package let disk: SimulatedDisk
  package let clock = ManualClock()
  package var options: JournalOptions
  package var environment: JournalEnvironment

  package init(
    blocks: Int = 64, commit: ByteCount = .kibibytes(16), sinks: [JournalSink] = [.central],
    disk: SimulatedDisk = SimulatedDisk(), seed: UInt64 = 1
  ) {
    self.disk = disk
    options = JournalOptions(gatewayID: "gw-1", routeName: "telemetry", sinks: sinks)
    options.capacity = ByteCount((4 + blocks) * 4096)
    options.commitByteCountMax = ByteCount(min(commit.rawValue, blocks / 8 * 4096))
    environment = JournalEnvironment(
      disk: disk, clock: clock, bootID: BootID(high: 1, low: 2))
    environment.spacing = 4096
    let source = RandomSource(SeededGenerator(seed: seed))
    environment.random = { source.next() }
  }

  package func open(_ visit: (JournalRecord, Span<UInt8>) -> Void = { _, _ in })
    throws(JournalError)
    -> OpenedJournal
  {
    try Journal.open(
      path: JournalKit.path, options: options, environment: environment, recovered: visit)
  }
}

/// One seeded sequence for all who ask.
private final class RandomSource: Sendable {
  private let generator: Mutex<SeededGenerator>
  init(_ generator: SeededGenerator) { self.generator = Mutex(generator) }
  func next() -> UInt64 { generator.withLock { $0.next() } }
}

extension JournalSink {
  package static let central = JournalSink(name: "central")
}

extension JournalWriter {
  /// Appends one record with this payload under topic `t`.
  package mutating func append(_ payload: [UInt8], topic: [UInt8] = [0x74]) throws(JournalError)
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
  package mutating func commit(_ payload: [UInt8]) throws(JournalError) -> Sequence? {
    guard case .appended(let sequence) = try append(payload) else { return nil }
    _ = try commit()
    return sequence
  }
}
