import Envelope
import GatewayCore

/// Messages → envelopes, or the reason why one is none. Whatever comes is either taken or kept as a
/// dead letter.
struct BatchReader: ~Copyable {
  private var decoder: EnvelopeDecoder
  private let byteCountMax: Int

  init(byteCountMax: ByteCount) {
    var limits = EnvelopeLimits()
    limits.byteCountMax = byteCountMax
    decoder = EnvelopeDecoder(limits: limits)
    self.byteCountMax = byteCountMax.rawValue
  }

  /// Nil for what stands beside the batches and is none of them: a gateway's presence.
  mutating func read(_ message: BatchHandler.Message, now: WallTime) -> Received? {
    func refused(_ reason: String, _ detail: String) -> Received {
      .refused(
        HubDeadLetter(
          time: now, topic: message.topic, reason: reason, detail: detail,
          payload: message.payload, byteCount: message.byteCount))
    }
    let levels = message.topic.split(separator: "/", omittingEmptySubsequences: false)
    if levels.last == "status" { return nil }
    guard message.byteCount <= byteCountMax else {
      return refused(
        "too-large", "\(message.byteCount) bytes; max_envelope is \(ByteCount(byteCountMax))")
    }
    let envelope: Envelope
    do throws(EnvelopeError) {
      envelope = try decoder.decode(message.payload.span)
    } catch {
      return refused(error.code.word, "\(error)")
    }
    let header = envelope.header
    if levels.count == 4, levels[0] == "penstock", levels[1] == "v1",
      levels[2] != header.gateway || levels[3] != header.route
    {
      return refused(
        "wrong-topic", "it says it is of \(header.gateway)/\(header.route)")
    }
    return .envelope(envelope, topic: message.topic)
  }
}

extension EnvelopeError.Code {
  /// As dead letters count it.
  fileprivate var word: String {
    switch self {
    case .tooLarge: "too-large"
    case .badCompression: "bad-compression"
    case .notJSON: "not-json"
    case .unsupportedVersion: "unsupported-version"
    case .malformed: "malformed"
    case .unaccounted: "unaccounted"
    case .outOfMemory: "out-of-memory"
    }
  }
}
