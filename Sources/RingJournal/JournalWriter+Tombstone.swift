package import GatewayCore

/// The tombstone at the end of the open group, while nothing has come after it.
struct OpenTombstone: Sendable {
  /// Where its header begins in the buffer.
  var offset: Int
  var topicByteCount: Int
  var tombstone: Tombstone
}

extension JournalWriter {
  /// Journals that a message of the source `topic` was over its quota: it takes a sequence, but no
  /// bytes beyond its run's. Its PUBACK may leave after the commit, and the run is delivered as a
  /// gap. Refusals of one source that follow one another within a commit group are one run. Answers
  /// and throws as `append` does.
  package mutating func appendRefusal(
    topic: Span<UInt8>, received: MonotonicTime
  ) throws(JournalError) -> AppendResult {
    try checkUsable()
    let sequence = nextSequence
    if extendTombstone(topic: topic, received: received) {
      return .appended(sequence)
    }
    var payload: [16 of UInt8] = .init(repeating: 0)
    let tombstone = Tombstone(reason: .quota, lastReceiveMicroseconds: 0, count: 1)
    var bytes = payload.mutableSpan
    tombstone.encode(into: &bytes, at: 0)
    let result = try append(
      RecordDraft(kind: .tombstone, receivedMonotonic: received), topic: topic,
      idText: Span(), properties: Span(), payload: payload.span)
    guard case .appended = result, let base else { return result }
    var open = OpenTombstone(
      offset: usedByteCount
        - RecordHeader.byteCount(
          topic: topic.count, storedID: 0, properties: 0, payload: Tombstone.byteCount),
      topicByteCount: topic.count, tombstone: tombstone)
    open.tombstone.lastReceiveMicroseconds = base.microseconds(of: received)
    newRefusalCount += 1
    rewrite(open)
    return result
  }

  private mutating func extendTombstone(
    topic: Span<UInt8>, received: MonotonicTime
  ) -> Bool {
    guard var open = openTombstone, let base,
      open.tombstone.count < Tombstone.countMax, open.topicByteCount == topic.count
    else { return false }
    let start = open.offset + RecordHeader.byteCount
    let isSameSource = buffer.withBytes(start..<start + topic.count) { stored in
      for index in topic.indices where stored[index] != topic[index] { return false }
      return true
    }
    guard isSameSource else { return false }
    open.tombstone.count += 1
    open.tombstone.lastReceiveMicroseconds = base.microseconds(of: received)
    newSequenceCount += 1
    newRefusalCount += 1
    rewrite(open)
    return true
  }

  private mutating func rewrite(_ open: OpenTombstone) {
    let start = open.offset + RecordHeader.byteCount + open.topicByteCount
    buffer.withMutableBytes(start..<start + Tombstone.byteCount) {
      open.tombstone.encode(into: &$0, at: 0)
    }
    openTombstone = open
  }
}
