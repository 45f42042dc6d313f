import GatewayCore

/// The verdict on the hub's side of one audit: what its event store, its state and its cases say,
/// asked of its own commands, held against the pumps, the journal and what it has published.
package struct HubReport: Sendable, Hashable {
  /// Events of gateways in the store, and those of the hub itself.
  package var storedEvents: UInt64 = 0
  package var ownEvents: UInt64 = 0
  /// Of the gateway's journal, verified.
  package var journalIsSound = false
  package var journalLast: UInt64 = 0
  /// How far the hub has taken it.
  package var offset: UInt64 = 0
  /// Sequences that did not come as data.
  package var gaps: UInt64 = 0
  /// Hashes of the state as it was kept, and as it was made anew from the events.
  package var keptState = ""
  package var rebuiltState = ""
  package var stateIsEqual = false
  /// What the failing pump's case went through, by the event store and by what was published.
  package var caseSteps: [String] = []
  package var publishedSteps: [String] = []
  package var failingPump = ""
  /// By the pumps' own count.
  package var stopsObeyed: UInt64 = 0

  static let caseStepsWanted = [
    "requested", "scheduled", "stopping", "stopped", "done",
  ]

  package var caseIsDone: Bool { caseSteps == Self.caseStepsWanted }

  package init() {}

  /// Every count that must be zero.
  package var faults: [(name: String, count: UInt64)] {
    [
      ("journal not sound", journalIsSound ? 0 : 1),
      ("sequences the hub lacks", journalLast - min(journalLast, offset)),
      ("gaps at the hub", gaps),
      ("state not equal to events", stateIsEqual ? 0 : 1),
      ("case not carried through", caseIsDone && stopsObeyed == 1 ? 0 : 1),
      ("case published otherwise", caseSteps == publishedSteps ? 0 : 1),
    ]
  }

}

extension HubStage {
  /// Asks the stopped hub's commands, and enters every event of the store into the audit.
  /// - Parameter journal: the gateway's, closed.
  func report(
    into ledger: AuditLedger, agent: String, journal: String, failingPump: String,
    stopsObeyed: UInt64
  ) throws -> HubReport {
    var report = HubReport()
    report.failingPump = failingPump
    report.stopsObeyed = stopsObeyed
    report.publishedSteps = log.maintenance(of: failingPump)
    let verified = try ProgramOutput(
      of: agent, ["journal", "verify", journal, "--json"], in: process.directoryPath)
    report.journalIsSound = verified.code == 0
    report.journalLast = verified.lines.first.flatMap { JSONMembers($0.span).number("last") } ?? 0
    report.offset = try offset()
    report.gaps = UInt64(try look("gaps").lines.count)
    let events = try look("events", "--count", "\(DeliveryAudit.messageCountMaxDefault)")
    ledger.withAudit { audit in
      audit.beginStore()
      for line in events.lines {
        let members = JSONMembers(line.span)
        guard let source = members.text("source"), let id = members.text("id") else {
          report.ownEvents += 1
          let step = members.text("type").flatMap(HubEventLog.maintenanceStep)
          if let step, members.text("asset") == failingPump { report.caseSteps.append(step) }
          continue
        }
        report.storedEvents += 1
        // Of an asset the store keeps the facts, in an order of its own.
        let isVerbatim = members.text("type")?.contains(".asset.") == false
        audit.applied(
          topic: Self.topic(ofSource: source), id: id, payload: isVerbatim ? members["data"] : nil)
      }
    }
    let rebuilt = try look("rebuild", "--check")
    let members = rebuilt.lines.first.map { JSONMembers($0.span) }
    report.keptState = members?.text("before") ?? ""
    report.rebuiltState = members?.text("after") ?? ""
    report.stateIsEqual = rebuilt.code == 0 && members?.isTrue("equal") == true
    return report
  }

  /// `penstock://site/pumps/ND01/metrics` came on `pumps/ND01/metrics`.
  private static func topic(ofSource source: String) -> String {
    let parts = source.split(separator: "/", maxSplits: 3, omittingEmptySubsequences: false)
    return parts.count == 4 ? String(parts[3]) : source
  }
}
