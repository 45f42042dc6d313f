import Platform
import PumpTelemetry
import TestSupport

/// What must be going on for an agent to come by a point: a point belongs to exactly one scenario.
enum FailpointScenario: Hashable {
  /// Pumps, both brokers, a ring that turns.
  case load
  /// Small messages one by one, now and then a large one.
  case trickle
  /// An empty data directory.
  case creation
  /// A ring with bad blocks.
  case damage
  /// A centre that refuses some records for good.
  case refusal
  /// A full ring that drops its oldest.
  case overflow
  /// Not an agent's: the tests of the hub come by these.
  case hub

  var points: [Failpoint] { Failpoint.allCases.filter { FailpointScenario($0) == self } }

  init(_ point: Failpoint) {
    self =
      switch point {
      case .createMidFill, .createBeforeRename, .createAfterRename: .creation
      case .recoveryMidQuarantine, .recoveryBetweenSlots: .damage
      case .deadLetterBeforeStore, .deadLetterAfterStore: .refusal
      case .giveUp: .overflow
      case .tailSeal, .tailCopyUp, .tailCopyDown: .trickle
      case .recoveryAfterScan, .recoveryBeforeEpoch, .ingestAfterAppend, .releaseBefore,
        .releaseAfter, .journalBeforeWrite, .journalMidWrite, .journalBeforeSync,
        .journalAtWrap, .journalAfterSync, .journalAfterPublish,
        .superblockBeforeWrite, .superblockMidWrite, .superblockBeforeSync, .superblockAfterSync,
        .cursorAfterWrite, .closeBefore, .closeAfter, .ingestBeforeRelease, .flushBeforeUncork,
        .ingestAfterRelease, .upstreamAfterPublish, .upstreamBeforeCursor, .upstreamAfterCursor:
        .load
      case .hubBeforeCommit, .hubMidTransaction, .hubAfterCommit, .hubAfterRelease,
        .hubAfterAcceptance, .relayAfterPublish, .relayBeforeMark, .relayAfterMark,
        .logAfterConfirm:
        .hub
      }
  }
}

/// What one life of an agent is told to do.
struct FailpointOrder {
  let point: Failpoint
  let hit: Int

  /// A hit at random, about as far as a life under load comes within a second or two.
  init(_ point: Failpoint, using generator: inout SplitMix64) {
    let hitMax =
      switch point {
      case .ingestAfterAppend: 500
      case .journalBeforeWrite, .journalMidWrite, .journalBeforeSync, .journalAfterSync,
        .journalAfterPublish, .ingestBeforeRelease, .ingestAfterRelease:
        200
      case .flushBeforeUncork, .upstreamAfterPublish,
        .upstreamBeforeCursor, .upstreamAfterCursor:
        20
      case .createMidFill: 16
      case .recoveryMidQuarantine: 4
      case .releaseBefore, .releaseAfter, .tailSeal, .tailCopyUp, .tailCopyDown, .giveUp: 5
      case .superblockBeforeWrite, .superblockMidWrite, .superblockBeforeSync,
        .superblockAfterSync, .deadLetterBeforeStore, .deadLetterAfterStore:
        4
      default: 1
      }
    self.init(point, hit: Int.random(in: 1...hitMax, using: &generator))
  }

  init(_ point: Failpoint, hit: Int) {
    self.point = point
    self.hit = hit
  }

  var text: String { "\(point.rawValue):\(hit)" }
}

#if PENSTOCK_SABOTAGE
  /// The file in which the agents of one campaign say where they came by.
  struct FailpointCoverage: ~Copyable {
    private let directory: TemporaryDirectory
    private var path: String { directory.path + "/coverage" }

    init() throws { directory = try TemporaryDirectory(prefix: "penstock-failpoints") }

    /// For an agent that is to die by `order`.
    func environment(for order: FailpointOrder) -> [String: String] {
      [Failpoint.variable: order.text, Failpoint.coverageVariable: path]
    }

    /// How often an agent ended itself there.
    func actedCount(_ point: Failpoint) -> Int { count("acted \(point.rawValue)") }

    /// In how many lives an agent came by there.
    func metCount(_ point: Failpoint) -> Int { count("met \(point.rawValue)") }

    private func count(_ line: String) -> Int {
      text(of: path).split(separator: "\n").count { $0 == line }
    }

    /// One line per point, for the log of the run.
    func report(_ points: [Failpoint]) -> String {
      points.map { "  \($0.rawValue): met in \(metCount($0)) lives, acted \(actedCount($0))" }
        .joined(separator: "\n")
    }
  }

  /// The seeds of a campaign: 1, or `FIRST-LAST` of PENSTOCK_FAILPOINT_SEEDS for a long run or to
  /// repeat one.
  let failpointSeeds: ClosedRange<Int> = {
    let words = (Environment.value(of: "PENSTOCK_FAILPOINT_SEEDS") ?? "1-1").split(separator: "-")
    guard let first = words.first.flatMap({ Int($0) }), let last = words.last.flatMap({ Int($0) }),
      0 < first, first <= last
    else { preconditionFailure("PENSTOCK_FAILPOINT_SEEDS is FIRST-LAST, such as 1-20") }
    return first...last
  }()
#endif
