package import GatewayCore

/// What the retained status topic says of this gateway, as one JSON object:
///
///     {"penstock":1,"gateway":"gw-1","status":"online","version":"0.1.0",
///      "started":"2026-11-23T06:00:00.123Z","since":"2026-11-23T06:00:01.456Z"}
///
/// | status  | reason  | published by | since                                              |
/// |---------|---------|--------------|----------------------------------------------------|
/// | online  |         | us           | when this connection was accepted                  |
/// | offline | stopped | us           | when we stopped                                    |
/// | offline | moved   | us           | when we left for the first broker of the list      |
/// | offline | lost    | the broker   | when the connection began that was lost: the text  |
/// |         |         |              | is handed over with it; the loss is the arrival    |
///
/// `started` is the start of the process. Times are the gateway's wall clock, RFC 3339 in UTC. New
/// keys may come; `penstock` changes when an old one means something else.
package struct PresenceMessage: Sendable, Hashable {
  package enum Status: String, Sendable, Hashable {
    case online
    case stopped
    case moved
    case lost
  }

  package var gateway: String
  package var version: String
  package var started: WallTime

  package init(gateway: String, version: String, started: WallTime) {
    self.gateway = gateway
    self.version = version
    self.started = started
  }

  /// Ids and versions are plain ASCII without quotes, so nothing needs escaping.
  package func text(_ status: Status, since: WallTime) -> [UInt8] {
    let state =
      status == .online
      ? "\"status\":\"online\"" : "\"status\":\"offline\",\"reason\":\"\(status.rawValue)\""
    return Array(
      ("{\"penstock\":1,\"gateway\":\"\(gateway)\",\(state),\"version\":\"\(version)\","
        + "\"started\":\"\(started)\",\"since\":\"\(since)\"}").utf8)
  }
}
