package import GatewayCore
package import Mosquitto
package import RingJournal
import Synchronization

/// Records that the centre refuses for good, in a small ring file of their own beside the journal:
/// synced before the cursor passes them; when it is full its oldest goes. The file appears with the
/// first dead letter. Any thread.
///
/// A stored record keeps topic, payload, properties and id text; added user properties say where it
/// came from (`penstock-sink`, `penstock-epoch`, `penstock-sequence`) and why (`penstock-reason`).
/// What does not fit into this file is cut: first its own properties go, then the payload's end.
package final class DeadLetterStore: Sendable {
  /// Leaves room for ours in the 16 bits that a record has for their length.
  private static let keptPropertiesByteCountMax = 64_000

  private let path: String
  private let options: JournalOptions
  private let environment: JournalEnvironment
  private let writer = Mutex<JournalWriter?>(nil)

  package init(
    path: String, gatewayID: String, routeName: String, capacity: ByteCount,
    environment: JournalEnvironment = .posix
  ) {
    self.path = path
    self.environment = environment
    var options = JournalOptions(
      gatewayID: gatewayID, routeName: routeName,
      sinks: [JournalSink(name: "operator", required: false)])
    options.capacity = capacity
    options.whenFull = .dropOldest
    self.options = options
  }

  /// Durable when this returns.
  package func store(
    _ record: JournalRecord, _ bytes: Span<UInt8>, sink: String, reason: ReasonCode
  ) throws(JournalError) {
    var properties: [UInt8] = []
    if record.properties.count <= Self.keptPropertiesByteCountMax {
      properties.append(bytes.extracting(record.properties))
    }
    for (name, value) in [
      ("penstock-sink", sink), ("penstock-epoch", record.epoch.description),
      ("penstock-sequence", record.sequence.description),
      ("penstock-reason", reason.description),
    ] {
      MQTTPropertyWriter.appendUserProperty(
        name: name.utf8.span, value: value.utf8.span, to: &properties)
    }
    var draft = RecordDraft(
      kind: .deadLetter, reason: .refused, flags: record.flags, idHash: record.idHash,
      payloadDigest: record.payloadDigest, idText: record.idText,
      receivedMonotonic: MonotonicTime(nanoseconds: 0))
    // Whether or not the id text lies in the payload: that may be cut.
    if draft.idText != .absent { draft.idText = .stored }
    try append(
      draft, topic: bytes.extracting(record.topic), idText: bytes.extracting(record.idTextBytes),
      properties: properties.span, payload: bytes.extracting(record.payload))
  }

  /// The file is opened, or created, by the first dead letter.
  private func append(
    _ draft: RecordDraft, topic: Span<UInt8>, idText: Span<UInt8>, properties: Span<UInt8>,
    payload: Span<UInt8>
  ) throws(JournalError) {
    try writer.withLock { held throws(JournalError) in
      var writer: JournalWriter
      if let open = held.take() {
        writer = open
      } else {
        writer = try Journal.open(
          path: path, options: options, environment: environment, progress: { _ in },
          recovered: { _, _ in }
        ).takeWriter()
      }
      let room = max(
        0, writer.recordByteCountMax - topic.count - idText.count - properties.count)
      let result = try writer.append(
        draft, topic: topic, idText: idText, properties: properties,
        payload: payload.extracting(0..<min(payload.count, room)))
      precondition(
        result != .groupFull, "an empty group of this journal holds any record of the other")
      _ = try writer.commit()
      held = consume writer
    }
  }
}
