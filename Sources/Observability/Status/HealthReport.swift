package import GatewayCore

/// Is the process healthy, and what is each stage doing?
///
/// | status      | when                                                               | HTTP |
/// |-------------|--------------------------------------------------------------------|------|
/// | `ok`        | every stage is connected, stopped, or outside its connect window   | 200  |
/// | `degraded`  | a broker is away, the ring is full, the disk can only be read, a   | 200  |
/// |             | data budget is spent, an operator has drained a route, or we are   |      |
/// |             | shutting down                                                      |      |
/// | `starting`  | a stage is starting, creating or recovering its journal            | 200  |
/// | `unhealthy` | a stage has failed (journal poisoned), or ingest makes no progress | 503  |
///
/// A broker that is away is the weather this product is made for: restarting the agent would not
/// bring it back, so it never makes the agent unhealthy.
package struct HealthReport: Sendable {
  package enum Status: String, Sendable {
    case ok
    case degraded
    case starting
    case unhealthy
  }

  package struct Stage: Sendable {
    package let name: StageName
    package let state: StageState
    package let since: WallTime
    package let inState: Duration
    package let sinceProgress: Duration
    package let isStalled: Bool
  }

  package let version: String
  package let uptime: Duration
  /// Sorted by route, then part.
  package let stages: [Stage]
  /// What deserves a look although nothing is wrong yet; no part of the status.
  package let notes: [String]

  package var status: Status {
    if stages.contains(where: { $0.isStalled || $0.state.kind == .failed }) { return .unhealthy }
    if !isReady { return .starting }
    let settled = stages.allSatisfy {
      [.connected, .stopped, .outsideWindow].contains($0.state.kind)
    }
    return settled ? .ok : .degraded
  }

  /// Every journal is open: whatever the brokers do, messages that arrive will be made durable.
  package var isReady: Bool {
    !stages.isEmpty
      && stages.allSatisfy {
        switch $0.state.kind {
        case .starting, .creating, .recovering: $0.name.part != .ingest && hasIngest
        case .failed: false
        case .connecting, .connected, .paused, .deliverOnly, .reconnecting, .refused,
          .outsideWindow, .budgetSpent, .quiesced, .drained, .draining, .stopped:
          true
        }
      }
  }

  /// An ingest stage has made no progress for longer than the limit.
  package var isStalled: Bool { stages.contains { $0.isStalled } }

  /// A journal is being created or read: start-up takes long for a reason.
  package var isRecovering: Bool {
    stages.contains { $0.state.kind == .creating || $0.state.kind == .recovering }
  }

  package var isDraining: Bool { stages.contains { $0.state.kind == .draining } }

  private var hasIngest: Bool { stages.contains { $0.name.part == .ingest } }

  /// One line for `systemctl status`: how many stages are connected, then what the others are at.
  package var line: String {
    let connected = stages.count { $0.state.kind == .connected }
    var text = "\(status.rawValue): \(connected) of \(stages.count) stages connected"
    for stage in stages where stage.state.kind != .connected || stage.isStalled {
      text += "; \(stage.name) \(stage.isStalled ? "stalled" : stage.state.kind.rawValue)"
      if !stage.state.detail.isEmpty { text += " (\(stage.state.detail))" }
    }
    return text
  }

  /// One JSON object and a newline.
  package func json() -> [UInt8] {
    var bytes = Array("{\"status\":\"\(status.rawValue)\",\"version\":".utf8)
    JSONText.append(string: version, to: &bytes)
    JSONText.append(key: "ready", to: &bytes)
    bytes.append(utf8: isReady ? "true" : "false")
    JSONText.append(key: "uptime_seconds", to: &bytes)
    bytes.append(utf8: Self.seconds(uptime))
    JSONText.append(key: "stages", to: &bytes)
    bytes.append(UInt8(ascii: "["))
    for (index, stage) in stages.enumerated() {
      if index > 0 { bytes.append(UInt8(ascii: ",")) }
      Self.append(stage, to: &bytes)
    }
    bytes.append(ascii: "]")
    JSONText.append(key: "notes", to: &bytes)
    bytes.append(ascii: "[")
    for (index, note) in notes.enumerated() {
      if index > 0 { bytes.append(ascii: ",") }
      JSONText.append(string: note, to: &bytes)
    }
    bytes.append(ascii: "]}\n")
    return bytes
  }

  private static func append(_ stage: Stage, to bytes: inout [UInt8]) {
    bytes.append(ascii: "{")
    JSONText.append(key: "route", to: &bytes)
    JSONText.append(string: stage.name.route, to: &bytes)
    JSONText.append(key: "part", to: &bytes)
    switch stage.name.part {
    case .ingest:
      bytes.append(ascii: "\"ingest\"")
    case .upstream(let sink):
      bytes.append(ascii: "\"upstream\"")
      JSONText.append(key: "sink", to: &bytes)
      JSONText.append(string: sink, to: &bytes)
    }
    JSONText.append(key: "state", to: &bytes)
    JSONText.append(string: stage.state.kind.rawValue, to: &bytes)
    JSONText.append(key: "detail", to: &bytes)
    JSONText.append(string: stage.state.detail, to: &bytes)
    JSONText.append(key: "since", to: &bytes)
    JSONText.append(string: stage.since.description, to: &bytes)
    JSONText.append(key: "in_state_seconds", to: &bytes)
    bytes.append(utf8: seconds(stage.inState))
    JSONText.append(key: "since_progress_seconds", to: &bytes)
    bytes.append(utf8: seconds(stage.sinceProgress))
    JSONText.append(key: "stalled", to: &bytes)
    bytes.append(utf8: stage.isStalled ? "true" : "false")
    bytes.append(ascii: "}")
  }

  /// Milliseconds are enough for people.
  private static func seconds(_ duration: Duration) -> String {
    PrometheusText.number(Double(duration.nanoseconds / 1_000_000) / 1e3)
  }
}
