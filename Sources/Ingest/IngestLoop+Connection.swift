import GatewayCore
import Logging
import Mosquitto
import Platform

extension IngestLoop where Connection: ~Copyable {
  /// Before it goes back to the first endpoint the loop takes what still comes: until nothing came
  /// for so long, or for so long in all.
  private static var returnQuiet: Duration { .seconds(1) }
  private static var returnPatience: Duration { .seconds(10) }

  /// Whether to leave for the first endpoint now, while nothing is held. What this broker keeps
  /// for us beyond that waits in its session.
  mutating func shouldReturn(now: MonotonicTime) -> Bool {
    guard let failback, let liveSince, failback.shouldReturn(from: endpoint, since: liveSince)
    else { return false }
    if let returningSince {
      return now.since(lastReceipt) >= Self.returnQuiet
        || now.since(returningSince) >= Self.returnPatience
    }
    returningSince = now
    lastReceipt = now
    logger.notice(
      "the first endpoint accepts again, going back",
      metadata: ["broker.endpoint": "\(options.connection.endpoints[0])"])
    return false
  }

  func connectionGone() -> MosquittoError {
    MosquittoError(
      intake.disconnectReason == nil ? .connectionLost : .disconnectedByBroker,
      reason: intake.disconnectReason, endpoint: nil,
      detail: intake.disconnectReason.map { "the broker disconnected: \($0)" }
        ?? "connection lost")
  }

  func tellWeakerVersion() {
    guard options.connection.protocolVersion == .v311 else { return }
    logger.notice(
      """
      MQTT 3.1.1 is weaker: the broker alone decides how many messages are in flight, which bounds \
      a group commit, and how long it keeps our session, and tells neither
      """)
  }
}
