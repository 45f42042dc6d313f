import Envelope
import GatewayCore
import Platform
import RingJournal

@testable import Batching

/// A real journal on a small file, opened as often as a test likes: every opening is an epoch.
final class BatchKit {
  private let temporary: TemporaryDirectory
  private let directory: String
  var options: JournalOptions
  private(set) var writer: JournalWriter?
  private(set) var state: JournalState

  init(blocks: Int = 256, whenFull: WhenFull = .block) throws {
    temporary = try TemporaryDirectory(prefix: "batching")
    directory = try temporary.makeSubdirectory("data")
    options = JournalOptions(
      gatewayID: "gw-1", routeName: "telemetry", sinks: [JournalSink(name: "central")])
    options.capacity = ByteCount((4 + blocks) * 4096)
    options.commitByteCountMax = ByteCount(blocks / 8 * 4096)
    options.whenFull = whenFull
    let opened = try BatchKit.open("\(directory)/telemetry.journal", options)
    state = opened.state
    writer = opened.takeWriter()
  }

  private static func open(
    _ path: String, _ options: JournalOptions
  ) throws(JournalError) -> OpenedJournal {
    var environment = JournalEnvironment.posix
    environment.allowsUnsafeFilesystem = true
    environment.spacing = 4096
    return try Journal.open(path: path, options: options, environment: environment)
  }

  func reopen() throws {
    try writer?.close()
    writer = nil
    let opened = try BatchKit.open("\(directory)/telemetry.journal", options)
    state = opened.state
    writer = opened.takeWriter()
  }

  /// Appends and commits one group.
  func commit(
    _ payloads: [[UInt8]], topic: String = "pumps/1/metrics", kind: RecordKind = .data,
    properties: [UInt8] = [], flags: RecordFlags = []
  ) throws {
    let none: [UInt8] = []
    let topic = Array(topic.utf8)
    for payload in payloads {
      let draft = RecordDraft(
        kind: kind, reason: kind == .deadLetter ? .conflict : nil, flags: flags,
        receivedMonotonic: Clock.monotonic())
      let result = try writer?.append(
        draft, topic: topic.span, idText: none.span, properties: properties.span,
        payload: payload.span)
      guard case .appended = result else { throw BatchKitError(result: result) }
    }
    _ = try writer?.commit()
  }

  /// Overwrites every block of the file that holds this byte a hundred times in a row.
  func damage(recordOf byte: UInt8) throws {
    let file = try POSIXDisk.shared.open("\(directory)/telemetry.journal", .existing)
    let needle = [UInt8](repeating: byte, count: 100)
    let garbage = [UInt8](repeating: 0xEE, count: 4096)
    for offset in stride(from: 0, to: try file.byteCount(), by: 4096) {
      var block = [UInt8](repeating: 0, count: 4096)
      var span = block.mutableSpan
      _ = try file.read(into: &span, at: offset)
      if block.contains(needle) { try file.write(garbage.span, at: offset) }
    }
  }

  func commit(_ texts: String...) throws { try commit(texts.map { Array($0.utf8) }) }

  /// Commits a run of messages of one source that were refused.
  func refuse(_ topic: String, count: Int) throws {
    let topic = Array(topic.utf8)
    for _ in 0..<count {
      let result = try writer?.appendRefusal(topic: topic.span, received: Clock.monotonic())
      guard case .appended = result else { throw BatchKitError(result: result) }
    }
    _ = try writer?.commit()
  }

  func makeBatcher(_ change: (inout BatchOptions) -> Void = { _ in }) throws -> Batcher {
    makeBatcher(reader: try state.makeReader(sink: 0), change)
  }

  func makeBatcher(
    reader: consuming JournalReader, _ change: (inout BatchOptions) -> Void = { _ in }
  ) -> Batcher {
    var options = BatchOptions()
    options.compression = .none
    change(&options)
    return Batcher(
      reader: reader, journal: state.identity.id, epoch: state.epoch,
      route: RouteIdentity(gateway: "gw-1", site: "gw-1", name: "telemetry"), options: options,
      topicMap: { "up/\($0)" }, wallClock: { Clock.wall() })
  }
}

struct BatchKitError: Error {
  let result: AppendResult?
}

extension Batcher {
  /// Every batch up to the end of what is committed.
  mutating func all() throws -> [Batch] {
    var batches: [Batch] = []
    while case .batch(let batch) = try next(now: Clock.monotonic(), closing: true) {
      batches.append(batch)
    }
    return batches
  }
}

extension Batch {
  func envelope() throws -> Envelope { try EnvelopeDecoder.decode(bytes.span) }
}

/// The account of a run of envelopes: they adjoin, and each adds up by itself.
func verify(_ batches: [Batch], from first: UInt64 = 1, through last: UInt64) throws -> Bool {
  var next = Sequence(first)
  for batch in batches {
    guard batch.range.first == next else { return false }
    next = batch.range.last.next
    if case .topic = batch.destination { continue }
    let envelope = try batch.envelope()
    try envelope.verifyAccounting()
    guard envelope.header.first == batch.range.first, envelope.header.last == batch.range.last,
      envelope.header.epoch == batch.epoch
    else { return false }
  }
  return next == Sequence(last + 1)
}
