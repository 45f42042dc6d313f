import CoreMetrics
package import Deduplication
package import Filtering
package import GatewayCore
import JSONScanning
package import Mosquitto
import Platform
package import RingJournal

/// Why a message of a source got no room. All are gaps with the reason `quota` to the centre.
enum RefusalReason: String, CaseIterable {
  /// The source holds its share of the ring.
  case quota
  /// It sends faster than it may.
  case rate
  /// The message is larger than its source may send.
  case size
}

/// A message was refused because of what its source holds or sends.
struct SourceRefusal {
  let reason: RefusalReason
  let topic: String
  /// Of the ring, and the most it may hold; for `quota`.
  let held: ByteCount
  let quota: ByteCount
}

/// What happens to each message, in the moment it is read: scanned once, identified, looked up, and
/// appended to the open commit group. Owns the journal's writer and the window; one thread.
///
/// ## Promise
/// - Every message is either in the open group (as data, as a dead letter, or, when its source was
///   beyond its limits, as one more of a run of refusals), or a duplicate of one that is in the
///   journal, or of a topic that is not carried, or one that this route has carried before and that
///   went round, or `wasRefusedRoom`/`failure` is set and the connection must be dropped without
///   releasing anything.
/// - The journal does not keep the id of a refused message: in this run its redelivery is a
///   duplicate, after a restart it is judged anew.
/// - No heap allocation per message once the buffers have grown to the largest message.
///
/// The scan yields three things at once: the id, the "is JSON" flag that spares the delivery half a
/// second look, and the hazards that would break a decoder of the whole batch.
package final class Intake: MosquittoHandler {
  /// Bytes that a record needs in the ring beside its own: its header and the group's, rounded up.
  private static let groupOverheadByteCount = 4096
  /// What a record can hold. Properties beyond this make a message too large: they are dropped with
  /// the cut payload.
  private static let propertiesByteCountMax = 65_535
  /// The payload of a refusal: see `JournalWriter.appendRefusal`.
  private static let refusalByteCount = 16
  /// Free part of the ring at which a paused route comes back.
  private static let resumeFraction = 0.10

  private let options: IngestOptions
  private let sabotage: Sabotage
  var writer: JournalWriter
  var window: DeduplicationWindow
  var extractor: IdentityExtractor
  private let gate: TopicGate
  private var quota: SourceQuota?
  private var rates: SourceRates?
  /// Nil when everything passes as it is.
  var filter: EdgeFilter?
  private let isAggregating: Bool
  private var retained: RetainedMemory
  private var overlap: OverlapMemory?
  /// The first topic that was not carried and that the loop has not told yet.
  private(set) var strayToTell: String?
  /// Messages of topics that are not carried, since the start.
  private(set) var strayCount: UInt64 = 0
  /// The first refusal that the loop has not told yet.
  private(set) var refusalToTell: SourceRefusal?
  /// Of all sources, since the start.
  private(set) var refusedCount: UInt64 = 0
  private var sharedCount: UInt64 = 0
  private var untrackedCount: UInt64 = 0
  /// When the last connection ended that a broker had accepted.
  private var leftAt: MonotonicTime?
  var scanner: JSONScanner
  private let userPropertyName: [UInt8]?
  private let via: [UInt8]
  /// The topic of the first message that went round and that the loop has not told yet.
  private(set) var roundTripToTell: String?
  /// Since the start.
  private(set) var roundTripCount: UInt64 = 0
  var counts = IngestMetrics.Counts()
  /// Set by the loop that drives this intake.
  var metrics: IngestMetrics?
  private(set) var roomByteCount = 0
  private var publishedLosses: [GapReason: UInt64] = [:]

  // What one connection brought; the loop reads it between calls.
  /// Messages since the start, whatever became of them.
  package private(set) var receivedCount: UInt64 = 0
  /// When the oldest message came whose PUBACK is held.
  package internal(set) var oldestHeld: MonotonicTime?
  package private(set) var connectAcknowledgement: ConnectAcknowledgement?
  package private(set) var subscribeAnswer: (mid: Int32, granted: [ReasonCode])?
  package private(set) var unsubscribeAnswer: Int32?
  package private(set) var disconnectReason: ReasonCode?
  /// Whether a message came at QoS 2, and whether that has been told.
  private var exactlyOnce = (came: false, told: false)
  /// A message found the ring full. It is in nobody's hands but the broker's.
  package internal(set) var wasRefusedRoom = false
  /// The journal failed; nothing may be acknowledged any more.
  package private(set) var failure: JournalError?

  /// - Parameters:
  ///   - window: holds the ids of all records in the journal, committed.
  ///   - extractor: made for the selector in `options` with the journal's key.
  ///   - quota: what the sources hold in the journal, when the options limit that.
  ///   - filter: made for the options behind the pointers of the extractor.
  ///   - retained: knows the retained messages without an id in the journal.
  ///   - via: what stands in the way a message has come (`Via`) when this route has carried it.
  package init(
    options: IngestOptions, writer: consuming JournalWriter, window: consuming DeduplicationWindow,
    extractor: consuming IdentityExtractor, quota: consuming SourceQuota? = nil,
    filter: consuming EdgeFilter? = nil, retained: consuming RetainedMemory = RetainedMemory(),
    via: String = "",
    sabotage: Sabotage = .none
  ) {
    self.options = options
    self.sabotage = sabotage
    self.via = Array(via.utf8)
    scanner = JSONScanner(pointers: filter?.pointers ?? extractor.pointers)
    isAggregating = filter?.aggregator != nil
    self.filter = filter
    userPropertyName = extractor.userPropertyName.map { Array($0.utf8) }
    gate = TopicGate(options)
    self.retained = retained
    overlap = OverlapMemory(
      SubscriptionPlan(
        filters: options.subscriptions, canIdentify: options.connection.protocolVersion == .v5))
    if !options.sourceLimits.isEmpty { rates = SourceRates(options.sourceLimits) }
    if let size = options.sourceQuota {
      var quota = quota ?? SourceQuota()
      quota.limit = size.byteCount(dataByteCount: writer.dataByteCount)
      self.quota = quota
    }
    self.writer = writer
    self.window = window
    self.extractor = extractor
    self.quota?.release(through: self.writer.releasedThrough)
  }

  // MARK: - The journal, as the loop sees it

  package var openRecordCount: Int { writer.openRecordCount }
  package var openByteCount: Int { writer.openByteCount.rawValue }
  package var commitByteCountMax: Int { writer.commitByteCountMax }
  /// Of the data region, which is what `used` fills.
  package var capacity: ByteCount { ByteCount(writer.dataByteCount) }
  package var freeFraction: Double { writer.freeFraction }

  /// Looks how much room the deliveries have made; once per turn of the loop.
  package func refreshRoom() {
    roomByteCount = writer.freeByteCount
    quota?.release(through: writer.releasedThrough)
  }

  /// Whether the next message will find room, whatever its size. As of the last `refreshRoom`. A
  /// ring that drops its oldest always has some.
  package var hasRoom: Bool {
    writer.whenFull == .dropOldest || openByteCount + largestRecordByteCount <= roomByteCount
  }

  /// Whether a paused route should come back: a tenth of the ring is free.
  package var hasRoomToResume: Bool {
    let free = writer.freeByteCount
    return Double(free) >= Self.resumeFraction * Double(writer.dataByteCount)
      && free >= 2 * largestRecordByteCount
  }

  /// The file may be smaller than configured, and its largest group with it.
  private var largestRecordByteCount: Int {
    min(
      options.recordByteCountMax.rawValue + Self.groupOverheadByteCount, writer.commitByteCountMax)
  }

  /// Makes the open group durable.
  package func commit() throws(JournalError) -> CommitReceipt {
    let recordCount = writer.openRecordCount
    do throws(JournalError) {
      let receipt = try writer.commit()
      window.commit()
      if recordCount > 0 { metrics?.committed(receipt, recordCount: recordCount) }
      return receipt
    } catch {
      fail(error)
      throw error
    }
  }

  /// The journal's chores between commits.
  /// - Returns: when it wants to be asked again, if it does.
  package func maintain(now: MonotonicTime) throws(JournalError) -> Duration? {
    do throws(JournalError) {
      return try writer.maintain(now: now)
    } catch {
      fail(error)
      throw error
    }
  }

  package func close() throws(JournalError) { try writer.close() }

  package func fail(_ error: JournalError) { if failure == nil { failure = error } }

  package func released() { oldestHeld = nil }

  func publishCounts(to metrics: IngestMetrics) { metrics.publish(&counts) }

  /// - Returns: records lost since the last call, refused ones aside.
  func publishGauges(to metrics: IngestMetrics, now: MonotonicTime) -> UInt64 {
    // Duplicates that held nothing have waited for this.
    publishCounts(to: metrics)
    let statistics = writer.state.statistics()
    metrics.usedBytes.record(statistics.used.rawValue)
    metrics.committedSequence.record(Int64(statistics.committed.rawValue))
    metrics.windowIDs.record(window.count)
    let age = statistics.oldestUndelivered.map {
      max(0, Double(Clock.wall().nanoseconds - $0.nanoseconds) / 1e9)
    }
    metrics.oldestUndelivered.record(age ?? 0)
    var lostCount: UInt64 = 0
    for (reason, count) in statistics.gapRecords {
      let more = count - publishedLosses[reason, default: 0]
      if more > 0 { metrics.lost(more, reason) }
      // Refusals are told apart, with their source.
      if reason != .quota { lostCount += more }
    }
    publishedLosses = statistics.gapRecords
    if let filter {
      metrics.filterSeries.record(filter.seriesCount)
      metrics.filterUntracked.increment(by: Int64(filter.untrackedCount - untrackedCount))
      untrackedCount = filter.untrackedCount
    }
    if quota != nil || rates != nil {
      metrics.quotaSources.record(max(quota?.sourceCount ?? 0, rates?.sourceCount ?? 0))
      let shared = (quota?.sharedCount ?? 0) + (rates?.sharedCount ?? 0)
      metrics.quotaShared.increment(by: Int64(shared - sharedCount))
      sharedCount = shared
    }
    return lostCount
  }

  private func hasPassedBefore(_ properties: Span<UInt8>) -> Bool {
    if properties.isEmpty { return false }
    let via = via
    return Via.contains(via.span, in: properties)
  }

  private func noteRoundTrip(_ topic: Span<UInt8>) {
    counts.roundTrips += 1
    roundTripCount += 1
    if roundTripToTell == nil { roundTripToTell = String(decoding: topic) }
  }

  /// Hands over the topic that is to be told; the next one may be noted from now on.
  func takeRoundTrip() -> String? {
    defer { roundTripToTell = nil }
    return roundTripToTell
  }

  /// Hands over the refusal that is to be told; the next one may be noted from now on.
  func takeRefusal() -> SourceRefusal? {
    defer { refusalToTell = nil }
    return refusalToTell
  }

  /// As `takeRefusal`, for a topic that is not carried.
  func takeStray() -> String? {
    defer { strayToTell = nil }
    return strayToTell
  }

  /// Whether this connection has brought a message at QoS 2, for the first time it is asked.
  func takeExactlyOnce() -> Bool {
    guard exactlyOnce == (came: true, told: false) else { return false }
    exactlyOnce.told = true
    return true
  }

  // MARK: - MosquittoHandler

  /// Forgets what the last connection brought.
  package func beginConnection() {
    connectAcknowledgement = nil
    subscribeAnswer = nil
    unsubscribeAnswer = nil
    disconnectReason = nil
    wasRefusedRoom = false
    oldestHeld = nil
    exactlyOnce = (came: false, told: false)
  }

  package func connected(_ acknowledgement: ConnectAcknowledgement) {
    connectAcknowledgement = acknowledgement
    guard rates != nil, acknowledgement.sessionPresent else { return }
    let now = Clock.monotonic()
    // Of the time before this start nothing is known but how long the broker keeps a session.
    rates?.returned(
      after: leftAt.map { now.since($0) } ?? options.connection.sessionExpiry, now: now)
  }

  /// A SUBSCRIBE is about to leave, and the broker will answer it with retained messages.
  func subscribes(to filters: [String], now: MonotonicTime) {
    retained.subscribes(to: filters, now: now)
  }

  /// The connection has ended; what comes now waits at the broker.
  func left(at now: MonotonicTime) {
    if connectAcknowledgement?.reason.isFailure == false { leftAt = now }
  }

  package func disconnected(_ reason: ReasonCode?) { disconnectReason = reason }

  package func subscribed(mid: Int32, granted: [ReasonCode]) { subscribeAnswer = (mid, granted) }

  package func unsubscribed(mid: Int32) { unsubscribeAnswer = mid }

  package func published(mid: Int32, reason: ReasonCode) {}

  package func received(
    _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
  ) {
    receivedCount += 1
    // Once refused or failed, whatever follows must find its way back through the broker.
    if wasRefusedRoom || failure != nil { return }
    let now = Clock.monotonic()
    let isHeld = header.qualityOfService > .atMostOnce
    if oldestHeld == nil && isHeld { oldestHeld = now }
    counts.messages += 1
    counts.bytes += topic.count + payload.count
    guard gate.admits(topic) else { return noteStray(topic) }
    guard filter?.passes(topic) ?? true else { return count(.topic) }
    var flags: RecordFlags = []
    if header.isRetained { flags.insert(.retained) }
    flags.qualityOfService = header.qualityOfService
    if header.qualityOfService != .atLeastOnce { counts.unprotected += 1 }
    if header.qualityOfService == .exactlyOnce { exactlyOnce.came = true }
    if hasPassedBefore(properties) { return noteRoundTrip(topic) }
    do throws(JournalError) {
      let message = Message(
        flags: flags, received: now, subscriptionIdentifier: header.subscriptionIdentifier)
      try take(message, topic, payload, properties)
      // A QoS 0 message holds nothing, but its record waits for the commit.
      if oldestHeld == nil && writer.openRecordCount > 0 { oldestHeld = now }
    } catch {
      failure = error
    }
  }

  // MARK: - One message

  struct Message {
    var flags: RecordFlags
    let received: MonotonicTime
    var subscriptionIdentifier: UInt32 = 0
    /// What it is to an aggregate.
    var reading: Aggregator.Reading?
  }

  private func take(
    _ message: Message, _ topic: Span<UInt8>, _ payload: Span<UInt8>, _ properties: Span<UInt8>
  ) throws(JournalError) {
    var message = message
    if scanner.scan(payload) == .valid { message.flags.insert(.json) }
    let identity = identify(topic, payload, properties)
    if identity.text == .absent, isRepeat(message, topic, payload) {
      counts.duplicates += 1
      return
    }
    let verdict = try judge(identity, now: message.received)
    let room = min(options.recordByteCountMax.rawValue, writer.recordByteCountMax)
    let idByteCount = identity.text == .stored ? extractor.storedText.count : 0
    let byteCount = payload.count + topic.count + properties.count + idByteCount
    guard case .append(let kind, _, let hash) = verdict else { return }
    let isTooLarge = byteCount > room || properties.count > Self.propertiesByteCountMax
    if kind == .data, !isTooLarge, filter != nil, !passes(&message, topic, payload) { return }
    switch rates?.admit(topic, byteCount: byteCount, now: message.received) {
    case .admitted?, nil: break
    case .overRate?: return try refuse(.rate, topic, hash, identity.digest, at: message.received)
    case .tooLarge?: return try refuse(.size, topic, hash, identity.digest, at: message.received)
    }
    guard isTooLarge else {
      return try append(verdict, identity, message, topic, payload, properties)
    }
    // The first bytes are kept for the person who must find out what sent them.
    let topic = topic.extracting(0..<min(topic.count, max(0, room)))
    let kept = max(0, min(payload.count, room - topic.count - MessageIDText.byteCountMax))
    message.flags.remove(.json)
    try append(
      .append(.deadLetter, .tooLarge, hash),
      MessageIdentity(hash: identity.hash, digest: identity.digest, text: .absent), message, topic,
      payload.extracting(0..<kept), properties.extracting(0..<0))
  }

  /// Whether a message without an id of its own comes only because of how we are subscribed.
  private func isRepeat(
    _ message: Message, _ topic: Span<UInt8>, _ payload: Span<UInt8>
  ) -> Bool {
    let identifier = message.subscriptionIdentifier
    if overlap?.isCopy(topic, payload, identifier: identifier) == true { return true }
    guard message.flags.contains(.retained) else { return false }
    return retained.isRepeat(
      topic, payload, retainAsPublished: options.connection.protocolVersion == .v5,
      now: message.received)
  }

  private func identify(
    _ topic: Span<UInt8>, _ payload: Span<UInt8>, _ properties: Span<UInt8>
  ) -> MessageIdentity {
    guard let userPropertyName,
      let range = MQTTPropertyReader.userProperty(named: userPropertyName.span, in: properties)
    else { return extractor.identify(topic: topic, payload: payload, json: scanner) }
    return extractor.identify(
      topic: topic, payload: payload, json: scanner, userProperty: properties.extracting(range))
  }

  /// What the window and the policies say about an identity.
  private enum Verdict {
    case append(RecordKind, DeadLetterReason?, MessageIDHash)
    case skip
  }

  private func judge(
    _ identity: MessageIdentity, now: MonotonicTime
  ) throws(JournalError) -> Verdict {
    guard identity.hash != .absent else {
      if case .none = options.deduplication.selector { return .append(.data, nil, .absent) }
      if options.deduplication.missingID == .journal { return .append(.data, nil, .absent) }
      return .append(.deadLetter, .missingID, .absent)
    }
    window.expire(now: now)
    switch answer(identity.hash, identity.digest) {
    case .new: return .append(.data, nil, identity.hash)
    case .duplicate:
      counts.duplicates += 1
      return .skip
    case .conflict: return judgeConflict(identity)
    }
  }

  /// A known id with another payload. It is remembered under a hash that includes the payload, so
  /// that its own redelivery adds nothing.
  private func judgeConflict(_ identity: MessageIdentity) -> Verdict {
    let hash = extractor.hasher.conflictHash(of: identity.hash, digest: identity.digest)
    if case .duplicate = answer(hash, identity.digest) {
      counts.duplicates += 1
      return .skip
    }
    switch options.deduplication.onConflict {
    case .drop:
      counts.droppedConflicts += 1
      return .skip
    case .accept: return .append(.data, nil, hash)
    case .deadLetter: return .append(.deadLetter, .conflict, hash)
    }
  }

  private func answer(_ hash: MessageIDHash, _ digest: UInt64) -> DeduplicationWindow.Answer {
    #if PENSTOCK_SABOTAGE
      if sabotage == .noDeduplication { return .new }
    #endif
    return window.check(hash, digest: digest)
  }

  private func append(
    _ verdict: Verdict, _ identity: MessageIdentity, _ message: Message, _ topic: Span<UInt8>,
    _ payload: Span<UInt8>, _ properties: Span<UInt8>
  ) throws(JournalError) {
    guard case .append(let kind, let reason, let hash) = verdict else { return }
    let draft = RecordDraft(
      kind: kind, reason: reason, flags: message.flags, idHash: hash,
      payloadDigest: identity.digest, idText: identity.text, receivedMonotonic: message.received)
    // Shared, not copied; the writer looks at it only when the draft says that the id is there.
    let storedText = extractor.storedText
    let byteCount = draft.byteCount(
      topic: topic.count, idText: storedText.count, properties: properties.count,
      payload: payload.count)
    if isAggregating, try !closeAggregates(now: message.received) { return }
    let source = quota?.source(topic)
    if let source, !admits(source, byteCount: byteCount) {
      return try refuse(.quota, topic, hash, identity.digest, at: message.received, source)
    }
    while true {
      switch try writer.append(
        draft, topic: topic, idText: storedText.span, properties: properties, payload: payload)
      {
      case .appended(let sequence):
        Failpoint.ingestAfterAppend.reach()
        window.insert(hash, digest: identity.digest, at: message.received)
        if let source { quota?.add(source, byteCount: byteCount, sequence: sequence) }
        if isAggregating { aggregate(message, byteCount: byteCount, sequence) }
        if identity.text == .absent, kind == .data, message.flags.contains(.retained) {
          retained.note(topic, payload)
        }
        count(kind, reason)
        return
      case .groupFull:
        // Durable sooner than planned; the PUBACKs still wait for the loop.
        _ = try commit()
        refreshRoom()
      case .ringFull:
        wasRefusedRoom = true
        return
      }
    }
  }

  private func admits(_ source: SourceQuota.Source, byteCount: Int) -> Bool {
    guard let quota, !quota.admits(source, byteCount: byteCount) else { return true }
    // As of now, before anything is refused: deliveries may have gone on since the last turn.
    self.quota?.release(through: writer.releasedThrough)
    return self.quota?.admits(source, byteCount: byteCount) ?? true
  }

  /// The source is beyond its limits: the message takes a sequence and no room, its PUBACK leaves
  /// with the commit, and the centre is told of a gap.
  private func refuse(
    _ reason: RefusalReason, _ topic: Span<UInt8>, _ hash: MessageIDHash, _ digest: UInt64,
    at received: MonotonicTime, _ source: SourceQuota.Source? = nil
  ) throws(JournalError) {
    // A topic that no record could hold is cut, as that of a dead letter is.
    let room = min(options.recordByteCountMax.rawValue, writer.recordByteCountMax)
    let topic = topic.extracting(0..<min(topic.count, max(0, room - Self.refusalByteCount)))
    while true {
      switch try writer.appendRefusal(topic: topic, received: received) {
      case .appended:
        window.insert(hash, digest: digest, at: received)
        switch reason {
        case .quota: counts.overQuota += 1
        case .rate: counts.overRate += 1
        case .size: counts.overSize += 1
        }
        refusedCount += 1
        noteRefusal(reason, topic, source)
        return
      case .groupFull:
        _ = try commit()
        refreshRoom()
      case .ringFull:
        wasRefusedRoom = true
        return
      }
    }
  }

  private func noteRefusal(
    _ reason: RefusalReason, _ topic: Span<UInt8>, _ source: SourceQuota.Source?
  ) {
    guard refusalToTell == nil else { return }
    refusalToTell = SourceRefusal(
      reason: reason, topic: String(decoding: topic),
      held: source.flatMap { quota?.heldByteCount($0) } ?? ByteCount(0),
      quota: quota?.limit ?? ByteCount(0))
  }

  /// Nothing needs to become durable: the PUBACK leaves with the next release.
  private func noteStray(_ topic: Span<UInt8>) {
    counts.strays += 1
    strayCount += 1
    if strayToTell == nil { strayToTell = String(decoding: topic.extracting(first: 256)) }
  }

  /// What was appended; a record has one reason, whatever else was wrong with it.
  private func count(_ kind: RecordKind, _ reason: DeadLetterReason?) {
    if kind == .data { counts.journalled += 1 }
    switch reason {
    case .missingID: counts.missingID += 1
    case .conflict: counts.conflicts += 1
    case .tooLarge: counts.tooLarge += 1
    case .refused, .expired, nil: break
    }
  }
}
