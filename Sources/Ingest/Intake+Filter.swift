import Deduplication
import Filtering
import GatewayCore
import Platform
import RingJournal

// Readings and their aggregates. The order is the promise: a reading is journalled before it is
// summed up, an aggregate before any later reading of its series. Then the journal alone tells,
// after any crash, which readings no aggregate has yet.
extension Intake {
  /// A ring must not run over a reading that is in no aggregate yet: windows are closed early when
  /// a quarter of it has been written since.
  private static let ringPart = 4

  private var openByteCountMax: Int { writer.dataByteCount / Self.ringPart }

  /// Whether a new message without any fault is to be journalled, and if so what for.
  func passes(_ message: inout Message, _ topic: Span<UInt8>, _ payload: Span<UInt8>) -> Bool {
    let verdict = filter?.judge(
      topic: topic, payload: payload, json: scanner, now: message.received)
    switch verdict {
    case .passes?, nil: return true
    case .filtered(let reason)?:
      count(reason)
      return false
    case .reading(let reading, let isDelivered)?:
      message.reading = reading
      message.flags.insert(.aggregated)
      if !isDelivered { message.flags.insert(.elided) }
      return true
    }
  }

  /// The PUBACK of a filtered message leaves with the next release: there is nothing to keep.
  func count(_ reason: FilterReason) {
    switch reason {
    case .topic: counts.filteredTopic += 1
    case .deadBand: counts.filteredDeadBand += 1
    case .minInterval: counts.filteredMinInterval += 1
    }
  }

  /// The journal has taken a message: the aggregates take it, too, and note how far the ring went.
  func aggregate(_ message: Message, byteCount: Int, _ sequence: Sequence) {
    filter?.aggregator?.journalled(byteCount: byteCount)
    guard let reading = message.reading else { return }
    filter?.aggregator?.add(reading, sequence: sequence, at: wallTime(of: message.received))
    counts.aggregated += 1
  }

  /// Whether aggregates are due although no message comes. Once per turn of the loop.
  func aggregatesAreDue() -> Bool {
    filter?.aggregator?.isDue(at: Clock.wall(), byteCountMax: openByteCountMax) ?? false
  }

  /// Journals the aggregates that are due, or all that are open. They are durable with the next
  /// commit.
  /// - Returns: false when the ring is full; `wasRefusedRoom` is set, and they wait.
  @discardableResult
  func closeAggregates(now: MonotonicTime, all: Bool = false) throws(JournalError) -> Bool {
    let time = wallTime(of: now)
    guard
      all || filter?.aggregator?.isDue(at: time, byteCountMax: openByteCountMax) ?? false
    else { return true }
    while let aggregate = filter?.aggregator?.next(at: time) {
      guard try append(aggregate, now: now) else { return false }
      filter?.aggregator?.closed()
      counts.aggregates += 1
      if oldestHeld == nil { oldestHeld = now }
    }
    return true
  }

  /// The wall clock at a moment that is now or just was.
  private func wallTime(of time: MonotonicTime) -> WallTime {
    let age = Clock.monotonic().since(time)
    return WallTime(nanoseconds: Clock.wall().nanoseconds - age.nanoseconds)
  }

  private func append(_ aggregate: Aggregate, now: MonotonicTime) throws(JournalError) -> Bool {
    // Of this journal and these readings: the same whenever it is made, and never another's.
    let id = Array(
      "aggregate-\(writer.identity.id)-\(aggregate.first)-\(aggregate.last)".utf8)
    var flags: RecordFlags = [.json, .aggregate]
    flags.qualityOfService = .atLeastOnce
    var scratch: [UInt8] = []
    let hash = extractor.hasher.hash(
      scope: aggregate.topic.span, kind: .string, id: id.span, scratch: &scratch)
    let draft = RecordDraft(
      flags: flags, idHash: hash, payloadDigest: aggregate.digest, idText: .stored,
      receivedMonotonic: now)
    while true {
      switch try writer.append(
        draft, topic: aggregate.topic.span, idText: id.span, properties: Span(),
        payload: aggregate.payload.span)
      {
      case .appended:
        window.insert(hash, digest: aggregate.digest, at: now)
        return true
      case .groupFull:
        _ = try commit()
        refreshRoom()
      case .ringFull:
        wasRefusedRoom = true
        return false
      }
    }
  }
}
