import Control
package import GatewayConfiguration
import GatewayCore
import Ingest
import Platform
import RingJournal
import Synchronization
import Upstream

/// One route as commands and reloads see and steer it. Any thread; nothing here waits for a thread
/// of the route.
package final class RouteHandle: Sendable {
  /// Receive no more and deliver everything; for whom, and what of the session at the broker.
  struct Drain: Sendable, Equatable {
    var occasion: IngestControl.Occasion
    var endsSession: Bool
  }

  private struct Contents {
    var route: RouteOptions
    var opened: Pipeline.Opened?
    var isDrained = false
    /// What was asked last; before the journal is open it waits for that.
    var drain: Drain?
    var isToRestart = false
    var window = RateWindow()
  }

  let isDeliverOnly: Bool
  private let contents: Mutex<Contents>

  package convenience init(route: RouteOptions, isDeliverOnly: Bool) {
    self.init(route: route, isDeliverOnly: isDeliverOnly, drain: nil)
  }

  /// - Parameter drain: begins as soon as the journal is open.
  init(route: RouteOptions, isDeliverOnly: Bool, drain: Drain?) {
    self.isDeliverOnly = isDeliverOnly
    contents = Mutex(Contents(route: route, drain: drain))
  }

  /// As it is now: a reload may change its destinations while it runs.
  package var route: RouteOptions { contents.withLock { $0.route } }

  /// Destinations with other options, and else the same route: their threads hand over to new ones,
  /// each with nothing in flight.
  /// - Parameter limit: for the answers to what is in flight.
  func change(_ route: RouteOptions, sinks names: [String], limit: Duration) {
    let opened = contents.withLock { contents in
      contents.route = route
      return contents.opened
    }
    guard let opened else { return }
    let until = Clock.monotonic() + limit
    for (index, sink) in route.sinks.enumerated() where names.contains(sink.name) {
      opened.sinks[index].advance(to: .handOver(until: until))
    }
  }

  /// The route's journal is open.
  func opened(_ opened: Pipeline.Opened) {
    let (drain, isToRestart) = contents.withLock { contents in
      contents.opened = opened
      return (contents.drain, contents.isToRestart)
    }
    if isToRestart { opened.control.expect(.restart) }
    if let drain { opened.control.drain(drain.occasion, endsSession: drain.endsSession) }
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

  /// What it was told by an operator, or by a reload that removed it.
  var drain: Drain? { contents.withLock { $0.drain } }

  /// It has left the configuration, and ends when it is drained.
  var isRemoved: Bool { drain?.occasion == .removal }

  var isDrained: Bool { contents.withLock { $0.isDrained } }

  /// Nothing of it is left anywhere: all is delivered and no broker keeps a session for it.
  var hasEndedSession: Bool {
    contents.withLock { $0.isDrained && $0.drain?.endsSession == true }
  }

  /// Receive no more, deliver everything, close the journal.
  /// - Throws: when it is too late for what is asked.
  func drain(endsSession: Bool) throws(ControlRefusal) {
    if endsSession, isDeliverOnly {
      throw ControlRefusal(
        "route \(route.name) only delivers, because its disk is not written: what its session at "
          + "the broker holds could not be kept. Drain without ending the session")
    }
    guard ask(Drain(occasion: .drain, endsSession: endsSession)) else {
      throw ControlRefusal(
        "route \(route.name) has left its broker already, with the session kept: restart the "
          + "gateway, then drain and end the session in one go")
    }
  }

  /// It has left the configuration: as a drain, and then it ends.
  /// - Returns: false when its broker was left already with a session that was to be ended: then it
  ///   has to be opened again for that.
  func remove(endsSession: Bool) -> Bool {
    ask(Drain(occasion: .removal, endsSession: endsSession))
  }

  /// It will be stopped and opened again with other options.
  func willRestart() {
    let opened = contents.withLock { contents in
      contents.isToRestart = true
      return contents.opened
    }
    opened?.control.expect(.restart)
  }

  private func ask(_ drain: Drain) -> Bool {
    let (opened, isInTime) = contents.withLock { contents -> (Pipeline.Opened?, Bool) in
      let earlier = contents.drain
      let hasLeft = contents.opened.map { $0.control.phase > .endSession } ?? false
      if drain.endsSession, hasLeft, earlier?.endsSession != true { return (nil, false) }
      // A removal stays one, and a session that is on its way to its end is not kept.
      let isRemoval = earlier?.occasion == .removal
      contents.drain = Drain(
        occasion: isRemoval ? .removal : drain.occasion,
        endsSession: drain.endsSession || earlier?.endsSession == true)
      return (contents.opened, true)
    }
    opened?.control.drain(drain.occasion, endsSession: drain.endsSession)
    return isInTime
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
