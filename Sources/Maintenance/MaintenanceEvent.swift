package import GatewayCore
import JSONScanning

/// What happened in a case, as the hub stores and publishes it.
package struct MaintenanceEvent: Sendable, Hashable {
  package enum Kind: String, Sendable, Hashable, CaseIterable {
    case requested, scheduled, stopping, stopped, done, cancelled

    /// Of the CloudEvent.
    package var type: String { "com.penstock.maintenance.\(rawValue).v1" }
  }

  package let kind: Kind
  package let caseID: String
  package let cause: MaintenanceCause
  package let order: String
  /// The latest stop command; nil before there is one.
  package let command: String?
  package let pumpHasStopped: Bool
  /// Of `cancelled` only.
  package let reason: MaintenanceCase.CancelReason?
  package let detail: String
  /// The hub's clock.
  package let time: WallTime

  /// Appends the event's payload: one JSON object.
  ///
  ///     case        text, the same in all events of a case
  ///     assetId     text
  ///     alert, rule, severity, message     texts: the alert it began with
  ///     order       text, the work order; of scheduled and what follows
  ///     commandId   text, of the latest stop command; of stopping and what follows
  ///     stopped     true or false: whether the pump has confirmed that it stands still;
  ///                 of stopped, done and cancelled
  ///     reason      text, of cancelled: see `MaintenanceCase.CancelReason`
  ///     detail      text, of cancelled, where there is one
  ///     time        RFC 3339, the hub's clock
  package func appendJSON(to bytes: inout [UInt8]) {
    func put(_ field: StaticString, _ value: String) {
      bytes.append(ascii: field)
      JSONString.append(value, to: &bytes)
    }
    put("{\"case\":", caseID)
    put(",\"assetId\":", cause.asset)
    put(",\"alert\":", cause.alert)
    put(",\"rule\":", cause.rule)
    put(",\"severity\":", cause.severity)
    put(",\"message\":", cause.message)
    if kind != .requested { put(",\"order\":", order) }
    if let command { put(",\"commandId\":", command) }
    if [.stopped, .done, .cancelled].contains(kind) {
      bytes.append(ascii: pumpHasStopped ? ",\"stopped\":true" : ",\"stopped\":false")
    }
    if let reason { put(",\"reason\":", reason.rawValue) }
    if !detail.isEmpty { put(",\"detail\":", detail) }
    bytes.append(ascii: ",\"time\":\"")
    time.appendRFC3339(to: &bytes)
    bytes.append(ascii: "\"}")
  }
}

extension StopCommand {
  /// Appends the command as a pump reads it.
  package func appendJSON(to bytes: inout [UInt8]) {
    bytes.append(ascii: "{\"commandId\":")
    JSONString.append(id, to: &bytes)
    bytes.append(ascii: ",\"assetId\":")
    JSONString.append(asset, to: &bytes)
    bytes.append(ascii: ",\"command\":\"stop\",\"issuedAt\":\"")
    issuedAt.appendRFC3339(to: &bytes)
    bytes.append(ascii: "\"}")
  }
}
