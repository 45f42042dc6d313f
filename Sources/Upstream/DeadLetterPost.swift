import Batching
import CoreMetrics
import Envelope
import GatewayCore
import Logging
import Mosquitto
import RingJournal

/// Publishes dead letters on `dead_letter.topic`, over the sink's own connection and beside its
/// window: those known when they came, those refused for good, commands that expired.
///
/// ## Promise
/// 1. The cursor passes a record that is a dead letter only after its letter was answered: `floor`
///    holds it back. So a crash publishes some letters twice and none never.
/// 2. A letter is an extra copy: the record itself is in its envelope or in the dead letter file.
///    So an answer that will not change (no right to publish there) is counted and told, and the
///    letter is dropped; it never holds up the records.
/// 3. A letter is small, whatever the record was refused for: what is over the limits, or more than
///    half of what the broker takes, is cut, and the letter says how much there was.
///
/// ## Memory
/// Sequences only; a letter is made when it is sent, from the journal, which still holds its
/// record.
struct DeadLetterPost {
  private struct Letter {
    let sequence: Sequence
    /// Nil: the record was a dead letter when it came, and says itself why.
    let cause: DeadLetterCause?
    var mid: Int32?
  }

  /// Letters published and not yet answered.
  static let outstandingMax = 8
  /// While so many wait, nothing more is read from the journal.
  static let waitingMax = 64
  static let payloadByteCountMax = 16 << 10
  static let propertiesByteCountMax = 8 << 10
  private static let retryPause: Duration = .seconds(5)

  private let topic: String?
  private let sink: String
  private let route: RouteIdentity
  private let journal: JournalID
  private let metrics: UpstreamMetrics
  private let logger: Logger
  private var letters: [Letter] = []
  private var retryAt: MonotonicTime?

  /// - Parameter topic: nil: letters go nowhere.
  init(
    topic: String?, sink: String, route: RouteIdentity, journal: JournalID,
    metrics: UpstreamMetrics, logger: Logger
  ) {
    self.topic = topic
    self.sink = sink
    self.route = route
    self.journal = journal
    self.metrics = metrics
    self.logger = logger
  }

  /// Published and not yet answered.
  var outstandingCount: Int { letters.count { $0.mid != nil } }

  var isFull: Bool { letters.count >= Self.waitingMax }

  /// The first record from `first` on whose letter is not answered.
  func floor(from first: Sequence) -> Sequence? {
    letters.lazy.map(\.sequence).filter { $0 >= first }.min()
  }

  /// When it wants to publish again after a refusal, or because the link had no room.
  var wakeUp: MonotonicTime? { letters.isEmpty ? nil : retryAt }

  /// Records that were read again are noted once.
  mutating func note(_ sequences: [Sequence], cause: DeadLetterCause? = nil) {
    guard topic != nil else { return }
    for sequence in sequences where !letters.contains(where: { $0.sequence == sequence }) {
      letters.append(Letter(sequence: sequence, cause: cause, mid: nil))
    }
  }

  /// Answers will not come.
  mutating func connectionLost() {
    for index in letters.indices { letters[index].mid = nil }
    retryAt = nil
  }

  /// How far it may go in one turn of the loop.
  struct Limits {
    var packetByteCountMax: Int?
    /// Of letters, besides what else is outstanding.
    var outstandingMax: Int
    /// What the journal holds.
    var committed: Sequence
  }

  /// Publishes what waits, as far as that is allowed now.
  mutating func publish<Connection: OutboundConnection & ~Copyable>(
    over connection: inout Connection, from batcher: inout Batcher?, shaper: inout SinkShaper,
    limits: Limits, now: MonotonicTime
  ) throws {
    let packetByteCountMax = limits.packetByteCountMax
    guard let topic, !letters.isEmpty, now >= retryAt ?? now else { return }
    retryAt = nil
    while outstandingCount < min(Self.outstandingMax, limits.outstandingMax),
      let index = letters.firstIndex(where: { $0.mid == nil })
    {
      guard
        let message = try message(
          of: letters[index], from: &batcher, packetByteCountMax: packetByteCountMax ?? .max)
      else {
        // Given up by a ring that drops its oldest: the gap tells.
        letters.remove(at: index)
        continue
      }
      if let packetByteCountMax,
        message.bytes.count + message.properties.count + topic.utf8.count + 16
          > packetByteCountMax
      {
        drop(index, "it is larger than the broker takes")
        continue
      }
      if let until = shaper.hold(message, topic: topic, committed: limits.committed, now: now) {
        retryAt = until
        return
      }
      do throws(MosquittoError) {
        letters[index].mid = try connection.publish(
          topic: topic, payload: message.bytes.span, quality: .atLeastOnce, retain: false,
          properties: PublishProperties(wireEncoding: message.properties))
      } catch {
        guard connection.socket != nil else { throw error }
        drop(index, "\(error)")
      }
    }
  }

