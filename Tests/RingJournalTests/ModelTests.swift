// Goal: no committed record lost, none invented, none twice, none wrong, sequences dense, no cursor
// ahead of an acknowledgement, whatever crashes or fails in between; and on a disk that rots, every
// loss has its gap. Method: random operations from a seed against the journal on the simulated disk
// and against a plain dictionary; a failing seed is its own reproduction. The release build plays
// thousands of seeds (`journal-torture`), here are a few. Cannot show: real kernels.
import JournalSimulation
import RingJournal
import Testing

@Suite("The journal against a model")
struct ModelTests {
  @Test("the first seeds of each campaign pass", arguments: Campaign.all.filter { !$0.isControl })
  func campaigns(campaign: Campaign) throws {
    let count = min(campaign.quickCount, 30)
    for sector in [512, 4096] {
      let result = try CampaignRun(
        campaign, seeds: 0..<count, options: CampaignOptions(sectorByteCount: sector)
      ).run()
      #expect(result.tally.cases == count)
      for failure in result.failures {
        Issue.record(
          "journal-torture \(campaign.name) --sector \(sector) --seed \(failure.seed): \(failure)")
      }
    }
  }

  @Test(
    "negative controls: a broken promise is noticed", arguments: Campaign.all.filter(\.isControl))
  func controls(campaign: Campaign) throws {
    let result = try CampaignRun(campaign, seeds: 0..<10).run()
    #expect(result.failureCount > 0, "\(campaign.name) proves nothing")
  }
}

extension Campaign: CustomTestStringConvertible {
  public var testDescription: String { name }
}
