#if PENSTOCK_SABOTAGE
  import Glibc
  import Synchronization
#endif

/// A named place on the way of a message at which a debug build can be told to die, so that a test
/// can be sure that it has died there. This list is the table of all points.
///
///     PENSTOCK_TEST_FAILPOINT=NAME[:HIT][=ACTION][,NAME…]
///
/// ACTION is `kill` (SIGKILL, the default) or `pause` (SIGSTOP); HIT counts from 1, which is the
/// default. `PENSTOCK_TEST_FAILPOINT_COVERAGE` names a
/// file that gets one line per point the process came by (`met NAME`), and one when it acted
/// (`acted NAME`). In a release build the functions are empty and the variables mean nothing.
package enum Failpoint: String, Sendable, CaseIterable {
  // Creating a journal.
  /// After each piece of the zero-fill.
  case createMidFill = "create-mid-fill"
  /// Whole and synced, still under its temporary name.
  case createBeforeRename = "create-before-rename"
  /// Under its name, the directory not synced.
  case createAfterRename = "create-after-rename"

  // Opening one.
  /// The ring is read, nothing decided.
  case recoveryAfterScan = "recovery-after-scan"
  /// A corrupt range is half copied aside.
  case recoveryMidQuarantine = "recovery-mid-quarantine"
  /// All is known, nothing written.
  case recoveryBeforeEpoch = "recovery-before-epoch"
  /// One superblock slot is repaired, the other is next.
  case recoveryBetweenSlots = "recovery-between-slots"

  // Taking messages.
  /// A record is in the open group, in memory.
  case ingestAfterAppend = "ingest-after-append"

  // Making room.
  /// The oldest group may go, and that is not durable.
  case releaseBefore = "release-before"
  /// The oldest group has gone.
  case releaseAfter = "release-after"
  /// `drop-oldest`: given up in memory, and that is not durable.
  case giveUp = "give-up"
  /// The unfilled last block stays as it is, the open group goes behind it.
  case tailSeal = "tail-seal"

  // One commit.
  /// The group is encoded, nothing of it written.
  case journalBeforeWrite = "journal-before-write"
  /// The first half of the group is written.
  case journalMidWrite = "journal-mid-write"
  /// Written, not synced.
  case journalBeforeSync = "journal-before-sync"
  /// As above, of a group that went back to the start of the ring.
  case journalAtWrap = "journal-at-wrap"
  /// As above, of a newer copy of the tail in the upper block of its pair.
  case tailCopyUp = "tail-copy-up"
  /// As above, in the lower block.
  case tailCopyDown = "tail-copy-down"
  /// Synced, and nobody told.
  case journalAfterSync = "journal-after-sync"
  /// Synced and published to the readers.
  case journalAfterPublish = "journal-after-publish"

  // A superblock, whatever for.
  case superblockBeforeWrite = "superblock-before-write"
  /// The first half of the slot is written.
  case superblockMidWrite = "superblock-mid-write"
  /// Written, not synced.
  case superblockBeforeSync = "superblock-before-sync"
  case superblockAfterSync = "superblock-after-sync"
  /// A cursor is written without a sync, for a process that is killed.
  case cursorAfterWrite = "cursor-after-write"
  /// A clean stop, before its superblock.
  case closeBefore = "close-before"
  /// A clean stop, after its superblock.
  case closeAfter = "close-after"

  // Acknowledging.
  /// Durable, and no PUBACK has left.
  case ingestBeforeRelease = "ingest-before-release"
  /// Several packets, such as PUBACKs, stand in a corked socket.
  case flushBeforeUncork = "flush-before-uncork"
  /// The PUBACKs have left.
  case ingestAfterRelease = "ingest-after-release"

  // Delivering.
  /// A batch is handed to the connection.
  case upstreamAfterPublish = "upstream-after-publish"
  /// The broker has accepted a batch, the cursor does not know it.
  case upstreamBeforeCursor = "upstream-before-cursor"
  /// The cursor has moved, in memory.
  case upstreamAfterCursor = "upstream-after-cursor"
  /// A record is refused for good, nothing of it stored.
  case deadLetterBeforeStore = "dead-letter-before-store"
  /// The refused record is synced, the cursor has not passed it.
  case deadLetterAfterStore = "dead-letter-after-store"

  // At the hub.
  /// Batches are decided on, nothing is written.
  case hubBeforeCommit = "hub-before-commit"
  /// All statements of the transaction have run, it is not committed.
  case hubMidTransaction = "hub-mid-transaction"
  /// Committed, and no PUBACK has left.
  case hubAfterCommit = "hub-after-commit"
  /// The PUBACKs have left, the gateway has not been told.
  case hubAfterRelease = "hub-after-release"
  /// The acceptances have left.
  case hubAfterAcceptance = "hub-after-acceptance"
  /// A message of the outbox is handed to the connection.
  case relayAfterPublish = "relay-after-publish"
  /// The broker has acknowledged messages of the outbox, the table does not know it.
  case relayBeforeMark = "relay-before-mark"
  /// They are marked.
  case relayAfterMark = "relay-after-mark"
  /// With the log reader: the slot's position is told, the table still has the messages.
  case logAfterConfirm = "log-after-confirm"

  #if PENSTOCK_SABOTAGE
    /// The environment variable that chooses points.
    package static let variable = "PENSTOCK_TEST_FAILPOINT"
    /// The environment variable that names the coverage file.
    package static let coverageVariable = "PENSTOCK_TEST_FAILPOINT_COVERAGE"

    /// The process has come to this place: counts, and does what was asked for, if it is time.
    package func reach() { if isDue { act() } }

    /// As `reach`, for a place where something must be left half done first: when it answers true
    /// the caller does that half, then calls `act`.
    package var isDue: Bool { Plan.current?.isDue(at: self) ?? false }

    /// Ends or stops the process as was asked for.
    package func act() { Plan.current?.act(at: self) }
  #else
    @inlinable package func reach() {}
    @inlinable package var isDue: Bool { false }
    @inlinable package func act() {}
  #endif
}

