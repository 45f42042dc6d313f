import GatewayCore
import Mosquitto

/// Takes what a connection brings; the loop looks at it between two calls. One thread.
final class BatchHandler: MosquittoHandler {
  struct Message {
    let topic: String
    let payload: [UInt8]
    /// Of the message; `payload` has less of one that is too large.
    let byteCount: Int
  }

  /// Larger messages are cut: they become dead letters.
  let byteCountMax: Int
  var messages: [Message] = []
  var byteCount = 0
  var acknowledgement: ConnectAcknowledgement?
  var subscribeAnswer: (mid: Int32, granted: [ReasonCode])?

  init(byteCountMax: Int) { self.byteCountMax = byteCountMax }

  func forget() {
    messages.removeAll()
    byteCount = 0
    acknowledgement = nil
    subscribeAnswer = nil
  }

  /// What has come since the last time.
  func take() -> [Message] {
    byteCount = 0
    var taken: [Message] = []
    swap(&taken, &messages)
    return taken
  }

  func connected(_ acknowledgement: ConnectAcknowledgement) {
    if !acknowledgement.reason.isFailure { self.acknowledgement = acknowledgement }
  }

  func disconnected(_ reason: ReasonCode?) {}

  func received(
    _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
  ) {
    let isTooLarge = payload.count > byteCountMax
    let kept = isTooLarge ? payload.extracting(first: HubDeadLetter.byteCountMax) : payload
    var bytes: [UInt8] = []
    bytes.reserveCapacity(kept.count)
    bytes.append(kept)
    byteCount += bytes.count
    messages.append(
      Message(topic: String(decoding: topic), payload: bytes, byteCount: payload.count))
  }

  func subscribed(mid: Int32, granted: [ReasonCode]) { subscribeAnswer = (mid, granted) }
  func unsubscribed(mid: Int32) {}
  func published(mid: Int32, reason: ReasonCode) {}
}
