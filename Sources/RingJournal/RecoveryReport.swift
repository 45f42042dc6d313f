package import GatewayCore

/// What opening found and did; one summary line of the log.
package struct RecoveryReport: Sendable {
  /// The journal was created by this opening.
  package internal(set) var isCreated = false
  /// The last writer closed it in order.
  package internal(set) var wasCleanStop = false
  package internal(set) var keptGroupCount = 0
  package internal(set) var keptRecordCount: UInt64 = 0
  /// Last writes that were cut short; never acknowledged, so nothing is lost.
  package internal(set) var tornTailCount = 0
  /// Groups that were overtaken: older copies of a tail, writes cut short at an earlier crash.
  package internal(set) var staleCopyCount = 0
  /// Remains of earlier turns of the ring.
  package internal(set) var staleLapCount = 0
  /// Groups with an intact header and damaged records that nothing else holds. A group whose header
  /// is damaged, too, shows only in `corruptRanges`.
  package internal(set) var corruptGroupCount = 0
  /// Committed records that cannot be read any more. Those that every sink has are lost for
  /// recognising duplicates only; they warn of the disk.
  package internal(set) var corruptRanges: [CorruptRange] = []
  /// Of these, records that a required sink still needed.
  package internal(set) var lostRecordCount: UInt64 = 0
  package internal(set) var unreadableBlockCount = 0
  /// Damaged superblocks and identity copies, rewritten.
  package internal(set) var repairedBlockCount = 0
  package internal(set) var quarantined: ByteCount = ByteCount(0)
  /// Cursors of sinks that are no longer configured.
  package internal(set) var droppedSinks: [String] = []
  package internal(set) var newSinks: [String] = []
  package internal(set) var scanned: ByteCount = ByteCount(0)
  package internal(set) var duration: Duration = .zero
  /// Sentences for the operator.
  package internal(set) var warnings: [String] = []
}
