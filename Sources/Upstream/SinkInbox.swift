package import Mosquitto

/// What the connection brought since the loop last looked. One thread.
package final class SinkInbox: MosquittoHandler {
  var connectAcknowledgement: ConnectAcknowledgement?
  var answers: [(mid: Int32, reason: ReasonCode)] = []
  var disconnectReason: ReasonCode?

  package init() { answers.reserveCapacity(SinkOptions.inFlightLimit) }

  func beginConnection() {
    connectAcknowledgement = nil
    answers.removeAll(keepingCapacity: true)
    disconnectReason = nil
  }

  package func connected(_ acknowledgement: ConnectAcknowledgement) {
    connectAcknowledgement = acknowledgement
  }

  package func disconnected(_ reason: ReasonCode?) { disconnectReason = reason }

  package func published(mid: Int32, reason: ReasonCode) { answers.append((mid, reason)) }

  package func received(
    _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
  ) {}

  package func subscribed(mid: Int32, granted: [ReasonCode]) {}

  package func unsubscribed(mid: Int32) {}
}
