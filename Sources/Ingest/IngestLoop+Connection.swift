import GatewayCore
import Logging
import Mosquitto
import Platform

extension IngestLoop where Connection: ~Copyable {
  /// Before it leaves one endpoint for another the loop takes what still comes: until nothing came
  /// for so long, or for so long in all.
  private static var recallQuiet: Duration { .seconds(1) }
  private static var recallPatience: Duration { .seconds(10) }

  /// Whether to leave for another connection now, while nothing is held. What this broker keeps for
  /// us waits in its session.
  mutating func isRecalled(now: MonotonicTime) -> Bool {
    guard let recall, liveSince != nil, let reason = recall.reason(at: endpoint, since: begunAt)
    else { return false }
    if let recalledSince {
      // The same session goes on.
      if reason == .renewed { return true }
      return now.since(lastReceipt) >= Self.recallQuiet
        || now.since(recalledSince) >= Self.recallPatience
    }
    recalledSince = now
    lastReceipt = now
    logger.notice(
      "\(reason.text)", metadata: ["broker.endpoint": "\(options.connection.endpoints[0])"])
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
