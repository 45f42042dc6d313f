import Control
package import GatewayConfiguration
import GatewayCore
import Ingest
import Platform
import RingJournal
import Synchronization

/// One route as an operator's commands see and steer it. Any thread; nothing here waits for a
/// thread of the route.
package final class RouteHandle: Sendable {
  private struct Contents {
    var opened: Pipeline.Opened?
    var isDrained = false
    var isStopping = false
    /// A drain that was asked for before the journal was open.
    var pending: (endsSession: Bool, Void)?
    var window = RateWindow()
  }

  package let route: RouteOptions
  let isDeliverOnly: Bool
  private let contents = Mutex(Contents())

  package init(route: RouteOptions, isDeliverOnly: Bool) {
    self.route = route
    self.isDeliverOnly = isDeliverOnly
  }

  /// The route's journal is open.
  func opened(_ opened: Pipeline.Opened) {
    let pending = contents.withLock { contents in
      contents.opened = opened
      return contents.pending
    }
    if let pending { opened.control.drain(endsSession: pending.endsSession) }
  }

  func drained() { contents.withLock { $0.isDrained = true } }

  var journal: JournalState? { contents.withLock { $0.opened?.journal } }

  var phase: RouteStatus.Phase {
    contents.withLock { contents in
      if contents.isDrained { return .drained }
      guard let opened = contents.opened else { return .opening }
      if opened.control.isDraining { return .draining }
      return opened.control.phase == .run ? .running : .stopping
    }
  }

  /// Receive no more, deliver everything, close the journal.
  /// - Throws: when it is too late for what is asked.
  func drain(endsSession: Bool) throws(ControlRefusal) {
    if endsSession, isDeliverOnly {
      throw ControlRefusal(
        "route \(route.name) only delivers, because its disk is not written: what its session at "
          + "the broker holds could not be kept. Drain without ending the session")
    }
    let opened = contents.withLock { contents -> Pipeline.Opened? in
      if contents.opened == nil { contents.pending = (endsSession, ()) }
      return contents.opened
    }
    guard let opened else { return }
    if endsSession, opened.control.phase > .endSession {
      throw ControlRefusal(
        "route \(route.name) has left its broker already, with the session kept: restart the "
          + "gateway, then drain and end the session in one go")
    }
    opened.control.drain(endsSession: endsSession)
  }

  // MARK: - Rates

  func observe(_ registry: StageReadings) {
    guard let reading = reading(registry) else { return }
    contents.withLock { $0.window.add(reading) }
  }

  func rates(to reading: RateWindow.Reading) -> RateWindow.Rates? {
    contents.withLock { $0.window.rates(to: reading) }
  }

  /// The counters of this moment; nil while the journal is not open.
  func reading(_ readings: StageReadings) -> RateWindow.Reading? {
    guard let journal else { return nil }
    var reading = RateWindow.Reading(
      time: Clock.monotonic(), committed: journal.committed,
      acknowledged: route.sinks.indices.map { journal.acknowledged($0) })
    reading.syncs = readings.total("penstock_journal_fsync_seconds", route: route.name)
    reading.pubackDelays = readings.total(
      "penstock_ingest_puback_delay_seconds", route: route.name)
    return reading
  }
}
