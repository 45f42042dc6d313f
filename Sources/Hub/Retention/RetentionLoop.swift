import CoreMetrics
package import GatewayCore
package import Logging
import Platform

/// How long readings are kept one by one, and what is kept of them then.
package struct RetentionOptions: Sendable, Hashable {
  /// Since the hub took them; nil: for good.
  package var readings: Duration?
  /// Width of the intervals that older readings are summed up in; nil: nothing is kept of them.
  package var downsample: Duration? = .seconds(3_600)
  /// Readings of one transaction.
  package var chunkMax = 10_000
  /// Positions that are worth a new baseline.
  package var stepMin: UInt64 = 1_000

  package init() {}
}

/// Sums up readings that are old enough and removes them, on a thread of its own, in transactions
/// that are short beside those of the consumer. Everything but readings stays for good.
///
/// ## Invariants
/// 1. Before the first reading goes, the state at the position through which they will go is kept
///    as the *baseline*: what a rebuild begins with from then on. So all state can still be made
///    anew from what is there.
/// 2. A reading is removed in the transaction that adds it to its summary: in one of both, whatever
///    dies.
/// 3. With a clock that is not synchronised nothing goes: a wrong year must not empty the store.
package struct RetentionLoop<Store: HubStore>: ~Copyable {
  private static var interval: Duration { .seconds(60) }

  private let options: RetentionOptions
  private let store: Store
  private let control: HubControl
  private let metrics: HubMetrics
  private let logger: Logger
  private var lastReported = ""

  package init(
    options: RetentionOptions, store: Store, control: HubControl, metrics: HubMetrics,
    logger: Logger
  ) {
    self.options = options
    self.store = store
    self.control = control
    self.metrics = metrics
    self.logger = logger
  }

  /// Runs until the control says stop.
  package mutating func run() {
    while !control.isStopping {
      do {
        try pass(now: Clock.wall(), isSynchronised: Clock.isSynchronised())
        lastReported = ""
      } catch let error as HubStoreError where error.code == .conflict {
        // Another hub of this database is at it.
        logger.debug("old readings are removed by another hub")
      } catch {
        let reason = "\(error)"
        if reason != lastReported {
          logger.warning(
            "old readings cannot be removed, trying again", metadata: ["reason": "\(reason)"])
        }
        lastReported = reason
      }
      pause()
    }
  }

  private func pause() {
    if Poll.wait(socket: nil, wakeUp: control.retentionWakeUp, timeout: Self.interval).wokenUp {
      control.retentionWakeUp.clear()
    }
  }

  /// Removes what is due. Returns how many readings have gone.
  @discardableResult
  package mutating func pass(now: WallTime, isSynchronised: Bool) throws -> Int {
    guard let keep = options.readings else { return 0 }
    guard isSynchronised else {
      throw HubStoreError(.unavailable, "the clock is not synchronised")
    }
    var marks = try store.retention()
    // The newest event stays: positions go on from it.
    let due = min(
      try store.position(at: WallTime(nanoseconds: now.nanoseconds - keep.nanoseconds)),
      max(marks.last, 1) - 1)
    if due >= marks.baseline + options.stepMin {
      let state = try Projection.book(at: due, of: store)
      try store.setBaseline(
        Snapshot(
          position: due, time: now, assets: state.book.assets.filter { $0.version > 0 }))
      marks.baseline = due
    }
    metrics.baseline.record(Int64(clamping: marks.baseline))
    var goneCount = 0
    while marks.retired < marks.baseline, !control.isStopping {
      var query = EventQuery(after: marks.retired, through: marks.baseline)
      query.types = [.metricRecorded]
      let readings = try store.events(query, limit: options.chunkMax)
      let isLast = readings.count < options.chunkMax
      let through = isLast ? marks.baseline : readings[readings.count - 1].position
      try store.retire(
        Retirement(
          after: marks.retired, through: through, readings: readings, width: options.downsample))
      marks.retired = through
      goneCount += readings.count
      metrics.retiredReadings.increment(by: readings.count)
    }
    if goneCount > 0 {
      logger.info(
        "old readings were summed up and removed",
        metadata: ["readings": "\(goneCount)", "through.position": "\(marks.retired)"])
    }
    return goneCount
  }
}
