import Control
import Gateway
import GatewayConfiguration
import GatewayCore
import Platform
import RingJournal

extension GatewayStatus {
  /// What the journals of an agent that does not run say, read without a lock and without writing.
  init(readingJournalsOf options: GatewayOptions) {
    self.init(
      source: .journals, version: Version.text, gatewayID: options.gatewayID, time: Clock.wall())
    for route in options.routes { routes.append(RouteStatus(readingJournalOf: route, now: time)) }
  }
}

extension RouteStatus {
  fileprivate init(readingJournalOf route: RouteOptions, now: WallTime) {
    self.init(name: route.name, phase: .off)
    do throws(JournalError) {
      let observer = try JournalObserver(path: route.journalPath)
      let statistics = observer.statistics
      let backlogBytes = observer.backlogByteCounts
      var journal = JournalStatus(
        id: "\(statistics.identity.id)", epoch: observer.facts.epoch.map { "\($0)" } ?? "",
        capacity: statistics.capacity, used: statistics.used, committed: statistics.committed,
        oldestKept: statistics.oldestKept)
      journal.lost = Dictionary(
        uniqueKeysWithValues: statistics.lostRecords.map { ($0.key.text, $0.value) })
      journal.isCleanStop = observer.facts.isCleanStop
      self.journal = journal
      for sink in statistics.sinks {
        let outstanding = statistics.committed.count(since: sink.acknowledged)
        var status = SinkStatus(
          name: sink.name, isRequired: sink.isRequired, acknowledged: sink.acknowledged,
          outstanding: outstanding)
        status.backlog = backlogBytes[sink.name].map { ByteCount($0) }
        // The file tells it of the slowest required destination; no other has an older one.
        if sink.isRequired, outstanding > 0, let oldest = statistics.oldestUndelivered {
          status.oldestAge = .nanoseconds(max(0, now.nanoseconds - oldest.nanoseconds))
        }
        sinks.append(status)
      }
    } catch {
      problem = "\(error)"
    }
  }
}
