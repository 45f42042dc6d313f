import GatewayConfiguration
import GatewayCore
import Logging
import RingJournal

extension RecoveryReport {
  /// One summary line, and one for each thing that a person should look at.
  /// - Parameter rememberedIDCount: ids in the deduplication window; nil where there is none.
  func log(route: RouteOptions, rememberedIDCount: Int?, to logger: Logger) {
    for warning in warnings {
      logger.warning("journal", metadata: ["journal.warning": "\(warning)"])
    }
    var metadata: Logger.Metadata = [
      "journal.path": "\(route.journalPath)", "journal.created": "\(isCreated)",
      "journal.clean_stop": "\(wasCleanStop)",
      "journal.records": "\(keptRecordCount)",
      "journal.scanned": "\(scanned)", "journal.seconds": "\(duration.seconds)",
    ]
    if let rememberedIDCount { metadata["journal.remembered_ids"] = "\(rememberedIDCount)" }
    if tornTailCount > 0 { metadata["journal.torn_tail"] = "\(tornTailCount)" }
    logger.notice("journal open", metadata: metadata)
    if repairedBlockCount + unreadableBlockCount > 0 {
      logger.warning(
        "the disk shows damage",
        metadata: [
          "journal.repaired_blocks": "\(repairedBlockCount)",
          "journal.unreadable_blocks": "\(unreadableBlockCount)",
        ])
    }
    if !droppedSinks.isEmpty {
      logger.warning(
        "a destination left the configuration, its cursor and what it had not received are dropped",
        metadata: ["journal.dropped_sinks": "\(droppedSinks.joined(separator: " "))"])
    }
    if !isCreated && !newSinks.isEmpty {
      logger.notice(
        "a new destination begins where its `start` says",
        metadata: ["journal.new_sinks": "\(newSinks.joined(separator: " "))"])
    }
    guard !corruptRanges.isEmpty else { return }
    logger.error(
      "committed records cannot be read any more; a gap tells the centre",
      metadata: [
        "journal.lost_records": "\(lostRecordCount)",
        "journal.quarantined": "\(quarantined)",
        "journal.ranges": "\(corruptRanges.count)",
      ])
  }
}
