import GatewayCore
import Logging
import Mosquitto
import Platform
import RingJournal

/// How far a session at the broker is on its way to its end.
enum SessionEnd: Sendable {
  case open
  /// Nothing waits in it and nothing comes to it any more.
  case emptied
  case ended
}

extension IngestLoop where Connection: ~Copyable {
  /// One unanswered UNSUBSCRIBE.
  private struct Fence {
    let mid: Int32
    /// Messages that had come when it was sent.
    let receivedCount: UInt64
    let deadline: MonotonicTime
  }

  /// Takes what the session at the broker still holds, and leaves so that the broker forgets it.
  ///
  /// A broker sends what waits in a session as our PUBACKs make room, and answers in the order of
  /// our packets: when it answers an UNSUBSCRIBE that we sent after all PUBACKs, and no message has
  /// come in between, nothing waits any more and nothing comes to wait.
  mutating func endSession(_ connection: inout Connection) throws -> End {
    status.report(
      stage, StageState(.quiesced, "taking what the session at the broker still holds"))
    var fence: Fence?
    var readFirst = false
    while control.phase == .endSession {
      let now = Clock.monotonic()
      intake.refreshRoom()
      if connection.heldAcknowledgements > 0 || intake.openRecordCount > 0 {
        try commitAndRelease(&connection)
      }
      if !intake.hasRoom { return try leaveFull(&connection) }
      if let acknowledgement = intake.connectAcknowledgement {
        noteSession(acknowledgement)
        if sessionEnd == .emptied {
          // Over MQTT 3.1.1 this is the clean connection, whose session ends with it.
          try connection.disconnectEndingSession()
          return .sessionEnded
        }
        if try isEmptied(&fence, &connection, now: now) {
          try connection.disconnectEndingSession()
          return options.connection.protocolVersion == .v5 ? .sessionEnded : .emptied
        }
      }
      if connection.wantsWrite { try connection.flush() }
      if now.since(lastMisc) >= .seconds(1) {
        lastMisc = now
        try connection.misc()
      }
      status.progress(stage)
      guard let socket = connection.socket else { throw connectionGone() }
      if !readFirst {
        let ready = Poll.wait(
          socket: socket, forWriting: connection.wantsWrite, wakeUp: wakeUp,
          timeout: Self.idleTurn)
        if ready.wokenUp { wakeUp.clear() }
        guard ready.socketReadable else { continue }
      }
      readFirst = try readUntilDry(&connection)
      if intake.wasRefusedRoom { return .ringFull }
    }
    logger.warning("stopped before the session at the field broker was ended: it is kept")
    return try quiesce(&connection)
  }

  /// Looks whether the fence stands; sets another one where it does not.
  private mutating func isEmptied(
    _ fence: inout Fence?, _ connection: inout Connection, now: MonotonicTime
  ) throws -> Bool {
    if let set = fence {
      guard intake.unsubscribeAnswer == set.mid else {
        try check(set.deadline, of: "UNSUBACK", now: now)
        return false
      }
      if intake.receivedCount == set.receivedCount { return true }
    }
    let known = subscriptions.subscriptions?.map(\.filter) ?? []
    let filters = known + options.subscriptions.filter { !known.contains($0) }
    fence = Fence(
      mid: try connection.unsubscribe(filters), receivedCount: intake.receivedCount,
      deadline: now + Self.subscribeTimeout)
    return false
  }

  mutating func didEndSession() {
    sessionEnd = .ended
    remember([])
    logger.notice(
      "ended the session at the field broker: it keeps nothing for this route any more",
      metadata: ["mqtt.client_id": "\(options.connection.clientID)"])
  }
}
