import GatewayConfiguration
import GatewayCore
import Ingest
import Logging
import Platform
import RingJournal

extension Pipeline {
  /// How long the thread sleeps at most before the watchdog hears from it again.
  private static let idleTurn: Duration = .seconds(1)

  /// The journal's thread while the disk can only be read: opens the journal without writing a
  /// byte, keeps its lock, and says how things stand until shutdown. Takes nothing from the field
  /// broker, which keeps what it has for us.
  func keepReadOnly(_ phase: Opening, _ announce: (Opened) -> Void) throws {
    status.report(ingestStage, StageState(.recovering))
    do {
      let opened = try Journal.openReadOnly(path: route.journalPath, options: route.journal)
      opened.report.log(route: route, rememberedIDCount: nil, to: logger)
      let journal = opened.state
      let shared = makeOpened(journal, isReadOnly: true)
      phase.register(shared.control)
      announce(shared)
      logger.error(
        """
        deliver-only: the disk is not written; nothing is received, the field broker keeps what \
        comes. What is delivered now comes again with the same journal, epoch and sequence once \
        the journal can be written; replace the disk, then restart
        """,
        metadata: [
          "journal.oldest_kept": "\(journal.oldestKept)",
          "journal.committed": "\(journal.committed)",
        ])
      status.report(ingestStage, deliverOnlyState(isDelivered: false))
      keep(journal, shared.control)
      withExtendedLifetime(opened) {}
      status.report(ingestStage, StageState(.stopped))
    } catch {
      status.report(ingestStage, StageState(.failed, "\(error)"))
      throw error
    }
  }

  private func keep(_ journal: JournalState, _ control: IngestControl) {
    let metrics = IngestMetrics(route: route.name)
    var isDelivered = false
    var isQuiesced = false
    while control.phase < .close {
      if control.phase > .run, !isQuiesced {
        isQuiesced = true
        status.report(ingestStage, control.farewell)
        control.didQuiesce()
      }
      let isAllDelivered = route.sinks.indices.allSatisfy {
        journal.acknowledged($0) >= journal.committed
      }
      if isAllDelivered, !isDelivered, !isQuiesced {
        isDelivered = true
        logger.notice("deliver-only: everything that can be read is delivered")
        status.report(ingestStage, deliverOnlyState(isDelivered: true))
      }
      metrics.deliversOnly(journal.statistics())
      status.progress(ingestStage)
      let ready = Poll.wait(
        socket: nil, wakeUp: journal.writerWakeUp, timeout: Self.idleTurn)
      if ready.wokenUp { journal.writerWakeUp.clear() }
    }
  }

  private func deliverOnlyState(isDelivered: Bool) -> StageState {
    StageState(
      .deliverOnly,
      "the disk is not written and nothing is received; "
        + (isDelivered
          ? "all that can be read is delivered: replace the disk, then restart"
          : "what can be read is being delivered"))
  }
}
