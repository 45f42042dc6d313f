import GatewayCore
import Logging

/// What the log has to say of messages that were not stored. A ring that drops its oldest all day,
/// a source that is over its quota for hours, a broker that sends what nobody wants: each says so
/// once a minute, with how many there were since.
struct IngestReports {
  private static let every: Duration = .seconds(60)

  /// One kind of report and how far it has been told.
  private struct Progress {
    private var last: MonotonicTime?
    private var told: UInt64 = 0

    /// How many there are to tell, if it is time to.
    mutating func due(_ count: UInt64, now: MonotonicTime) -> UInt64? {
      if let last, now.since(last) < every { return nil }
      guard count > told else { return nil }
      defer { (last, told) = (now, count) }
      return count - told
    }
  }

  private let logger: Logger
  private var lostCount: UInt64 = 0
  private var losses = Progress()
  private var refusals = Progress()
  private var strays = Progress()
  private var roundTrips = Progress()

  init(logger: Logger) { self.logger = logger }

  /// - Parameter lostCount: since the last call, refused ones aside.
  mutating func tell(of intake: Intake, lostCount: UInt64, now: MonotonicTime) {
    self.lostCount += lostCount
    if let count = losses.due(self.lostCount, now: now) {
      logger.error(
        "records were lost before they could be delivered; a gap will tell the centre",
        metadata: ["journal.lost_records": "\(count)"])
    }
    if intake.refusalToTell != nil, let count = refusals.due(intake.refusedCount, now: now),
      let refusal = intake.takeRefusal()
    {
      logger.error(refusal.reason.message, metadata: metadata(of: refusal, count: count))
    }
    if intake.roundTripToTell != nil,
      let count = roundTrips.due(intake.roundTripCount, now: now),
      let topic = intake.takeRoundTrip()
    {
      logger.error(
        "messages that this route has carried come back to it and are dropped",
        metadata: [
          "mqtt.topic": "\(topic)", "mqtt.dropped": "\(count)",
          "advice": "some bridge or gateway leads in a circle",
        ])
    }
    if intake.strayToTell != nil, let count = strays.due(intake.strayCount, now: now),
      let topic = intake.takeStray()
    {
      logger.warning(
        "the broker sends topics that this route does not carry; acknowledged and dropped",
        metadata: ["mqtt.topic": "\(topic)", "mqtt.dropped": "\(count)"])
    }
    // Once a connection.
    if intake.takeExactlyOnce() {
      logger.error(
        "the broker sends at QoS 2 what it granted at QoS 1: a crash may lose such a message",
        metadata: ["advice": "make the broker keep to QoS 1"])
    }
  }

  private func metadata(of refusal: SourceRefusal, count: UInt64) -> Logger.Metadata {
    var metadata: Logger.Metadata = [
      "mqtt.topic": "\(refusal.topic)", "journal.refused": "\(count)",
    ]
    if refusal.reason == .quota {
      metadata["journal.source_held"] = "\(refusal.held)"
      metadata["journal.source_quota"] = "\(refusal.quota)"
    }
    return metadata
  }
}

extension RefusalReason {
  fileprivate var message: Logger.Message {
    switch self {
    case .quota:
      "messages are refused because their source is over its quota; a gap tells the centre"
    case .rate:
      "messages are refused because their source sends too fast; a gap tells the centre"
    case .size:
      "messages are refused because they are too large for their source; a gap tells the centre"
    }
  }
}
