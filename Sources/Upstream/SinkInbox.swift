import Envelope
import GatewayCore
package import Mosquitto

/// What the connection brought since the loop last looked. One thread.
package final class SinkInbox: MosquittoHandler {
  var connectAcknowledgement: ConnectAcknowledgement?
  var answers: [(mid: Int32, reason: ReasonCode)] = []
  var disconnectReason: ReasonCode?
  var subscribeAnswer: (mid: Int32, granted: [ReasonCode])?
  /// Payloads of what was subscribed to, oldest first.
  var received: [[UInt8]] = []
  /// Counts whatever came, so that a reader knows whether there may be more.
  private(set) var eventCount = 0

  /// Only the last word of a consumer counts, so of more than this the oldest go.
  static let receivedMax = 32

  package init() { answers.reserveCapacity(SinkOptions.inFlightLimit) }

  func beginConnection() {
    connectAcknowledgement = nil
    answers.removeAll(keepingCapacity: true)
    disconnectReason = nil
    subscribeAnswer = nil
    received.removeAll()
  }

  package func connected(_ acknowledgement: ConnectAcknowledgement) {
    connectAcknowledgement = acknowledgement
  }

  package func disconnected(_ reason: ReasonCode?) { disconnectReason = reason }

  package func published(mid: Int32, reason: ReasonCode) {
    eventCount += 1
    answers.append((mid, reason))
  }

  package func received(
    _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
  ) {
    eventCount += 1
    if received.count == Self.receivedMax { received.removeFirst() }
    // Larger than any acceptance: enough of it to be refused as too large.
    let count = min(payload.count, AcceptanceMessage.byteCountMax + 1)
    var copy: [UInt8] = []
    copy.append(payload.extracting(first: count))
    received.append(copy)
  }

  package func subscribed(mid: Int32, granted: [ReasonCode]) {
    eventCount += 1
    subscribeAnswer = (mid, granted)
  }

  package func unsubscribed(mid: Int32) {}
}
