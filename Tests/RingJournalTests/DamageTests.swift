// Goal: the damage campaigns in short, in every debug run, and that they can fail. Method: the
// same campaigns as `journal-torture`, few cases each. Cannot show: all cases, see there.
import GatewayCore
import JournalSimulation
import Platform
import Testing

@testable import RingJournal

@Suite("Damage campaigns")
struct DamageTests {
  @Test(
    "a sample of every damage campaign passes",
    arguments: (Campaign.torn + Campaign.damage).map(\.name))
  func sample(name: String) throws {
    let campaign = try #require(Campaign.all.first { $0.name == name })
    let result = try CampaignRun(campaign, seeds: 0..<40).run()
    #expect(result.tally.cases == 40)
    if campaign.isControl {
      #expect(result.failureCount == 40)
    } else {
      let words = result.failures.map { "\($0.seed): \($0.complaints)" }
      #expect(result.failureCount == 0, "\(words.prefix(3))")
      #expect(result.tally.undetected == 0)
    }
  }

  @Test("the sampled seeds are different cases, spread over all of them")
  func spread() {
    let cases = Set((0..<10_000).map { Campaign.spread($0, over: 655_360) })
    #expect(cases.count == 10_000)
    #expect((cases.max() ?? 0) > 650_000)
    #expect(Set((0..<7200).map { Campaign.spread($0, over: 7200) }).count == 7200)
    #expect(Set((0..<12_720).map { Campaign.spread($0, over: 12_720) }).count == 12_720)
  }
}
