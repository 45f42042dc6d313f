import Filtering
import GatewayCore
import JSONScanning
import Logging
import RingJournal

/// What a journal holds for aggregates when it is opened.
struct AggregateRebuild: ~Copyable {
  private var recovery: AggregateRecovery?
  /// Readings that are not delivered, behind the last aggregate.
  private var looseCount = 0

  init(_ options: AggregateOptions?, behind pointers: [JSONPointer]) throws(JSONPointerError) {
    if let options { recovery = try AggregateRecovery(options, behind: pointers) }
  }

  mutating func recover(_ record: JournalRecord, _ bytes: Span<UInt8>) {
    guard record.kind == .data else { return }
    if record.flags.contains(.aggregate) { looseCount = 0 }
    if record.flags.contains(.elided) { looseCount += 1 }
    recovery?.recover(
      flags: record.flags, sequence: record.sequence, received: record.received,
      digest: record.payloadDigest, topic: bytes.extracting(record.topic),
      payload: bytes.extracting(record.payload))
  }

  /// Readings whose aggregate nobody is told to make any more are not lost, but only in the ring.
  consuming func finish(logger: Logger) -> Aggregator? {
    let strangerCount = recovery?.strangerCount ?? looseCount
    if strangerCount > 0 {
      logger.warning(
        "readings are in no aggregate, filter.aggregate has changed: see penstock journal export",
        metadata: ["filter.readings": "\(strangerCount)"])
    }
    return recovery.take()?.finish()
  }
}
