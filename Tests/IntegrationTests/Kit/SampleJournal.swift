import GatewayCore
import Platform
import RingJournal
import Synchronization

/// A journal on a real disk with known contents, times included, for the tools to look at.
final class SampleJournal {
  /// Stands where it is put; 2026-11-23T06:00:00Z to begin with.
  final class FixedClock: JournalClock {
    private let nanoseconds = Atomic<Int64>(0)
    func advance(_ duration: Duration) {
      nanoseconds.add(duration.nanoseconds, ordering: .relaxed)
    }
    func monotonic() -> MonotonicTime {
      MonotonicTime(nanoseconds: 1_000_000_000 + nanoseconds.load(ordering: .relaxed))
    }
    func powered() -> MonotonicTime { monotonic() }
    func wall() -> WallTime {
      WallTime(nanoseconds: 1_795_413_600_000_000_000 + nanoseconds.load(ordering: .relaxed))
    }
    func isSynchronised() -> Bool { true }
  }

  let directory: TemporaryDirectory
  let clock = FixedClock()
  private var journal: OpenedJournal

  var path: String { directory.path + "/telemetry.journal" }
  var id: String { journal.state.identity.id.description }
  var epoch: String { journal.state.epoch.description }
  var committed: UInt64 { journal.state.committed.rawValue }

  init() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-sample")
    var options = JournalOptions(
      gatewayID: "gw-1", routeName: "telemetry",
      sinks: [JournalSink(name: "central"), JournalSink(name: "lab", required: false)])
    options.capacity = .mebibytes(16)
    var environment = JournalEnvironment(
      disk: POSIXDisk.shared, clock: clock, bootID: BootID(high: 1, low: 2))
    environment.allowsUnsafeFilesystem = true
    journal = try Journal.open(
      path: directory.path + "/telemetry.journal", options: options, environment: environment)
    self.directory = directory
  }

  func append(
    topic: String, id: String = "", payload: String, flags: RecordFlags = [],
    properties: [UInt8] = []
  ) throws {
    var flags = flags
    flags.qualityOfService = .atLeastOnce
    _ = try journal.writer.append(
      RecordDraft(
        flags: flags, idHash: MessageIDHash(high: 1, low: 2), payloadDigest: 3,
        idText: id.isEmpty ? .absent : .stored, receivedMonotonic: clock.monotonic()),
      topic: Array(topic.utf8).span, idText: Array(id.utf8).span, properties: properties.span,
      payload: Array(payload.utf8).span)
  }

  func refuse(topic: String) throws {
    _ = try journal.writer.appendRefusal(
      topic: Array(topic.utf8).span, received: clock.monotonic())
  }

  func commit() throws { _ = try journal.writer.commit() }

  func acknowledge(_ sink: Int, through sequence: UInt64) {
    journal.state.acknowledge(sink, through: Sequence(sequence))
  }

  /// Out of turn, as with `drain: live-first`.
  func accept(_ sink: Int, _ range: ClosedRange<UInt64>) {
    _ = journal.state.accept(
      sink, SequenceRange(Sequence(range.lowerBound), Sequence(range.upperBound)))
  }

  func close() throws { try journal.writer.close() }

  /// Five data records, one of them binary, and two refused messages; `central` has got three.
  func fill() throws {
    var properties: [UInt8] = []
    MQTTPropertyWriter.appendUserProperty(
      name: "line".utf8.span, value: "north".utf8.span, to: &properties)
    try append(
      topic: "pumps/ND01/metrics", id: "ND01-1", payload: #"{"flow": 12.5, "ok": [true, {}]}"#,
      flags: .json, properties: properties)
    try append(topic: "pumps/ND02/metrics", id: "ND02-1", payload: #"{"flow":7}"#, flags: .json)
    try commit()
    clock.advance(.seconds(60))
    try append(topic: "pumps/ND01/asset", payload: "\u{1b}[31mno id\u{0}", flags: .retained)
    try refuse(topic: "pumps/ND03/metrics")
    try refuse(topic: "pumps/ND03/metrics")
    try append(topic: "pumps/ND01/metrics", id: "ND01-2", payload: #"{"flow":13}"#, flags: .json)
    try commit()
    acknowledge(0, through: 3)
    acknowledge(1, through: 6)
    clock.advance(.seconds(60))
    try append(topic: "pumps/ND01/metrics", id: "ND01-3", payload: #"{"flow":14}"#, flags: .json)
    try commit()
  }
}