  /// Whether the answer is to a letter.
  mutating func answered(mid: Int32, reason: ReasonCode, now: MonotonicTime) -> Bool {
    guard let index = letters.firstIndex(where: { $0.mid == mid }) else { return false }
    // Nobody has to listen: the record is kept in any case.
    switch PublishVerdict(reason, acceptsNoSubscriber: true) {
    case .accepted:
      metrics.publishedDeadLetters.increment()
      letters.remove(at: index)
    case .refused(.retry(alarm: false)):
      letters[index].mid = nil
      retryAt = now + Self.retryPause
    case .refused: drop(index, "\(reason)")
    }
    return true
  }

  private mutating func drop(_ index: Int, _ why: String) {
    let letter = letters.remove(at: index)
    metrics.refusedDeadLetters.increment()
    logger.error(
      "a dead letter cannot be published and is kept here only",
      metadata: [
        "mqtt.topic": "\(topic ?? "")", "journal.sequence": "\(letter.sequence)",
        "mqtt.reason": "\(why)",
      ])
  }

  // MARK: - What a letter says

  /// The record's parts, cut to the limits of a letter.
  private struct Parts {
    let record: JournalRecord
    var topic: [UInt8] = []
    var id: [UInt8] = []
    var properties: [UInt8] = []
    var payload: [UInt8] = []
  }

  private func message(
    of letter: Letter, from batcher: inout Batcher?, packetByteCountMax: Int
  ) throws(JournalError) -> Batch? {
    var parts: Parts?
    let propertiesMax = min(Self.propertiesByteCountMax, packetByteCountMax / 16)
    // What is not JSON grows by a third.
    let payloadMax = min(Self.payloadByteCountMax, max(0, packetByteCountMax / 2 - 1024))
    let range = SequenceRange(letter.sequence, letter.sequence)
    try batcher?.withRecords(in: range) { record, bytes in
      var taken = Parts(record: record)
      taken.topic.append(bytes.extracting(record.topic))
      taken.id.append(bytes.extracting(record.idTextBytes))
      if record.properties.count <= propertiesMax {
        taken.properties.append(bytes.extracting(record.properties))
      } else {
        Self.add("penstock-cut-properties", "\(record.properties.count)", to: &taken.properties)
      }
      taken.payload.append(
        bytes.extracting(record.payload.prefix(payloadMax)))
      parts = taken
    }
    guard var parts else { return nil }
    let record = parts.record
    var flags = record.flags
    if record.payload.count > parts.payload.count {
      flags.remove(.json)
      Self.add("penstock-cut-payload", "\(record.payload.count)", to: &parts.properties)
    }
    var encoder = EnvelopeEncoder(
      gateway: route.gateway, site: route.site, route: route.name)
    encoder.begin(journal: journal, epoch: record.epoch, first: letter.sequence)
    encoder.appendEvent(
      EventFields(
        sequence: letter.sequence, kind: .deadLetter,
        reason: record.reason ?? letter.cause?.reason, flags: flags, received: record.received,
        isReceivedCorrected: record.isReceivedCorrected),
      topic: parts.topic.span, id: parts.id.span, properties: parts.properties.span,
      payload: parts.payload.span)
    var payload: [UInt8] = []
    encoder.finish(last: letter.sequence, compression: .none, into: &payload)
    var properties: [UInt8] = []
    EnvelopeProperties.append(
      EnvelopeHeader(
        gateway: route.gateway, site: route.site, route: route.name, journal: journal,
        epoch: record.epoch, first: letter.sequence, last: letter.sequence),
      compression: .none, to: &properties)
    Self.add("penstock-sink", sink, to: &properties)
    Self.add(
      "penstock-reason", letter.cause?.text ?? record.reason?.text ?? "", to: &properties)
    return Batch(
      range: range, epoch: record.epoch, recordCount: 1, destination: .notices(.deadLetter),
      bytes: payload, isRetained: false, properties: properties)
  }

  private static func add(_ name: String, _ value: String, to properties: inout [UInt8]) {
    MQTTPropertyWriter.appendUserProperty(
      name: name.utf8.span, value: value.utf8.span, to: &properties)
  }
}
