import GatewayCore
import JournalSimulation
import Platform

/// What a person or a script reads of one campaign.
struct TortureReport {
  private let campaign: Campaign
  private let caseCount: UInt64
  private let arguments: String
  private let start: MonotonicTime

  init(_ campaign: Campaign, caseCount: UInt64, arguments: String, start: MonotonicTime) {
    self.campaign = campaign
    self.caseCount = caseCount
    self.arguments = arguments
    self.start = start
  }

  func progress(_ finished: UInt64, _ result: CampaignRun.Result, now: MonotonicTime) {
    let failed = result.failureCount > 0 ? ", \(result.failureCount) failed" : ""
    let text = "\(campaign.name): \(finished) of \(caseCount)\(failed), \(rate(finished, now))/s"
    if Console.isTerminal { Console.text("\r\u{1b}[K" + text) } else { Console.line(text) }
  }

  /// Prints the result; true when the campaign came out as it must.
  func finish(_ result: CampaignRun.Result, now: MonotonicTime, asJSON: Bool) -> Bool {
    let isPassed = campaign.isControl ? result.failureCount > 0 : result.failureCount == 0
    if asJSON {
      Console.line(json(result, isPassed: isPassed, now: now))
    } else {
      if Console.isTerminal { Console.text("\r\u{1b}[K") }
      Console.line(line(result, isPassed: isPassed, now: now))
    }
    if campaign.isControl {
      if !isPassed {
        Console.error(
          "\(campaign.name): the promise was broken and nothing noticed: this proof proves nothing")
      }
      return isPassed
    }
    for failure in result.failures {
      Console.error("\(reproduction(failure.seed))  # \(failure.complaints.prefix(2))")
    }
    return isPassed
  }

  private func reproduction(_ seed: UInt64) -> String {
    "journal-torture \(campaign.name) --seed \(seed)" + arguments
  }

  private func rate(_ count: UInt64, _ now: MonotonicTime) -> UInt64 {
    UInt64(Double(count) / max(now.since(start).seconds, 0.001))
  }

  private func line(
    _ result: CampaignRun.Result, isPassed: Bool, now: MonotonicTime
  ) -> String {
    let tally = result.tally
    return "\(campaign.name): \(tally.cases) cases, \(result.failureCount) failed"
      + (campaign.isControl ? " (a control: some must)" : "")
      + ", lost \(tally.lost), invented \(tally.invented), wrong \(tally.wrong), duplicated "
      + "\(tally.duplicated), undetected \(tally.undetected), unprovable "
      + "\(tally.unprovable), \(rate(tally.cases, now))/s: "
      + (isPassed ? "passed" : "FAILED")
  }

  private func json(
    _ result: CampaignRun.Result, isPassed: Bool, now: MonotonicTime
  ) -> String {
    let tally = result.tally
    return #"{"campaign":"\#(campaign.name)","control":\#(campaign.isControl),"#
      + #""cases":\#(tally.cases),"failed":\#(result.failureCount),"lost":\#(tally.lost),"#
      + #""invented":\#(tally.invented),"wrong":\#(tally.wrong),"#
      + #""duplicated":\#(tally.duplicated),"undetected":\#(tally.undetected),"#
      + #""unprovable":\#(tally.unprovable),"#
      + #""seconds":\#(now.since(start).seconds),"passed":\#(isPassed)}"#
  }
}
