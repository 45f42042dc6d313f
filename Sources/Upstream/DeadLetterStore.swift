package import GatewayCore
package import Mosquitto
package import RingJournal
import Synchronization

/// Why a record is kept as a dead letter.
package enum DeadLetterCause: Sendable, Hashable {
  /// The broker, or what stands for it, refuses it for good.
  case refused(ReasonCode)
  /// A command that was not delivered in time.
  case expired

  package var reason: DeadLetterReason {
    switch self {
    case .refused: .refused
    case .expired: .expired
    }
  }

  /// For people.
  package var text: String {
    switch self {
    case .refused(let reason): reason.description
    case .expired: "expired"
    }
  }
}

/// Records that the centre refuses for good, and commands that expired, in a small ring file of
/// their own beside the journal: synced before the cursor passes them; when it is full its oldest
/// goes, and the file counts it as lost, reason `dead-letter-full`. The file appears with the first
/// dead letter. One per route, shared by its sinks: the file has one writer. Any thread.
///
/// A stored record keeps topic, payload, properties and id text; its receive time is when it was
/// stored. Added user properties say where it came from (`penstock-sink`, `penstock-journal`,
/// `penstock-epoch`, `penstock-sequence`, `penstock-received`) and why (`penstock-reason`), and
/// whether it had been sent without an answer (`penstock-sent`). What would not fit is left out,
/// because a record that cannot be stored would hold up the sink for ever:
/// `penstock-cut-properties` and `penstock-cut-payload` then say how many bytes there were.
package final class DeadLetterStore: Sendable {
  private let path: String
  private let options: JournalOptions
  private let environment: JournalEnvironment
  private let isReadOnly: Bool
  private let writer = Mutex<JournalWriter?>(nil)

  /// The added properties with their longest values are smaller than this.
  private static let addedByteCountMax = 1024

  /// - Parameters:
  ///   - commitByteCountMax: the largest commit of the journal whose records are refused.
  ///   - isReadOnly: stores nothing. For a journal that is only read: its cursors do not become
  ///     durable, so a record that is refused today is met again by the next run that can write.
  package init(
    path: String, gatewayID: String, routeName: String, capacity: ByteCount,
    commitByteCountMax: ByteCount = .mebibytes(1), isReadOnly: Bool = false,
    environment: JournalEnvironment = .posix
  ) {
    self.isReadOnly = isReadOnly
    self.path = path
    self.environment = environment
    var options = JournalOptions(
      gatewayID: gatewayID, routeName: routeName,
      // Whoever looks after them: nobody acknowledges, so what is overwritten is lost.
      sinks: [JournalSink(name: "operator")])
    options.capacity = capacity
    options.whenFull = .dropOldest
    options.dropReason = .deadLetterFull
    // Room for the added properties, as far as a file of this size has it.
    let largest = JournalLayout(capacity: capacity, spacing: environment.spacing).groupByteCountMax
    options.commitByteCountMax = ByteCount(
      max(
        4096, min(commitByteCountMax.rawValue + 4 * DeadLetterStore.addedByteCountMax, largest)))
    self.options = options
  }

  /// Durable when this returns, unless nothing may be written.
  /// - Returns: how many older dead letters were overwritten for it.
  /// - Parameters:
  ///   - journal: the one that numbered the record.
  ///   - wasSent: it was published, and its answer never came.
  @discardableResult
  package func store(
    _ record: JournalRecord, _ bytes: Span<UInt8>, journal: JournalID, sink: String,
    cause: DeadLetterCause, wasSent: Bool = false
  ) throws(JournalError) -> UInt64 {
    guard !isReadOnly else { return 0 }
    var added: [UInt8] = []
    func add(_ name: String, _ value: String) {
      MQTTPropertyWriter.appendUserProperty(
        name: name.utf8.span, value: value.utf8.span, to: &added)
    }
    add("penstock-sink", sink)
    add("penstock-journal", journal.description)
    add("penstock-epoch", record.epoch.description)
    add("penstock-sequence", record.sequence.description)
    add("penstock-received", record.received.description)
    add("penstock-reason", cause.text)
    if wasSent { add("penstock-sent", "true") }
    return try writer.withLock { held throws(JournalError) in
      // Not put back when anything fails: opening the file again then finds out what is in it.
      var writer: JournalWriter
      if let open = held.take() { writer = open } else { writer = try open() }
      let lostBefore = Self.lostCount(writer)
      let most = writer.recordByteCountMax - record.topic.count - Self.addedByteCountMax
      var properties: [UInt8] = []
      let propertiesMax = min(Int(UInt16.max) - Self.addedByteCountMax, most / 2)
      if record.properties.count <= propertiesMax {
        properties.append(bytes.extracting(record.properties))
      } else {
        add("penstock-cut-properties", String(record.properties.count))
      }
      var draft = RecordDraft(
        kind: .deadLetter, reason: record.reason ?? cause.reason, flags: record.flags,
        idHash: record.idHash,
        payloadDigest: record.payloadDigest, idText: record.idText,
        receivedMonotonic: environment.clock.monotonic())
      let room = most - properties.count - record.idTextBytes.count
      var payload = record.payload
      if payload.count > room {
        add("penstock-cut-payload", String(payload.count))
        payload = payload.prefix(max(room, 0))
        // The id may stand in the part that goes.
        if !record.idTextBytes.isEmpty { draft.idText = .stored }
      }
      properties += added
      let result = try writer.append(
        draft, topic: bytes.extracting(record.topic),
        idText: bytes.extracting(record.idTextBytes), properties: properties.span,
        payload: bytes.extracting(payload))
      guard case .appended = result else {
        preconditionFailure("an empty group of a ring that drops its oldest takes a record")
      }
      _ = try writer.commit()
      let lostCount = Self.lostCount(writer) - lostBefore
      held = consume writer
      return lostCount
    }
  }

  private static func lostCount(_ writer: borrowing JournalWriter) -> UInt64 {
    writer.state.statistics().gapRecords[.deadLetterFull, default: 0]
  }

  /// Clean stop. A dead letter that comes later opens the file again.
  package func close() throws(JournalError) {
    try writer.withLock { held throws(JournalError) in
      guard var writer = held.take() else { return }
      try writer.close()
    }
  }

  /// Opened, or created, by the first dead letter.
  private func open() throws(JournalError) -> JournalWriter {
    try Journal.open(path: path, options: options, environment: environment).takeWriter()
  }
}
