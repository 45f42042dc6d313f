/// The acts of the demo, in order.
enum DemoPhase: Sendable, CaseIterable {
  case normal
  case centralAway
  case agentDead
  case agentBack
  case centralBack
  case drain

  /// Parts of the sending time, in hundredths; the drain has its own limit.
  var share: Int {
    switch self {
    case .normal: 20
    case .centralAway: 20
    case .agentDead: 5
    case .agentBack: 15
    case .centralBack: 40
    case .drain: 0
    }
  }

  /// Phases that cut off what is on its way to the centre: the central broker's end, the agent's.
  static let interruptionCount = 2

  var title: String {
    switch self {
    case .normal: "normal operation"
    case .centralAway: "central broker away"
    case .agentDead: "agent killed (SIGKILL)"
    case .agentBack: "agent started again"
    case .centralBack: "central broker back"
    case .drain: "pumps stop, drain"
    }
  }

  /// What a spectator should know.
  var explanation: String {
    switch self {
    case .normal:
      "Pumps publish to the field broker; the agent journals, then acknowledges, then delivers."
    case .centralAway:
      "The central broker is stopped with SIGTERM, so that it saves its queues: with accept: "
        + "broker, what it accepted is its promise, and a SIGKILL would break it. The agent "
        + "goes on journalling."
    case .agentDead:
      "Nobody takes from the field broker; it queues for the agent's session."
    case .agentBack:
      "The agent recovers its journal and its dedup window, and takes what waited."
    case .centralBack:
      "The backlog drains in order while new messages arrive."
    case .drain:
      "Everything acknowledged must now reach the centre."
    }
  }
}
