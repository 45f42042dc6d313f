/// The acts of the demo, in order.
enum DemoPhase: Sendable, CaseIterable {
  case normal
  case centralAway
  case agentDead
  case agentBack
  case centralBack
  case hubDead
  case hubBack
  case drain

  /// Parts of the sending time, in hundredths; the drain has its own limit.
  var share: Int {
    switch self {
    case .normal: 15
    case .centralAway: 20
    case .agentDead: 5
    case .agentBack: 10
    case .centralBack: 15
    case .hubDead: 10
    case .hubBack: 25
    case .drain: 0
    }
  }

  /// When the failing pump begins to fail: in the time of `hubDead`.
  static let failureShare = 66

  /// Phases that cut off what is on its way to the hub: the central broker's end, the agent's, the
  /// hub's.
  static let interruptionCount = 3

  var title: String {
    switch self {
    case .normal: "normal operation"
    case .centralAway: "central broker away"
    case .agentDead: "agent killed (SIGKILL)"
    case .agentBack: "agent started again"
    case .centralBack: "central broker back"
    case .hubDead: "hub killed (SIGKILL)"
    case .hubBack: "hub started again"
    case .drain: "pumps stop, drain"
    }
  }

  /// What a spectator should know.
  var explanation: String {
    switch self {
    case .normal:
      "Pumps publish to the field broker; the agent journals, then acknowledges, then delivers; "
        + "the hub stores each event once, and by its commit the agent's cursor moves."
    case .centralAway:
      "The central broker is stopped with SIGTERM, so that it saves what it holds for the "
        + "auditing subscriber; the hub would not need that. The agent goes on journalling."
    case .agentDead:
      "Nobody takes from the field broker; it queues for the agent's session."
    case .agentBack:
      "The agent recovers its journal and its dedup window, and takes what waited."
    case .centralBack:
      "The backlog drains in order while new messages arrive."
    case .hubDead:
      "Nobody at the centre acknowledges; meanwhile a pump's motor grows hot."
    case .hubBack:
      "The hub takes what waited: an alert, a work order, a stop command down through the "
        + "gateway, the pump's confirmation up again."
    case .drain:
      "Everything acknowledged must now reach the centre."
    }
  }
}
