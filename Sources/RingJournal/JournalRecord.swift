package import GatewayCore

/// What the caller of `append` decides about a record. The journal adds sequence, epoch and times,
/// and sets the flag `clockSynchronised` itself.
package struct RecordDraft: Sendable {
  package var kind: RecordKind
  package var reason: DeadLetterReason?
  package var flags: RecordFlags
  package var idHash: MessageIDHash
  package var payloadDigest: UInt64
  /// `.payload` must lie within the payload; `.stored` is the `idText` given to `append`.
  package var idText: MessageIDText
  package var receivedMonotonic: MonotonicTime

  /// What it takes in its group, header and padding included, with parts of so many bytes.
  package func byteCount(topic: Int, idText: Int, properties: Int, payload: Int) -> Int {
    let storedID = if case .stored = self.idText { idText } else { 0 }
    return RecordHeader.byteCount(
      topic: topic, storedID: storedID, properties: properties, payload: payload)
  }

  package init(
    kind: RecordKind = .data, reason: DeadLetterReason? = nil, flags: RecordFlags = [],
    idHash: MessageIDHash = .absent, payloadDigest: UInt64 = 0, idText: MessageIDText = .absent,
    receivedMonotonic: MonotonicTime
  ) {
    self.kind = kind
    self.reason = reason
    self.flags = flags
    self.idHash = idHash
    self.payloadDigest = payloadDigest
    self.idText = idText
    self.receivedMonotonic = receivedMonotonic
  }
}

package enum AppendResult: Sendable, Hashable {
  /// Taken; durable with the next commit.
  case appended(Sequence)
  /// Not taken: the group has its largest size. Commit, then append again.
  case groupFull
  /// Not taken: no space behind the slowest required sink. Commit what is open; space comes when
  /// that sink acknowledges.
  case ringFull
}

/// What one commit made durable.
package struct CommitReceipt: Sendable, Hashable {
  /// Nil when nothing was open.
  package let range: SequenceRange?
  /// Bytes written to the file.
  package let byteCount: ByteCount
  /// How long fdatasync took.
  package let syncDuration: Duration
}

/// One committed record. The ranges index the bytes that are lent together with it.
package struct JournalRecord: Sendable {
  /// One; of a tombstone as many as it stands for, as far as they were asked for.
  package let sequences: SequenceRange
  package var sequence: Sequence { sequences.first }
  package let epoch: Epoch
  package let kind: RecordKind
  package let reason: DeadLetterReason?
  package let flags: RecordFlags
  package let idHash: MessageIDHash
  package let payloadDigest: UInt64
  package let idText: MessageIDText
  package let topic: Range<Int>
  /// The id's text wherever it is kept; empty when there is none.
  package let idTextBytes: Range<Int>
  /// MQTT 5 properties as they came.
  package let properties: Range<Int>
  package let payload: Range<Int>
  /// Wall clock at receipt, as good as the gateway's clock then was, or corrected since.
  package let received: WallTime
  /// The clock was not synchronised then, but a later synchronised moment of the same boot tells
  /// what `received` must have been.
  package let isReceivedCorrected: Bool
  /// Elapsed time at receipt: differences are ages that no clock step can change.
  package var receivedElapsed: Duration { .nanoseconds(elapsedNanoseconds) }
  /// What it takes in its group, header and padding included.
  package let byteCount: Int
  /// When the commit was made, comparable with this boot's monotonic clock; nil from another boot.
  package let committedAt: MonotonicTime?
  package var isOfThisBoot: Bool { committedAt != nil }
  /// A Duration has 128 bits, and few records are asked for theirs.
  private let elapsedNanoseconds: Int64

  init(
    _ header: RecordHeader, sequences: ClosedRange<UInt64>, offset: Int, group: GroupHeader,
    committedAt: MonotonicTime?, wallOffset: Int64?, elapsedBase: Int64
  ) {
    self.sequences = SequenceRange(
      Sequence(sequences.lowerBound), Sequence(sequences.upperBound))
    epoch = Epoch(rawValue: group.epoch)
    byteCount = header.byteCount
    kind = header.kind
    reason = header.reason
    flags = header.flags
    idHash = header.idHash
    payloadDigest = header.payloadDigest
    idText = header.idText
    let topicStart = offset + RecordHeader.byteCount
    let idStart = topicStart + header.topicByteCount
    let propertiesStart = idStart + header.storedIDByteCount
    let payloadStart = propertiesStart + header.propertiesByteCount
    topic = topicStart..<idStart
    properties = propertiesStart..<payloadStart
    payload = payloadStart..<payloadStart + header.payloadByteCount
    switch header.idText {
    case .absent: idTextBytes = idStart..<idStart
    case .stored: idTextBytes = idStart..<propertiesStart
    case .payload(let start, let count):
      idTextBytes = payloadStart + start..<payloadStart + start + count
    }
    let delta = Int64(header.receiveMicroseconds) * 1000
    let wallBase = wallOffset.map { group.monotonicBase &+ $0 } ?? group.wallBase
    received = WallTime(nanoseconds: wallBase &+ delta)
    isReceivedCorrected = wallOffset != nil
    elapsedNanoseconds = elapsedBase &+ delta
    self.committedAt = committedAt
  }
}

/// How a pass over committed records ended.
package enum ReadOutcome: Sendable, Hashable {
  /// Everything committed has been consumed.
  case caughtUp
  /// The body declined a record; the position is still before it.
  case stopped
  /// These sequences cannot be read; the position has moved behind them.
  case gap(Gap)
}

/// Progress of the zero-filling of a new journal.
package struct CreateProgress: Sendable, Hashable {
  package let written: ByteCount
  package let total: ByteCount
}