#if PENSTOCK_SABOTAGE
  extension Failpoint {
    private enum Action: String {
      case kill, pause
    }

    /// What the environment asks for; nil when it asks for nothing.
    private final class Plan: Sendable {
      static let current = Plan()

      private let orders: [Failpoint: (hit: Int, action: Action)]
      private let coveragePath: String?
      private let hits = Mutex<[Failpoint: Int]>([:])

      private init?() {
        let text = Environment.value(of: Failpoint.variable) ?? ""
        coveragePath = Environment.value(of: Failpoint.coverageVariable)
        if text.isEmpty && coveragePath == nil { return nil }
        var orders: [Failpoint: (hit: Int, action: Action)] = [:]
        for part in text.split(separator: ",") {
          let words = part.split(separator: "=", maxSplits: 1)
          let place = words[0].split(separator: ":", maxSplits: 1)
          let action = words.count > 1 ? Action(rawValue: String(words[1])) : .kill
          let hit = place.count > 1 ? Int(place[1]) : 1
          // A typing error would be a test that tests nothing.
          guard let point = Failpoint(rawValue: String(place[0])), let action, let hit, hit > 0
          else { preconditionFailure("\(Failpoint.variable): \(part) is no order") }
          orders[point] = (hit, action)
        }
        self.orders = orders
      }

      func isDue(at point: Failpoint) -> Bool {
        let hit = hits.withLock { hits in
          hits[point, default: 0] += 1
          return hits[point, default: 0]
        }
        if hit == 1 { note("met \(point.rawValue)\n") }
        return hit == orders[point]?.hit
      }

      func act(at point: Failpoint) {
        note("acted \(point.rawValue)\n")
        switch orders[point]?.action {
        case .kill:
          kill(getpid(), SIGKILL)
          // The signal takes this thread at the latest when it comes back from the kernel.
          while true { _ = pause() }
        // To this thread: one that only shares the process may run on for some milliseconds.
        case .pause: pthread_kill(pthread_self(), SIGSTOP)
        case nil: return
        }
      }

      /// One write(2) per line, so that nothing is torn and nothing waits in a buffer.
      private func note(_ line: String) {
        guard let coveragePath,
          let file = try? File.open(
            coveragePath, flags: O_WRONLY | O_CREAT | O_APPEND, mode: 0o600)
        else { return }
        let bytes = Array(line.utf8)
        _ = unsafe write(file.raw, bytes, bytes.count)
      }
    }
  }
#endif
